//! Frames whose checksum their sender leaves to the kernel, at a place of its choice (`PACKET_VNET_HDR`, `CAP_NET_RAW`): it is
//! written when a device completes it, behind the guard, and may be the half of an address.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::Reason;
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

/// Sends a datagram in `web`'s own name that a device is to complete in another's, `low` being the address' lower half. Its
/// header is sound once that is written, and not before.
fn forge(lab: &Lab<'_>, to: Station, far: &Wire, low: u16) -> Result<()> {
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
    let rest = !sum(&arrived[START..]);
    put(
        &mut frame,
        42,
        sum(&[(!low).to_be_bytes(), rest.to_be_bytes()].concat()),
    );
    let offset = u16::try_from(LOW_SOURCE - START)?;
    wire.send_unfinished(&frame, u16::try_from(START)?, offset)?;
    let seen = far.receive(SILENCE, is_marked)?;
    let source = seen.map(|seen| Ipv4Addr::new(seen[26], seen[27], seen[28], seen[29]));
    ensure!(source.is_none(), "it arrives, from {source:?}");
    Ok(())
}

#[test]
fn no_device_completes_a_header_in_another_name() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (host, web) = (lab.node("host")?, lab.node("web")?);
        let mac = lab.state()?.networks.first().context("no network")?.mac.0;
        let gateway = Station { mac, ip: pair::OUTSIDE };
        for far in [pair::APP, pair::OUTSIDE] {
            ping(&web, far, 56, LIMIT)?;
        }
        for device in [
            lab.endpoint("web")?.host_if,
            lab.endpoint("app")?.host_if,
            lab.uplink()?.name,
        ] {
            finish_checksums(&host, &device)?;
        }
        let before = lab.drops(Reason::BadChecksum)?;
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        forge(lab, gateway, &outside, u16::from_be_bytes([100, 77]))?;
        lab.dropped(Reason::BadChecksum, before, 1)?;
        forge(
            lab,
            lab.station("app")?,
            &lab.wire("app", "app")?,
            u16::from_be_bytes([1, 77]),
        )?;
        lab.dropped(Reason::BadChecksum, before, 2)
    })
}
