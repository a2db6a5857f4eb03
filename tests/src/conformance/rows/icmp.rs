//! RFC 5508: NAT behaviour for ICMP, and what a router answers with it.

use anyhow::{Context as _, Result};
use netbridge::model::Transport;
use netbridge_common::abi::proto;

use super::super::packet::{Ip, error, icmp, kind, query, seal, udp};
use super::super::router::Setting;
use super::super::stage::EXTERNAL;
use super::super::stage::Station::{C1, C2, S1, S2};
use super::super::world::{Call, Side, World, at, external, of, syn};
use super::super::{Level, Outcome, Row, saw};

use Level::{May, Must, Practice, Should};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "I1",
        requirement: "Queries and their answers pass",
        source: "RFC 5508 REQ-1",
        level: Must,
        run: queries,
    },
    Row {
        id: "I1a",
        requirement: "An identifier's mapping does not depend on the destination",
        source: "RFC 5508 REQ-1a",
        level: Should,
        run: query_mapping,
    },
    Row {
        id: "I1b",
        requirement: "Two containers with one identifier towards one server both get their answers",
        source: "RFC 5508 REQ-1",
        level: Must,
        run: query_collision,
    },
    Row {
        id: "I2",
        requirement: "A query's mapping lives 60 s or longer",
        source: "RFC 5508 REQ-2",
        level: Must,
        run: query_timer,
    },
    Row {
        id: "I3",
        requirement: "A message with a wrong ICMP checksum is dropped",
        source: "RFC 5508 REQ-3",
        level: Should,
        run: bad_sum,
    },
    Row {
        id: "I3a",
        requirement: "An error whose quoted IP header has a wrong checksum is dropped",
        source: "RFC 5508 REQ-3a",
        level: Should,
        run: bad_inner_sum,
    },
    Row {
        id: "I3b",
        requirement: "Options of the quoted header are stepped over, and eight bytes behind it are enough",
        source: "RFC 5508 REQ-3b",
        level: Must,
        run: inner_options,
    },
    Row {
        id: "I3c",
        requirement: "The quoted layer-4 checksum is not judged",
        source: "RFC 5508 REQ-3c",
        level: Should,
        run: inner_sum_not_judged,
    },
    Row {
        id: "I3d",
        requirement: "An error with extensions behind the quoted packet passes, its quoted packet translated",
        source: "RFC 5508 REQ-3d, RFC 4884",
        level: Must,
        run: extensions,
    },
    Row {
        id: "I4",
        requirement: "An error about nothing known is dropped silently",
        source: "RFC 5508 REQ-4",
        level: Should,
        run: unknown_error,
    },
    Row {
        id: "I4a",
        requirement: "Errors about a mapping pass with type and code unchanged",
        source: "RFC 5508 REQ-4",
        level: Must,
        run: errors_in,
    },
    Row {
        id: "I4b",
        requirement: "Redirects from outside are dropped",
        source: "RFC 1122 section 3.2.2.2; RFC 5508 section 7",
        level: Practice,
        run: redirect,
    },
    Row {
        id: "I4c",
        requirement: "Source quench is dropped",
        source: "RFC 6633 section 3",
        level: Must,
        run: quench,
    },
    Row {
        id: "I5",
        requirement: "An error that a container sends leaves translated, from the external address",
        source: "RFC 5508 REQ-5",
        level: Must,
        run: errors_out,
    },
    Row {
        id: "I6",
        requirement: "Errors neither refresh a mapping nor end it",
        source: "RFC 5508 REQ-6",
        level: Must,
        run: errors_neutral,
    },
    Row {
        id: "I7",
        requirement: "An error about a hairpinned packet finds its way back",
        source: "RFC 5508 REQ-7",
        level: Must,
        run: hairpinned_error,
    },
    Row {
        id: "I8",
        requirement: "Who is refused for want of ports is told so (ICMP 3/13)",
        source: "RFC 5508 REQ-8",
        level: Should,
        run: refusal,
    },
    Row {
        id: "I9",
        requirement: "Echo requests from outside reach no container unasked",
        source: "RFC 5508 REQ-9",
        level: Practice,
        run: ping_in,
    },
    Row {
        id: "I10",
        requirement: "Which queries pass: echo must",
        source: "RFC 5508 REQ-10",
        level: Must,
        run: kinds,
    },
    Row {
        id: "I11",
        requirement: "A message that is neither query nor error is dropped",
        source: "RFC 5508 REQ-11",
        level: May,
        run: other_kinds,
    },
];

const ID: u16 = 6000;

/// A container's echo request as the server saw it.
fn asked(world: &World<'_>, from: super::super::stage::Station, to: super::super::stage::Station) -> Result<Ip> {
    let request = query(from.ip(), to.ip(), kind::ECHO, ID);
    world
        .carry(from, &request, to)?
        .context("an echo request did not arrive")
}

fn reply(to: &Ip) -> Ip {
    query(to.dst, to.src, kind::ECHO_REPLY, to.sport())
}

fn queries(world: &mut World<'_>) -> Result<Outcome> {
    let request = asked(world, C1, S1)?;
    let answered = world.reaches(S1, &reply(&request), C1)?;
    Ok(saw(
        if answered {
            "request and reply pass"
        } else {
            "the reply is lost"
        },
        answered,
    ))
}

fn query_mapping(world: &mut World<'_>) -> Result<Outcome> {
    let (first, second) = (asked(world, C1, S1)?, asked(world, C1, S2)?);
    // A neighbour's equal identifier towards one of the servers, then the container's own.
    world.router.reset()?;
    asked(world, C2, S2)?;
    let (third, fourth) = (asked(world, C1, S1)?, asked(world, C1, S2)?);
    let (free, in_need) = (first.sport() == second.sport(), third.sport() == fourth.sport());
    let observed = match (free, in_need) {
        (true, true) => "one identifier for two servers, also where a neighbour has it",
        (true, false) => "one identifier while it is free; another one where a neighbour has it",
        (false, _) => "an identifier per server",
    };
    Ok(saw(observed, free && in_need))
}

fn query_collision(world: &mut World<'_>) -> Result<Outcome> {
    let (one, two) = (asked(world, C1, S1)?, asked(world, C2, S1)?);
    let answered = world.reaches(S1, &reply(&one), C1)? && world.reaches(S1, &reply(&two), C2)?;
    Ok(saw(
        if answered {
            "both are answered"
        } else {
            "answers are lost"
        },
        answered,
    ))
}

/// A datagram call of C1's that S1 heard.
pub(super) fn heard(world: &World<'_>) -> Result<Ip> {
    let sent = udp(at(C1, 5000), at(S1, 7000), b"question");
    world
        .carry(C1, &sent, S1)?
        .context("a datagram to a server did not arrive")
}

fn query_timer(world: &mut World<'_>) -> Result<Outcome> {
    let seconds = world.lifetime(
        |world| {
            asked(world, C1, S1)?;
            Ok(Call::new(proto::ICMP, ID, 0))
        },
        |world, _| world.reaches(S1, &query(S1.ip(), EXTERNAL, kind::ECHO_REPLY, ID), C1),
    )?;
    Ok(saw(format!("{seconds} s"), seconds >= 60))
}

/// What becomes of an error about C1's datagram, changed by `spoil`.
fn spoiled(world: &World<'_>, quote: usize, spoil: impl FnOnce(&mut Ip)) -> Result<Option<Ip>> {
    let about = heard(world)?;
    let mut message = error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 3), 0, &about, quote);
    spoil(&mut message);
    world.carry(S1, &message, C1)
}

fn dropped(what: Option<&Ip>) -> Outcome {
    saw(if what.is_none() { "dropped" } else { "passes" }, what.is_none())
}

fn bad_sum(world: &mut World<'_>) -> Result<Outcome> {
    let bad_error = spoiled(world, 8, |message| message.body[2] ^= 0x55)?.is_none();
    let mut request = query(C1.ip(), S1.ip(), kind::ECHO, ID);
    request.body[2] ^= 0x55;
    let bad_query = !world.reaches(C1, &request, S1)?;
    let word = |dropped| if dropped { "dropped" } else { "passes" };
    Ok(saw(
        format!("error: {}; query: {}", word(bad_error), word(bad_query)),
        bad_error && bad_query,
    ))
}

fn bad_inner_sum(world: &mut World<'_>) -> Result<Outcome> {
    let seen = spoiled(world, 8, |message| {
        message.body[8 + 10] ^= 0x55;
        seal(message, 2);
    })?;
    Ok(dropped(seen.as_ref()))
}

fn inner_options(world: &mut World<'_>) -> Result<Outcome> {
    let mut about = heard(world)?;
    // Four times "no operation", as a router may have added them.
    about.options = vec![1; 4];
    let message = error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 3), 0, &about, 8);
    let inside = world.carry(S1, &message, C1)?.and_then(|packet| packet.quoted());
    Ok(match inside {
        None => saw("dropped", false),
        Some(quoted) if quoted.from() == at(C1, 5000) => saw("arrives, the quoted packet as it was sent", true),
        Some(_) => saw("arrives, wrong inside", false),
    })
}

fn inner_sum_not_judged(world: &mut World<'_>) -> Result<Outcome> {
    let seen = spoiled(world, 64, |message| {
        message.body[8 + 20 + 6] ^= 0x55;
        seal(message, 2);
    })?;
    Ok(saw(if seen.is_some() { "passes" } else { "dropped" }, seen.is_some()))
}

fn extensions(world: &mut World<'_>) -> Result<Outcome> {
    let sent = udp(at(C1, 5000), at(S1, 7000), &[7; 200]);
    let about = world.carry(C1, &sent, S1)?.context("a datagram did not arrive")?;
    // 128 bytes of the packet, 32 words, then an extension header without objects.
    let quoted = [&about.bytes()[..128], &[0x20, 0, 0xdf, 0xff]].concat();
    let message = icmp(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 3), [0, 32, 0, 0], &quoted);
    let seen = world.exchange(S1, &message)?;
    let Some(arrived) = seen.iter().find(|seen| seen.at == C1) else {
        return Ok(saw("dropped", false));
    };
    let sums = Ip::check(&arrived.frame).is_ok();
    let packet = arrived.ip().context("no IPv4 packet")?;
    let inside = packet.quoted().is_some_and(|quoted| quoted.from() == at(C1, 5000));
    let kept = packet.body.ends_with(&[0x20, 0, 0xdf, 0xff]);
    Ok(match (sums && inside, kept) {
        (true, true) => saw("passes, the extension as it was", true),
        (false, _) => saw("passes, wrong inside", false),
        (true, false) => saw("passes without its extension", false),
    })
}

fn unknown_error(world: &mut World<'_>) -> Result<Outcome> {
    let about = udp(external(5555), at(S1, 7000), b"never sent");
    let seen = world.exchange(S1, &error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 3), 0, &about, 8))?;
    Ok(saw(
        if seen.is_empty() {
            "dropped, no answer"
        } else {
            "something comes of it"
        },
        seen.is_empty(),
    ))
}

fn errors_in(world: &mut World<'_>) -> Result<Outcome> {
    let about = heard(world)?;
    let mut lost = Vec::new();
    for (name, what) in [
        ("host unreachable", (kind::UNREACHABLE, 1)),
        ("port unreachable", (kind::UNREACHABLE, 3)),
        ("fragmentation needed", (kind::UNREACHABLE, 4)),
        ("time exceeded", (kind::TIME_EXCEEDED, 0)),
        ("parameter problem", (kind::PARAMETER, 0)),
    ] {
        let seen = world.carry(S1, &error(S1.ip(), EXTERNAL, what, 1400, &about, 8), C1)?;
        if seen.and_then(|packet| packet.icmp()) != Some(what) {
            lost.push(name);
        }
    }
    Ok(if lost.is_empty() {
        saw("3/1, 3/3, 3/4, 11/0 and 12/0 pass unchanged", true)
    } else {
        saw(format!("lost: {}", lost.join(", ")), false)
    })
}

fn redirect(world: &mut World<'_>) -> Result<Outcome> {
    let about = heard(world)?;
    let seen = world.carry(S1, &error(S1.ip(), EXTERNAL, (kind::REDIRECT, 1), 0, &about, 8), C1)?;
    Ok(dropped(seen.as_ref()))
}

fn quench(world: &mut World<'_>) -> Result<Outcome> {
    let about = heard(world)?;
    let seen = world.carry(
        S1,
        &error(S1.ip(), EXTERNAL, (kind::SOURCE_QUENCH, 0), 0, &about, 8),
        C1,
    )?;
    Ok(dropped(seen.as_ref()))
}

fn errors_out(world: &mut World<'_>) -> Result<Outcome> {
    let mapped = heard(world)?.from();
    let answer = world
        .carry(S1, &udp(at(S1, 7000), mapped, b"answer"), C1)?
        .context("an answer did not arrive")?;
    let message = error(C1.ip(), S1.ip(), (kind::UNREACHABLE, 3), 0, &answer, 8);
    let Some(seen) = world.carry(C1, &message, S1)? else {
        return Ok(saw("lost", false));
    };
    let inside = seen
        .quoted()
        .is_some_and(|quoted| quoted.dst == EXTERNAL && quoted.dport() == mapped.port());
    Ok(match (seen.src == EXTERNAL, inside) {
        (true, true) => saw(
            "leaves from the external address, the quoted packet as the server sent it",
            true,
        ),
        (false, _) => saw("leaves from another address", false),
        (true, false) => saw("leaves wrong inside", false),
    })
}

fn errors_neutral(world: &mut World<'_>) -> Result<Outcome> {
    let alive = |world: &mut World<'_>, call: &mut Call| call.send(world, Side::Server, 0, &[]);
    let mut lifetime = |send: bool| {
        world.lifetime(
            |world| {
                let mut call = Call::new(proto::UDP, 5000, 7000);
                let sent = call.next(Side::Client, 0, b"question");
                let about = call
                    .carry(world, Side::Client, &sent)?
                    .context("a datagram did not arrive")?;
                world.pass(std::time::Duration::from_secs(1))?;
                if send {
                    world.exchange(S1, &error(S1.ip(), EXTERNAL, (kind::UNREACHABLE, 3), 0, &about, 8))?;
                }
                Ok(call)
            },
            alive,
        )
    };
    let (plain, after) = (lifetime(false)?, lifetime(true)?);
    Ok(if plain == after {
        saw("the lifetime is the same with an error and without", true)
    } else {
        saw("an error changes the lifetime", false)
    })
}

fn hairpinned_error(world: &mut World<'_>) -> Result<Outcome> {
    world.publish(Transport::Udp, 8053, C2, 53)?;
    let Some(request) = world.carry(C1, &udp(at(C1, 5000), external(8053), b"question"), C2)? else {
        return Ok(saw("the request does not arrive", false));
    };
    let message = error(C2.ip(), request.src, (kind::UNREACHABLE, 3), 0, &request, 8);
    let quoted = world.carry(C2, &message, C1)?.and_then(|packet| packet.quoted());
    Ok(match quoted {
        None => saw("the error does not arrive", false),
        Some(quoted) if quoted.from() == at(C1, 5000) && quoted.dst == EXTERNAL => {
            saw("the error arrives, the quoted packet as it was sent", true)
        }
        Some(_) => saw("the error arrives, wrong inside", false),
    })
}

fn refusal(world: &mut World<'_>) -> Result<Outcome> {
    world.set(Setting::Ports(20_000, 20_003))?;
    let mut told = None;
    for sport in 40_000..40_006 {
        let seen = world.exchange(C1, &syn(at(C1, sport), at(S1, 80), 1))?;
        told = told.or_else(|| of(&seen, C1).find_map(|packet| packet.icmp()));
    }
    Ok(match told {
        Some((kind::UNREACHABLE, 13)) => saw("ICMP 3/13", true),
        Some((kind, code)) => saw(format!("ICMP {kind}/{code}"), false),
        None => saw("refused silently", false),
    })
}

fn ping_in(world: &mut World<'_>) -> Result<Outcome> {
    let through = world.reaches(S1, &query(S1.ip(), C1.ip(), kind::ECHO, ID), C1)?;
    asked(world, C1, S1)?;
    // The identifier of a container's own question, as a question.
    let again = world.reaches(S1, &query(S1.ip(), EXTERNAL, kind::ECHO, ID), C1)?;
    Ok(saw(
        if through || again {
            "one reaches a container"
        } else {
            "none does"
        },
        !through && !again,
    ))
}

fn kinds(world: &mut World<'_>) -> Result<Outcome> {
    let mut words = Vec::new();
    let mut echo = false;
    for (name, kind) in [
        ("echo", kind::ECHO),
        ("timestamp", kind::TIMESTAMP),
        ("address mask", kind::MASK),
        ("router solicitation", kind::SOLICITATION),
    ] {
        let seen = world.carry(C1, &query(C1.ip(), S1.ip(), kind, ID), S1)?;
        let passes = seen.is_some_and(|packet| packet.src == EXTERNAL);
        echo |= kind == kind::ECHO && passes;
        words.push(format!("{name} {}", if passes { "passes" } else { "dropped" }));
    }
    Ok(saw(words.join(", "), echo))
}

fn other_kinds(world: &mut World<'_>) -> Result<Outcome> {
    let mut passed = Vec::new();
    for kind in [1, 2, 7, 9, 19, 40, 42, 255] {
        if world.reaches(C1, &icmp(C1.ip(), S1.ip(), (kind, 0), [0; 4], &[0; 28]), S1)? {
            passed.push(kind.to_string());
        }
    }
    Ok(if passed.is_empty() {
        saw("dropped, whatever the type", true)
    } else {
        saw(format!("types that pass: {}", passed.join(", ")), false)
    })
}
