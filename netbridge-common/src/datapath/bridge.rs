//! Frames to another station of the same network.

use crate::abi::{AddrKey, CtState, NO_SLOT, Reason, Record, Station, flow_flags, station_flags};
use crate::wire::ethernet;

use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env};
use super::filter::{self, Subject};
use super::flows;
use super::icmp::{self, Quote};
use super::limits;
use super::pairs;
use super::parse::Kind;
use super::state;
use super::verdict::Action;

/// Nobody.
pub(super) const NO_STATION: Station = Station {
    ifindex: 0,
    slot: NO_SLOT,
    seen: 0,
    mac: [0; 6],
    flags: 0,
};

/// Where a frame that is not for the gateway goes.
#[inline(always)]
pub fn bridged<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let station = destination(cx);
    if station.ifindex == 0 {
        return flooded(cx, work);
    }
    if cx.packet.kind as u8 == Kind::Ip as u8 && filter::is_active(cx) {
        let action = pairs::settled(cx, &station, work);
        let action = action.unwrap_or_else(|| filtered(cx, &station, work));
        if filter::is_final(action, &work.verdict) {
            return action;
        }
    }
    // The flow may be one that goes another way: the address has moved to this MAC, or is routed.
    work.verdict.edits = 0;
    work.verdict.deliver(station.ifindex, station.slot)
}

/// The station the frame is for; nobody if it is a group, unknown, aged, or where it came from: those
/// are the kernel bridge's.
#[inline(always)]
fn destination<E: Env>(cx: &Cx<'_, E>) -> Station {
    if ethernet::is_group(cx.packet.to.mac) {
        return NO_STATION;
    }
    let found = cx.env.station(&cx.packet.to).unwrap_or(NO_STATION);
    let aged =
        found.flags & station_flags::STATIC == 0 && state::outlived(cx.arrival.now, found.seen, cx.config.fdb_ageing);
    if aged || found.ifindex == cx.arrival.ifindex {
        NO_STATION
    } else {
        found
    }
}

/// The filter's word on an IP packet to a known station: only those are tracked, what the kernel bridge floods has no
/// one flow.
#[inline(always)]
fn filtered<E: Env>(cx: &Cx<'_, E>, station: &Station, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    if !cx.packet.is_tracked() {
        return untracked(cx, station, work);
    }
    match conntrack::known(cx, work) {
        None if first_packet(cx, station, work) => flows::open(cx, work),
        None => work.verdict.action,
        Some(Action::Drop) => Action::Drop,
        Some(Action::Answer) if filter::is_final(Action::Answer, &work.verdict) => Action::Answer,
        Some(action) if action as u8 != Action::Answer as u8 && work.half.head().ifindex == station.ifindex => action,
        Some(_) => elsewhere(cx, station, work),
    }
}

/// What the kernel bridge floods: within the port's limit, and an IP packet as the filter says. Whoever holds the address
/// may take it, of a broadcast frame too.
#[inline(never)]
fn flooded<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let reason = limits::flood(cx);
    if reason as u8 != Reason::None as u8 {
        return work.verdict.refuse(reason);
    }
    if cx.packet.kind as u8 != Kind::Ip as u8 || !filter::is_active(cx) {
        return Action::Pass;
    }
    stateless(cx, work)
}

/// The filter's word on a packet that opens no flow and goes to whoever holds the address.
#[inline(never)]
pub(super) fn stateless<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let holder = AddrKey {
        addr: cx.packet.key.dst,
        net: cx.arrival.zone.to_ne_bytes(),
        pad: [0; 2],
    };
    untracked(cx, &cx.env.address(&holder).unwrap_or(NO_STATION), work)
}

/// The filter's word on a packet whose flow leads to another station than the frame, or ends at the gateway.
#[inline(never)]
fn elsewhere<E: Env>(cx: &Cx<'_, E>, station: &Station, work: &mut Work<E::F>) -> Action {
    work.verdict.edits = 0;
    let subject = Subject::of(cx, state::named(work.half.head())).to(station.ifindex, cx.arrival.zone);
    filter::ask(cx, subject, work)
}

/// The filter's word on a packet that opens no flow; where it is part of one, the flow is as it was.
#[inline(never)]
fn untracked<E: Env>(cx: &Cx<'_, E>, station: &Station, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let state = if cx.packet.is_icmp_error() {
        icmp::state(cx, work)
    } else if cx.packet.is_tracked() {
        conntrack::state_of(cx, work)
    } else {
        conntrack::opening_state(cx)
    };
    filter::ask(cx, Subject::of(cx, state).to(station.ifindex, cx.arrival.zone), work)
}

/// Fills in both halves of a flow between two stations; false if the packet opens none, or may not pass. A function of its
/// own in the object: its stack is not the fast path's.
#[inline(never)]
fn first_packet<E: Env>(cx: &Cx<'_, E>, station: &Station, work: &mut Work<E::F>) -> bool {
    let state = conntrack::opening_state(cx);
    work.verdict.action = filter::ask(cx, Subject::of(cx, state).to(station.ifindex, cx.arrival.zone), work);
    if work.verdict.action as u8 != Action::Pass as u8 || !conntrack::may_open(cx) {
        return false;
    }
    let key = cx.packet.key;
    *work.half.tail_mut() = conntrack::untranslated(&key);
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx, cx.arrival.slot, &work.search);
    // Either end may send by way of the gateway, as one with a /32 address does.
    let gateway = cx
        .env
        .network(cx.arrival.zone)
        .map_or([0; 6], |network| network.head().gateway.mac);
    let midst = if state == CtState::ESTABLISHED {
        flow_flags::MIDST
    } else {
        0
    };
    forward.flags = flow_flags::ROUTED | midst;
    forward.ifindex = station.ifindex;
    forward.slot = station.slot;
    forward.dmac = cx.packet.to.mac;
    forward.smac = gateway;
    forward.peer_zone = cx.arrival.zone;
    *work.other.tail_mut() = conntrack::answer(&key);
    let reply = work.other.head_mut();
    *reply = conntrack::new_reply(cx, cx.arrival.slot);
    reply.flags |= midst;
    reply.dmac = cx.packet.from.mac;
    reply.smac = gateway;
    reply.ifindex = cx.arrival.ifindex;
    reply.slot = cx.arrival.slot;
    reply.peer_zone = cx.arrival.zone;
    true
}
