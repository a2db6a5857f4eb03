//! Packets that a container sends to its gateway's MAC: to the host, to the outside.

use crate::abi::{
    Addr, AddrKey, CtState, FlowHead, Hook, NO_SLOT, NetworkAddrs, NetworkHead, Reason, Record, SUBNET_LOCAL,
    flow_action, flow_flags, network_flags, proto,
};

use super::binding;
use super::bridge::{self, NO_STATION};
use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env, HopKind};
use super::filter::{self, Subject};
use super::flows;
use super::icmp::{self, Quote};
use super::inbound;
use super::parse::Fragment;
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
    if cx.packet.is_tracked()
        && let Some(action) = conntrack::known(cx, work)
    {
        return action;
    }
    // Functions of their own in the object and not one: their stacks add up only where they nest.
    let mut class = classify(cx, head, work);
    if class as u8 == Class::Outside as u8 {
        class = way_out(cx, head, addrs, work);
    }
    class = match class {
        Class::Neighbour => neighbour(cx, head, work),
        Class::Host => {
            if behind(cx, head, work) {
                work.verdict.action = inbound::may_enter(cx, work);
                if work.verdict.action as u8 == Action::Pass as u8 {
                    hairpin(cx, head, addrs, work);
                    Class::Outside
                } else {
                    Class::Settled
                }
            } else {
                Class::Settled
            }
        }
        other => other,
    };
    match class {
        Class::Settled => work.verdict.action,
        Class::Neighbour => {
            let action = bridge::stateless(cx, work);
            if action as u8 == Action::Pass as u8 && ends(cx) {
                work.verdict.answer(Reason::TtlExpired, 0)
            } else {
                action
            }
        }
        _ => flows::open(cx, work),
    }
}

/// True if the packet's TTL ends at the gateway, and the sender hears of it from there.
fn ends<E: Env>(cx: &Cx<'_, E>) -> bool {
    cx.packet.ttl <= 1 && cx.packet.is_tracked() && cx.arrival.hook as u8 == Hook::FromContainer as u8
}

/// What a packet without a flow is.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Class {
    /// `verdict.action` says what becomes of it.
    Settled = 0,
    /// It goes to a neighbour in its own network.
    Neighbour = 1,
    /// It opens a flow, to the outside unless its halves say otherwise, and the filter lets it.
    Outside = 2,
    /// It is for an address of the host.
    Host = 3,
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
        Some(SUBNET_LOCAL) if cx.packet.is_icmp_error() => {
            // About a packet that came by an address of the host, or about the host's own.
            work.verdict.action = icmp::incoming_error(cx, work);
            return Class::Settled;
        }
        Some(SUBNET_LOCAL) => return Class::Host,
        Some(net) if net == u32::from(cx.arrival.zone) => return Class::Neighbour,
        Some(net) => {
            work.verdict.action = isolated(cx, (net & 0xffff) as u16, work);
            return Class::Settled;
        }
        None => {}
    }
    if cx.packet.key.dst.is_multicast() {
        return Class::Settled;
    }
    let trackable = cx.packet.is_tracked();
    let nameless = !trackable || (proto::is_portless(cx.packet.key.proto) && head.flags & network_flags::TUNNELS == 0);
    work.verdict.action = if head.uplink == 0 {
        work.verdict.refuse(Reason::NoUplink)
    } else if cx.packet.is_icmp_error() {
        icmp::outgoing_error(cx, work)
    } else if cx.packet.key.proto == proto::ICMP && cx.packet.is_whole() && !cx.packet.is_tracked() {
        work.verdict.refuse(Reason::UnsupportedIcmp)
    } else if cx.packet.fragment as u8 == Fragment::Rest as u8 {
        // The flow of its first is gone.
        work.verdict.refuse(Reason::Fragment)
    } else if cx.packet.is_icmp_reply() {
        work.verdict.refuse(Reason::UntrackedIcmp)
    } else if head.flags & network_flags::MASQUERADE != 0 && nameless {
        work.verdict.refuse(if trackable || cx.packet.is_whole() {
            Reason::UnsupportedProtocol
        } else {
            Reason::Fragment
        })
    } else if trackable && !conntrack::may_open(cx) {
        work.verdict.refuse(Reason::MidStream)
    } else {
        let action = filter::ask(cx, Subject::of(cx, CtState::NEW).to(head.uplink, 0), work);
        if action as u8 == Action::Pass as u8 && trackable {
            return Class::Outside;
        }
        action
    };
    Class::Settled
}

/// The last word on a packet to another network: the filter's, and if that lets it pass it is dropped all the same.
#[inline(never)]
fn isolated<E: Env>(cx: &Cx<'_, E>, net: u16, work: &mut Work<E::F>) -> Action {
    let holder = AddrKey {
        addr: cx.packet.key.dst,
        net: net.to_ne_bytes(),
        pad: [0; 2],
    };
    let station = cx.env.address(&holder).unwrap_or(NO_STATION);
    let subject = Subject::of(cx, conntrack::opening_state(cx)).to(station.ifindex, net);
    match filter::ask(cx, subject, work) {
        Action::Pass => work.verdict.refuse(Reason::Isolated),
        refused => refused,
    }
}

/// Fills in both halves of a flow to the outside but its ports, the address that it takes first; another class if the stack must
/// see the packet, or it may not leave.
#[inline(never)]
fn way_out<E: Env>(
    cx: &Cx<'_, E>,
    head: &NetworkHead,
    addrs: &NetworkAddrs<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Class {
    let slow = cx.arrival.hook as u8 == Hook::ToUplink as u8;
    work.verdict.action = Action::Pass;
    if !slow && cx.packet.ttl <= 1 {
        work.verdict.action = work.verdict.answer(Reason::TtlExpired, 0);
        return Class::Settled;
    }
    if !slow && !cx.packet.fits(cx.env, head.mtu) {
        work.verdict.action = work.verdict.answer(Reason::TooBig, (head.mtu & 0xffff) as u16);
        return Class::Settled;
    }
    let mut forward = conntrack::new_head(cx, owner(cx, head), &work.search);
    forward.action = flow_action::UPLINK;
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = head.uplink;
    forward.slot = head.uplink_slot;
    forward.mtu = (head.mtu & 0xffff) as u16;
    returning(cx, head, work.other.head_mut());
    let hop = cx.env.next_hop(cx.packet.key.src, cx.packet.key.dst, head.bridge);
    if !slow {
        match hop.kind {
            HopKind::Local => return Class::Host,
            HopKind::Stack => return Class::Settled,
            _ => {}
        }
        if hop.ifindex != 0 && hop.ifindex != head.uplink {
            work.verdict.action = work.verdict.refuse(Reason::OffUplink);
            return Class::Settled;
        }
        if hop.kind as u8 == HopKind::Resolved as u8 {
            forward.dmac = hop.dmac;
            forward.smac = hop.smac;
        }
    }
    *work.half.head_mut() = forward;
    *work.half.tail_mut() = conntrack::untranslated(&cx.packet.key);
    *work.other.tail_mut() = conntrack::answer(&cx.packet.key);
    if head.flags & network_flags::MASQUERADE != 0 {
        // By the uplink alone: the stack sends a packet here by other rules than the lookup knows where a mark steers it.
        let known =
            hop.ifindex == head.uplink && hop.src != Addr::UNSPECIFIED && head.flags & network_flags::FIXED_SNAT == 0;
        work.half.tail_mut().src = if known { hop.src } else { addrs.snat };
        let bound = bound(head);
        work.half.head_mut().flags |= flow_flags::SRC | bound;
        work.other.head_mut().flags |= flow_flags::DST | bound;
    }
    Class::Outside
}

/// [`flow_flags::BOUND`] where flows of a network have a binding, else nothing.
const fn bound(head: &NetworkHead) -> u8 {
    if head.flags & network_flags::INDEPENDENT_MAPPING != 0 {
        flow_flags::BOUND
    } else {
        0
    }
}

/// Fills in the forward half with the way to the container at an address of the host; false if the stack gets the packet, or it
/// may not pass.
#[inline(never)]
fn behind<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, work: &mut Work<E::F>) -> bool {
    // Without a target the stack gets the packet.
    work.verdict.action = Action::Pass;
    let Some(target) = inbound::behind_port(cx) else {
        return false;
    };
    if is_others(cx, network, target.open) {
        return false;
    }
    let reason = inbound::lead(cx, &target, work);
    work.verdict.action = work.verdict.refuse(reason);
    reason as u8 == Reason::None as u8
}

/// Completes both halves of a flow to a container by an address of the host, but for its source port; [`behind`] has filled in
/// the way. The answers come back the same way, so the container sees the address that was asked for
/// as the source (RFC 4787 REQ-9): it would answer a neighbour of its own network directly.
///
/// To a port that only those may send to whom its container has sent, the flow is opened all the same, and awaits that: it is
/// what lets the container's own packets in, as with two clients of two NATs (RFC 5128, section 3.3).
#[inline(never)]
fn hairpin<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, addrs: &NetworkAddrs<AddrOf<E>>, work: &mut Work<E::F>) {
    let (dst, open) = (cx.packet.key.dst, work.entry.is_open());
    // A mapped port is where the other one sends to, so it comes from one too.
    let from = if open {
        dst
    } else {
        binding::address(cx, &cx.packet.key, addrs.snat)
    };
    let bound = if !open || dst == { addrs.snat } {
        bound(network)
    } else {
        0
    };
    let head = work.half.head_mut();
    head.flags |= flow_flags::SRC | bound | if open { 0 } else { flow_flags::AWAITS };
    // Who dials, not who is dialled as from outside: a neighbour can be held to account.
    head.owner = owner(cx, network);
    work.half.tail_mut().src = from;
    returning(cx, network, work.other.head_mut());
    work.other.head_mut().flags |= flow_flags::SRC | flow_flags::DST | bound;
    *work.other.tail_mut() = conntrack::answer(&cx.packet.key);
}

/// True if a packet to an address of the host is not for a container after all. A function of its own in the object, as
/// [`behind`] is: their stacks add up only where they nest.
#[inline(never)]
fn is_others<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, open: bool) -> bool {
    let key = &cx.packet.key;
    // An address that another machine has by now is not the host's, whatever the controller last heard. A port that stood
    // for a container's alone may have been opened by a program of the host's since; and it is for who can reach the outside.
    cx.env.next_hop(key.src, key.dst, network.bridge).ifindex != 0
        || (!open && (network.uplink == 0 || cx.env.host_socket(key)))
}

/// Whose quota a container's flow is on: the sender's; where the stack brings what a station behind a trunk sent, and nobody
/// knows which trunk, the uplink's.
#[inline(always)]
fn owner<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead) -> u32 {
    if cx.arrival.slot == NO_SLOT {
        network.uplink_slot
    } else {
        cx.arrival.slot
    }
}

/// The half that brings the answers back to the sender.
#[inline(always)]
fn returning<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, reply: &mut FlowHead) {
    *reply = conntrack::new_reply(cx, owner(cx, network));
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

/// Fills in both halves of a flow to a neighbour that is reached through the gateway, as containers with a /32 address do,
/// if it opens one.
#[inline(never)]
fn neighbour<E: Env>(cx: &Cx<'_, E>, network: &NetworkHead, work: &mut Work<E::F>) -> Class {
    let key = AddrKey {
        addr: cx.packet.key.dst,
        net: cx.arrival.zone.to_ne_bytes(),
        pad: [0; 2],
    };
    let station = cx.env.address(&key).unwrap_or(NO_STATION);
    let trackable = cx.packet.is_tracked() && cx.packet.ttl > 1 && conntrack::may_open(cx);
    if !trackable || station.ifindex == 0 || station.ifindex == cx.arrival.ifindex {
        return Class::Neighbour;
    }
    let subject = Subject::of(cx, conntrack::opening_state(cx)).to(station.ifindex, cx.arrival.zone);
    work.verdict.action = filter::ask(cx, subject, work);
    if work.verdict.action as u8 != Action::Pass as u8 {
        return Class::Settled;
    }
    *work.half.tail_mut() = conntrack::untranslated(&cx.packet.key);
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx, owner(cx, network), &work.search);
    forward.flags = flow_flags::ROUTED;
    forward.ifindex = station.ifindex;
    forward.slot = station.slot;
    forward.dmac = station.mac;
    forward.smac = network.gateway.mac;
    forward.peer_zone = cx.arrival.zone;
    returning(cx, network, work.other.head_mut());
    *work.other.tail_mut() = conntrack::answer(&cx.packet.key);
    Class::Outside
}
