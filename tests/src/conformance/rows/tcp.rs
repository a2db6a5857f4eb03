//! RFC 5382: NAT behaviour for TCP.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail};
use netbridge::model::Transport;
use netbridge_common::abi::proto;

use super::super::packet::{Ip, error, flag, kind};
use super::super::router::Setting;
use super::super::stage::EXTERNAL;
use super::super::stage::Station::{C1, C2, S1, S2};
use super::super::world::{Call, OPENING, Side, World, at, connected, external, of, syn};
use super::super::{Level, Outcome, Row, saw};

use Level::{Must, Practice, Should};
use Side::{Client, Server};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "T1",
        requirement: "A port's connections to any destination leave from one external port (endpoint-independent mapping)",
        source: "RFC 5382 REQ-1",
        level: Must,
        run: mapping,
    },
    Row {
        id: "T2",
        requirement: "Every valid sequence of segments passes: handshake, data, close of either side",
        source: "RFC 5382 REQ-2",
        level: Must,
        run: sequences,
    },
    Row {
        id: "T2a",
        requirement: "Both sides may open at the same moment",
        source: "RFC 5382 REQ-2a",
        level: Must,
        run: simultaneous,
    },
    Row {
        id: "T3",
        requirement: "Filtering is endpoint-independent, or address-dependent where strictness counts more",
        source: "RFC 5382 REQ-3",
        level: Should,
        run: filtering,
    },
    Row {
        id: "T4",
        requirement: "A SYN that nobody asked for is not answered at once: not before 6 s",
        source: "RFC 5382 REQ-4",
        level: Must,
        run: unsolicited,
    },
    Row {
        id: "T4a",
        requirement: "When the container opens the same connection meanwhile, it comes about",
        source: "RFC 5382 REQ-4",
        level: Must,
        run: unsolicited_first,
    },
    Row {
        id: "T4b",
        requirement: "The administrator can choose that a SYN that nobody asked for is not answered",
        source: "RFC 5382 REQ-4",
        level: Practice,
        run: |world| silently(world, unsolicited),
    },
    Row {
        id: "T4c",
        requirement: "Chosen so, the connection that the container opens meanwhile comes about",
        source: "RFC 5382 REQ-4",
        level: Practice,
        run: |world| silently(world, unsolicited_first),
    },
    Row {
        id: "T5",
        requirement: "An established connection lives 2 h 4 min or longer without packets",
        source: "RFC 5382 REQ-5",
        level: Must,
        run: established_timer,
    },
    Row {
        id: "T5a",
        requirement: "A half-open or closing connection lives 4 min or longer without packets",
        source: "RFC 5382 REQ-5",
        level: Must,
        run: transitory_timers,
    },
    Row {
        id: "T6",
        requirement: "No application's data are changed, and none open ports (no ALG)",
        source: "RFC 5382 REQ-6",
        level: Should,
        run: gateways,
    },
    Row {
        id: "T7",
        requirement: "No two ports share an external port (no overloading)",
        source: "RFC 5382 REQ-7",
        level: Must,
        run: overloading,
    },
    Row {
        id: "T8",
        requirement: "A container reaches another one by that one's external address (hairpin), from an external source",
        source: "RFC 5382 REQ-8",
        level: Must,
        run: hairpin,
    },
    Row {
        id: "T8m",
        requirement: "Two containers connect to each other's mapped ports by a simultaneous open",
        source: "RFC 5382 REQ-8, REQ-2; RFC 5128, section 3.4",
        level: Must,
        run: meeting,
    },
    Row {
        id: "T9",
        requirement: "Destination Unreachable is translated, the quoted packet with it, and all checksums are right",
        source: "RFC 5382 REQ-9",
        level: Should,
        run: unreachable,
    },
    Row {
        id: "T10",
        requirement: "An ICMP error does not end a mapping or a connection",
        source: "RFC 5382 REQ-10",
        level: Must,
        run: icmp_harmless,
    },
];

/// Whether a port keeps its external number towards two other destinations than the first.
fn is_independent(world: &World<'_>, sport: u16) -> Result<bool> {
    let to = |station, port| -> Result<SocketAddrV4> {
        world
            .syn_out((C1, sport), (station, port))?
            .context("a SYN to a server did not arrive")
    };
    let first = to(S1, 80)?;
    Ok(to(S2, 80)? == first && to(S2, 81)? == first)
}

fn mapping(world: &mut World<'_>) -> Result<Outcome> {
    let free = is_independent(world, 6000)?;
    world.syn_out((C2, 5000), (S2, 80))?;
    let in_need = is_independent(world, 5000)?;
    let observed = match (free, in_need) {
        (true, true) => "one port for three destinations, also where a neighbour has that number",
        (true, false) => "one port while it is free; another one where a neighbour has the number",
        (false, _) => "a port per destination",
    };
    Ok(saw(observed, free && in_need))
}

/// Segments that both sides send after the opening ones, in turn.
const DATA: [(Side, u8); 3] = [
    (Client, flag::ACK | flag::PSH),
    (Server, flag::ACK | flag::PSH),
    (Client, flag::ACK),
];
const FIN: u8 = flag::FIN | flag::ACK;

fn sequences(world: &mut World<'_>) -> Result<Outcome> {
    let closes: [(&str, &[(Side, u8)]); 5] = [
        (
            "client closes",
            &[(Client, FIN), (Server, flag::ACK), (Server, FIN), (Client, flag::ACK)],
        ),
        (
            "server closes",
            &[(Server, FIN), (Client, flag::ACK), (Client, FIN), (Server, flag::ACK)],
        ),
        (
            "both close",
            &[(Client, FIN), (Server, FIN), (Client, flag::ACK), (Server, flag::ACK)],
        ),
        (
            "data after a FIN",
            &[
                (Client, FIN),
                (Server, flag::ACK),
                (Server, flag::ACK | flag::PSH),
                (Client, flag::ACK),
                (Server, FIN),
                (Client, flag::ACK),
            ],
        ),
        ("reset", &[(Server, flag::RST | flag::ACK)]),
    ];
    let mut lost = Vec::new();
    for (name, close) in closes {
        world.router.reset()?;
        let mut call = Call::new(proto::TCP, 5000, 80);
        let script: Vec<_> = OPENING.iter().chain(&DATA).chain(close).copied().collect();
        if call.play(world, &script).is_err() {
            lost.push(name);
        }
    }
    Ok(if lost.is_empty() {
        saw("handshake, data, five ways to close: all pass", true)
    } else {
        saw(format!("segments are lost: {}", lost.join(", ")), false)
    })
}

fn simultaneous(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = Call::new(proto::TCP, 5000, 80);
    for (side, flags) in [
        (Client, flag::SYN),
        (Server, flag::SYN),
        (Client, flag::SYN | flag::ACK),
        (Server, flag::SYN | flag::ACK),
        (Client, flag::ACK),
    ] {
        if flags == flag::SYN | flag::ACK {
            // It acknowledges the other's SYN, and bears the number of the sender's own again.
            match side {
                Client => call.client.seq -= 1,
                Server => call.server.seq -= 1,
            }
        }
        if !call.send(world, side, flags, &[])? {
            return Ok(saw(
                format!("a segment of the {side:?} with flags {flags:#04x} is lost"),
                false,
            ));
        }
    }
    let talks = call.talks(world)?;
    Ok(saw(
        if talks {
            "both SYNs, both SYN+ACKs and data pass"
        } else {
            "data are lost"
        },
        talks,
    ))
}

fn filtering(world: &mut World<'_>) -> Result<Outcome> {
    let mapped = world.syn_out((C1, 5000), (S1, 80))?.context("a SYN did not arrive")?;
    let address = world.reaches(S2, &syn(at(S2, 80), mapped, 1), C1)?;
    let port = world.reaches(S1, &syn(at(S1, 81), mapped, 1), C1)?;
    Ok(match (address, port) {
        (true, _) => saw("endpoint-independent", true),
        (false, true) => saw("address-dependent", true),
        (false, false) => saw("address- and port-dependent", false),
    })
}

/// What comes back to a server that sends a SYN to a port nobody uses.
fn answer_to_stranger(world: &World<'_>) -> Result<Option<Ip>> {
    world.carry(S1, &syn(at(S1, 80), external(5000), 1), S1)
}

fn unsolicited(world: &mut World<'_>) -> Result<Outcome> {
    Ok(match answer_to_stranger(world)? {
        None => saw("no answer", true),
        Some(packet) if packet.flags() & flag::RST != 0 => saw("RST at once", false),
        Some(_) => saw("an answer at once", false),
    })
}

fn unsolicited_first(world: &mut World<'_>) -> Result<Outcome> {
    let answered = answer_to_stranger(world)?.is_some();
    let mut call = connected(world)?;
    let talks = call.talks(world)?;
    Ok(match (answered, talks) {
        (false, true) => saw("the connection comes about", true),
        (true, _) => saw("the stranger was refused before", false),
        (false, false) => saw("the connection does not come about", false),
    })
}

/// What a row sees of a router that is silent to strangers.
fn silently(world: &mut World<'_>, row: fn(&mut World<'_>) -> Result<Outcome>) -> Result<Outcome> {
    if !world.set(Setting::Silent)? {
        return Ok(saw("no such option", false));
    }
    row(world)
}

/// Seconds that a connection lives after these segments of C1's call of S1.
pub(super) fn lifetime_after(world: &mut World<'_>, script: &[(Side, u8)]) -> Result<u32> {
    lifetime_of(world, script, false)
}

/// The same, or after some more data of both sides.
pub(super) fn lifetime_of(world: &mut World<'_>, script: &[(Side, u8)], data: bool) -> Result<u32> {
    world.lifetime(
        |world| {
            let mut call = Call::new(proto::TCP, 5000, 80);
            call.play(world, script)?;
            if data {
                call.converse(world)?;
            }
            Ok(call)
        },
        |world, call| call.answers(world, script.len() == 1),
    )
}

fn established_timer(world: &mut World<'_>) -> Result<Outcome> {
    let seconds = lifetime_after(world, &OPENING)?;
    Ok(saw(format!("{seconds} s"), seconds >= 7440))
}

fn transitory_timers(world: &mut World<'_>) -> Result<Outcome> {
    let states = [
        ("SYN", &[][..], 1),
        ("SYN+ACK", &[], 2),
        ("a FIN", &[(Client, FIN)], 3),
        ("both FINs", &[(Client, FIN), (Server, flag::ACK), (Server, FIN)], 3),
        (
            "closed",
            &[(Client, FIN), (Server, flag::ACK), (Server, FIN), (Client, flag::ACK)],
            3,
        ),
        ("RST", &[(Server, flag::RST | flag::ACK)], 3),
    ];
    let (mut words, mut least) = (Vec::new(), u32::MAX);
    for (name, close, opening) in states {
        let script: Vec<_> = OPENING[..opening].iter().chain(close).copied().collect();
        let seconds = lifetime_after(world, &script)?;
        least = least.min(seconds);
        words.push(format!("{name} {seconds}"));
    }
    Ok(saw(format!("seconds after: {}", words.join(", ")), least >= 240))
}

fn gateways(world: &mut World<'_>) -> Result<Outcome> {
    let mut call = Call::new(proto::TCP, 5000, 21);
    call.open(world)?;
    let text = b"PORT 10,9,1,2,19,137\r\n";
    let sent = call.next(Client, flag::ACK | flag::PSH, text);
    let arrived = call
        .carry(world, Client, &sent)?
        .context("an FTP command did not arrive")?;
    let opened = world.reaches(S1, &syn(at(S1, 20), external(5001), 1), C1)?;
    Ok(match (arrived.data() == text, opened) {
        (true, false) => saw("an FTP command is unchanged and opens nothing", true),
        (false, _) => saw("an FTP command is rewritten", false),
        (true, true) => saw("an FTP command opens a port", false),
    })
}

fn overloading(world: &mut World<'_>) -> Result<Outcome> {
    let one = world.syn_out((C1, 5000), (S1, 80))?;
    let two = world.syn_out((C2, 5000), (S2, 80))?;
    Ok(if one == two {
        saw("two containers share an external port towards different servers", false)
    } else {
        saw("two containers have two external ports", true)
    })
}

fn hairpin(world: &mut World<'_>) -> Result<Outcome> {
    world.publish(Transport::Tcp, 8080, C2, 80)?;
    let Some(request) = world.carry(C1, &syn(at(C1, 5000), external(8080), 1), C2)? else {
        return Ok(saw("the SYN does not arrive", false));
    };
    let back = world
        .carry(C2, &answering(at(C2, 80), request.from()), C1)?
        .map(|packet| packet.from());
    Ok(match (request.src == EXTERNAL, back) {
        (true, Some(from)) if from == external(8080) => {
            saw("SYN and SYN+ACK arrive, both from the external address", true)
        }
        (false, Some(from)) if from == external(8080) => saw("both arrive, the SYN from another address", false),
        (_, Some(_)) => saw("the SYN+ACK comes from an address that was not asked", false),
        (_, None) => saw("the SYN+ACK does not arrive", false),
    })
}

fn meeting(world: &mut World<'_>) -> Result<Outcome> {
    let mapped = |station| world.syn_out((station, 5000), (S1, 80));
    let (Some(one), Some(two)) = (mapped(C1)?, mapped(C2)?) else {
        bail!("a SYN to a server did not arrive");
    };
    // A SYN of the second, which is early, one of the first, and the second's answer to that.
    world.carry(C2, &syn(at(C2, 5000), one, 9), C1)?;
    let crossed = world.carry(C1, &syn(at(C1, 5000), two, 1), C2)?;
    let answer = answering(at(C2, 5000), one);
    let answered = world.carry(C2, &answer, C1)?;
    let from = |packet: Option<Ip>| packet.map(|packet| packet.from());
    Ok(if (from(crossed), from(answered)) == (Some(one), Some(two)) {
        saw(
            "the SYN that comes second and its answer arrive, from the mapped ports",
            true,
        )
    } else {
        saw("they do not arrive", false)
    })
}

/// The SYN+ACK of a server.
fn answering(from: SocketAddrV4, to: SocketAddrV4) -> Ip {
    let mut answer = syn(from, to, 9);
    answer.body[13] = flag::SYN | flag::ACK;
    super::super::packet::seal(&mut answer, 16);
    answer
}

/// A segment of an established connection as the server saw it, and the connection.
fn sent(world: &World<'_>) -> Result<(Call, Ip)> {
    let mut call = connected(world)?;
    let data = call.next(Client, flag::ACK | flag::PSH, b"request");
    let seen = call.carry(world, Client, &data)?.context("data did not arrive")?;
    Ok((call, seen))
}

fn unreachable(world: &mut World<'_>) -> Result<Outcome> {
    let (_, about) = sent(world)?;
    let message = error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 1), 0, &about, about.body.len());
    let seen = world.exchange(S1, &message)?;
    let Some(arrived) = seen.iter().find(|seen| seen.at == C1) else {
        return Ok(saw("does not arrive", false));
    };
    let sums = Ip::check(&arrived.frame).is_ok();
    let quoted = of(&seen, C1)
        .find_map(|packet| packet.quoted())
        .context("an error without a quote")?;
    let inside = quoted.from() == at(C1, 5000) && quoted.is_sound();
    Ok(match (sums, inside) {
        (true, true) => saw("arrives; outer and inner addresses, port and checksums are right", true),
        (false, _) => saw("arrives with a wrong checksum", false),
        (true, false) => saw("arrives, wrong inside", false),
    })
}

fn icmp_harmless(world: &mut World<'_>) -> Result<Outcome> {
    let (mut call, about) = sent(world)?;
    for code in [0, 1, 3, 4, 13] {
        world.exchange(
            S1,
            &error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, code), 1400, &about, 8),
        )?;
    }
    let lives = call.hears(world)?;
    Ok(saw(
        if lives {
            "the connection lives on"
        } else {
            "the connection is gone"
        },
        lives,
    ))
}
