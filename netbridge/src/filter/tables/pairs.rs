//! Pairs of endpoints for which the rules have one answer, whatever the packet: see
//! [`netbridge_common::datapath::pairs`].

use std::collections::HashMap;

use netbridge_common::abi::{FilterHead, PARTY_WORDS, RuleBox, SLOTS, verdict};

use super::axis::{Classes, put, reserve};
use super::forest::AXES;
use super::world::{KnownEndpoint, World};

/// Boxes that may be looked at to find pairs: what it costs to compile stays small beside the rest.
const EFFORT: usize = 1 << 19;

/// Endpoints that the rules do not tell apart: their classes as sender and as receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Party {
    src: u32,
    dst: u32,
    interface: u32,
    network: u16,
}

/// Writes the parties of the endpoints and what becomes of packets between them, if there are few enough parties and for one
/// pair at least that is known.
pub(super) fn write(
    words: &mut Vec<u64>,
    head: &mut FilterHead,
    world: &World,
    classes: &[Classes; AXES],
    boxes: &[RuleBox],
) {
    let interfaces: HashMap<u32, u32> = (0..)
        .zip(&world.interfaces)
        .map(|(place, known)| (known.ifindex, place))
        .collect();
    let mut parties: Vec<Party> = Vec::new();
    let mut members: Vec<(&KnownEndpoint, usize)> = Vec::new();
    for endpoint in &world.endpoints {
        let Some(place) = interfaces.get(&endpoint.ifindex) else {
            continue;
        };
        let [src, dst, _, _, input, ..] = classes;
        let address = endpoint.address.to_bits();
        let party = Party {
            src: src.class(address),
            dst: dst.class(address),
            interface: input.class(*place),
            network: endpoint.network,
        };
        let known = parties.iter().position(|other| *other == party).unwrap_or_else(|| {
            parties.push(party);
            parties.len() - 1
        });
        members.push((endpoint, known));
        if parties.len() * boxes.len() > EFFORT {
            return;
        }
    }
    let rows: Vec<Vec<u64>> = parties.iter().map(|from| row(*from, &parties, boxes)).collect();
    let accepts = |word: u64| word >> 40 & 0xff == u64::from(verdict::ACCEPT);
    let cell = |from: usize, to: usize| rows.get(from).and_then(|row| row.get(to)).copied().unwrap_or(0);
    let count = parties.len();
    // The answers to what passes without a flow would belong to none.
    let pairs = (0..count * count).map(|place| {
        let (from, to) = (place / count, place % count);
        let (forth, back) = (cell(from, to), cell(to, from));
        if accepts(forth) && back == 0 { 0 } else { forth }
    });
    let pairs: Vec<u64> = pairs.collect();
    if pairs.iter().all(|pair| *pair == 0) {
        return;
    }
    head.pairs = reserve(words, pairs.len());
    put(words, head.pairs, &pairs);
    head.endpoints = reserve(words, (SLOTS * PARTY_WORDS) as usize);
    for (endpoint, party) in members.into_iter().filter(|(endpoint, _)| endpoint.slot < SLOTS) {
        let at = head.endpoints + endpoint.slot * PARTY_WORDS;
        let party = u64::try_from(party).unwrap_or(u64::MAX);
        put(
            words,
            at,
            &[
                u64::from(endpoint.ifindex) << 32 | party,
                endpoint.address.to_bits().into(),
            ],
        );
    }
    head.parties = u32::try_from(count).unwrap_or(u32::MAX);
}

/// What becomes of packets from a party to each of them; 0 if that depends on the packet, or they are of different networks.
fn row(from: Party, parties: &[Party], boxes: &[RuleBox]) -> Vec<u64> {
    let sends = |found: &&RuleBox| {
        within(from.src, found.src, found.src_more)
            && within(from.interface, found.input.into(), found.input_more.into())
    };
    let reached: Vec<&RuleBox> = boxes.iter().filter(sends).collect();
    let to = |to: &Party| {
        let receives = |found: &&&RuleBox| {
            within(to.dst, found.dst, found.dst_more)
                && within(to.interface, found.output.into(), found.output_more.into())
        };
        let first = reached.iter().find(receives).filter(|_| to.network == from.network);
        first.filter(|found| holds_all(found)).map_or(0, |found| word(found))
    };
    parties.iter().map(to).collect()
}

fn within(class: u32, first: u32, more: u32) -> bool {
    class.wrapping_sub(first) <= more
}

/// True if a box asks for nothing but addresses and interfaces, and is the last word.
fn holds_all(found: &RuleBox) -> bool {
    let open = |first: u32, more: u32, all: u32| first == 0 && more == all;
    open(found.sport.into(), found.sport_more.into(), u16::MAX.into())
        && open(found.dport.into(), found.dport_more.into(), u16::MAX.into())
        && open(found.mac.into(), found.mac_more.into(), u16::MAX.into())
        && open(found.proto.into(), found.proto_more.into(), u8::MAX.into())
        && found.states == u32::MAX
        && found.tcp == u64::MAX
        && found.limit == 0
        && matches!(found.verdict, verdict::ACCEPT | verdict::DROP | verdict::REJECT)
}

/// A final box as the pairs have it.
fn word(found: &RuleBox) -> u64 {
    // A place is never beyond the paths, so what accepts at place 0 differs from nothing at all by this bit.
    const KNOWN: u64 = 1 << 63;
    KNOWN | u64::from(found.with) << 48 | u64::from(found.verdict) << 40 | u64::from(found.place)
}
