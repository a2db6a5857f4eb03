//! What one port may ask of all others: stations to remember, and frames for everybody.

use crate::abi::{LinkHead, Reason, Record, Station, station_flags};
use crate::wire::ethernet;

use super::bridge::NO_STATION;
use super::conntrack::Cx;
use super::env::Env;

/// Learns a MAC behind a trunk: new ones, moved ones at their first frame, known ones once a second. A new one beyond
/// the port's limit is refused; those that are silent for long make room, looked for at most once a second.
#[inline(never)]
pub(super) fn learn<E: Env>(cx: &Cx<'_, E>, head: &LinkHead) -> Reason {
    let (env, packet, now) = (cx.env, &*cx.packet, cx.arrival.now);
    let known = env.station(&packet.from).unwrap_or(NO_STATION);
    let here = known.ifindex == cx.arrival.ifindex;
    if known.flags & station_flags::STATIC != 0 || (here && now.wrapping_sub(known.seen) < cx.config.refresh) {
        return Reason::None;
    }
    if !here && is_full(cx, head.slot) {
        env.forget_aged(cx.config, head.slot, now);
        if is_full(cx, head.slot) {
            return Reason::MacLimit;
        }
    }
    let station = Station {
        ifindex: cx.arrival.ifindex,
        slot: head.slot,
        seen: now,
        mac: packet.from.mac,
        flags: 0,
    };
    if env.learn(&packet.from, &station) && !here {
        env.count_learned(head.slot, 1);
        // Where it was before; nowhere if it is new.
        env.count_learned(known.slot, -1);
    }
    Reason::None
}

/// True if as many MACs are learned behind the port as may be.
#[inline(always)]
fn is_full<E: Env>(cx: &Cx<'_, E>, slot: u32) -> bool {
    let limit = cx.config.learned_per_port;
    limit != 0 && cx.env.learned(slot) >= i64::from(limit)
}

/// Whether a frame that the kernel bridge would send to every port is one too many. What is for the gateway goes
/// nowhere else.
#[inline(never)]
pub(super) fn flood<E: Env>(cx: &Cx<'_, E>) -> Reason {
    if ethernet::is_reserved(cx.packet.to.mac) {
        return Reason::ReservedGroup;
    }
    let limit = cx.config.floods_per_second;
    let for_gateway = cx
        .env
        .network(cx.arrival.zone)
        .is_some_and(|network| cx.packet.to.is(network.head().gateway));
    if limit == 0
        || for_gateway
        || cx
            .env
            .may_flood(cx.arrival.slot, cx.arrival.now, cx.config.refresh, limit)
    {
        Reason::None
    } else {
        Reason::FloodLimit
    }
}
