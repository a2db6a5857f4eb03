//! What must arrive: between containers, out to the world, and in through published ports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Result;

use super::equal;
use super::report::{Report, milliseconds, throughput};
use crate::icmp::ping;
use crate::lab::Lab;
use crate::{tcp, udp};

/// Patience with an answer that must come.
const LIMIT: Duration = Duration::from_secs(3);

/// Bytes that TCP checks move each way.
const BYTES: u64 = 16 << 20;

/// The host's address, as the outside sees it.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The outside's.
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Nodes by name.
pub(super) const WEB: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 10);
pub(super) const APP: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 20);
pub(super) const APP_BACK: Ipv4Addr = Ipv4Addr::new(10, 88, 2, 20);
pub(super) const DB: Ipv4Addr = Ipv4Addr::new(10, 88, 2, 30);
const FRONT_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 1);

/// Where to, and as whom the server must see the client.
type Path = (&'static str, &'static str, SocketAddrV4, Ipv4Addr);

pub(super) fn check(report: &mut Report, lab: &Lab<'_>) {
    let pings = [
        ("web", "app", APP),
        ("app", "db", DB),
        ("web", "gateway", FRONT_GATEWAY),
        ("web", "outside", OUTSIDE),
    ];
    for (from, name, to) in pings {
        report.check(&format!("ping {from} → {name}"), || {
            // The first may wait for ARP; what is shown is the path.
            ping(&lab.node(from)?, to, 56, LIMIT)?;
            Ok(milliseconds(ping(&lab.node(from)?, to, 56, LIMIT)?))
        });
    }
    let streams: [Path; 5] = [
        ("web", "app:80", SocketAddrV4::new(APP, 80), WEB),
        ("app", "db:5432", SocketAddrV4::new(DB, 5432), APP_BACK),
        ("web", "outside:80", SocketAddrV4::new(OUTSIDE, 80), HOST),
        ("outside", "host:8080 (web:80)", SocketAddrV4::new(HOST, 8080), OUTSIDE),
        (
            "host",
            "127.0.0.1:8080 (web:80)",
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080),
            FRONT_GATEWAY,
        ),
    ];
    for path in streams {
        report.check(&format!("TCP {} → {}", path.0, path.1), || stream(lab, path));
    }
    let datagrams: [Path; 4] = [
        ("app", "web:53", SocketAddrV4::new(WEB, 53), APP),
        ("web", "outside:53", SocketAddrV4::new(OUTSIDE, 53), HOST),
        ("outside", "host:5353 (web:53)", SocketAddrV4::new(HOST, 5353), OUTSIDE),
        (
            "host",
            "127.0.0.1:5353 (web:53)",
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5353),
            FRONT_GATEWAY,
        ),
    ];
    for path in datagrams {
        report.check(&format!("UDP {} → {}", path.0, path.1), || datagram(lab, path));
    }
}

fn stream(lab: &Lab<'_>, (from, _, to, seen_as): Path) -> Result<String> {
    let transfer = tcp::transfer(&lab.node(from)?, to, BYTES)?;
    equal("the client's address at the server", &seen_as, transfer.seen_as.ip())?;
    Ok(format!(
        "{}; the server sees {seen_as}",
        throughput(BYTES, transfer.elapsed)
    ))
}

fn datagram(lab: &Lab<'_>, (from, _, to, seen_as): Path) -> Result<String> {
    let answer = udp::ask(&lab.node(from)?, to, b"what time is it?", LIMIT)?;
    equal("the client's address at the server", &seen_as, answer.seen_as.ip())?;
    Ok(format!("{}; the server sees {seen_as}", milliseconds(answer.elapsed)))
}
