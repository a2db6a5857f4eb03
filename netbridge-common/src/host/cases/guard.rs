//! What the guards drop.

use crate::abi::{Hook, Mac, Reason, proto};
use crate::wire::{ipv6, tcp};

use super::super::build::{Datagram, arp, ipv6 as ipv6_frame, source_route};
use super::super::lab::{A, B, BEHIND_TRUNK, GATEWAY, HOST, REMOTE, at, ifindex, inward, lab, out};
use super::super::{Frame, HostEnv};
use super::{Case, case};

/// What a container may not claim to be.
pub(super) fn claimed() -> Vec<Case> {
    use Hook::FromContainer as Hook;
    let to_neighbour = || Datagram::new(A, B);
    let short_udp = to_neighbour().frame(proto::UDP, &[0, 1, 0, 2, 0, 8, 0]);
    let multicast: Mac = [3, 0, 0, 0, 0, 1];
    let claimed = ((B.0, BEHIND_TRUNK.1), ([0xff; 6], [10, 1, 0, 255]));
    vec![
        case(
            "a UDP header cut short is malformed",
            Reason::Malformed,
            Hook,
            lab(),
            at(ifindex::A, short_udp),
        ),
        case(
            "another MAC than the endpoint's is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(ifindex::A, Datagram::new((B.0, A.1), B).udp(1, 2, b"")),
        ),
        case(
            "an endpoint's MAC behind the trunk is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(ifindex::TRUNK, Datagram::new(claimed.0, claimed.1).udp(1, 2, b"")),
        ),
        case(
            "a group MAC behind the trunk is spoofed",
            Reason::SpoofedMac,
            Hook,
            lab(),
            at(
                ifindex::TRUNK,
                Datagram::new((multicast, BEHIND_TRUNK.1), B).udp(1, 2, b""),
            ),
        ),
        case(
            "a neighbour's address is spoofed",
            Reason::SpoofedIp,
            Hook,
            lab(),
            at(ifindex::A, Datagram::new((A.0, B.1), B).udp(1, 2, b"")),
        ),
        case(
            "an endpoint's address behind the trunk is spoofed",
            Reason::SpoofedIp,
            Hook,
            lab(),
            at(ifindex::TRUNK, Datagram::new((BEHIND_TRUNK.0, A.1), B).udp(1, 2, b"")),
        ),
        case(
            "an ARP sender with a neighbour's address is spoofed",
            Reason::SpoofedArp,
            Hook,
            lab(),
            at(ifindex::A, arp(A.0, (A.0, B.1), GATEWAY.1)),
        ),
        case(
            "an interface without an entry is unknown",
            Reason::UnknownLink,
            Hook,
            lab(),
            at(ifindex::OTHER, to_neighbour().udp(1, 2, b"")),
        ),
        case(
            "a tag would hide the addresses",
            Reason::Tagged,
            Hook,
            lab(),
            at(ifindex::A, tagged(to_neighbour().udp(1, 2, b"twelve bytes"))),
        ),
    ]
}

/// What a container may not say.
pub(super) fn said() -> Vec<Case> {
    let sent = |name, reason, bytes| case(name, reason, Hook::FromContainer, lab(), at(ifindex::A, bytes));
    let routed = Datagram {
        options: source_route(131, REMOTE),
        ..out(A, GATEWAY, REMOTE)
    };
    let advertisement = [ipv6::ROUTER_ADVERTISEMENT, 0, 0, 0];
    let hidden = [ipv6::next::ICMP, 0, 1, 4, 0, 0, 0, 0, ipv6::REDIRECT, 0, 0, 0];
    let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
    vec![
        sent(
            "a segment without a flag is none",
            Reason::BadFlags,
            out(A, GATEWAY, REMOTE).tcp(1, 2, 0, b""),
        ),
        sent(
            "a first fragment with SYN and FIN is no segment's",
            Reason::BadFlags,
            Datagram {
                fragment: 0x2000,
                ..Datagram::new(A, B)
            }
            .tcp(1, 2, tcp::SYN | tcp::FIN, b""),
        ),
        sent(
            "a container chooses no way by a source route",
            Reason::SourceRouted,
            routed.udp(1, 2, b""),
        ),
        sent(
            "loopback is on no wire",
            Reason::Martian,
            out(A, GATEWAY, [127, 0, 0, 1]).syn(1, 2),
        ),
        sent(
            "a container is no DHCP server",
            Reason::DhcpServer,
            Datagram::new(A, ([0xff; 6], [255; 4])).udp(67, 68, b"offer"),
        ),
        sent(
            "IPv6 would walk around guard and filter",
            Reason::Ipv6,
            ipv6_frame(A.0, B.0, 17, &[0; 8]),
        ),
        sent(
            "a container is no router",
            Reason::RogueRouter,
            ipv6_frame(A.0, all_nodes, ipv6::next::ICMP, &advertisement),
        ),
        sent(
            "nor behind an extension header",
            Reason::RogueRouter,
            ipv6_frame(A.0, all_nodes, ipv6::next::HOP_BY_HOP, &hidden),
        ),
        sent(
            "ARP asks for nobody outside the network",
            Reason::ArpTarget,
            arp(A.0, A, REMOTE),
        ),
    ]
}

/// What would be too much of one port.
pub(super) fn limits() -> Vec<Case> {
    let station = |last| ([2, 0, 0, 0, 1, last], [10, 1, 0, 100 + last]);
    let mut one_mac = lab();
    one_mac.config.learned_per_port = 1;
    let spoken = |last| at(ifindex::TRUNK, Datagram::new(station(last), B).udp(1, 2, b""));
    one_mac.run(Hook::FromContainer, &spoken(1));
    let mut one_flood = lab();
    one_flood.config.floods_per_second = 1;
    let question = at(ifindex::A, arp(A.0, A, B.1));
    one_flood.run(Hook::FromContainer, &question);
    let spanning_tree = [
        &[0x01, 0x80, 0xc2, 0, 0, 0][..],
        &A.0,
        &[0, 38, 0x42, 0x42, 3],
        &[0; 35],
    ]
    .concat();
    vec![
        case(
            "one MAC more behind a trunk than may be",
            Reason::MacLimit,
            Hook::FromContainer,
            one_mac,
            spoken(2),
        ),
        case(
            "one broadcast more than may be",
            Reason::FloodLimit,
            Hook::FromContainer,
            one_flood,
            question,
        ),
        case(
            "a container takes no part in a spanning tree",
            Reason::ReservedGroup,
            Hook::FromContainer,
            lab(),
            at(ifindex::A, spanning_tree),
        ),
    ]
}

/// What may not come in.
pub(super) fn arriving() -> Vec<Case> {
    let arrived =
        |name, reason, env: HostEnv, bytes| case(name, reason, Hook::FromUplink, env, at(ifindex::UPLINK, bytes));
    let routed = Datagram {
        options: source_route(137, HOST.1),
        ..inward(REMOTE, HOST.1)
    };
    let loopback = Datagram {
        dmac: [0xff; 6],
        ..inward(REMOTE, [127, 0, 0, 1])
    };
    let handed = |name, reason, bytes| {
        let frame = Frame {
            ingress: ifindex::UPLINK,
            ..at(ifindex::A, bytes)
        };
        case(name, reason, Hook::ToContainer, lab(), frame)
    };
    let leaving = Frame {
        ingress: ifindex::OTHER,
        ..at(ifindex::UPLINK, out(A, GATEWAY, REMOTE).tcp(1, 2, 0xff, b""))
    };
    vec![
        arrived(
            "a source route to the host",
            Reason::SourceRouted,
            lab(),
            routed.udp(1, 2, b""),
        ),
        arrived(
            "the host's loopback from outside, in a broadcast frame too",
            Reason::Martian,
            lab(),
            loopback.udp(1, 2, b""),
        ),
        arrived(
            "from loopback",
            Reason::Martian,
            lab(),
            inward([127, 0, 0, 1], HOST.1).udp(1, 5353, b""),
        ),
        arrived(
            "every flag to a published port",
            Reason::BadFlags,
            lab(),
            inward(REMOTE, HOST.1).tcp(1, 8080, 0xff, b""),
        ),
        arrived(
            "no flag to a container",
            Reason::BadFlags,
            lab(),
            inward(REMOTE, A.1).tcp(1, 80, 0, b""),
        ),
        handed(
            "what the host routes in must have flags of a segment",
            Reason::BadFlags,
            Datagram::new((GATEWAY.0, REMOTE), A).tcp(1, 2, 0, b""),
        ),
        handed(
            "IPv6 is not handed to a container",
            Reason::Ipv6,
            ipv6_frame(GATEWAY.0, A.0, 17, &[0; 8]),
        ),
        case(
            "no fault leaves under a container's address",
            Reason::BadFlags,
            Hook::ToUplink,
            lab(),
            leaving,
        ),
    ]
}

/// The frame behind a tag of VLAN 0, as it stands in the bytes where the kernel has not moved it out.
fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, 0]);
    frame
}
