//! Frames whose checksum their sender leaves to the kernel, at a place of its choice (`PACKET_VNET_HDR`, `CAP_NET_RAW`): it is
//! written when a device completes it, behind the guard, and may be the half of an address.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::frame::{self, Station};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::wire::{Wire, finish_checksums};

use super::{LIMIT, PAIR, SILENCE, pair};

/// Where the lower half of an IPv4 source address is in a frame.
const LOW_SOURCE: usize = 28;

/// What is summed up: from the first place that the kernel allows.
const START: usize = 20;

const MARK: &[u8] = b"\0\0whose source was it?";

fn is_marked(frame: &[u8]) -> bool {
    frame.ends_with(&MARK[2..])
}

/// The sum of RFC 1071.
fn sum(words: &[u8]) -> u16 {
    let words = words
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low)));
    u16::try_from(words.sum::<u64>() % 0xffff).unwrap_or_default()
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Sends a datagram in `web`'s own name that is to end in another's, `low` being the address' lower half; the source that is
/// seen at the far end, and whether all is sound there.
fn forge(lab: &Lab<'_>, to: Station, far: &Wire, low: u16) -> Result<(Ipv4Addr, bool)> {
    let wire = lab.wire("web", "web")?;
    let mut frame = frame::udp(lab.station("web")?, to, (5000, 9), MARK)?;
    put(&mut frame, 40, 0);
    wire.send(&frame)?;
    // What becomes of it on its way is known from an honest one.
    let mut arrived = far.receive(LIMIT, is_marked)?.context("an honest datagram is lost")?;
    let before = [arrived[LOW_SOURCE], arrived[LOW_SOURCE + 1]];
    for frame in [&mut frame, &mut arrived] {
        let old = [frame[24], frame[25]];
        let mended = [old, low.to_be_bytes().map(|byte| !byte), before].concat();
        put(frame, 24, sum(&mended));
    }
    put(
        &mut frame,
        42,
        sum(&[(!low).to_be_bytes(), (!sum(&arrived[START..])).to_be_bytes()].concat()),
    );
    let offset = u16::try_from(LOW_SOURCE - START)?;
    wire.send_unfinished(&frame, u16::try_from(START)?, offset)?;
    let seen = far.receive(SILENCE, is_marked)?.context("nothing arrived")?;
    let source = Ipv4Addr::new(seen[26], seen[27], seen[28], seen[29]);
    Ok((source, frame::verify(&seen).is_ok()))
}

#[test]
fn a_neighbour_gets_what_the_guard_has_seen() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (app, wire) = (lab.station("app")?, lab.wire("app", "app")?);
        ping(&lab.node("web")?, pair::APP, 56, LIMIT)?;
        for endpoint in ["web", "app"] {
            finish_checksums(&lab.node("host")?, &lab.endpoint(endpoint)?.host_if)?;
        }
        let (source, sound) = forge(lab, app, &wire, u16::from_be_bytes([1, 77]))?;
        ensure!(source == pair::WEB && !sound, "seen as {source}");
        let early = lab
            .wire("web", "web")?
            .send_unfinished(&frame::arp_request(app.mac, app, pair::WEB), 14, 12);
        ensure!(early.is_err(), "the kernel takes a checksum of the IP header");
        Ok(())
    })
}

#[test]
#[ignore = "the kernel does not tell the programs where a checksum is to be written"]
fn an_uplink_that_completes_checksums_sends_in_nobody_elses_name() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let mac = lab.state()?.networks.first().context("no network")?.mac.0;
        let world = Station { mac, ip: pair::OUTSIDE };
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        ping(&lab.node("web")?, pair::OUTSIDE, 56, LIMIT)?;
        finish_checksums(&lab.node("host")?, &lab.uplink()?.name)?;
        let (source, sound) = forge(lab, world, &outside, u16::from_be_bytes([100, 77]))?;
        ensure!(source == pair::HOST, "seen as {source}, sound: {sound}");
        Ok(())
    })
}
