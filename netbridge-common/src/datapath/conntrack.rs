//! Flows: found, kept alive, re-judged, created.
//!
//! A flow is two entries, one per direction, each keyed by the tuple as it arrives and holding the
//! finished action. The reply half is inserted first and settles races between CPUs. A half may lose
//! its other one, to the reaper or to an operator: its own next packet then ends it, and the next
//! packet of the other direction makes the flow whole again.

use crate::abi::{
    Addr, Config, CtState, Family, FlowHead, FlowKey, Hook, MacKey, NO_SLOT, Nat, Reason, Record, TcpState,
    flow_action, flow_flags, proto,
};
use crate::wire::{icmp, tcp};

use super::env::{AddrOf, Env, FlowKeyOf, FlowOf, HopKind, Inserted};
use super::filter::{self, Subject};
use super::icmp::Quoted;
use super::parse::Packet;
use super::verdict::{Action, Verdict};

/// Where and when a packet arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The program that saw it.
    pub hook: Hook,
    /// The network it comes from, [`crate::abi::ZONE_UPLINK`] from the outside.
    pub zone: u16,
    /// The interface it came in by, 0 if unknown.
    pub ifindex: u32,
    /// The sender's traffic slot, or [`NO_SLOT`].
    pub slot: u32,
    /// Ticks.
    pub now: u32,
    /// [`Config::generation`], read once: the controller may raise it at any moment, and a verdict of the old
    /// filter that is kept as one of the new would hold for good.
    pub generation: u32,
}

/// A packet where it arrived, and the world to judge it by.
pub struct Cx<'a, E: Env> {
    /// The environment.
    pub env: &'a E,
    /// The configuration.
    pub config: &'a Config,
    /// The packet.
    pub packet: &'a mut Packet<AddrOf<E>>,
    /// Where and when it arrived.
    pub arrival: Arrival,
}

impl<E: Env> Cx<'_, E> {
    /// Tells the zone that the packet comes from.
    pub fn enter(&mut self, zone: u16) {
        self.arrival.zone = zone;
        self.packet.key.zone = zone.to_ne_bytes();
        self.packet.to.net = zone;
        self.packet.from.net = zone;
    }
}

/// Room for what a decision produces; a BPF stack is too small for it.
#[repr(C)]
pub struct Work<F: Family> {
    /// What becomes of the packet.
    pub verdict: Verdict<F::Addr>,
    /// The half that the packet hit, or the one it opens.
    pub half: F::Flow,
    /// The half of the answers.
    pub other: F::Flow,
    /// What stands where a half was to be inserted.
    pub standing: F::Flow,
    /// What an ICMP error quotes.
    pub quoted: Quoted<F::Addr>,
}

/// Copies the live flow of a key to `into`. An expired entry is none, whether or not anything
/// collects it.
#[inline(always)]
pub fn find<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, into: &mut FlowOf<E>) -> bool {
    cx.env.flow(key, into) && !is_expired(cx.config, key.proto, into.head(), cx.arrival.now)
}

/// Ticks that a flow lives without a packet.
pub const fn lifetime(config: &Config, protocol: u8, head: &FlowHead) -> u32 {
    match protocol {
        proto::TCP if head.state == TcpState::Established as u8 => config.tcp_established,
        proto::TCP => config.tcp_transitory,
        proto::UDP => config.udp,
        _ => config.icmp,
    }
}

/// True if the flow has outlived its lifetime.
pub const fn is_expired(config: &Config, protocol: u8, head: &FlowHead, now: u32) -> bool {
    outlived(now, head.seen, lifetime(config, protocol, head))
}

/// True if more than `lifetime` ticks, fewer than 2³¹, lie between `seen` and `now`. Another CPU may
/// have written `seen` a moment after `now`: then none do.
pub const fn outlived(now: u32, seen: u32, lifetime: u32) -> bool {
    now.wrapping_sub(seen).cast_signed() > lifetime.cast_signed()
}

/// True if the packet opens a connection where a closing one of the same direction still stands: it
/// is a new flow, and the filter must see it as one. The answering side cannot end a flow this way.
const fn restarts<A: Addr>(packet: &Packet<A>, head: &FlowHead) -> bool {
    is_opening(packet) && head.state == TcpState::Closing as u8 && head.flags & flow_flags::REPLY == 0
}

/// True for a TCP segment that opens a connection.
pub const fn is_opening<A: Addr>(packet: &Packet<A>) -> bool {
    packet.key.proto == proto::TCP && packet.tcp & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
}

/// The ICMP type of the other direction; 0 for other protocols.
pub const fn reply_type(protocol: u8, icmp_type: u8) -> u8 {
    if protocol == proto::ICMP {
        icmp::counterpart(icmp_type)
    } else {
        0
    }
}

/// The key of the other half: the tuple as it leaves, reversed.
pub fn other_half<A: Addr>(key: &FlowKey<A>, head: &FlowHead, to: &Nat<A>) -> FlowKey<A> {
    FlowKey {
        src: to.dst,
        dst: to.src,
        sport: to.dport,
        dport: to.sport,
        zone: head.peer_zone.to_ne_bytes(),
        proto: key.proto,
        icmp: reply_type(key.proto, key.icmp),
    }
}

/// The tuple of a key, unchanged.
pub fn untranslated<A: Addr>(key: &FlowKey<A>) -> Nat<A> {
    Nat {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
    }
}

/// The tuple of the packets that answer a key's, unchanged.
pub fn answer<A: Addr>(key: &FlowKey<A>) -> Nat<A> {
    Nat {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
    }
}

/// A half's head before anything is known but when.
pub const fn new_head(now: u32) -> FlowHead {
    FlowHead {
        epoch: 0,
        seen: now,
        resolved: now,
        ifindex: 0,
        slot: NO_SLOT,
        dmac: [0; 6],
        smac: [0; 6],
        action: flow_action::DELIVER,
        flags: 0,
        state: TcpState::Opening as u8,
        reason: Reason::None as u8,
        peer_zone: 0,
        mtu: 0,
    }
}

/// Adds both halves, `work.half` under `key`. [`Inserted::Exists`] if the answers' tuple belongs to
/// another flow.
///
/// Two CPUs may do this for the same first packet, and come to the same halves: each of the two finds
/// its own or the other's. Should a tuple have become free between them, the one that came second
/// goes by the table, and its reply half expires unused. A reply half that lost its forward half gets
/// it back in the same way.
pub fn create<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Inserted {
    let other_key = other_half(key, work.half.head(), work.half.tail());
    let reply = insert(cx, &other_key, &work.other, &mut work.standing);
    let ours = reply as u8 == Inserted::Exists as u8 && answers(cx, &other_key, key, &mut work.standing);
    if reply as u8 != Inserted::Yes as u8 && !ours {
        return reply;
    }
    match insert(cx, key, &work.half, &mut work.standing) {
        Inserted::Yes => Inserted::Yes,
        Inserted::Exists => {
            let _gone = find(cx, key, &mut work.half);
            Inserted::Yes
        }
        Inserted::Full => {
            cx.env.flow_remove(&other_key);
            Inserted::Full
        }
    }
}

/// Inserts a half. An expired one in its place counts as absent, and a table full of expired ones as
/// one with room: memory is reclaimed when it is needed, and needs no daemon.
#[inline(always)]
fn insert<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>, standing: &mut FlowOf<E>) -> Inserted {
    let first = cx.env.flow_insert(key, flow);
    let retry = match first {
        Inserted::Yes => false,
        Inserted::Exists => {
            let stands = cx.env.flow(key, standing);
            let live = stands && !is_expired(cx.config, key.proto, standing.head(), cx.arrival.now);
            if stands && !live {
                cx.env.flow_remove(key);
            }
            !live
        }
        Inserted::Full => cx.env.reclaim(cx.config, cx.arrival.now),
    };
    if retry { cx.env.flow_insert(key, flow) } else { first }
}

/// True if the half that stands under `other_key` is the reply half of `key`'s flow, and not about
/// to end.
#[inline(never)]
fn answers<E: Env>(cx: &Cx<'_, E>, other_key: &FlowKeyOf<E>, key: &FlowKeyOf<E>, standing: &mut FlowOf<E>) -> bool {
    find(cx, other_key, standing)
        && standing.head().flags & flow_flags::REPLY != 0
        && standing.head().state != TcpState::Closing as u8
        && other_half(other_key, standing.head(), standing.tail()) == *key
}

/// Removes both halves.
pub fn remove<E: Env>(env: &E, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    env.flow_remove(&other_half(key, flow.head(), flow.tail()));
    env.flow_remove(key);
}

/// The state of a packet that hits this half.
pub const fn state(head: &FlowHead) -> u8 {
    if head.flags & (flow_flags::REPLY | flow_flags::REPLIED) != 0 {
        CtState::ESTABLISHED
    } else {
        CtState::NEW
    }
}

/// The state of a tracked packet, whose flow is only looked at.
#[inline(always)]
pub fn state_of<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> u8 {
    if find(cx, &cx.packet.key, &mut work.half) && !restarts(cx.packet, work.half.head()) {
        state(work.half.head())
    } else if cx.packet.is_icmp_reply() {
        CtState::INVALID
    } else {
        CtState::NEW
    }
}

/// What the filter sees of a packet of this flow: after DNAT, before SNAT.
pub fn subject<E: Env>(cx: &Cx<'_, E>, flow: &FlowOf<E>, state: u8) -> Subject<AddrOf<E>> {
    let (head, to) = (flow.head(), flow.tail());
    let mut subject = Subject::of(cx, state).to(head.ifindex, head.peer_zone);
    subject.dst = to.dst;
    if cx.packet.has_ports() {
        subject.dport = u16::from_be_bytes(to.dport);
    }
    subject
}

/// What becomes of a tracked packet whose flow exists; none if there is none, or if the packet opens another in its
/// place.
#[inline(always)]
pub fn known<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Option<Action> {
    let key = &cx.packet.key;
    if !find(cx, key, &mut work.half) {
        return None;
    }
    if restarts(cx.packet, work.half.head()) {
        remove(cx.env, key, &work.half);
        return None;
    }
    Some(established(cx, key, work))
}

/// A packet of a flow that exists: state, refresh, filter where the cached answer is stale, action.
#[inline(always)]
fn established<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Action {
    let head = work.half.head();
    let now = cx.arrival.now;
    if head.reason != Reason::None as u8 && head.epoch == cx.arrival.generation {
        // Its record goes stale, and is not written for every packet.
        return work.verdict.refuse(Reason::Filtered);
    }
    let closing = cx.packet.tcp & (tcp::FIN | tcp::RST) != 0;
    let first_reply = head.flags & (flow_flags::REPLY | flow_flags::REPLIED) == flow_flags::REPLY;
    let due = first_reply
        || (closing && head.state != TcpState::Closing as u8)
        || now.wrapping_sub(head.seen) >= cx.config.refresh
        || head.epoch != cx.arrival.generation
        || (head.flags & flow_flags::ROUTED != 0 && now.wrapping_sub(head.resolved) >= cx.config.refresh);
    if due {
        return renewed(cx, key, work);
    }
    follow(cx, work)
}

/// [`established`] where the flow's record changes: about once a second. A function of its own in
/// the object: its stack is not the fast path's.
#[inline(never)]
fn renewed<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Action {
    let head = work.half.head_mut();
    let old = head.resolved;
    let moved = head.flags & flow_flags::ROUTED != 0
        && cx.arrival.now.wrapping_sub(old) >= cx.config.refresh
        && resolve(cx, key, head);
    let first_reply = head.flags & (flow_flags::REPLY | flow_flags::REPLIED) == flow_flags::REPLY;
    let ends = cx.packet.tcp & (tcp::FIN | tcp::RST) != 0 && head.state != TcpState::Closing as u8;
    if !moved && !first_reply && !ends && head.epoch == cx.arrival.generation {
        let resolved = head.resolved != old;
        if is_renewed(cx, key, work, resolved) {
            return follow(cx, work);
        }
    }
    let head = work.half.head_mut();
    if first_reply || head.epoch != cx.arrival.generation {
        let state = state(head);
        let reason = filter::evaluate(cx, &subject(cx, &work.half, state));
        work.half.head_mut().reason = reason as u8;
        work.half.head_mut().epoch = cx.arrival.generation;
    }
    if work.half.head().reason != Reason::None as u8 {
        // A dropped packet keeps nothing alive, and is no answer.
        cx.env.flow_update(key, &work.half);
        return work.verdict.refuse(Reason::Filtered);
    }
    let head = work.half.head_mut();
    if first_reply {
        head.flags |= flow_flags::REPLIED;
        if head.state == TcpState::Opening as u8 {
            head.state = TcpState::Established as u8;
        }
    }
    if cx.packet.tcp & (tcp::FIN | tcp::RST) != 0 {
        head.state = TcpState::Closing as u8;
    }
    head.seen = cx.arrival.now;
    if renew_other_half(cx, key, work, first_reply) {
        cx.env.flow_update(key, &work.half);
    } else {
        cx.env.flow_remove(key);
    }
    follow(cx, work)
}

/// Notes the use of both halves of a flow of which nothing else changes; false if something does: the other half is
/// gone, or another CPU has overwritten what one of them knew.
#[inline(always)]
fn is_renewed<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &Work<E::F>, resolved: bool) -> bool {
    let head = work.half.head();
    let other_key = other_half(key, head, work.half.tail());
    let now = cx.arrival.now;
    cx.env
        .flow_renew(&other_key, now, false)
        .is_some_and(|(state, flags)| state == head.state && (flags ^ head.flags) & flow_flags::REPLIED == 0)
        && cx.env.flow_renew(key, now, resolved).is_some()
}

/// Carries use and state over to the other half, so that both expire together. An answer makes the
/// asking half ask the filter again, now as part of an established flow. False if it is gone.
#[inline(always)]
fn renew_other_half<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>, first_reply: bool) -> bool {
    let head = *work.half.head();
    let other_key = other_half(key, &head, work.half.tail());
    if !cx.env.flow(&other_key, &mut work.other) {
        return false;
    }
    let other = work.other.head_mut();
    // A flow's state only goes forward: of two CPUs that renew it, the later may have read the earlier state.
    let state = head.state.max(other.state);
    other.seen = head.seen;
    other.state = state;
    let replied = (head.flags | other.flags) & flow_flags::REPLIED;
    if first_reply {
        other.epoch = 0;
    }
    let half = work.half.head_mut();
    half.state = state;
    if replied != head.flags & flow_flags::REPLIED {
        // The asking half was overwritten by one that had not seen the answer.
        half.flags |= replied;
        half.epoch = 0;
    }
    other.flags |= replied;
    cx.env.flow_update(&other_key, &work.other);
    true
}

/// Looks again for the next hop, or for the station behind a trunk, once a second; true if that has changed.
#[inline(always)]
fn resolve<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, head: &mut FlowHead) -> bool {
    let (ifindex, slot, dmac, smac) = (head.ifindex, head.slot, head.dmac, head.smac);
    head.resolved = cx.arrival.now;
    if head.action == flow_action::UPLINK {
        let bridge = cx
            .env
            .network(cx.arrival.zone)
            .map_or(0, |network| network.head().bridge);
        let hop = cx.env.next_hop(key.src, key.dst, bridge);
        let usable = hop.kind as u8 == HopKind::Resolved as u8 && hop.ifindex == head.ifindex;
        head.dmac = if usable { hop.dmac } else { [0; 6] };
        head.smac = if usable { hop.smac } else { [0; 6] };
    } else if let Some(station) = cx.env.station(&MacKey {
        mac: head.dmac,
        net: head.peer_zone,
    }) {
        head.ifindex = station.ifindex;
        head.slot = station.slot;
    }
    (ifindex, slot) != (head.ifindex, head.slot) || dmac != head.dmac || smac != head.smac
}

/// True if the packet came by way of the gateway, and not straight to the receiver's MAC. What the
/// stack has routed already has its MACs and TTL.
#[inline(always)]
pub fn is_routed<E: Env>(cx: &Cx<'_, E>, head: &FlowHead) -> bool {
    head.flags & flow_flags::ROUTED != 0
        && cx.arrival.hook as u8 != Hook::ToUplink as u8
        && cx.packet.to.mac != head.dmac
}

/// The action of `work.half` on the packet.
#[inline(always)]
pub fn follow<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let Work { verdict, half, .. } = work;
    let head = half.head();
    let routed = is_routed(cx, head);
    if routed && cx.packet.ttl <= 1 {
        return verdict.answer(Reason::TtlExpired, 0);
    }
    if routed && head.mtu != 0 && !cx.packet.fits(cx.env, u32::from(head.mtu)) {
        return verdict.answer(Reason::TooBig, head.mtu);
    }
    let action = verdict.follow(head, cx.packet, routed);
    if routed || head.flags & (flow_flags::SRC | flow_flags::DST) != 0 {
        verdict.translate(cx.packet, head.flags, half.tail());
    }
    action
}
