//! What must not arrive, and is counted under its reason.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use netbridge_common::abi::Reason;

use super::reach::{APP, DB, WEB};
use super::report::Report;
use crate::frame::{self, Station};
use crate::lab::Lab;
use crate::udp::UdpClient;
use crate::{tcp, udp};

/// Packets that each check sends.
const PACKETS: u64 = 10;

/// How long an answer that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(50);

/// An address of the network that nobody has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 99);

pub(super) fn check(report: &mut Report, lab: &Lab<'_>) {
    report.check("filtered batch → db:5432 over TCP", || filtered_tcp(lab));
    let datagrams = [
        (
            "filtered batch → db:5432 over UDP",
            "batch",
            SocketAddrV4::new(DB, 5432),
            Reason::Filtered,
        ),
        (
            "filtered web → db:5432, of another network",
            "web",
            SocketAddrV4::new(DB, 5432),
            Reason::Filtered,
        ),
        (
            "no direct access outside → web:53",
            "outside",
            SocketAddrV4::new(WEB, 53),
            Reason::DirectAccess,
        ),
    ];
    for (name, from, to, reason) in datagrams {
        report.check(name, || silent(lab, from, to, reason));
    }
    report.check("spoofed IP source", || {
        spoofed(lab, Reason::SpoofedIp, |web, app| {
            frame::udp(Station { ip: NOBODY, ..web }, app, (9, 53), b"spoofed")
        })
    });
    report.check("spoofed MAC source", || {
        spoofed(lab, Reason::SpoofedMac, |web, app| {
            frame::udp(
                Station {
                    mac: [2, 0, 0, 0, 0, 9],
                    ..web
                },
                app,
                (9, 53),
                b"spoofed",
            )
        })
    });
    report.check("spoofed ARP sender", || {
        spoofed(lab, Reason::SpoofedArp, |web, app| {
            Ok(frame::arp_request(web.mac, Station { ip: NOBODY, ..web }, app.ip))
        })
    });
}

fn filtered_tcp(lab: &Lab<'_>) -> Result<String> {
    let before = lab.drops(Reason::Filtered)?;
    let limit = Duration::from_millis(1200);
    if tcp::connect(&lab.node("batch")?, SocketAddrV4::new(DB, 5432), limit).is_ok() {
        bail!("a connection was made");
    }
    let dropped = lab.drops(Reason::Filtered)? - before;
    ensure!(
        dropped > 0,
        "no connection, but nothing was counted as {} either",
        Reason::Filtered.name()
    );
    Ok(format!(
        "no connection in {limit:?}; {dropped} dropped as {}",
        Reason::Filtered.name()
    ))
}

/// Sends datagrams of one flow that all must be dropped for one reason.
fn silent(lab: &Lab<'_>, from: &str, to: SocketAddrV4, reason: Reason) -> Result<String> {
    let before = lab.drops(reason)?;
    let client = UdpClient::open(&lab.node(from)?, to, SILENCE)?;
    for _ in 0..PACKETS {
        ensure!(client.ask(b"is anyone there?").is_err(), "an answer came from {to}");
    }
    counted(lab, reason, before)
}

/// Sends forged frames from `web` to `app`, and sees that an honest one still passes.
fn spoofed(lab: &Lab<'_>, reason: Reason, forge: impl Fn(Station, Station) -> Result<Vec<u8>>) -> Result<String> {
    let before = lab.drops(reason)?;
    let forged = forge(lab.station("web")?, lab.station("app")?)?;
    let (sender, receiver) = (lab.wire("web", "web")?, lab.wire("app", "app")?);
    for _ in 0..PACKETS {
        sender.send(&forged)?;
    }
    let arrived = receiver.receive(SILENCE, |frame| frame.starts_with(&forged))?;
    ensure!(arrived.is_none(), "a forged frame arrived");
    udp::ask(
        &lab.node("web")?,
        SocketAddrV4::new(APP, 53),
        b"honest",
        Duration::from_secs(3),
    )?;
    counted(lab, reason, before)
}

fn counted(lab: &Lab<'_>, reason: Reason, before: u64) -> Result<String> {
    lab.dropped(reason, before, PACKETS)?;
    Ok(format!("{PACKETS} sent, {PACKETS} dropped as {}", reason.name()))
}
