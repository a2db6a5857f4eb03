//! The source guard: first, before ARP, established flows and everything else.
//!
//! Rule order is where guards die (CVE-2025-52889, CVE-2025-52890): nothing may be accepted above it.

use crate::abi::{
    Addr, AddrKey, LINK_ADDRS, LinkAddrs, LinkHead, NetworkAddrs, Reason, Record, SUBNET_LOCAL, link_kind,
    station_flags,
};
use crate::wire::ethernet;

use super::conntrack::Cx;
use super::env::{AddrOf, Env};
use super::ipv6;
use super::parse::{Kind, Packet, arp_message};

/// A family whose neighbour protocol the guard understands.
pub trait Guard: Addr {
    /// The sender's and the target's address of an address resolution, and what is wrong with it.
    fn resolution<E: Env>(env: &E, packet: &Packet<Self>) -> (Reason, Self, Self);
}

impl Guard for [u8; 4] {
    #[inline(always)]
    fn resolution<E: Env>(env: &E, packet: &Packet<Self>) -> (Reason, Self, Self) {
        match arp_message(env) {
            None => (Reason::Malformed, Self::UNSPECIFIED, Self::UNSPECIFIED),
            Some(message) if message.mac != packet.from.mac => {
                (Reason::SpoofedArp, Self::UNSPECIFIED, Self::UNSPECIFIED)
            }
            Some(message) => (Reason::None, message.sender, message.target),
        }
    }
}

/// What is wrong with a frame that an endpoint sent, [`Reason::None`] if nothing.
#[inline(always)]
pub fn check<E: Env>(
    cx: &Cx<'_, E>,
    head: &LinkHead,
    addrs: &LinkAddrs<AddrOf<E>>,
    network: &NetworkAddrs<AddrOf<E>>,
) -> Reason
where
    AddrOf<E>: Guard,
{
    // What most frames are, without a call: where returns are guarded against speculation, one costs as much as
    // all that is compared here.
    let ([first, ..], src) = (addrs.addrs, cx.packet.key.src);
    let ordinary = head.kind != link_kind::TRUNK
        && cx.packet.kind as u8 == Kind::Ip as u8
        && cx.packet.from.is(head.station)
        && src == first
        && !cx.packet.key.dst.is_no_destination();
    if ordinary {
        Reason::None
    } else {
        examine(cx, head, addrs, network)
    }
}

/// [`check`] of any frame. A function of its own in the object: its stack is not the fast path's.
#[inline(never)]
fn examine<E: Env>(
    cx: &Cx<'_, E>,
    head: &LinkHead,
    addrs: &LinkAddrs<AddrOf<E>>,
    network: &NetworkAddrs<AddrOf<E>>,
) -> Reason
where
    AddrOf<E>: Guard,
{
    let (env, packet) = (cx.env, &*cx.packet);
    let trunk = head.kind == link_kind::TRUNK;
    if trunk {
        if ethernet::is_group(packet.from.mac) || packet.from.mac == [0; 6] || is_taken(env, head, packet) {
            return Reason::SpoofedMac;
        }
    } else if !packet.from.is(head.station) {
        return Reason::SpoofedMac;
    }
    let owns = |sender| {
        if trunk {
            owns_behind_trunk(env, head, network, sender)
        } else {
            is_assigned(addrs, sender)
        }
    };
    match packet.kind {
        Kind::Ip if !owns(packet.key.src) => Reason::SpoofedIp,
        Kind::Ip if packet.key.dst.is_no_destination() => Reason::Martian,
        Kind::Ip | Kind::Other => Reason::None,
        Kind::Arp => {
            let (reason, sender, target) = Guard::resolution(env, packet);
            if reason as u8 != Reason::None as u8 {
                return reason;
            }
            // A probe (RFC 5227) claims nothing.
            if sender != Addr::UNSPECIFIED && !owns(sender) {
                return Reason::SpoofedArp;
            }
            // The host's own addresses too: it may have asked in the name of any.
            let within = target == Addr::UNSPECIFIED
                || target == sender
                || env
                    .subnet(target)
                    .is_some_and(|net| net == SUBNET_LOCAL || net == u32::from(head.station.net));
            if within { Reason::None } else { Reason::ArpTarget }
        }
        Kind::Faulty if packet.fault as u8 == Reason::Ipv6 as u8 => ipv6::reason(env),
        Kind::Faulty => packet.fault,
        Kind::Tagged => Reason::Tagged,
    }
}

/// True if an IP packet from the outside bears an address that no wire carries. Who has no address yet says so to all
/// (RFC 2131, RFC 3376).
#[inline(always)]
pub fn is_martian<A: Addr>(packet: &Packet<A>) -> bool {
    let (src, dst) = (packet.key.src, packet.key.dst);
    dst.is_own_host() || (src.is_no_source() && !(src == Addr::UNSPECIFIED && dst.is_multicast()))
}

/// True if the address is one of the endpoint's.
fn is_assigned<A: Addr>(addrs: &LinkAddrs<A>, addr: A) -> bool {
    let assigned: [A; LINK_ADDRS] = addrs.addrs;
    let mut found = false;
    for candidate in assigned {
        found |= candidate == addr;
    }
    found
}

/// True if the MAC belongs to the network's gateway or to an endpoint elsewhere.
fn is_taken<E: Env>(env: &E, head: &LinkHead, packet: &Packet<AddrOf<E>>) -> bool {
    let gateway = env
        .network(head.station.net)
        .is_some_and(|network| network.head().gateway.is(packet.from));
    gateway
        || env
            .station(&packet.from)
            .is_some_and(|station| station.flags & station_flags::STATIC != 0 && station.ifindex != env.ifindex())
}

/// True if a station behind the trunk may use the address: it is in the network's subnet, and
/// neither the gateway's nor an endpoint's elsewhere.
fn owns_behind_trunk<E: Env>(env: &E, head: &LinkHead, network: &NetworkAddrs<AddrOf<E>>, addr: AddrOf<E>) -> bool {
    let key = AddrKey {
        addr,
        net: head.station.net.to_ne_bytes(),
        pad: [0; 2],
    };
    let gateway = network.gateway;
    addr != gateway
        && env.subnet(addr) == Some(u32::from(head.station.net))
        && env.address(&key).is_none_or(|station| station.ifindex == env.ifindex())
}
