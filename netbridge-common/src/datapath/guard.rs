//! The source guard: first, before ARP, established flows and everything else.
//!
//! Rule order is where guards die (CVE-2025-52889, CVE-2025-52890): nothing may be accepted above it.

use crate::abi::{
    Addr, AddrKey, LINK_ADDRS, LinkAddrs, LinkHead, NetworkAddrs, Reason, Record, Station, link_kind, station_flags,
};
use crate::wire::ethernet;

use super::conntrack::Cx;
use super::env::{AddrOf, Env};
use super::parse::{Kind, Packet, arp_sender};

/// A family whose neighbour protocol the guard understands.
pub trait Guard: Addr {
    /// The sender's address if the frame is an address resolution, and what is wrong with it if not.
    fn resolution_sender<E: Env>(env: &E, packet: &Packet<Self>) -> (Reason, Self);
}

impl Guard for [u8; 4] {
    #[inline(always)]
    fn resolution_sender<E: Env>(env: &E, packet: &Packet<Self>) -> (Reason, Self) {
        match arp_sender(env) {
            None => (Reason::Malformed, Self::UNSPECIFIED),
            Some(sender) if sender.mac != packet.from.mac => (Reason::SpoofedArp, Self::UNSPECIFIED),
            Some(sender) => (Reason::None, sender.addr),
        }
    }
}

/// What is wrong with the source of a frame that an endpoint sent, [`Reason::None`] if nothing.
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
        && src == first;
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
    let (sender, wrong) = match packet.kind {
        Kind::Ip => (packet.key.src, Reason::SpoofedIp),
        Kind::Arp => {
            let (reason, sender) = Guard::resolution_sender(env, packet);
            // A probe (RFC 5227) claims nothing.
            if reason != Reason::None || sender == Addr::UNSPECIFIED {
                return reason;
            }
            (sender, Reason::SpoofedArp)
        }
        Kind::Malformed => return Reason::Malformed,
        Kind::Tagged => return Reason::Tagged,
        Kind::Other => return Reason::None,
    };
    let owned = if trunk {
        owns_behind_trunk(env, head, network, sender)
    } else {
        is_assigned(addrs, sender)
    };
    if owned { Reason::None } else { wrong }
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

/// Learns a MAC behind a trunk: new ones, moved ones at their first frame, known ones once a second.
#[inline(never)]
pub fn learn<E: Env>(cx: &Cx<'_, E>, head: &LinkHead) {
    let (env, packet, now) = (cx.env, &*cx.packet, cx.arrival.now);
    let known = env.station(&packet.from);
    let current = known.is_some_and(|station| {
        station.flags & station_flags::STATIC != 0
            || (station.ifindex == env.ifindex() && now.wrapping_sub(station.seen) < cx.config.refresh)
    });
    if !current {
        env.learn(
            &packet.from,
            &Station {
                ifindex: env.ifindex(),
                slot: head.slot,
                seen: now,
                mac: packet.from.mac,
                flags: 0,
            },
        );
    }
}
