//! Pairs of endpoints for which the filter has one answer, whatever the packet: they need no flow, and no search.
//!
//! The controller knows such pairs when it compiles the rules: the first box that reaches into a pair's addresses and
//! interfaces holds all of their packets, and for a pair that may talk the way back is alike. Endpoints that rules do not tell apart
//! are one *party*.

use crate::abi::{Addr, FilterHead, NO_SLOT, PARTY_WORDS, Reason, SLOTS, Station, verdict, word};

use super::conntrack::{Cx, Work};
use super::env::{AddrOf, Env};
use super::filter;
use super::verdict::Action;

/// What becomes of a packet from one endpoint to another, if that is the same for all; none if the filter must be asked. The
/// packet must be of their own addresses: others may be told apart.
#[inline(always)]
pub fn settled<E: Env>(cx: &Cx<'_, E>, station: &Station, work: &mut Work<E::F>) -> Option<Action> {
    let bank = filter::bank(cx);
    let head = cx.env.filter(bank)?;
    if head.parties == 0 {
        return None;
    }
    let from = party(cx, head, cx.arrival.slot, cx.arrival.ifindex, cx.packet.key.src)?;
    let to = party(cx, head, station.slot, station.ifindex, cx.packet.key.dst)?;
    let at = head
        .pairs
        .wrapping_add(from.wrapping_mul(head.parties))
        .wrapping_add(to);
    let pair = cx.env.filter_word(bank, at);
    let decision = ((pair >> 40 & 0xff) as u8).checked_sub(1)?;
    work.verdict.path = word::index(pair);
    Some(match decision {
        verdict::ACCEPT => work.verdict.refuse(Reason::None),
        verdict::REJECT => work.verdict.reject((pair >> 48 & 0xff) as u8),
        _ => work.verdict.refuse(Reason::Filtered),
    })
}

/// The party of an endpoint, if this is its interface and its address.
#[inline(always)]
fn party<E: Env>(cx: &Cx<'_, E>, head: &FilterHead, slot: u32, ifindex: u32, addr: AddrOf<E>) -> Option<u32> {
    if slot == NO_SLOT {
        return None;
    }
    let bank = filter::bank(cx);
    let at = head
        .endpoints
        .wrapping_add((slot & (SLOTS - 1)).wrapping_mul(PARTY_WORDS));
    let known = cx.env.filter_word(bank, at);
    if known >> 32 != u64::from(ifindex) || known == word::EMPTY {
        return None;
    }
    for (place, at) in (0..<AddrOf<E> as Addr>::WORDS).zip(at.wrapping_add(1)..) {
        if cx.env.filter_word(bank, at) != u64::from(addr.word(place)) {
            return None;
        }
    }
    Some(word::index(known))
}
