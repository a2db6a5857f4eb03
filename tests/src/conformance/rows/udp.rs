//! RFC 4787: NAT behaviour for UDP.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netbridge::model::Transport;

use netbridge_common::abi::proto;

use super::super::packet::{Ip, error, kind, udp};
use super::super::router::Setting;
use super::super::stage::Station::{C1, C2, S1, S2};
use super::super::stage::{EXTERNAL, GATEWAY};
use super::super::world::{Call, Side, World, at, external};
use super::super::{Level, Outcome, Row, saw};

use Level::{May, Must, Should};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "U1",
        requirement: "A port's packets to any destination leave from one external port (endpoint-independent mapping)",
        source: "RFC 4787 REQ-1",
        level: Must,
        run: mapping,
    },
    Row {
        id: "U2",
        requirement: "All of a container's ports have one external address (paired pooling)",
        source: "RFC 4787 REQ-2",
        level: Should,
        run: pooling,
    },
    Row {
        id: "U3",
        requirement: "No two ports share an external port (no overloading)",
        source: "RFC 4787 REQ-3",
        level: Must,
        run: overloading,
    },
    Row {
        id: "U3a",
        requirement: "Ports 0–1023 stay there, and the others stay outside, also when the own number is taken",
        source: "RFC 4787 REQ-3a",
        level: Should,
        run: ranges,
    },
    Row {
        id: "U4",
        requirement: "An even port is mapped to an even one, an odd one to an odd one",
        source: "RFC 4787 REQ-4",
        level: Should,
        run: parity,
    },
    Row {
        id: "U5",
        requirement: "A mapping lives 2 min or longer without packets; 5 min are recommended",
        source: "RFC 4787 REQ-5",
        level: Must,
        run: timer,
    },
    Row {
        id: "U6",
        requirement: "Outbound packets keep a mapping alive; inbound ones may",
        source: "RFC 4787 REQ-6",
        level: Must,
        run: refresh,
    },
    Row {
        id: "U7",
        requirement: "An internal network never overlaps the external one unnoticed",
        source: "RFC 4787 REQ-7",
        level: Must,
        run: overlap,
    },
    Row {
        id: "U8",
        requirement: "Filtering is endpoint-independent, or address-dependent where strictness counts more",
        source: "RFC 4787 REQ-8",
        level: Should,
        run: filtering,
    },
    Row {
        id: "U8a",
        requirement: "The administrator can choose endpoint-independent filtering",
        source: "RFC 4787 REQ-8a",
        level: May,
        run: open_filtering,
    },
    Row {
        id: "U9",
        requirement: "A container reaches another one by that one's external address (hairpin)",
        source: "RFC 4787 REQ-9",
        level: Must,
        run: hairpin,
    },
    Row {
        id: "U9a",
        requirement: "A hairpinned packet bears an external source address and port",
        source: "RFC 4787 REQ-9a",
        level: Must,
        run: hairpin_source,
    },
    Row {
        id: "U9m",
        requirement: "Two containers reach each other by their mapped ports, once each has sent to the other's",
        source: "RFC 4787 REQ-9; RFC 5128, section 3.3",
        level: Must,
        run: meeting,
    },
    Row {
        id: "U10",
        requirement: "No application's data are changed, and none open ports (no ALG)",
        source: "RFC 4787 REQ-10",
        level: Should,
        run: gateways,
    },
    Row {
        id: "U11",
        requirement: "Mapping is the same under every condition (deterministic)",
        source: "RFC 4787 REQ-11",
        level: Must,
        run: deterministic,
    },
    Row {
        id: "U12",
        requirement: "An ICMP error does not end a mapping",
        source: "RFC 4787 REQ-12",
        level: Must,
        run: icmp_harmless,
    },
    Row {
        id: "U12a",
        requirement: "ICMP errors pass whoever sends them",
        source: "RFC 4787 REQ-12a",
        level: Should,
        run: icmp_from_anyone,
    },
    Row {
        id: "U12b",
        requirement: "Destination Unreachable passes",
        source: "RFC 4787 REQ-12b",
        level: Should,
        run: unreachable,
    },
];

/// Whether a port keeps its external number towards three destinations, and after a stranger's packet to it.
fn is_independent(world: &mut World<'_>, sport: u16) -> Result<bool> {
    let first = world.mapped((C1, sport), (S1, 7000))?;
    world.udp_in((S2, 9), first)?;
    let others = [(S2, 7000), (S2, 7001)];
    let others = others.map(|to| world.mapped((C1, sport), to));
    for other in others {
        if other? != first {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same with the neighbour's port of that number in use towards one of the destinations.
fn is_independent_in_need(world: &mut World<'_>) -> Result<bool> {
    world.mapped((C2, 5000), (S2, 7000))?;
    is_independent(world, 5000)
}

fn mapping(world: &mut World<'_>) -> Result<Outcome> {
    let free = is_independent(world, 6000)?;
    let in_need = is_independent_in_need(world)?;
    let observed = match (free, in_need) {
        (true, true) => "one port for three destinations, also where a neighbour has that number",
        (true, false) => "one port while it is free; another one where a neighbour has the number",
        (false, _) => "a port per destination",
    };
    Ok(saw(observed, free && in_need))
}

fn pooling(world: &mut World<'_>) -> Result<Outcome> {
    let mut all = Vec::new();
    for (sport, to) in [(6000, S1), (6001, S2), (40_000, S1)] {
        all.push(*world.mapped((C1, sport), (to, 7000))?.ip());
    }
    let one = all.iter().all(|ip| *ip == EXTERNAL);
    Ok(saw(if one { "one address" } else { "several addresses" }, one))
}

fn overloading(world: &mut World<'_>) -> Result<Outcome> {
    let one = world.mapped((C1, 5000), (S1, 7000))?;
    let two = world.mapped((C2, 5000), (S2, 7000))?;
    Ok(if one == two {
        saw("two containers share an external port towards different servers", false)
    } else {
        saw("two containers have two external ports", true)
    })
}

fn ranges(world: &mut World<'_>) -> Result<Outcome> {
    let low = |port: u16| port < 1024;
    let (mut kept, mut words) = (true, Vec::new());
    for (sport, name) in [(501, "501"), (900, "900"), (5000, "5000")] {
        let free = world.mapped((C1, sport), (S1, 7000))?.port();
        let taken = world.mapped((C2, sport), (S1, 7000))?.port();
        kept &= low(free) == low(sport) && low(taken) == low(sport);
        let word = |port: u16| {
            if port == sport {
                "kept"
            } else if low(port) {
                "below 1024"
            } else {
                "above 1023"
            }
        };
        words.push(format!("{name}: {}, then {}", word(free), word(taken)));
    }
    Ok(saw(words.join("; "), kept))
}

fn parity(world: &mut World<'_>) -> Result<Outcome> {
    let mut all = true;
    for index in 0..16 {
        // The same numbers towards the same server: the second container cannot have both.
        let (sport, dport) = (6000 + index, 7000 + index * 3);
        let one = world.mapped((C1, sport), (S1, dport))?.port();
        let two = world.mapped((C2, sport), (S1, dport))?.port();
        all &= one % 2 == sport % 2 && two % 2 == sport % 2;
    }
    Ok(saw(
        if all {
            "kept, with 16 taken numbers too"
        } else {
            "not kept where the number is taken"
        },
        all,
    ))
}

/// A call from C1's port 5000.
fn asked(world: &mut World<'_>) -> Result<Call> {
    let mut call = Call::new(proto::UDP, 5000, 7000);
    call.play(world, &[(Side::Client, 0)])?;
    Ok(call)
}

/// The same, answered, and used on as a stream is.
pub(super) fn answered(world: &mut World<'_>) -> Result<Call> {
    let mut call = asked(world)?;
    call.play(world, &[(Side::Server, 0)])?;
    // The kernel takes two-way traffic for a stream after two seconds.
    world.pass(Duration::from_millis(2100))?;
    call.play(world, &[(Side::Client, 0), (Side::Server, 0)])?;
    Ok(call)
}

fn heard(world: &mut World<'_>, call: &mut Call) -> Result<bool> {
    call.send(world, Side::Server, 0, &[])
}

fn timer(world: &mut World<'_>) -> Result<Outcome> {
    let unanswered = world.lifetime(asked, heard)?;
    let stream = world.lifetime(answered, heard)?;
    Ok(saw(
        format!("{unanswered} s unanswered, {stream} s answered"),
        unanswered.min(stream) >= 120,
    ))
}

fn refresh(world: &mut World<'_>) -> Result<Outcome> {
    let fresh = world.lifetime(asked, heard)?;
    let mut after = |side: Side| {
        world.lifetime(
            |world| {
                let mut call = asked(world)?;
                world.pass(Duration::from_secs(1))?;
                call.play(world, &[(side, 0)])?;
                Ok(call)
            },
            heard,
        )
    };
    let (outbound, inbound) = (after(Side::Client)? == fresh, after(Side::Server)? == fresh);
    let word = |on| if on { "refreshes" } else { "does not" };
    Ok(saw(
        format!("outbound {}, inbound {}", word(outbound), word(inbound)),
        outbound,
    ))
}

fn overlap(world: &mut World<'_>) -> Result<Outcome> {
    Ok(if world.router.overlap()? {
        saw("an overlapping network is taken", false)
    } else {
        saw("an overlapping network is refused", true)
    })
}

/// Whether strangers' packets pass a mapping: of another address, of another port.
fn strangers(world: &mut World<'_>) -> Result<(bool, bool)> {
    let mapped = world.mapped((C1, 5000), (S1, 7000))?;
    let address = world.udp_in((S2, 7000), mapped)?.is_some();
    let port = world.udp_in((S1, 7001), mapped)?.is_some();
    Ok((address, port))
}

fn filtering(world: &mut World<'_>) -> Result<Outcome> {
    Ok(match strangers(world)? {
        (true, _) => saw("endpoint-independent", true),
        (false, true) => saw("address-dependent", true),
        (false, false) => saw("address- and port-dependent", false),
    })
}

fn open_filtering(world: &mut World<'_>) -> Result<Outcome> {
    if !world.set(Setting::AcceptFromAnyone)? {
        return Ok(saw("no such option", false));
    }
    let all = strangers(world)? == (true, true);
    Ok(saw(
        if all {
            "with the option, anyone's packets pass"
        } else {
            "the option does not help"
        },
        all,
    ))
}

/// What C2 gets when C1 sends to its published port.
fn hairpinned(world: &mut World<'_>) -> Result<Option<Ip>> {
    world.publish(Transport::Udp, 8053, C2, 53)?;
    world.carry(C1, &udp(at(C1, 5000), external(8053), b"question"), C2)
}

fn hairpin(world: &mut World<'_>) -> Result<Outcome> {
    let Some(request) = hairpinned(world)? else {
        return Ok(saw("the request does not arrive", false));
    };
    let answer = udp(at(C2, 53), request.from(), b"answer");
    let back = world.carry(C2, &answer, C1)?.map(|packet| packet.from());
    Ok(match back {
        Some(from) if from == external(8053) => saw("request and answer arrive", true),
        Some(_) => saw("the answer comes from an address that was not asked", false),
        None => saw("the answer does not arrive", false),
    })
}

fn hairpin_source(world: &mut World<'_>) -> Result<Outcome> {
    Ok(match hairpinned(world)?.map(|packet| packet.src) {
        None => saw("the request does not arrive", false),
        Some(EXTERNAL) => saw("the external address", true),
        Some(GATEWAY) => saw("the gateway's address", false),
        Some(_) => saw("the container's own address", false),
    })
}

fn meeting(world: &mut World<'_>) -> Result<Outcome> {
    let mapped = [
        world.mapped((C1, 5000), (S1, 7000))?,
        world.mapped((C2, 5000), (S1, 7000))?,
    ];
    let hello = |world: &World<'_>, from: usize| -> Result<bool> {
        let (stations, to) = ([C1, C2], 1 - from);
        let sent = udp(at(stations[from], 5000), mapped[to], b"hello");
        let seen = world.carry(stations[from], &sent, stations[to])?;
        Ok(seen.is_some_and(|packet| packet.from() == mapped[from]))
    };
    let first = hello(world, 1)?;
    let both = hello(world, 0)? && hello(world, 1)?;
    Ok(match (both, first) {
        (true, false) => saw("what comes after the first arrives, from the mapped ports", true),
        (true, true) => saw("all arrive, from the mapped ports", true),
        (false, _) => saw("they do not arrive", false),
    })
}

fn gateways(world: &mut World<'_>) -> Result<Outcome> {
    let text =
        b"REGISTER sip:192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.1.2:5060\r\nContact: <sip:10.9.1.2:5062>\r\n\r\n";
    let sent = udp(at(C1, 5060), at(S1, 5060), text);
    let arrived = world.carry(C1, &sent, S1)?.context("a SIP request did not arrive")?;
    let same = arrived.data() == text;
    let opened = world.udp_in((S2, 5060), external(5062))?.is_some();
    Ok(match (same, opened) {
        (true, false) => saw("a SIP request is unchanged and opens nothing", true),
        (false, _) => saw("a SIP request is rewritten", false),
        (true, true) => saw("a SIP request opens a port", false),
    })
}

fn deterministic(world: &mut World<'_>) -> Result<Outcome> {
    let alone = is_independent(world, 6000)?;
    let crowded = is_independent_in_need(world)?;
    Ok(if alone == crowded {
        saw("the same alone and beside a neighbour's equal port", true)
    } else {
        saw("mapping changes where a neighbour has the number", false)
    })
}

/// A mapping of C1's, its first packet as the server saw it.
pub(super) fn opened(world: &World<'_>) -> Result<Ip> {
    let sent = udp(at(C1, 5000), at(S1, 7000), b"question");
    world
        .carry(C1, &sent, S1)?
        .context("a datagram to a server did not arrive")
}

fn icmp_harmless(world: &mut World<'_>) -> Result<Outcome> {
    let seen = opened(world)?;
    for code in [1, 3] {
        world.exchange(S1, &error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, code), 0, &seen, 8))?;
    }
    let lives = world.udp_in((S1, 7000), seen.from())?.is_some();
    Ok(saw(
        if lives {
            "the mapping lives on"
        } else {
            "the mapping is gone"
        },
        lives,
    ))
}

/// What C1 gets of an error about its datagram.
fn error_of(world: &World<'_>, from: super::super::stage::Station) -> Result<Option<Ip>> {
    let seen = opened(world)?;
    world.carry(
        from,
        &error(from.ip(), EXTERNAL, (kind::UNREACHABLE, 3), 0, &seen, 8),
        C1,
    )
}

fn icmp_from_anyone(world: &mut World<'_>) -> Result<Outcome> {
    let arrives = error_of(world, S2)?.is_some();
    Ok(saw(
        if arrives {
            "a third party's error arrives"
        } else {
            "a third party's error is dropped"
        },
        arrives,
    ))
}

fn unreachable(world: &mut World<'_>) -> Result<Outcome> {
    let Some(error) = error_of(world, S1)? else {
        return Ok(saw("does not arrive", false));
    };
    let right = error.quoted().is_some_and(|quoted| quoted.from() == at(C1, 5000));
    Ok(saw(
        if right {
            "arrives, the quoted packet as it was sent"
        } else {
            "arrives, wrong inside"
        },
        right,
    ))
}
