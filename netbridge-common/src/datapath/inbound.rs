//! Packets from the outside: answers, published ports, and what is not ours.

use crate::abi::{
    Addr, AddrKey, Family, LINK_ADDRS, LinkAddrs, LinkHead, Nat, PortKey, Reason, Record, SUBNET_LOCAL, SourceKey,
    Station, flow_action, flow_flags, network_flags, port_scope, proto,
};

use super::binding;
use super::bridge::NO_STATION;
use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env, HopKind};
use super::flows;
use super::guard;
use super::icmp::{self, Quote};
use super::parse::Fragment;
use super::search::Search;
use super::verdict::Action;

/// Where a packet from the outside goes.
#[inline(always)]
pub fn inbound<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    if cx.packet.is_tracked()
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
    // Functions of their own in the object and not one: their stacks add up only where they nest.
    if !leads(cx, addrs, work) {
        return work.verdict.action;
    }
    let action = may_enter(cx, work);
    if action as u8 != Action::Pass as u8 {
        return action;
    }
    if cx.packet.ttl <= 1 {
        return work.verdict.answer(Reason::TtlExpired, 0);
    }
    returning(cx, work);
    flows::open(cx, work)
}

/// A frame with a fault: the host's own business unless it would be answered by one that must not, or is about what is
/// a container's. A function of its own in the object: few frames come here.
#[inline(never)]
pub fn faulty<E: Env>(cx: &Cx<'_, E>, head: &LinkHead, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> Action {
    let fault = cx.packet.fault;
    if !cx.packet.is_ip() {
        return Action::Pass;
    }
    if guard::is_martian(cx.packet) {
        return work.verdict.refuse(Reason::Martian);
    }
    let refused = match fault {
        Reason::SourceRouted => true,
        Reason::BadFlags | Reason::BadChecksum | Reason::Malformed => {
            cx.packet.to.is(head.station) && is_containers(cx, addrs, work)
        }
        _ => false,
    };
    work.verdict.refuse(if refused { fault } else { Reason::None })
}

/// True if the packet is of a flow, or for a published port or an address of a container's.
#[inline(always)]
fn is_containers<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> bool {
    let key = cx.packet.key;
    cx.env.flow(&key, &mut work.half)
        || (is_local(addrs, key.dst) && published(cx.env, key.dst, key.dport, key.proto).is_some())
        || cx.env.subnet(key.dst).is_some_and(|net| net != SUBNET_LOCAL)
}

/// A packet without a flow: fills in the forward half of the one that it would open; false if it opens none. A function of its
/// own in the object: its stack is not the fast path's.
#[inline(never)]
fn leads<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, work: &mut Work<E::F>) -> bool {
    let subnet = cx.env.subnet(cx.packet.key.dst).unwrap_or(SUBNET_LOCAL);
    let target = if subnet == SUBNET_LOCAL {
        behind_port(cx).filter(|target| target.open && is_owned(cx, addrs, target.net))
    } else {
        at_address(cx, (subnet & 0xffff) as u16)
    };
    let found = target.is_some();
    let reason = match target {
        // Nobody outside holds an address of the host's or of a container's: the answers would go to its owner.
        Some(_) if cx.env.subnet(cx.packet.key.src).is_some() => Reason::SpoofedIp,
        Some(target) => lead(cx, &target, work),
        None if subnet == SUBNET_LOCAL => unsolicited(cx, addrs),
        None => Reason::DirectAccess,
    };
    work.verdict.action = work.verdict.refuse(reason);
    found && reason as u8 == Reason::None as u8
}

/// What speaks against a packet for the host that is none of our flows: it is the host's, unless it comes to a container's port
/// that is not open to everybody, to one that may be a container's at any moment, or to one that may have been until the
/// flow table was lost. The host would answer such a packet with a reset (RFC 5382 REQ-4). What is not for an address of the
/// uplink is not for the host: it routes for others too.
#[inline(always)]
fn unsolicited<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>) -> Reason {
    let key = &cx.packet.key;
    if !cx.packet.has_ports() {
        return Reason::None;
    }
    let reason = if binding::behind(cx, key.dst, key.dport, key.proto).is_some() {
        Reason::Unsolicited
    } else if key.proto != proto::TCP || !is_local(addrs, key.dst) || !may_stand_for_one(cx) {
        return Reason::None;
    } else if !conntrack::is_opening(cx.packet) && conntrack::may_open(cx) {
        Reason::MidStream
    } else if conntrack::is_opening(cx.packet) && cx.config.silent != 0 {
        Reason::Unsolicited
    } else {
        return Reason::None;
    };
    if cx.env.host_socket(key) { Reason::None } else { reason }
}

/// True if the destination port is among those that [`super::nat`] chooses from for all but a few: not the host's to choose
/// from, and none below 1024, where the host's own translated services are.
#[inline(always)]
fn may_stand_for_one<E: Env>(cx: &Cx<'_, E>) -> bool {
    let port = u16::from_be_bytes(cx.packet.key.dport);
    let ephemeral = port >= cx.config.local_min && port <= cx.config.local_max;
    port >= 1024 && !ephemeral
}

/// True if the packet is for an address of the uplink: a published port answers nowhere else (CVE-2025-67499). The controller
/// may not have heard of a new one yet. `net` is the network that the packet is led to.
fn is_owned<E: Env>(cx: &Cx<'_, E>, addrs: &LinkAddrs<AddrOf<E>>, net: u16) -> bool {
    let key = &cx.packet.key;
    let is_new = || {
        // As the network's bridge sees it: of an interface that does not forward the kernel tells nothing.
        let bridge = cx.env.network(net).map_or(0, |network| network.head().bridge);
        let hop = cx.env.next_hop(key.src, key.dst, bridge);
        cx.env.subnet(key.dst).is_none() && hop.kind as u8 == HopKind::Local as u8
    };
    is_local(addrs, key.dst) || is_new()
}

/// True if the address is the uplink's own.
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

/// True if a list of sources has the address; list 0 has everybody.
pub(super) fn admits<E: Env>(env: &E, list: u32, src: AddrOf<E>) -> bool {
    list == 0 || env.is_source(&SourceKey { list, addr: src })
}

/// By what a packet comes to a container's port.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Who may open flows to it: a list of sources, 0 for everybody.
    sources: u32,
    /// Not 0 for a port that stands for one of the container's ([`binding`]).
    bound: u16,
    /// 0 for such a port that is open to those alone that the container has sent to.
    open: u16,
}

impl Entry {
    /// By nothing yet.
    pub const NONE: Self = Self {
        sources: 0,
        bound: 0,
        open: 0,
    };

    /// True if everybody may open flows to it, as far as the list lets them.
    pub const fn is_open(&self) -> bool {
        self.open != 0
    }
}

/// A container's port that a packet leads to.
pub(super) struct Target<A> {
    /// Where the container is.
    station: Station,
    /// Its network.
    net: u16,
    /// Its address.
    addr: A,
    /// The port, network order.
    port: [u8; 2],
    /// Who may open flows to it: a list of sources, 0 for everybody.
    sources: u32,
    /// True for a port that stands for one of the container's ([`binding`]).
    bound: bool,
    /// False for such a port that is open to those alone that the container has sent to.
    pub(super) open: bool,
}

/// The container at the packet's destination, one of the host's addresses: behind a published port, or behind a binding.
#[inline(always)]
pub(super) fn behind_port<E: Env>(cx: &Cx<'_, E>) -> Option<Target<AddrOf<E>>> {
    let key = &cx.packet.key;
    // Mid-stream segments open nothing from the outside.
    let opens = key.proto == proto::UDP || conntrack::is_opening(cx.packet);
    if !opens || !cx.packet.has_ports() {
        return None;
    }
    if let Some(published) = published(cx.env, key.dst, key.dport, key.proto) {
        let (to, target) = (published.head(), published.tail());
        // In a network without a way out it is published for the host alone, and for its neighbours.
        let internal = cx
            .env
            .network(to.net)
            .is_some_and(|network| network.head().bridge != 0 && network.head().uplink == 0);
        return (!internal || cx.arrival.zone == to.net).then_some(Target {
            station: Station {
                ifindex: to.ifindex,
                slot: to.slot,
                seen: 0,
                mac: to.mac,
                flags: 0,
            },
            net: to.net,
            addr: target.addr,
            port: target.port(key.dport),
            sources: to.sources,
            bound: false,
            open: true,
        });
    }
    let binding = binding::behind(cx, key.dst, key.dport, key.proto)?;
    let to = binding.tail();
    let (addr, net) = (to.addr, u16::from_ne_bytes(to.zone));
    let station = station_of(cx, addr, net);
    (station.ifindex != 0).then_some(Target {
        station,
        net,
        addr,
        port: to.port,
        sources: 0,
        bound: true,
        open: has_flag(cx, net, network_flags::INDEPENDENT_FILTERING),
    })
}

/// The container that has the packet's destination, if its network may be reached from outside.
#[inline(always)]
fn at_address<E: Env>(cx: &Cx<'_, E>, net: u16) -> Option<Target<AddrOf<E>>> {
    let (addr, port) = (cx.packet.key.dst, cx.packet.key.dport);
    let station = station_of(cx, addr, net);
    let reachable = has_flag(cx, net, network_flags::ROUTED) && station.ifindex != 0 && cx.packet.is_tracked();
    reachable.then_some(Target {
        station,
        net,
        addr,
        port,
        sources: 0,
        bound: false,
        open: true,
    })
}

/// True if a network has the flag.
fn has_flag<E: Env>(cx: &Cx<'_, E>, net: u16, flag: u32) -> bool {
    cx.env
        .network(net)
        .is_some_and(|network| network.head().flags & flag != 0)
}

/// The endpoint that has an address.
fn station_of<E: Env>(cx: &Cx<'_, E>, addr: AddrOf<E>, net: u16) -> Station {
    let key = AddrKey {
        addr,
        net: net.to_ne_bytes(),
        pad: [0; 2],
    };
    cx.env.address(&key).unwrap_or(NO_STATION)
}

/// Fills the forward half with the way to a container's port. The filter is still to be asked, and not from here: their stacks
/// would add up.
#[inline(never)]
pub(super) fn lead<E: Env>(cx: &Cx<'_, E>, target: &Target<AddrOf<E>>, work: &mut Work<E::F>) -> Reason {
    if cx.packet.fragment as u8 == Fragment::Rest as u8 {
        return Reason::Fragment;
    }
    if cx.packet.is_icmp_reply() {
        return Reason::UntrackedIcmp;
    }
    if !conntrack::may_open(cx) {
        return Reason::MidStream;
    }
    let Some(network) = cx.env.network(target.net).filter(|network| network.head().bridge != 0) else {
        return Reason::UnknownLink;
    };
    let key = &cx.packet.key;
    work.entry = Entry {
        sources: target.sources,
        bound: u16::from(target.bound),
        open: u16::from(target.open),
    };
    *work.half.tail_mut() = Nat {
        src: key.src,
        dst: target.addr,
        sport: key.sport,
        dport: target.port,
    };
    let forward = work.half.head_mut();
    *forward = conntrack::new_head(cx, target.station.slot, &Search::EMPTY);
    forward.flags = flow_flags::ROUTED;
    if (target.addr, target.port) != (key.dst, key.dport) {
        forward.flags |= flow_flags::DST;
    }
    forward.ifindex = target.station.ifindex;
    forward.slot = target.station.slot;
    forward.dmac = target.station.mac;
    forward.smac = network.head().gateway.mac;
    forward.peer_zone = target.net;
    Reason::None
}

/// What becomes of a packet to a container's port, whose forward half [`lead`] has filled in: the filter has the first word,
/// the port's list of sources the next.
#[inline(always)]
pub(super) fn may_enter<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let action = conntrack::judge(cx, work);
    if action as u8 == Action::Pass as u8 && !admits(cx.env, work.entry.sources, cx.packet.key.src) {
        return work.verdict.refuse(Reason::SourceNotAllowed);
    }
    action
}

/// Fills in the reply half of a flow from the outside, whose forward half [`lead`] has filled in. If it came by a binding, the
/// answers keep that alive (RFC 4787 REQ-6).
#[inline(never)]
fn returning<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) {
    let Work { half, other, entry, .. } = work;
    let forward = half.head();
    *other.tail_mut() = conntrack::answer(&cx.packet.key);
    let reply = other.head_mut();
    *reply = conntrack::new_reply(cx, forward.owner);
    reply.action = flow_action::UPLINK;
    if forward.flags & flow_flags::DST != 0 {
        reply.flags |= flow_flags::SRC;
    }
    if entry.bound != 0 {
        reply.flags |= flow_flags::BOUND;
    }
    reply.ifindex = cx.arrival.ifindex;
    reply.slot = cx.arrival.slot;
    // The first answer asks the host's routes for the way back: a MAC that came with a forged source would make a
    // neighbour of the uplink that client.
    reply.resolved = cx.arrival.now.wrapping_sub(cx.config.refresh);
    let network = cx.env.network(forward.peer_zone);
    reply.mtu = network.map_or(0, |network| (network.head().mtu & 0xffff) as u16);
    reply.peer_zone = cx.arrival.zone;
}
