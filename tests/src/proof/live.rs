//! The lab, redrawn every second until Ctrl-C, with a little traffic of its own to look at.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use netbridge::datapath::Datapath;
use netbridge::state::State;
use netbridge_common::abi::{flow_flags, proto};

use super::reach::{APP, DB, HOST, OUTSIDE};
use crate::lab::Lab;
use crate::udp;

/// Flows that fit a screen.
const FLOWS: usize = 12;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_secs(1);

/// The terminal's second screen, so that the checks are still there afterwards.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H\x1b[J";

/// Shows the lab until `stop` is raised.
pub(super) fn show(lab: &Lab<'_>, stop: &AtomicBool) -> Result<()> {
    let (state, datapath) = (lab.state()?, lab.datapath()?);
    let mut out = std::io::stdout().lock();
    write!(out, "{ENTER}")?;
    let mut shown = Ok(());
    while !stop.load(Ordering::Relaxed) && shown.is_ok() {
        let next = Instant::now() + PERIOD;
        talk(lab);
        shown = picture(&state, &datapath).and_then(|text| Ok(write!(out, "{HOME}{text}")?));
        out.flush()?;
        while Instant::now() < next && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
    }
    write!(out, "{LEAVE}")?;
    out.flush()?;
    shown
}

/// A question on each kind of path, one of them forbidden.
fn talk(lab: &Lab<'_>) {
    let questions = [
        ("web", SocketAddrV4::new(APP, 53)),
        ("web", SocketAddrV4::new(OUTSIDE, 53)),
        ("outside", SocketAddrV4::new(HOST, 5353)),
        ("batch", SocketAddrV4::new(DB, 5432)),
    ];
    for (from, to) in questions {
        // What becomes of it is what the picture shows.
        let _ = lab
            .node(from)
            .and_then(|node| udp::ask(&node, to, b"hello", Duration::from_millis(50)));
    }
}

fn picture(state: &State, datapath: &Datapath) -> Result<String> {
    let tables = datapath.tables();
    let mut text = String::from("netbridge: the lab of examples/web-app-db.toml; Ctrl-C ends and removes it\n\n");
    writeln!(
        text,
        "{:<12} {:<15} {:>12} {:>14} {:>12} {:>14} {:>8}",
        "endpoint", "address", "sent", "bytes", "received", "bytes", "dropped"
    )?;
    let endpoints = state
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.name.to_string(), endpoint.address(), endpoint.slot));
    let uplinks = state
        .uplinks
        .iter()
        .map(|uplink| (uplink.name.clone(), uplink.addresses.first().copied(), uplink.slot));
    for (name, address, slot) in endpoints.chain(uplinks) {
        let seen = tables.traffic(slot)?;
        writeln!(
            text,
            "{name:<12} {:<15} {:>12} {:>14} {:>12} {:>14} {:>8}",
            address.as_ref().map(ToString::to_string).unwrap_or_default(),
            seen.tx_packets,
            seen.tx_bytes,
            seen.rx_packets,
            seen.rx_bytes,
            seen.drops
        )?;
    }
    let flows = tables.flows()?;
    let mut firsts: Vec<_> = flows
        .iter()
        .filter(|(_, flow)| flow.head.flags & flow_flags::REPLY == 0)
        .collect();
    let now = datapath.clock().now_ticks()?;
    firsts.sort_by_key(|(_, flow)| now.wrapping_sub(flow.head.seen));
    writeln!(text, "\n{} flows, the latest first", firsts.len())?;
    for (key, flow) in firsts.iter().take(FLOWS) {
        let nat = flow.tail;
        let leaves = format!("{} → {}", socket(nat.src, nat.sport), socket(nat.dst, nat.dport));
        let name = match key.proto {
            proto::TCP => "tcp",
            proto::UDP => "udp",
            proto::ICMP => "icmp",
            _ => "other",
        };
        writeln!(
            text,
            "{name:<5} {:>21} → {:<21} leaves as {leaves}",
            socket(key.src, key.sport),
            socket(key.dst, key.dport)
        )?;
    }
    writeln!(text, "\ndrops")?;
    for (reason, packets) in tables.drops()?.into_iter().filter(|(_, packets)| *packets > 0) {
        writeln!(text, "{:<20} {packets:>12}", reason.name())?;
    }
    Ok(text)
}

fn socket(address: [u8; 4], port: [u8; 2]) -> String {
    SocketAddrV4::new(address.into(), u16::from_be_bytes(port)).to_string()
}
