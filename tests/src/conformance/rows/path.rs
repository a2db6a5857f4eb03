//! What a router does with packets that are too long or have come too far: RFC 1191, RFC 1812.

use anyhow::{Context as _, Result};

use super::super::packet::{error, flag, kind, seal, udp};
use super::super::router::Setting;
use super::super::stage::Station::{C1, S1, S2};
use super::super::stage::{EXTERNAL, GATEWAY};
use super::super::world::{Side, World, at, connected, of, syn};
use super::super::{Level, Outcome, Row, saw};
use super::icmp::heard;

use Level::{May, Must};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "P1",
        requirement: "Path MTU discovery converges: a segment that is too long is answered, and one of that size passes",
        source: "RFC 1191",
        level: Must,
        run: path_mtu,
    },
    Row {
        id: "P1a",
        requirement: "A router's word beyond the NAT, \"fragmentation needed\", reaches the container with its MTU",
        source: "RFC 1191, RFC 5508 REQ-4",
        level: Must,
        run: path_mtu_beyond,
    },
    Row {
        id: "P3",
        requirement: "Where ICMP is lost, segments can be kept small by their MSS option",
        source: "RFC 4459 section 3.2",
        level: May,
        run: clamp,
    },
    Row {
        id: "P4",
        requirement: "A packet whose TTL ends is dropped and answered with time exceeded",
        source: "RFC 1812 section 5.3.1",
        level: Must,
        run: time_exceeded,
    },
    Row {
        id: "P4a",
        requirement: "A forwarded packet's TTL is one less",
        source: "RFC 1812 section 5.3.1",
        level: Must,
        run: ttl,
    },
];

fn path_mtu(world: &mut World<'_>) -> Result<Outcome> {
    world.set(Setting::UplinkMtu(1300))?;
    let mut call = connected(world)?;
    let long = call.next(Side::Client, flag::ACK, &[1; 1460]);
    let seen = world.exchange(C1, &long)?;
    let told = of(&seen, C1).find(|packet| packet.icmp() == Some((kind::UNREACHABLE, 4)));
    let Some(told) = told else {
        return Ok(saw("a long segment is not answered", false));
    };
    let right = told.src == GATEWAY && told.quoted().is_some_and(|quoted| quoted.from() == at(C1, 5000));
    call.client.seq -= 1460;
    let fitting = vec![1; usize::from(told.next_hop_mtu()).saturating_sub(40)];
    let passes = call.send(world, Side::Client, flag::ACK, &fitting)?;
    Ok(match (right, passes) {
        (true, true) => saw(
            format!(
                "the gateway tells {}; a segment of that size passes",
                told.next_hop_mtu()
            ),
            true,
        ),
        (false, _) => saw("the answer is not about the segment, or not the gateway's", false),
        (true, false) => saw("a segment of the told size is lost", false),
    })
}

fn path_mtu_beyond(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = connected(world)?;
    let long = call.next(Side::Client, flag::ACK, &[1; 1460]);
    let about = call
        .carry(world, Side::Client, &long)?
        .context("a segment of 1500 bytes did not arrive")?;
    // Another than the server says so.
    let message = error(S2.ip(), EXTERNAL, (kind::UNREACHABLE, 4), 1280, &about, 8);
    Ok(match world.carry(S2, &message, C1)? {
        None => saw("lost", false),
        Some(told)
            if told.next_hop_mtu() == 1280 && told.quoted().is_some_and(|quoted| quoted.from() == at(C1, 5000)) =>
        {
            saw("arrives with MTU 1280", true)
        }
        Some(_) => saw("arrives wrong", false),
    })
}

fn clamp(world: &mut World<'_>) -> Result<Outcome> {
    world.set(Setting::UplinkMtu(1300))?;
    if !world.set(Setting::ClampSegments)? {
        return Ok(saw("no such option", false));
    }
    let mut first = syn(at(C1, 5000), at(S1, 80), 1);
    first.body[12] = 6 << 4;
    first.body.extend([2, 4, 0x05, 0xb4]);
    seal(&mut first, 16);
    let seen = world.carry(C1, &first, S1)?.context("a SYN did not arrive")?;
    let promised = seen
        .body
        .get(22..24)
        .map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    Ok(saw(
        format!("with the option, 1460 becomes {promised}"),
        promised <= 1260,
    ))
}

fn time_exceeded(world: &mut World<'_>) -> Result<Outcome> {
    let mut last = udp(at(C1, 5000), at(S1, 7000), b"question");
    last.ttl = 1;
    let seen = world.exchange(C1, &last)?;
    let told = of(&seen, C1).find(|packet| packet.icmp() == Some((kind::TIME_EXCEEDED, 0)));
    let forwarded = of(&seen, S1).next().is_some();
    Ok(match (forwarded, told) {
        (true, _) => saw("forwarded", false),
        (false, Some(told)) if told.src == GATEWAY => saw("dropped, ICMP 11/0 of the gateway", true),
        (false, Some(_)) => saw("dropped, ICMP 11/0 of another address", false),
        (false, None) => saw("dropped silently", false),
    })
}

fn ttl(world: &mut World<'_>) -> Result<Outcome> {
    let out = heard(world)?;
    let back = world
        .carry(S1, &udp(at(S1, 7000), out.from(), b"answer"), C1)?
        .context("an answer did not arrive")?;
    Ok(saw(
        format!("64 becomes {} outwards, {} inwards", out.ttl, back.ttl),
        out.ttl == 63 && back.ttl == 63,
    ))
}
