//! Packets that a container sends to its gateway's MAC: to the host, to the outside.

use crate::abi::{
    Addr, AddrKey, CtState, FlowHead, Hook, NetworkAddrs, NetworkHead, Reason, Record, SUBNET_LOCAL, Station,
    flow_action, flow_flags, network_flags, proto,
};

use super::bridge::{self, NO_STATION};
use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env, HopKind, Inserted};
use super::filter::{self, Subject};
use super::icmp::{self, Quote};
use super::nat;
use super::verdict::Action;

/// Where a packet for the gateway goes.
#[inline(always)]
pub fn routed<E: Env>(
    cx: &Cx<'_, E>,
    head: &NetworkHead,
    addrs: &NetworkAddrs<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action
where
    AddrOf<E>: Quote,
{
    if cx.packet.is_whole()
        && cx.packet.is_tracked()
        && let Some(action) = conntrack::known(cx, work)
    {
        return action;
    }
    // Functions of their own in the object and not one: their stacks add up only where they nest.
    match classify(cx, head, work) {
        Class::Settled => return work.verdict.action,
        Class::Neighbour => {
            let key = AddrKey {
                addr: cx.packet.key.dst,
                net: cx.arrival.zone.to_ne_bytes(),
                pad: [0; 2],
            };
            let station = cx.env.address(&key).unwrap_or(NO_STATION);
            let trackable = cx.packet.is_whole() && cx.packet.is_tracked();
            let ends = trackable && cx.packet.ttl <= 1 && cx.arrival.hook as u8 == Hook::FromContainer as u8;
            let opens = trackable && !ends && !cx.packet.is_icmp_reply();
            if opens && station.ifindex != 0 && station.ifindex != cx.arrival.ifindex {
                return to_neighbour(cx, head, &station, work);
            }
            let action = bridge::untracked(cx, &station, work);
            return if ends && action as u8 == Action::Pass as u8 {
                work.verdict.answer(Reason::TtlExpired, 0)
            } else {
                action
            };
        }
        Class::Outside => {}
    }
    if let Some(action) = way_out(cx, head, work) {
        return action;
    }
    let reason = open(cx, head, addrs, work);
    if reason as u8 != Reason::None as u8 {
        return work.verdict.refuse(reason);
    }
    // Another CPU may have opened the same flow with another port: what the table says holds.
    if !cx.env.flow(&cx.packet.key, &mut work.half) {
        return work.verdict.refuse(Reason::FlowTableFull);
    }
    conntrack::follow(cx, work)
}

/// What a packet without a flow is.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Class {
    /// `verdict.action` says what becomes of it.
    Settled = 0,
    /// It goes to a neighbour in its own network.
    Neighbour = 1,
    /// It opens a flow to the outside, and the filter lets it.
    Outside = 2,
}

/// Where a packet without a flow wants to go, and whether it may.
#[inline(never)]
fn classify<E: Env>(cx: &Cx<'_, E>, head: &NetworkHead, work: &mut Work<E::F>) -> Class
where
    AddrOf<E>: Quote,
{
    work.verdict.action = Action::Pass;
    if icmp::is_refused(cx.packet) {
        work.verdict.action = work.verdict.refuse(Reason::UnsupportedIcmp);
        return Class::Settled;
    }
    match cx.env.subnet(cx.packet.key.dst) {
        Some(SUBNET_LOCAL) => return Class::Settled,
        Some(net) if net == u32::from(cx.arrival.zone) => return Class::Neighbour,
        Some(_) => {
            work.verdict.action = work.verdict.refuse(Reason::Isolated);
            return Class::Settled;
        }
        None => {}
    }
    if cx.packet.key.dst.is_multicast() {
        return Class::Settled;
    }
    let trackable = cx.packet.is_whole() && cx.packet.is_tracked();
    work.verdict.action = if head.uplink == 0 {
        work.verdict.refuse(Reason::NoUplink)
    } else if cx.packet.is_icmp_error() {
        icmp::outgoing_error(cx, work)
    } else if cx.packet.key.proto == proto::ICMP && cx.packet.is_whole() && !cx.packet.is_tracked() {
        work.verdict.refuse(Reason::UnsupportedIcmp)
    } else if cx.packet.is_whole() && cx.packet.is_icmp_reply() {
        work.verdict.refuse(Reason::UntrackedIcmp)
    } else if head.flags & network_flags::MASQUERADE != 0 && !trackable {
        work.verdict.refuse(if cx.packet.is_whole() {
            Reason::UnsupportedProtocol
        } else {
            Reason::Fragment
        })
    } else {
        let reason = filter::evaluate(cx, &Subject::of(cx, CtState::NEW).to(head.uplink, 0));
        if reason as u8 == Reason::None as u8 && trackable {
            return Class::Outside;
        }
        work.verdict.refuse(reason)
    };
    Class::Settled
}

/// Fills in both halves of a flow to the outside but its ports; an action if the stack must see the
/// packet, or it may not leave.
#[inline(never)]
fn way_out<E: Env>(cx: &Cx<'_, E>, head: &NetworkHead, work: &mut Work<E::F>) -> Option<Action> {
    let slow = cx.arrival.hook as u8 == Hook::ToUplink as u8;
    if !slow && cx.packet.ttl <= 1 {
        return Some(work.verdict.answer(Reason::TtlExpired, 0));
    }
    if !slow && !cx.packet.fits(cx.env, head.mtu) {
        return Some(work.verdict.answer(Reason::TooBig, (head.mtu & 0xffff) as u16));
    }
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx.arrival.now);
    forward.epoch = cx.arrival.generation;
    forward.action = flow_action::UPLINK;
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = head.uplink;
    forward.slot = head.uplink_slot;
    forward.mtu = (head.mtu & 0xffff) as u16;
    returning(cx, head, work.other.head_mut());
    if slow {
        return None;
    }
    let hop = cx.env.next_hop(cx.packet.key.src, cx.packet.key.dst, head.bridge);
    if hop.kind as u8 == HopKind::Stack as u8 {
        return Some(Action::Pass);
    }
    if hop.ifindex != 0 && hop.ifindex != head.uplink {
        return Some(work.verdict.refuse(Reason::OffUplink));
    }
    if hop.kind as u8 == HopKind::Resolved as u8 {
        forward.dmac = hop.dmac;
        forward.smac = hop.smac;
    }
    None
}

/// Creates the flow whose halves [`way_out`] began.
#[inline(never)]
fn open<E: Env>(cx: &Cx<'_, E>, head: &NetworkHead, addrs: &NetworkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> Reason {
    let key = cx.packet.key;
    *work.other.tail_mut() = conntrack::answer(&key);
    if head.flags & network_flags::MASQUERADE != 0 {
        work.half.head_mut().flags |= flow_flags::SRC;
        work.other.head_mut().flags |= flow_flags::DST;
        return nat::masquerade(cx, &key, addrs.snat, work);
    }
    *work.half.tail_mut() = conntrack::untranslated(&key);
    match conntrack::create(cx, &key, work) {
        Inserted::Yes => Reason::None,
        Inserted::Exists => Reason::NatExhausted,
        Inserted::Full => Reason::FlowTableFull,
    }
}

/// The half that brings the answers back to the sender.
#[inline(always)]
fn returning<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, reply: &mut FlowHead) {
    *reply = conntrack::new_head(cx.arrival.now);
    reply.flags = flow_flags::ROUTED | flow_flags::REPLY;
    reply.peer_zone = cx.arrival.zone;
    reply.ifindex = cx.arrival.ifindex;
    reply.slot = cx.arrival.slot;
    reply.dmac = cx.packet.from.mac;
    reply.smac = network.gateway.mac;
    if cx.arrival.hook as u8 == Hook::ToUplink as u8 {
        // The frame's MACs are the uplink's by now.
        let key = AddrKey {
            addr: cx.packet.key.src,
            net: cx.arrival.zone.to_ne_bytes(),
            pad: [0; 2],
        };
        reply.dmac = cx.env.address(&key).unwrap_or(NO_STATION).mac;
    }
}

/// A neighbour reached through the gateway, as containers with a /32 address do.
#[inline(never)]
fn to_neighbour<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, station: &Station, work: &mut Work<E::F>) -> Action {
    let reason = filter::evaluate(cx, &Subject::of(cx, CtState::NEW).to(station.ifindex, cx.arrival.zone));
    if reason as u8 != Reason::None as u8 {
        return work.verdict.refuse(reason);
    }
    let flow_key = cx.packet.key;
    *work.half.tail_mut() = conntrack::untranslated(&flow_key);
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx.arrival.now);
    forward.epoch = cx.arrival.generation;
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = station.ifindex;
    forward.slot = station.slot;
    forward.dmac = station.mac;
    forward.smac = network.gateway.mac;
    forward.peer_zone = cx.arrival.zone;
    returning(cx, network, work.other.head_mut());
    *work.other.tail_mut() = conntrack::answer(&flow_key);
    match conntrack::create(cx, &flow_key, work) {
        Inserted::Full => work.verdict.refuse(Reason::FlowTableFull),
        Inserted::Exists | Inserted::Yes => conntrack::follow(cx, work),
    }
}
