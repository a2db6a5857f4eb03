//! RFC 7857, which updates the NAT requirements, and what of RFC 6888 (carrier-grade NAT) fits a container host: its
//! subscribers are the containers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netbridge_common::abi::proto;

use super::super::packet::{Ip, error, flag, kind, udp};
use super::super::router::Setting;
use super::super::stage::Station::{C1, C2, S1, S2};
use super::super::world::{Call, OPENING, Side, World, at, syn};
use super::super::{Level, Outcome, Row, saw};
use super::tcp::{lifetime_after, lifetime_of};
use super::udp::answered;

use Level::{May, Must, Practice, Should};
use Side::{Client, Server};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "N1",
        requirement: "A connection lives long from the handshake to both FINs, and short before and after",
        source: "RFC 7857 TCP session tracking, RFC 6146 section 3.5.2",
        level: Should,
        run: machine,
    },
    Row {
        id: "N2",
        requirement: "Opening and closing connections have timers of their own, each settable",
        source: "RFC 7857 transitory idle-timeout",
        level: Should,
        run: separate_timers,
    },
    Row {
        id: "N2a",
        requirement: "The kernel's own timers can be chosen",
        source: "-",
        level: Practice,
        run: kernel_timers,
    },
    Row {
        id: "N3",
        requirement: "After a RST the connection is kept for 4 min, and data restore it",
        source: "RFC 7857 TCP RST",
        level: Should,
        run: reset,
    },
    Row {
        id: "N4",
        requirement: "Ports are shared between different destinations only, if at all",
        source: "RFC 7857 port overlapping",
        level: May,
        run: sharing,
    },
    Row {
        id: "N5",
        requirement: "An ICMP error that a container sends does not refresh a mapping",
        source: "RFC 7857 error packets",
        level: Should,
        run: errors_do_not_refresh,
    },
    Row {
        id: "N6",
        requirement: "A port that cannot be kept becomes one that nobody guesses",
        source: "RFC 7857 port randomization, RFC 6056 section 3.3",
        level: Should,
        run: random,
    },
    Row {
        id: "N7",
        requirement: "Datagrams of two containers that may be fragmented do not bear one identification",
        source: "RFC 7857 IP identification, RFC 6864 section 5.3.1",
        level: Should,
        run: identification,
    },
    Row {
        id: "C1",
        requirement: "A container's mappings can be limited, and its neighbour's are not",
        source: "RFC 6888 REQ-4",
        level: Must,
        run: limit,
    },
    Row {
        id: "C2",
        requirement: "A port that was in use is not given to another container for 120 s",
        source: "RFC 6888 REQ-8",
        level: Should,
        run: quarantine,
    },
    Row {
        id: "C3",
        requirement: "Where ports run out, new connections are dropped and live ones stay",
        source: "RFC 6888 REQ-11",
        level: Must,
        run: exhaustion,
    },
    Row {
        id: "C4",
        requirement: "Packets of a full NAT are counted under a reason of their own, or told by ICMP",
        source: "RFC 6888 REQ-11",
        level: Practice,
        run: accounted,
    },
];

const FINS: [(Side, u8); 3] = [
    (Client, flag::FIN | flag::ACK),
    (Server, flag::ACK),
    (Server, flag::FIN | flag::ACK),
];

fn machine(world: &mut World<'_>) -> Result<Outcome> {
    let opening = lifetime_after(world, &OPENING[..1])?;
    let established = lifetime_after(world, &OPENING)?;
    let closed = lifetime_after(world, &[&OPENING[..], &FINS].concat())?;
    Ok(saw(
        format!("{opening} s, then {established} s, then {closed} s"),
        opening < established && closed < established,
    ))
}

fn separate_timers(world: &mut World<'_>) -> Result<Outcome> {
    // Set again wherever the world starts from nothing.
    if !world.set(Setting::Transitory {
        opening: 250,
        closing: 270,
    })? {
        return Ok(saw("one timer for both", false));
    }
    let mut lifetime = |close: &'static [(Side, u8)], opening: usize| {
        world.lifetime(
            |world| {
                world.set(Setting::Transitory {
                    opening: 250,
                    closing: 270,
                })?;
                let mut call = Call::new(proto::TCP, 5000, 80);
                call.play(world, &[&OPENING[..opening], close].concat())?;
                Ok(call)
            },
            |world, call| call.answers(world, opening == 1),
        )
    };
    let (opening, closing) = (lifetime(&[], 1)?, lifetime(&FINS, 3)?);
    Ok(saw(
        format!("set to 250 and 270 s: {opening} and {closing} s"),
        (opening, closing) == (250, 270),
    ))
}

fn kernel_timers(world: &mut World<'_>) -> Result<Outcome> {
    if !world.set(Setting::KernelTimers)? {
        return Ok(saw("no such option", false));
    }
    let scripts: [(u8, &[(Side, u8)]); 3] = [
        (proto::TCP, &OPENING[..1]),
        (proto::TCP, &OPENING),
        (proto::UDP, &[(Client, 0)]),
    ];
    let mut seconds = Vec::new();
    for (proto, script) in scripts {
        seconds.push(world.lifetime(
            |world| {
                world.set(Setting::KernelTimers)?;
                let mut call = Call::new(proto, 5000, 80);
                call.play(world, script)?;
                Ok(call)
            },
            |world, call| call.answers(world, script.len() == 1),
        )?);
    }
    seconds.push(world.lifetime(
        |world| {
            world.set(Setting::KernelTimers)?;
            answered(world)
        },
        |world, call| call.send(world, Server, 0, &[]),
    )?);
    Ok(saw(
        format!(
            "SYN {} s, established {} s, UDP {} s, a stream {} s",
            seconds[0], seconds[1], seconds[2], seconds[3]
        ),
        seconds == [120, 432_000, 30, 120],
    ))
}

fn reset(world: &mut World<'_>) -> Result<Outcome> {
    let rst = [&OPENING[..], &[(Server, flag::RST | flag::ACK)]].concat();
    let after = lifetime_of(world, &rst, false)?;
    let restored = lifetime_of(world, &rst, true).ok();
    let established = lifetime_after(world, &OPENING)?;
    let again = restored.is_some_and(|seconds| seconds >= established);
    Ok(saw(
        format!(
            "{after} s after a RST; data {}",
            if again {
                "restore the connection"
            } else {
                "do not restore the connection"
            }
        ),
        after >= 240 && again,
    ))
}

fn sharing(world: &mut World<'_>) -> Result<Outcome> {
    let one = world.mapped((C1, 5000), (S1, 7000))?;
    let other = world.mapped((C2, 5000), (S2, 7000))?;
    let same = world.mapped((C2, 5000), (S1, 7000))?;
    Ok(match (one == same, one == other) {
        (true, _) => saw("shared towards one destination", false),
        (false, true) => saw("shared between two destinations, not within one", true),
        (false, false) => saw("not shared", true),
    })
}

fn errors_do_not_refresh(world: &mut World<'_>) -> Result<Outcome> {
    let mut lifetime = |send: bool| {
        world.lifetime(
            |world| {
                let mut call = Call::new(proto::UDP, 5000, 7000);
                call.play(world, &[(Client, 0)])?;
                let answer = call.next(Server, 0, b"answer");
                let answer = call
                    .carry(world, Server, &answer)?
                    .context("an answer did not arrive")?;
                world.pass(Duration::from_secs(1))?;
                if send {
                    world.exchange(C1, &error(C1.ip(), S1.ip(), (kind::UNREACHABLE, 3), 0, &answer, 8))?;
                }
                Ok(call)
            },
            |world, call| call.send(world, Server, 0, &[]),
        )
    };
    let (plain, after) = (lifetime(false)?, lifetime(true)?);
    Ok(if plain == after {
        saw("the lifetime is the same with an error and without", true)
    } else {
        saw("an error refreshes", false)
    })
}

/// Source ports, as far apart as no allocator's steps are.
const UNEVEN: [u16; 8] = [5000, 5002, 5007, 5020, 5051, 5120, 5300, 6001];

/// What C2's ports become where C1 has the same numbers towards the same server: how far each is from its own number, and from
/// the one before. `apart` says by how much one flow's destination port differs from the next one's.
fn chosen(world: &World<'_>, first: u16, apart: u16) -> Result<(Vec<u16>, Vec<u16>)> {
    let (mut ports, mut distances) = (Vec::new(), Vec::new());
    for (sport, index) in UNEVEN.into_iter().zip(0..) {
        let to = (S1, first + index * apart);
        world.mapped((C1, sport), to)?;
        let port = world.mapped((C2, sport), to)?.port();
        distances.push(port.wrapping_sub(sport));
        ports.push(port);
    }
    let steps = ports.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    Ok((distances, steps))
}

/// True if no number says much about another one: they differ, and are not small. Chance may break that once.
fn is_spread(numbers: &[u16]) -> bool {
    let different = numbers.iter().collect::<BTreeSet<_>>().len();
    let small = numbers
        .iter()
        .filter(|number| number.cast_signed().unsigned_abs() <= 16);
    different + 1 >= numbers.len() && small.count() <= 1
}

fn random(world: &mut World<'_>) -> Result<Outcome> {
    let (distances, steps) = chosen(world, 7000, 1)?;
    let (anywhere, on) = (is_spread(&distances), is_spread(&steps));
    world.router.reset()?;
    let (distances, _) = chosen(world, 7000, 0)?;
    Ok(match (anywhere, on, is_spread(&distances)) {
        (true, true, true) => saw("another distance from the own number each time", true),
        (true, true, false) => saw("another distance from the own number for each destination", true),
        (true, false, _) => saw("follows from the one before", false),
        (false, ..) => saw("follows from the own number", false),
    })
}

fn identification(world: &mut World<'_>) -> Result<Outcome> {
    let sent = |station: super::super::stage::Station, df| {
        let mut datagram = udp(at(station, 5000), at(S1, 7000), b"question");
        datagram.df = df;
        let arrived = world.carry(station, &datagram, S1)?;
        arrived.map(|packet: Ip| packet.id).context("a datagram did not arrive")
    };
    let (one, two) = (sent(C1, false)?, sent(C2, false)?);
    let atomic = sent(C1, true)? == 0x1000;
    let kept = if atomic {
        "kept where it means nothing"
    } else {
        "changed where it means nothing"
    };
    Ok(if one == two {
        saw(format!("two containers' identifications meet; {kept}"), false)
    } else {
        saw(format!("two containers' identifications differ; {kept}"), true)
    })
}

fn limit(world: &mut World<'_>) -> Result<Outcome> {
    if !world.set(Setting::Limit(64))? {
        return Ok(saw("no such option", false));
    }
    let mut opened = 0;
    for sport in 6000..6080 {
        // Flows that nobody answers make room for each other, and so do questions that were answered.
        let opens = world.udp_out((C1, sport), (S1, 7000))?;
        opened += u32::from(opens.is_some());
        if let Some(port) = opens {
            world.udp_in((S1, 7000), port)?;
            world.udp_out((C1, sport), (S1, 7000))?;
        }
    }
    let neighbour = world.udp_out((C2, 6000), (S1, 7000))?.is_some();
    Ok(saw(
        format!(
            "limited to 64, a container opens {opened} of 80; its neighbour {}",
            if neighbour { "is not limited" } else { "is limited too" }
        ),
        opened == 64 && neighbour,
    ))
}

fn quarantine(world: &mut World<'_>) -> Result<Outcome> {
    let open = |world: &mut World<'_>| {
        let mut call = Call::new(proto::UDP, 5000, 7000);
        call.play(world, &[(Client, 0)])?;
        Ok(call)
    };
    let lifetime = world.lifetime(open, |world, call| call.send(world, Server, 0, &[]))?;
    world.router.reset()?;
    let one = world.mapped((C1, 5000), (S1, 7000))?;
    world.router.expire(lifetime)?;
    let two = world.mapped((C2, 5000), (S1, 7000))?;
    Ok(if one == two {
        saw("given to another container at once", false)
    } else {
        saw("another container gets another port", true)
    })
}

/// Opens four connections where there are four ports, then tries two more; the four, and how many more came through.
fn fill(world: &mut World<'_>) -> Result<(Vec<Call>, usize)> {
    world.set(Setting::Ports(20_000, 20_003))?;
    let mut calls = Vec::new();
    for sport in 40_000..40_004 {
        let mut call = Call::new(proto::TCP, sport, 80);
        call.open(world)?;
        calls.push(call);
    }
    let mut more = 0;
    for sport in 40_004..40_006 {
        more += usize::from(world.reaches(C1, &syn(at(C1, sport), at(S1, 80), 1), S1)?);
    }
    Ok((calls, more))
}

fn exhaustion(world: &mut World<'_>) -> Result<Outcome> {
    let (mut calls, more) = fill(world)?;
    let mut live = 0;
    for call in &mut calls {
        live += usize::from(call.talks(world)?);
    }
    Ok(saw(
        format!("with 4 ports for 6 connections: {live} live, {more} more open"),
        live == 4 && more == 0,
    ))
}

fn accounted(world: &mut World<'_>) -> Result<Outcome> {
    let before = world.router.refusals()?;
    fill(world)?;
    let told = world
        .router
        .refusals()?
        .zip(before)
        .map(|(after, before)| after - before);
    Ok(match told {
        Some(count) => saw(format!("counted: {count} of 2"), count == 2),
        None => saw("not counted", false),
    })
}
