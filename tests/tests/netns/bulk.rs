//! 64 MiB each way over every kind of path, hashes compared at both ends, every frame on the wire judged.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use netbridge::datapath::AttachMode;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{TcpServer, transfer};
use netbridge_tests::wire::{Capture, finish_checksums};

use super::{PAIR, pair};

/// A path: from a node to an address, to a service on a node that must see the client as `seen_as`. Frames are
/// finished where they leave and captured where they arrive.
struct Path {
    from: &'static str,
    to: SocketAddrV4,
    server: (&'static str, u16),
    seen_as: Ipv4Addr,
    finished: (&'static str, &'static str),
    captured: &'static str,
}

/// Between two containers.
const SWITCHED: Path = Path {
    from: "app",
    to: SocketAddrV4::new(pair::WEB, 80),
    server: ("web", 80),
    seen_as: pair::APP,
    finished: ("app", "eth0"),
    captured: "web",
};

/// Out to the world.
const MASQUERADED: Path = Path {
    from: "app",
    to: SocketAddrV4::new(pair::OUTSIDE, 80),
    server: ("outside", 80),
    seen_as: pair::HOST,
    finished: ("host", "eth0"),
    captured: "outside",
};

/// In from the world.
const PUBLISHED: Path = Path {
    from: "outside",
    to: SocketAddrV4::new(pair::HOST, 8080),
    server: ("web", 80),
    seen_as: pair::OUTSIDE,
    finished: ("host", "eth0"),
    captured: "outside",
};

fn carry(lab: &Lab<'_>, path: &Path, bytes: u64) -> Result<()> {
    let (node, port) = path.server;
    let _server = TcpServer::start(&lab.node(node)?, port)?;
    // First as it is between virtual interfaces: unfinished checksums, segments of 64 KiB.
    let seen = transfer(&lab.node(path.from)?, path.to, bytes)?.seen_as;
    ensure!(*seen.ip() == path.seen_as, "the server sees {seen}");
    // Then as it would be in front of a wire.
    let (node, interface) = path.finished;
    finish_checksums(&lab.node(node)?, interface)?;
    let capture = Capture::start(lab.node(path.captured)?, "eth0")?;
    transfer(&lab.node(path.from)?, path.to, bytes)?;
    let captured = capture.finish()?;
    ensure!(captured.bad.is_empty(), "{:#?}", captured.bad);
    ensure!(captured.bytes > bytes, "only {captured:?} for {bytes} bytes");
    ensure!(
        captured.longest <= 1514,
        "a frame of {} bytes on the wire",
        captured.longest
    );
    Ok(())
}

#[test]
fn between_containers() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| carry(lab, &SWITCHED, 64 << 20))
}

#[test]
fn out_to_the_world() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| carry(lab, &MASQUERADED, 64 << 20))
}

#[test]
fn in_through_a_published_port() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| carry(lab, &PUBLISHED, 64 << 20))
}

#[test]
fn every_path_through_clsact_filters() -> Result<()> {
    let text = Text {
        attach_mode: AttachMode::Clsact,
        ..Text::plain(PAIR)
    };
    with_lab(text, |lab| {
        for path in [SWITCHED, MASQUERADED, PUBLISHED] {
            carry(lab, &path, 4 << 20)?;
        }
        Ok(())
    })
}
