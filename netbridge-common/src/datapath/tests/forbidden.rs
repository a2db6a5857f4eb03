//! What nobody may say, whoever it is: martians, source routes, flags of no segment, IPv6, a server's words.

use crate::abi::{Hook, Reason};
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, ipv6 as ipv6_frame, source_route};
use crate::host::lab::{A, B, BEHIND_TRUNK, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, at, ifindex, inward, lab, out};
use crate::host::{Frame, HostEnv, Ip};
use crate::wire::ipv6::next;
use crate::wire::tcp::{ACK, FIN, SYN};

use super::{answer_to, arrives, run, sends};

fn reason(env: &HostEnv, ifindex: u32, bytes: Vec<u8>) -> Reason {
    sends(env, ifindex, bytes).reason()
}

#[test]
fn no_wire_carries_a_martian() {
    let env = lab();
    let to = |dst| reason(&env, ifindex::A, out(A, GATEWAY, dst).udp(1, 2, b""));
    let martians: [Ip; 9] = [
        [0; 4],
        [0, 0, 0, 1],
        [0, 255, 255, 255],
        [127, 0, 0, 0],
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [240, 0, 0, 0],
        [254, 1, 2, 3],
        [255, 255, 255, 254],
    ];
    let ordinary: [Ip; 8] = [
        [1, 0, 0, 0],
        [126, 255, 255, 255],
        [128, 0, 0, 0],
        [169, 254, 169, 254],
        [223, 255, 255, 255],
        [224, 0, 0, 251],
        [239, 255, 255, 250],
        [255; 4],
    ];
    for dst in martians {
        assert_eq!(to(dst), Reason::Martian, "{dst:?}");
        let bridged = Datagram::new(A, (B.0, dst)).udp(1, 2, b"");
        assert_eq!(reason(&env, ifindex::A, bridged), Reason::Martian, "bridged to {dst:?}");
        let behind = Datagram::new(BEHIND_TRUNK, (GATEWAY.0, dst)).udp(1, 2, b"");
        assert_eq!(
            reason(&env, ifindex::TRUNK, behind),
            Reason::Martian,
            "trunk to {dst:?}"
        );
    }
    for dst in ordinary {
        assert_eq!(to(dst), Reason::None, "{dst:?}");
    }
}

#[test]
fn no_martian_comes_in() {
    let env = lab();
    let everyone = ([0xff; 6], [255; 4]);
    let (all_hosts, own) = (([1, 0, 0x5e, 0, 0, 1], [224, 0, 0, 1]), HOST);
    let table = [
        ("from loopback", [127, 0, 0, 1], own, true),
        ("from loopback to all", [127, 0, 0, 1], everyone, true),
        ("from nowhere", [0; 4], own, true),
        ("from nowhere to all, as DHCP clients do", [0; 4], everyone, false),
        ("from nowhere to a group, as IGMP may", [0; 4], all_hosts, false),
        ("from this network", [0, 0, 0, 9], everyone, true),
        ("from a group", [224, 0, 0, 1], own, true),
        ("from the reserved block", [240, 0, 0, 1], own, true),
        ("from everyone", [255; 4], own, true),
        ("to loopback", REMOTE, (own.0, [127, 0, 0, 1]), true),
        ("to loopback, broadcast", REMOTE, (everyone.0, [127, 0, 0, 1]), true),
        (
            "to loopback by another MAC",
            REMOTE,
            ([2, 9, 9, 9, 9, 9], [127, 0, 0, 1]),
            true,
        ),
        ("to nowhere", REMOTE, (own.0, [0; 4]), true),
        ("from a link-local address", [169, 254, 169, 254], own, false),
        ("from the outside", REMOTE, own, false),
        ("from the outside to all", REMOTE, everyone, false),
    ];
    for (name, src, to, dropped) in table {
        let expected = if dropped { Reason::Martian } else { Reason::None };
        let datagram = Datagram::new((ROUTER.0, src), to);
        assert_eq!(arrives(&env, datagram.udp(1, 2, b"")).reason(), expected, "{name}");
        // A fault must not be the way around: a closed port answers a segment without flags.
        let faulty = arrives(&env, datagram.tcp(1, 2, 0, b""));
        assert_eq!(faulty.reason(), expected, "without flags, {name}");
    }
}

#[test]
fn a_header_with_a_wrong_checksum_goes_no_further() {
    let env = lab();
    let wrong = |mut frame: Vec<u8>| {
        frame[24] ^= 0x10;
        frame
    };
    for words in [0, 1, 10] {
        let with = |datagram: Datagram| {
            // Record route, full: its bytes are not the same in the other order.
            let options = [7, 3, 4, 1].repeat(words);
            Datagram { options, ..datagram }.syn(5000, 8080)
        };
        for to in [(GATEWAY.0, REMOTE), (GATEWAY.0, HOST.1), B] {
            let frame = with(Datagram::new(A, to));
            assert_eq!(sends(&env, ifindex::A, frame.clone()).reason(), Reason::None, "{to:?}");
            assert_eq!(
                sends(&env, ifindex::A, wrong(frame)).reason(),
                Reason::BadChecksum,
                "{to:?}"
            );
        }
        let published = with(inward(REMOTE, HOST.1));
        assert_eq!(arrives(&env, wrong(published.clone())).reason(), Reason::BadChecksum);
        assert_eq!(arrives(&env, published).to(), (Action::Peer, ifindex::A));
    }
    let hosts = arrives(&env, wrong(inward(REMOTE, HOST.1).syn(5000, 22)));
    assert_eq!(hosts.action(), Action::Pass, "the host judges its own");
    let from_stack = Frame {
        ingress: 0,
        ..at(ifindex::A, wrong(Datagram::new(GATEWAY, A).syn(1, 2)))
    };
    let handed = run(&env, Hook::ToContainer, &from_stack);
    assert_eq!(handed.reason(), Reason::None, "the stack has");
}

#[test]
fn answers_from_a_link_local_address_come_back() {
    let env = lab();
    let metadata = [169, 254, 169, 254];
    let question = sends(&env, ifindex::A, out(A, GATEWAY, metadata).udp(5000, 80, b""));
    assert_eq!(question.action(), Action::Redirect);
    let answer = answer_to(&question.bytes, None);
    assert_eq!(arrives(&env, answer).to(), (Action::Peer, ifindex::A));
}

#[test]
fn no_container_is_a_dhcp_server() {
    let everyone = ([0xff; 6], [255; 4]);
    let first = Datagram {
        fragment: 0x2000,
        ..Datagram::new(A, everyone)
    };
    let table = [
        (
            "an offer",
            Datagram::new(A, everyone).udp(67, 68, b""),
            Reason::DhcpServer,
        ),
        (
            "an offer to one",
            Datagram::new(A, B).udp(67, 68, b""),
            Reason::DhcpServer,
        ),
        ("a fragment of one", first.udp(67, 68, b"longer"), Reason::DhcpServer),
        ("a client", Datagram::new(A, everyone).udp(68, 67, b""), Reason::None),
        ("another port", Datagram::new(A, B).udp(67, 69, b""), Reason::None),
        ("TCP", Datagram::new(A, B).tcp(67, 68, SYN, b""), Reason::None),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(reason(&lab(), ifindex::A, bytes), expected, "{name}");
    }
    let to_host = inward(REMOTE, HOST.1).udp(67, 68, b"");
    assert_eq!(
        arrives(&lab(), to_host).action(),
        Action::Pass,
        "the host may be a client"
    );
    let from_host = Frame {
        ingress: 0,
        ..at(ifindex::A, Datagram::new(GATEWAY, A).udp(67, 68, b""))
    };
    let handed = run(&lab(), Hook::ToContainer, &from_host);
    assert_eq!(handed.action(), Action::Pass, "or a server");
}

#[test]
fn ipv6_is_not_carried_and_no_container_is_a_router() {
    let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
    let frame = |chain: &[u8], kind: u8| {
        let mut payload = Vec::new();
        for (index, header) in chain.iter().enumerate() {
            let following = chain.get(index + 1).copied().unwrap_or(next::ICMP);
            // Eight bytes, or sixteen: authentication counts from eight on in fours, the others in eights.
            let (length, bytes) = match *header {
                next::AUTHENTICATION => (2, 16),
                next::ROUTING => (1, 16),
                _ => (0, 8),
            };
            let start = payload.len();
            payload.extend_from_slice(&[following, length]);
            payload.resize(start + bytes, 0);
        }
        payload.extend_from_slice(&[kind, 0, 0, 0]);
        let first = chain.first().copied().unwrap_or(next::ICMP);
        ipv6_frame(A.0, all_nodes, first, &payload)
    };
    let extensions = [
        next::HOP_BY_HOP,
        next::ROUTING,
        next::DESTINATION,
        next::AUTHENTICATION,
        next::MOBILITY,
        next::HOST_IDENTITY,
        next::SHIM6,
        next::DESTINATION,
    ];
    let env = lab();
    for kind in [134, 137] {
        for count in 0..=extensions.len() {
            let bytes = frame(&extensions[..count], kind);
            assert_eq!(
                reason(&env, ifindex::A, bytes),
                Reason::RogueRouter,
                "{kind} behind {count}"
            );
        }
        for (name, chain) in [("nine", &[next::DESTINATION; 9][..]), ("a fragment", &[44])] {
            assert_eq!(reason(&env, ifindex::A, frame(chain, kind)), Reason::Ipv6, "{name}");
        }
    }
    for kind in [128, 133, 135, 136, 143] {
        assert_eq!(reason(&env, ifindex::A, frame(&[], kind)), Reason::Ipv6, "{kind}");
    }
    let whole = frame(&extensions, 134);
    for length in 14..whole.len() {
        let cut = reason(&env, ifindex::A, whole[..length].to_vec());
        let known = length >= 14 + 40 + 8 * extensions.len() + 16 + 2;
        assert!(cut == Reason::Ipv6 || known, "{length} bytes: {cut:?}");
    }
    let mut behind = frame(&[], 134);
    behind[6..12].copy_from_slice(&BEHIND_TRUNK.0);
    assert_eq!(
        reason(&env, ifindex::TRUNK, behind.clone()),
        Reason::RogueRouter,
        "trunk"
    );
    assert_eq!(reason(&env, ifindex::A, behind.clone()), Reason::SpoofedMac);
    assert_eq!(arrives(&env, behind).action(), Action::Pass, "the host's own business");
}

#[test]
fn a_source_route_goes_nowhere() {
    let env = lab();
    let routed = |datagram: Datagram| Datagram {
        options: source_route(131, REMOTE),
        ..datagram
    };
    let sent = [
        routed(out(A, GATEWAY, REMOTE)),
        routed(out(A, GATEWAY, GATEWAY.1)),
        routed(Datagram::new(A, B)),
    ];
    for datagram in sent {
        assert_eq!(reason(&env, ifindex::A, datagram.udp(1, 2, b"")), Reason::SourceRouted);
    }
    let received = [
        routed(inward(REMOTE, HOST.1)),
        routed(inward(REMOTE, A.1)),
        routed(Datagram::new((ROUTER.0, REMOTE), ([0xff; 6], HOST.1))),
    ];
    for datagram in received {
        assert_eq!(arrives(&env, datagram.udp(1, 22, b"")).reason(), Reason::SourceRouted);
    }
}

#[test]
fn flags_of_no_segment_come_in_for_the_host_alone() {
    let env = lab();
    let sent = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).syn(5000, 443));
    assert_eq!(sent.action(), Action::Redirect);
    let answer = |flags| answer_to(&sent.bytes, Some(flags));
    assert_eq!(arrives(&env, answer(SYN | ACK)).to(), (Action::Peer, ifindex::A));
    let before = env.flows.borrow().clone();
    for flags in [0, SYN | FIN, 0xff, 0x29] {
        let to = |dst, port| arrives(&env, inward(REMOTE, dst).tcp(7, port, flags, b"")).reason();
        assert_eq!(to(HOST.1, 8080), Reason::BadFlags, "a published port");
        assert_eq!(to(A.1, 80), Reason::BadFlags, "a container");
        assert_eq!(to(HOST.1, 22), Reason::None, "the host");
        assert_eq!(to(GATEWAYS[0].1, 22), Reason::None, "the host by another address");
        assert_eq!(arrives(&env, answer(flags)).reason(), Reason::BadFlags, "a flow");
        let within = out(A, GATEWAY, REMOTE).tcp(5000, 443, flags, b"");
        assert_eq!(
            reason(&env, ifindex::A, within),
            Reason::BadFlags,
            "the flow's other side"
        );
    }
    assert_eq!(*env.flows.borrow(), before, "no flow is changed");
}

#[test]
fn a_fault_does_not_leave_under_a_containers_address() {
    let leaving = |datagram: Datagram, ingress| Frame {
        ingress,
        ..at(ifindex::UPLINK, datagram.tcp(1, 2, 0, b""))
    };
    let reason = |frame| run(&lab(), Hook::ToUplink, &frame).reason();
    let container = || out(A, ROUTER, REMOTE);
    assert_eq!(reason(leaving(container(), ifindex::OTHER)), Reason::BadFlags);
    assert_eq!(reason(leaving(container(), ifindex::BRIDGES[0])), Reason::BadFlags);
    let others = Datagram::new((HOST.0, [172, 16, 0, 9]), (ROUTER.0, REMOTE));
    assert_eq!(
        reason(leaving(others, ifindex::OTHER)),
        Reason::None,
        "not a container's"
    );
}
