//! Packets that a container sends to its gateway's MAC: to the host, to the outside.

use crate::abi::{
    Addr, AddrKey, CtState, FlowHead, Hook, NetworkAddrs, NetworkHead, Reason, Record, SUBNET_LOCAL, flow_action,
    flow_flags, network_flags,
};

use super::bridge::{self, NO_STATION};
use super::conntrack::{self, Cx};
use super::env::{AddrOf, Env, FlowOf, HopKind, Inserted};
use super::filter::{self, Subject};
use super::icmp::{self, Quote};
use super::nat;
use super::verdict::{Action, Verdict};

/// Where a packet for the gateway goes.
#[inline(always)]
pub fn routed<E: Env>(
    cx: &Cx<'_, E>,
    head: &NetworkHead,
    addrs: &NetworkAddrs<AddrOf<E>>,
    verdict: &mut Verdict<AddrOf<E>>,
) -> Action
where
    AddrOf<E>: Quote,
{
    if cx.packet.is_whole() && cx.packet.is_tracked() {
        let key = cx.packet.key(cx.arrival.zone);
        if let Some(flow) = conntrack::find(cx, &key) {
            if !conntrack::restarts(cx.packet, flow.head()) {
                return conntrack::established(cx, &key, &flow, verdict);
            }
            conntrack::remove(cx.env, &key, &flow);
        }
    }
    first_packet(cx, head, addrs, verdict)
}

/// A packet without a flow. A function of its own in the object: its stack is not the fast path's.
#[inline(never)]
fn first_packet<E: Env>(
    cx: &Cx<'_, E>,
    head: &NetworkHead,
    addrs: &NetworkAddrs<AddrOf<E>>,
    verdict: &mut Verdict<AddrOf<E>>,
) -> Action
where
    AddrOf<E>: Quote,
{
    match cx.env.subnet(cx.packet.dst) {
        Some(SUBNET_LOCAL) => return Action::Pass,
        Some(net) if net == u32::from(cx.arrival.zone) => return to_neighbour(cx, head, verdict),
        Some(_) => return verdict.refuse(Reason::Isolated),
        None => {}
    }
    if cx.packet.dst.is_multicast() {
        return Action::Pass;
    }
    if head.uplink == 0 {
        return verdict.refuse(Reason::NoUplink);
    }
    if cx.packet.is_icmp_error() {
        return icmp::outgoing_error(cx, verdict);
    }
    let trackable = cx.packet.is_whole() && cx.packet.is_tracked();
    if head.flags & network_flags::MASQUERADE != 0 && !trackable {
        let reason = if cx.packet.is_whole() { Reason::UnsupportedProtocol } else { Reason::Fragment };
        return verdict.refuse(reason);
    }
    let reason = filter::evaluate(cx, &Subject::of(cx, CtState::NEW).to(head.uplink, 0));
    if reason as u8 != Reason::None as u8 || !trackable {
        return verdict.refuse(reason);
    }
    outward(cx, head, addrs, verdict)
}

/// Opens a flow to the outside.
#[inline(always)]
fn outward<E: Env>(
    cx: &Cx<'_, E>,
    head: &NetworkHead,
    addrs: &NetworkAddrs<AddrOf<E>>,
    verdict: &mut Verdict<AddrOf<E>>,
) -> Action {
    let slow = cx.arrival.hook as u8 == Hook::ToUplink as u8;
    if !slow && (cx.packet.ttl <= 1 || !cx.env.fits(head.mtu)) {
        return Action::Pass;
    }
    let mut forward = conntrack::new_head(cx.arrival.now);
    forward.epoch = cx.config.generation;
    forward.action = flow_action::UPLINK;
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = head.uplink;
    forward.slot = head.uplink_slot;
    forward.mtu = (head.mtu & 0xffff) as u16;
    if !slow {
        let hop = cx.env.next_hop(cx.packet.src, cx.packet.dst, head.bridge);
        if hop.kind as u8 == HopKind::Stack as u8 {
            return Action::Pass;
        }
        if hop.ifindex != 0 && hop.ifindex != head.uplink {
            return verdict.refuse(Reason::OffUplink);
        }
        if hop.kind as u8 == HopKind::Resolved as u8 {
            forward.dmac = hop.dmac;
            forward.smac = hop.smac;
        }
    }
    let mut reply = returning(cx, head);
    let key = cx.packet.key(cx.arrival.zone);
    let reason = if head.flags & network_flags::MASQUERADE != 0 {
        forward.flags |= flow_flags::SRC;
        reply.flags |= flow_flags::DST;
        nat::masquerade(cx, &key, addrs.snat, &forward, &reply)
    } else {
        let forward = FlowOf::<E>::new(forward, conntrack::untranslated(&key));
        let reply = FlowOf::<E>::new(reply, conntrack::answer(&key));
        match conntrack::create(cx, &key, &forward, &reply) {
            Inserted::Yes => Reason::None,
            Inserted::Exists => Reason::NatExhausted,
            Inserted::Full => Reason::FlowTableFull,
        }
    };
    if reason as u8 != Reason::None as u8 {
        return verdict.refuse(reason);
    }
    // Another CPU may have opened the same flow with another port: what the table says holds.
    match cx.env.flow(&key) {
        Some(flow) => conntrack::follow(cx, flow.head(), flow.tail(), verdict),
        None => verdict.refuse(Reason::FlowTableFull),
    }
}

/// The half that brings the answers back to the sender.
#[inline(always)]
fn returning<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead) -> FlowHead {
    let mut reply = conntrack::new_head(cx.arrival.now);
    reply.flags = flow_flags::ROUTED | flow_flags::REPLY;
    reply.peer_zone = cx.arrival.zone;
    reply.ifindex = cx.arrival.ifindex;
    reply.slot = cx.arrival.slot;
    reply.dmac = cx.packet.smac;
    reply.smac = network.mac;
    if cx.arrival.hook as u8 == Hook::ToUplink as u8 {
        // The frame's MACs are the uplink's by now.
        let key = AddrKey { addr: cx.packet.src, net: cx.arrival.zone.to_ne_bytes(), pad: [0; 2] };
        reply.dmac = cx.env.address(&key).unwrap_or(NO_STATION).mac;
    }
    reply
}

/// A neighbour reached through the gateway, as containers with a /32 address do.
#[inline(always)]
fn to_neighbour<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, verdict: &mut Verdict<AddrOf<E>>) -> Action
where
    AddrOf<E>: Quote,
{
    let key = AddrKey { addr: cx.packet.dst, net: cx.arrival.zone.to_ne_bytes(), pad: [0; 2] };
    let station = cx.env.address(&key).unwrap_or(NO_STATION);
    let trackable = cx.packet.is_whole() && cx.packet.is_tracked() && cx.packet.ttl > 1;
    if !trackable || station.ifindex == 0 || station.ifindex == cx.arrival.ifindex {
        return bridge::untracked(cx, &station, verdict);
    }
    let reason = filter::evaluate(cx, &Subject::of(cx, CtState::NEW).to(station.ifindex, cx.arrival.zone));
    if reason as u8 != Reason::None as u8 {
        return verdict.refuse(reason);
    }
    let mut forward = conntrack::new_head(cx.arrival.now);
    forward.epoch = cx.config.generation;
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = station.ifindex;
    forward.slot = station.slot;
    forward.dmac = station.mac;
    forward.smac = network.mac;
    forward.peer_zone = cx.arrival.zone;
    let flow_key = cx.packet.key(cx.arrival.zone);
    let to = conntrack::untranslated(&flow_key);
    let reply = FlowOf::<E>::new(returning(cx, network), conntrack::answer(&flow_key));
    match conntrack::create(cx, &flow_key, &FlowOf::<E>::new(forward, to), &reply) {
        Inserted::Full => verdict.refuse(Reason::FlowTableFull),
        Inserted::Exists | Inserted::Yes => conntrack::follow(cx, &forward, &to, verdict),
    }
}
