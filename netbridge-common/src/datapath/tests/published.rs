//! Published ports: where they answer, what the container sees, and the way back.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::abi::{FlowState, NetworkV4, Reason, proto, verdict};
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::filter::rule_flags;
use crate::host::lab::{A, B, D, E, GATEWAY, HOST, REMOTE, ROUTER, SECOND, UNRESOLVED, ifindex, inward, lab};
use crate::host::lab::{out, publish, publish_range, restrict, rule, slot};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{answer_to, arrives, halves, sends};

/// A second address of the uplink.
const SECOND_ADDRESS: Ip = [192, 0, 2, 2];

fn knock(env: &HostEnv, dst: Ip) -> (Action, u32) {
    arrives(env, inward(REMOTE, dst).syn(5000, 8080)).to()
}

#[test]
fn the_port_at_the_very_address_comes_before_the_port_at_any() {
    let mut env = lab();
    env.links.get_mut(&ifindex::UPLINK).unwrap().tail.addrs[3] = SECOND_ADDRESS;
    for dst in [HOST.1, SECOND_ADDRESS] {
        assert_eq!(knock(&env.clone(), dst), (Action::Peer, ifindex::A));
    }
    publish(&mut env, (proto::TCP, HOST.1, 8080), (B, ifindex::B, slot::B), 81);
    assert_eq!(knock(&env, HOST.1), (Action::Peer, ifindex::B));
    assert_eq!(knock(&env, SECOND_ADDRESS), (Action::Peer, ifindex::A));
}

/// Where a segment for a port of the host's address goes, and to which port in the container.
fn ranged(env: &HostEnv, dport: u16) -> Option<(u32, u16)> {
    let result = arrives(&env.clone(), inward(REMOTE, HOST.1).syn(5000, dport));
    let port = u16::from_be_bytes([result.bytes[36], result.bytes[37]]);
    (result.action() == Action::Peer).then_some((result.verdict.ifindex, port))
}

#[test]
fn each_port_of_a_range_leads_to_its_own_in_the_container() {
    for (first, last, to) in [
        (8000, 17_999, 8000),
        (8000, 17_999, 1),
        (1, 65_535, 1),
        (81, 82, 65_534),
        (60_001, 65_535, 1),
    ] {
        let mut env = lab();
        env.published.clear();
        let port = |at: u16| Some((ifindex::B, to + (at - first)));
        publish_range(
            &mut env,
            (proto::TCP, [0; 4], first..=last),
            (B, ifindex::B, slot::B),
            to,
        );
        let middle = u16::midpoint(first, last);
        for at in [first, first + 1, middle, last - 1, last] {
            assert_eq!(ranged(&env, at), port(at), "{at} of {first}-{last}");
        }
        for beside in [first - 1, last.wrapping_add(1)] {
            assert_eq!(ranged(&env, beside), None, "{beside} beside {first}-{last}");
        }
    }
}

#[test]
fn the_smaller_block_comes_before_the_larger_and_the_address_before_any() {
    let mut env = lab();
    env.published.clear();
    publish_range(
        &mut env,
        (proto::TCP, [0; 4], 0..=u16::MAX),
        (A, ifindex::A, slot::A),
        0,
    );
    publish_range(&mut env, (proto::TCP, [0; 4], 8000..=8100), (B, ifindex::B, slot::B), 1);
    publish(&mut env, (proto::TCP, [0; 4], 8050), (A, ifindex::A, slot::A), 80);
    publish_range(
        &mut env,
        (proto::TCP, HOST.1, 8096..=8127),
        (A, ifindex::A, slot::A),
        9000,
    );
    for (dport, expected) in [
        (7999, (ifindex::A, 7999)),
        (8000, (ifindex::B, 1)),
        (8049, (ifindex::B, 50)),
        (8050, (ifindex::A, 80)),
        (8051, (ifindex::B, 52)),
        (8095, (ifindex::B, 96)),
        (8096, (ifindex::A, 9000)),
        (8127, (ifindex::A, 9031)),
        (8128, (ifindex::A, 8128)),
    ] {
        assert_eq!(ranged(&env, dport), Some(expected), "{dport}");
    }
}

#[test]
fn a_port_answers_at_the_uplinks_addresses_alone() {
    let env = lab();
    let table = [
        ("the uplink's address", HOST.1, Action::Peer),
        ("another host's", ROUTER.1, Action::Pass),
        ("the uplink's broadcast address", [192, 0, 2, 255], Action::Pass),
        ("every address", [255; 4], Action::Pass),
        ("the host's address on the bridge", GATEWAY.1, Action::Pass),
        ("loopback", [127, 0, 0, 1], Action::Drop),
        ("the container", A.1, Action::Drop),
        ("a container elsewhere", D.1, Action::Drop),
    ];
    for (name, dst, expected) in table {
        assert_eq!(knock(&env, dst).0, expected, "{name}");
    }
}

#[test]
fn tcp_and_udp_are_published_apart() {
    let env = lab();
    let to_host = || inward(REMOTE, HOST.1);
    let table = [
        (
            "TCP where TCP is",
            to_host().syn(5000, 8080),
            (Action::Peer, ifindex::A),
        ),
        ("UDP where TCP is", to_host().udp(5000, 8080, b""), (Action::Pass, 0)),
        (
            "UDP where UDP is",
            to_host().udp(5000, 5353, b""),
            (Action::Peer, ifindex::B),
        ),
        ("TCP where UDP is", to_host().syn(5000, 5353), (Action::Pass, 0)),
        ("TCP where nothing is", to_host().syn(5000, 22), (Action::Pass, 0)),
        ("an echo", to_host().echo(8, 8080, b""), (Action::Pass, 0)),
        ("GRE", to_host().frame(47, &[0; 8]), (Action::Pass, 0)),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(arrives(&env, bytes).to(), expected, "{name}");
    }
}

#[test]
fn a_segment_in_the_middle_of_nothing_opens_nothing() {
    let env = lab();
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
        let result = arrives(&env, inward(REMOTE, HOST.1).tcp(5000, 8080, flags, b""));
        assert_eq!(result.action(), Action::Pass, "flags {flags:#x}");
    }
    assert!(env.flows.borrow().is_empty());
}

/// RFC 5382 REQ-4: a container may be about to open the same connection.
#[test]
fn whoever_chose_silence_does_not_answer_for_what_may_become_a_containers() {
    let knock = |env: &HostEnv, dport| arrives(env, inward(REMOTE, HOST.1).syn(5000, dport));
    let mut env = lab();
    assert_eq!(knock(&env, 5001).action(), Action::Pass, "not chosen");
    env.config.silent = 1;
    let refused = knock(&env, 5001);
    assert_eq!(
        (refused.action(), refused.reason()),
        (Action::Drop, Reason::Unsolicited)
    );
    let (first, last) = (env.config.local_min, env.config.local_max);
    for port in [1024, first - 1, last + 1, u16::MAX] {
        assert_eq!(knock(&env, port).reason(), Reason::Unsolicited, "{port}");
    }
    for port in [1, 22, 1023, first, last] {
        assert_eq!(knock(&env, port).action(), Action::Pass, "{port} is the host's");
    }
    assert_eq!(knock(&env, 8080).to(), (Action::Peer, ifindex::A), "published");
    let elsewhere = arrives(&env, inward(REMOTE, ROUTER.1).syn(5000, 5001));
    assert_eq!(elsewhere.action(), Action::Pass, "another host's");
    env.sockets.insert((proto::TCP, 5001));
    assert_eq!(knock(&env, 5001).action(), Action::Pass, "a socket of the host's");
}

#[test]
fn a_frame_for_another_mac_than_the_uplinks_is_not_ours() {
    let env = lab();
    let bytes = Datagram::new((ROUTER.0, REMOTE), ([2, 9, 9, 9, 9, 9], HOST.1)).syn(5000, 8080);
    assert_eq!(arrives(&env, bytes).action(), Action::Pass);
}

#[test]
fn a_port_whose_network_is_gone_leads_nowhere() {
    let mut env = lab();
    env.networks[1] = NetworkV4 {
        head: bytemuck::Zeroable::zeroed(),
        tail: bytemuck::Zeroable::zeroed(),
    };
    let result = arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080));
    assert_eq!(result.reason(), Reason::UnknownLink);
}

#[test]
fn a_connection_outlives_its_publication() {
    let mut env = lab();
    arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080));
    env.published.clear();
    let next = arrives(&env, inward(REMOTE, HOST.1).tcp(5000, 8080, ACK, b""));
    assert_eq!(next.to(), (Action::Peer, ifindex::A));
    let another = arrives(&env, inward(REMOTE, HOST.1).syn(5001, 8080));
    assert_eq!(another.action(), Action::Pass);
}

#[test]
fn two_ports_that_lead_to_one_tell_a_client_apart_by_its_port() {
    let mut env = lab();
    publish(&mut env, (proto::TCP, [0; 4], 8081), (A, ifindex::A, slot::A), 80);
    let knock = |sport, dport| arrives(&env, inward(REMOTE, HOST.1).syn(sport, dport)).reason();
    assert_eq!(knock(5000, 8080), Reason::None);
    assert_eq!(
        knock(5000, 8081),
        Reason::TupleTaken,
        "the answers would be the first flow's"
    );
    assert_eq!(knock(5001, 8081), Reason::None);
}

#[test]
fn the_way_back_is_the_hosts_route_and_not_the_senders_mac() {
    let mut env = lab();
    // A neighbour on the uplink claims to be a client beyond the router.
    let mac = [2, 0, 0, 0, 0, 0x77];
    let knock = |env: &HostEnv, src| {
        let seen = arrives(env, Datagram::new((mac, src), HOST).syn(5000, 8080)).bytes;
        answer_to(&seen, Some(SYN | ACK))
    };
    let back = sends(&env, ifindex::A, knock(&env, REMOTE));
    assert_eq!(back.to(), (Action::Redirect, ifindex::UPLINK));
    assert_eq!((&back.bytes[..6], &back.bytes[6..12]), (&ROUTER.0[..], &HOST.0[..]));
    // A client on the uplink's own network, whose MAC the host does not know yet.
    let answer = knock(&env, UNRESOLVED);
    let back = sends(&env, ifindex::A, answer.clone());
    assert_eq!(back.to(), (Action::Neigh, ifindex::UPLINK), "the kernel resolves");
    env.hops.remove(&([192, 0, 2, 0], 24));
    env.now += SECOND;
    let back = sends(&env, ifindex::A, answer);
    assert_eq!(back.to(), (Action::Redirect, ifindex::UPLINK));
    assert_eq!(back.bytes[..6], ROUTER.0);
}

#[test]
fn a_list_of_sources_lets_in_whom_it_has() {
    let listed: [(Ip, u32); 2] = [([198, 51, 100, 0], 24), ([203, 0, 113, 9], 32)];
    let knock = |env: &HostEnv, src| arrives(&env.clone(), inward(src, HOST.1).syn(5000, 8080)).reason();
    let mut env = lab();
    restrict(&mut env, &listed);
    for (src, expected) in [
        ([198, 51, 100, 0], Reason::None),
        ([198, 51, 100, 255], Reason::None),
        ([198, 51, 101, 0], Reason::SourceNotAllowed),
        ([203, 0, 113, 9], Reason::None),
        ([203, 0, 113, 8], Reason::SourceNotAllowed),
        (A.1, Reason::SpoofedIp),
    ] {
        assert_eq!(knock(&env, src), expected, "{src:?}");
    }
    // Another port, without a list.
    publish(&mut env, (proto::TCP, [0; 4], 8081), (A, ifindex::A, slot::A), 81);
    assert_eq!(
        arrives(&env, inward([203, 0, 113, 8], HOST.1).syn(5000, 8081)).reason(),
        Reason::None
    );
    env.sources = [(2, listed[0])].into();
    assert_eq!(knock(&env, [198, 51, 100, 1]), Reason::SourceNotAllowed, "another list");
    env.sources = [(1, ([0; 4], 0))].into();
    assert_eq!(knock(&env, [198, 51, 101, 0]), Reason::None, "all of them");
}

#[test]
fn a_port_of_a_network_without_an_uplink_is_for_the_host_alone() {
    let mut env = lab();
    publish(&mut env, (proto::TCP, [0; 4], 8082), (D, ifindex::D, slot::D), 80);
    for target in env.published.values_mut().filter(|target| { target.tail.addr } == D.1) {
        target.head.net = 2;
    }
    let knock = arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8082));
    assert_eq!(knock.action(), Action::Pass, "for the stack to refuse");
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn nobody_outside_has_an_address_of_the_inside() {
    let env = lab();
    for src in [A.1, B.1, D.1, [10, 1, 0, 99], GATEWAY.1, HOST.1] {
        let result = arrives(&env, inward(src, HOST.1).syn(5000, 8080));
        assert_eq!(result.reason(), Reason::SpoofedIp, "{src:?}");
    }
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn an_answer_establishes_the_connection() {
    let env = lab();
    let seen = arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080)).bytes;
    sends(&env, ifindex::A, answer_to(&seen, Some(SYN | ACK)));
    assert_eq!(env.traffic.borrow()[&slot::UPLINK].rx_packets, 1);
    let states = [0, 1].map(|zone| halves(&env, zone)[0].1.head.state);
    assert_eq!(states, [FlowState::Answered as u8; 2]);
    arrives(&env, inward(REMOTE, HOST.1).tcp(5000, 8080, ACK, b"ask"));
    sends(&env, ifindex::A, answer_to(&seen, Some(ACK)));
    let states = [0, 1].map(|zone| halves(&env, zone)[0].1.head.state);
    assert_eq!(states, [FlowState::Established as u8; 2]);
}

#[test]
fn an_answer_that_does_not_fit_the_way_out_is_for_the_stack_to_answer() {
    let env = lab();
    arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080));
    for (payload, expected) in [(1460, Action::Redirect), (1461, Action::Pass)] {
        let answer = out(A, GATEWAY, REMOTE).tcp(80, 5000, ACK, &vec![0; payload]);
        assert_eq!(sends(&env, ifindex::A, answer).action(), expected, "{payload}");
    }
}

#[test]
fn the_filter_sees_the_container_and_not_the_host() {
    let cases = [
        (A.1, 80, Reason::Filtered),
        (A.1, 8080, Reason::None),
        (HOST.1, 80, Reason::None),
    ];
    for (dst, port, expected) in cases {
        let mut refuse = rule(verdict::DROP);
        (refuse.head.dport_min, refuse.head.dport_max, refuse.head.flags) = (port, port, rule_flags::PORTS);
        (refuse.tail.dst, refuse.tail.dst_mask) = (dst, [255; 4]);
        let knock = |env: &HostEnv| arrives(env, inward(REMOTE, HOST.1).syn(5000, 8080)).reason();
        let mut open = lab();
        knock(&open);
        open.set_filter(verdict::ACCEPT, &[refuse]);
        assert_eq!(knock(&open), expected, "a flow that is there, {dst:?} {port}");
        open.flows.borrow_mut().clear();
        assert_eq!(knock(&open), expected, "a new flow, {dst:?} {port}");
    }
}

#[test]
fn the_outside_reaches_no_container_around_a_published_port() {
    let env = lab();
    for dst in [A.1, B.1, D.1, E.1, [10, 1, 0, 99]] {
        for bytes in [
            inward(REMOTE, dst).syn(5000, 80),
            inward(REMOTE, dst).udp(5000, 53, b""),
            inward(REMOTE, dst).echo(8, 1, b""),
            inward(REMOTE, dst).frame(47, &[0; 8]),
        ] {
            assert_eq!(arrives(&env, bytes).reason(), Reason::DirectAccess, "{dst:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_container_sees_the_client_and_the_client_sees_the_host(
        (client, sport, dport, port) in ((11_u8..=126, any::<[u8; 3]>()), any::<u16>(), any::<u16>(), any::<u16>()),
        tcp in any::<bool>(),
        payload in vec(any::<u8>(), 0..64),
        ttl in 2_u8..=255,
        exact in any::<bool>(),
        plain in any::<bool>(),
    ) {
        let (network, [b, c, d]) = client;
        let client = [network, b, c, d];
        let mut env = lab();
        let protocol = if tcp { proto::TCP } else { proto::UDP };
        env.published.clear();
        publish(&mut env, (protocol, if exact { HOST.1 } else { [0; 4] }, dport), (A, ifindex::A, slot::A), port);
        let build = |between: Datagram, ttl, ports: (u16, u16), flags| {
            let datagram = Datagram { ttl, ..between };
            if tcp {
                return datagram.tcp(ports.0, ports.1, flags, &payload);
            }
            let mut bytes = datagram.udp(ports.0, ports.1, &payload);
            if plain {
                bytes[40..42].fill(0);
            }
            bytes
        };
        let came = arrives(&env, build(inward(client, HOST.1), ttl, (sport, dport), SYN));
        prop_assert_eq!(came.to(), (Action::Peer, ifindex::A));
        let delivered = Datagram::new((GATEWAY.0, client), A);
        prop_assert_eq!(came.bytes, build(delivered, ttl - 1, (sport, port), SYN));

        let went = sends(&env, ifindex::A, build(out(A, GATEWAY, client), ttl, (port, sport), SYN | ACK));
        prop_assert_eq!(went.to(), (Action::Redirect, ifindex::UPLINK));
        let left = Datagram::new(HOST, (ROUTER.0, client));
        prop_assert_eq!(went.bytes, build(left, ttl - 1, (dport, sport), SYN | ACK));
    }
}
