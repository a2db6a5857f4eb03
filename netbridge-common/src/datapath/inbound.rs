//! Packets from the outside: answers, published ports, and what is not ours.

use crate::abi::{
    Addr, CtState, Family, LINK_ADDRS, LinkAddrs, Nat, PortKey, PortTarget, PublishedHead, Reason, Record,
    SUBNET_LOCAL, SourceKey, flow_action, flow_flags, port_scope, proto,
};

use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env, Inserted};
use super::filter;
use super::icmp::{self, Quote};
use super::verdict::Action;

/// Where a packet from the outside goes.
#[inline(always)]
pub fn inbound<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    if cx.packet.is_whole()
        && cx.packet.is_tracked()
        && let Some(action) = conntrack::known(cx, work)
    {
        return action;
    }
    if cx.packet.is_icmp_error() {
        let action = icmp::incoming_error(cx, work);
        if action as u8 != Action::Pass as u8 {
            return action;
        }
    }
    first_packet(cx, addrs, work)
}

/// A packet without a flow. A function of its own in the object: its stack is not the fast path's.
#[inline(never)]
fn first_packet<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> Action {
    // Mid-stream segments open nothing from the outside.
    let opens = cx.packet.key.proto == proto::UDP || conntrack::is_opening(cx.packet);
    if opens
        && cx.packet.has_ports()
        && is_local(addrs, cx.packet.key.dst)
        && let Some(published) = published(cx.env, cx.packet.key.dst, cx.packet.key.dport, cx.packet.key.proto)
    {
        return open(cx, published.head(), published.tail(), work);
    }
    match cx.env.subnet(cx.packet.key.dst) {
        None | Some(SUBNET_LOCAL) => Action::Pass,
        Some(_) => work.verdict.refuse(Reason::DirectAccess),
    }
}

/// True if the address is the uplink's own: a published port answers nowhere else (CVE-2025-67499).
fn is_local<A: Addr>(addrs: &LinkAddrs<A>, addr: A) -> bool {
    let local: [A; LINK_ADDRS] = addrs.addrs;
    let mut found = false;
    for candidate in local {
        found |= candidate == addr;
    }
    found
}

/// The target of a protocol's port at this very address, else at any.
#[inline(always)]
pub(super) fn published<E: Env>(
    env: &E,
    addr: AddrOf<E>,
    port: [u8; 2],
    proto: u8,
) -> Option<&<E::F as Family>::Published> {
    let exact = PortKey {
        addr,
        port,
        proto,
        scope: port_scope::HERE,
    };
    env.published(&exact).or_else(|| env.published(&exact.anywhere()))
}

/// Whether a source elsewhere than on the host may open a flow through a published port.
#[inline(always)]
pub(super) fn admits<E: Env>(env: &E, published: &PublishedHead, src: AddrOf<E>) -> bool {
    let list = published.sources;
    list == 0 || env.is_source(&SourceKey { list, addr: src })
}

/// Opens a flow to a published port.
#[inline(always)]
fn open<E: Env>(
    cx: &Cx<'_, E>,
    target_head: &PublishedHead,
    target: &PortTarget<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action {
    if !cx.packet.is_whole() {
        return work.verdict.refuse(Reason::Fragment);
    }
    // Nobody outside holds an address of the host's or of a container's: the answers would go to its owner.
    if cx.env.subnet(cx.packet.key.src).is_some() {
        return work.verdict.refuse(Reason::SpoofedIp);
    }
    if !admits(cx.env, target_head, cx.packet.key.src) {
        return work.verdict.refuse(Reason::SourceNotAllowed);
    }
    if cx.packet.ttl <= 1 {
        return work.verdict.refuse(Reason::TtlExpired);
    }
    let Some(network) = cx
        .env
        .network(target_head.net)
        .filter(|network| network.head().bridge != 0)
    else {
        return work.verdict.refuse(Reason::UnknownLink);
    };
    // Published for the host alone: to the outside it is not, and the stack says so.
    if network.head().uplink == 0 {
        return Action::Pass;
    }
    let key = cx.packet.key;
    *work.half.tail_mut() = Nat {
        src: cx.packet.key.src,
        dst: target.addr,
        sport: cx.packet.key.sport,
        dport: target.port(cx.packet.key.dport),
    };
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx.arrival.now);
    forward.epoch = cx.arrival.generation;
    forward.flags = flow_flags::ROUTED | flow_flags::DST;
    forward.ifindex = target_head.ifindex;
    forward.slot = target_head.slot;
    forward.dmac = target_head.mac;
    forward.smac = network.head().gateway.mac;
    forward.peer_zone = target_head.net;
    let reason = filter::evaluate(cx, &conntrack::subject(cx, &work.half, CtState::NEW));
    if reason as u8 != Reason::None as u8 {
        return work.verdict.refuse(reason);
    }

    *work.other.tail_mut() = conntrack::answer(&key);
    let reply = work.other.head_mut();
    *reply = conntrack::new_head(cx.arrival.now);
    reply.action = flow_action::UPLINK;
    reply.flags = flow_flags::ROUTED | flow_flags::SRC | flow_flags::REPLY;
    reply.ifindex = cx.arrival.ifindex;
    reply.slot = cx.arrival.slot;
    // The first answer asks the host's routes for the way back: a MAC that came with a forged source would make a
    // neighbour of the uplink that client.
    reply.resolved = cx.arrival.now.wrapping_sub(cx.config.refresh);
    reply.mtu = (network.head().mtu & 0xffff) as u16;
    reply.peer_zone = cx.arrival.zone;
    match conntrack::create(cx, &key, work) {
        Inserted::Yes => conntrack::follow(cx, work),
        Inserted::Exists => work.verdict.refuse(Reason::NatExhausted),
        Inserted::Full => work.verdict.refuse(Reason::FlowTableFull),
    }
}
