//! The conversations that a set of rules is tried with, from a seed.

use std::collections::HashSet;

use fastrand::Rng;
use netbridge_common::abi::proto;

use super::ground::Station::{self, C1, C2, C3, S1, S2};
use super::talk::{End, Pair, Talk};
use crate::conformance::packet::{flag, kind};

/// Conversations with each set of rules.
const TALKS: usize = 14;
/// Ports that servers have; rules name some of them.
const SERVED: [u16; 5] = [80, 443, 53, 22, 8080];
/// First of the clients' ports, each of which is used once: below those that the host takes for itself.
const FIRST: u16 = 5000;
/// What may be said of a packet that did not get there.
const WRONG: [(u8, u8); 5] = [
    (kind::UNREACHABLE, 1),
    (kind::UNREACHABLE, 3),
    (kind::UNREACHABLE, 13),
    (kind::TIME_EXCEEDED, 0),
    (kind::PARAMETER, 0),
];

/// Conversations.
pub(super) fn talks(random: &mut Rng) -> Vec<Talk> {
    many(random, TALKS)
}

/// So many conversations. Of those without ports there is one of each protocol: another one would be the same.
pub(super) fn many(random: &mut Rng, talks: usize) -> Vec<Talk> {
    let mut known = HashSet::new();
    let all = (0..talks).map(|number| {
        let sport = FIRST + u16::try_from(number).unwrap_or(0) * 7;
        talk(random, sport)
    });
    let is_another = |talk: &Talk| {
        talk.first().is_some_and(|step| {
            let has_ports = [proto::TCP, proto::UDP, proto::ICMP].contains(&step.packet.proto);
            has_ports || known.insert(step.packet.proto)
        })
    };
    all.filter(is_another).collect()
}

fn pick<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

/// Two containers of one network, in either order.
fn neighbours(random: &mut Rng, sport: u16) -> Pair {
    let [client, server] = pick(random, &[[C1, C2], [C2, C1]]);
    Pair::new(client, sport, server, pick(random, &SERVED))
}

/// A container and a server outside.
fn outwards(random: &mut Rng, sport: u16) -> Pair {
    let (client, server) = (pick(random, &[C1, C2, C3]), pick(random, &[S1, S2]));
    Pair::new(client, sport, server, pick(random, &SERVED))
}

/// Somebody at a published TCP port.
fn visitor(random: &mut Rng, sport: u16) -> Pair {
    let client = visitor_of(random, C2);
    if client == C1 || random.bool() {
        Pair::published(client, sport, 8443, C2, 443)
    } else {
        Pair::published(client, sport, 8080, C1, 80)
    }
}

/// Somebody outside, or now and then a neighbour.
fn visitor_of(random: &mut Rng, server: Station) -> Station {
    let neighbour = if server == C2 { C1 } else { C2 };
    pick(random, &[S1, S2, S1, S2, neighbour])
}

fn end(random: &mut Rng) -> End {
    pick(
        random,
        &[
            End::Open,
            End::Reset,
            End::Aborted,
            End::Closed,
            End::Closed,
            End::Reopened,
        ],
    )
}

fn talk(random: &mut Rng, sport: u16) -> Talk {
    let pair = match random.u32(..10) {
        0..4 => neighbours(random, sport),
        4..8 => outwards(random, sport),
        _ => visitor(random, sport),
    };
    let named = Pair::published(visitor_of(random, C2), sport, 5353, C2, 53);
    let answerable = if random.u32(..4) == 0 { named } else { pair };
    // A datagram to a port that is published for TCP alone is the host's.
    let answerable = if answerable.asked.port() == 8080 || answerable.asked.port() == 8443 {
        named
    } else {
        answerable
    };
    let echo = if random.bool() {
        neighbours(random, sport)
    } else {
        outwards(random, sport)
    };
    match random.u32(..100) {
        0..35 => {
            // Who comes from outside says something before he closes, see `known`.
            let exchanges = if pair.client.bridge().is_none() {
                1
            } else {
                random.usize(..2)
            };
            pair.connection(exchanges, end(random))
        }
        35..40 => pair.unheard(),
        40..55 => answerable.datagrams(random.usize(1..3)),
        55..65 => echo.echoes(random.usize(1..3)),
        65..68 => echo.queries(1, kind::TIMESTAMP, 14),
        68..76 => {
            let router = if answerable.server == S1 { S2 } else { S1 };
            let outside = answerable.server.bridge().is_none();
            let by = if outside && random.bool() {
                router
            } else {
                answerable.server
            };
            answerable.refused(by, pick(random, &WRONG))
        }
        76..80 => answerable.refused_answer(pick(random, &WRONG)),
        80..88 => stray(random, sport),
        88..92 => isolated(random, sport),
        92..95 => neighbours(random, sport).broadcast(),
        _ => neighbours(random, sport).other(pick(random, &[47, 50]), random.usize(1..3)),
    }
}

/// What no connection table knows, between neighbours.
fn stray(random: &mut Rng, sport: u16) -> Talk {
    let pair = neighbours(random, sport);
    match random.u32(..3) {
        0 => pair.segment(pick(
            random,
            &[flag::ACK, flag::ACK | flag::PSH, flag::RST, flag::FIN | flag::ACK],
        )),
        1 => pair.stray_reply(),
        _ => pair.stray_error(pick(random, &WRONG)),
    }
}

/// A packet to another network.
fn isolated(random: &mut Rng, sport: u16) -> Talk {
    let (client, server) = pick(random, &[(C1, C3), (C3, C2)]);
    let pair = Pair::new(client, sport, server, pick(random, &SERVED));
    match random.u32(..3) {
        0 => pair.datagrams(1),
        1 => pair.echoes(1),
        _ => pair.unheard(),
    }
}
