//! RFC 4787, sections 10 and 11: datagrams that are too long, and fragments.

use anyhow::{Context as _, Result};

use super::super::packet::{Ip, data, flag, kind, udp};
use super::super::router::Setting;
use super::super::stage::Station::{C1, S1};
use super::super::stage::{EXTERNAL, GATEWAY};
use super::super::world::{Side, World, at, connected, of};
use super::super::{Level, Outcome, Row, saw};
use super::udp::opened;

use Level::Must;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "U13",
        requirement: "A packet that is too long and may not be fragmented is answered with the MTU",
        source: "RFC 4787 REQ-13",
        level: Must,
        run: too_long,
    },
    Row {
        id: "U13a",
        requirement: "One that may be is fragmented",
        source: "RFC 4787 REQ-13a",
        level: Must,
        run: fragments_out,
    },
    Row {
        id: "U14",
        requirement: "Fragments arrive translated, in order and out of order",
        source: "RFC 4787 REQ-14",
        level: Must,
        run: fragments_in,
    },
    Row {
        id: "U14a",
        requirement: "Fragments that make no datagram pass nothing: first one missing, overlapping, too small for its header",
        source: "RFC 4787 REQ-14a, RFC 1858",
        level: Must,
        run: fragments_bad,
    },
];

fn too_long(world: &mut World<'_>) -> Result<Outcome> {
    world.set(Setting::UplinkMtu(1300))?;
    let mut long = udp(at(C1, 5000), at(S1, 7000), &[7; 1372]);
    long.df = true;
    let seen = world.exchange(C1, &long)?;
    let told = of(&seen, C1).find(|packet| packet.icmp() == Some((kind::UNREACHABLE, 4)));
    Ok(match told {
        Some(error) if error.src == GATEWAY && error.next_hop_mtu() == 1300 => {
            saw("ICMP 3/4 of the gateway, MTU 1300", true)
        }
        Some(_) => saw("ICMP 3/4 with something wrong", false),
        None if of(&seen, S1).next().is_some() => saw("the packet goes out all the same", false),
        None => saw("dropped silently", false),
    })
}

fn fragments_out(world: &mut World<'_>) -> Result<Outcome> {
    world.set(Setting::UplinkMtu(1300))?;
    let long = udp(at(C1, 5000), at(S1, 7000), &data(1372));
    let seen = world.exchange(C1, &long)?;
    let pieces: Vec<Ip> = of(&seen, S1).collect();
    let made = Ip::put_together(&pieces);
    let right = made.is_some_and(|made| made.src == EXTERNAL && made.data() == long.data() && made.is_sound());
    Ok(match pieces.len() {
        0 => saw("nothing goes out", false),
        1 => saw("goes out in one piece", false),
        count => saw(format!("goes out in {count} fragments"), right),
    })
}

/// Sends fragments of a datagram through a mapping of C1's, outwards or inwards; whether they arrive translated, and make the
/// datagram again.
fn reassembled(world: &World<'_>, outwards: bool, id: u16, order: &[usize]) -> Result<bool> {
    let mapped = opened(world)?.from();
    let (from, to, mut whole) = if outwards {
        (C1, S1, udp(at(C1, 5000), at(S1, 7000), &data(2000)))
    } else {
        (S1, C1, udp(at(S1, 7000), mapped, &data(2000)))
    };
    whole.id = id;
    let pieces = whole.fragments(704);
    let mut arrived = Vec::new();
    for index in order {
        arrived.extend(world.exchange(from, &pieces[*index])?);
    }
    let arrived: Vec<Ip> = of(&arrived, to).collect();
    let Some(made) = Ip::put_together(&arrived) else {
        return Ok(false);
    };
    let translated = if outwards {
        made.from() == mapped
    } else {
        (made.dst, made.dport()) == (C1.ip(), 5000)
    };
    Ok(translated && made.data() == whole.data() && made.is_sound())
}

fn fragments_in(world: &mut World<'_>) -> Result<Outcome> {
    let mut lost = Vec::new();
    let mut ids = 1..;
    for (way, outwards) in [("outwards", true), ("inwards", false)] {
        for (name, order) in [
            ("in order", &[0, 1, 2][..]),
            ("reversed", &[2, 1, 0]),
            ("the first in the middle", &[1, 0, 2]),
            ("one twice", &[0, 1, 1, 2]),
        ] {
            world.router.reset()?;
            // What a router remembers of one datagram is to say nothing of the next.
            let id = ids.next().context("no identification is left")?;
            if !reassembled(world, outwards, id, order)? {
                lost.push(format!("{way} {name}"));
            }
        }
    }
    Ok(if lost.is_empty() {
        saw(
            "in order, reversed, the first in the middle, one twice: arrive as they were, both ways",
            true,
        )
    } else {
        saw(format!("lost: {}", lost.join(", ")), false)
    })
}

fn fragments_bad(world: &mut World<'_>) -> Result<Outcome> {
    let mut passed = Vec::new();
    let mut judge = |world: &mut World<'_>, name: &'static str, pieces: &[Ip]| -> Result<()> {
        for piece in pieces {
            if world.reaches(S1, piece, C1)? && !passed.contains(&name) {
                passed.push(name);
            }
        }
        Ok(())
    };
    let seen = opened(world)?;
    let whole = |id| {
        let mut whole = udp(at(S1, 7000), seen.from(), &data(2000));
        whole.id = id;
        whole
    };
    judge(world, "without the first", &whole(1).fragments(704)[1..])?;
    let mut overlapping = whole(2).fragments(704);
    overlapping[1].offset -= 8;
    judge(world, "overlapping", &overlapping)?;
    let mut call = connected(world)?;
    let mut tiny = call.next(Side::Server, flag::ACK | flag::PSH, &[5; 64]).fragments(8);
    for piece in &mut tiny {
        piece.df = false;
    }
    judge(world, "tiny TCP header", &tiny)?;
    Ok(if passed.is_empty() {
        saw("nothing passes", true)
    } else {
        saw(format!("passes: {}", passed.join(", ")), false)
    })
}
