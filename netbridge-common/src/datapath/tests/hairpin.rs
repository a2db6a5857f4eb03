//! Containers that reach each other, and themselves, by the host's address: at published ports, and at mapped ones.

use crate::abi::{Reason, SUBNET_LOCAL, flow_flags, network_flags, proto};
use crate::datapath::env::Hop;
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::lab::{
    A, B, D, E, GATEWAY, GATEWAYS, HOST, Node, ROUTER, SECOND, ifindex, inward, lab, out, publish, slot,
};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, SYN};

use super::binding::{independent, port, remote, udp_a, udp_b, with};
use super::{Result, arrives, sends};

/// The segment that a container's connection to an address of the host comes to.
fn hairpin(env: &HostEnv, dst: Ip, dport: u16) -> Result {
    sends(env, ifindex::B, out(B, GATEWAY, dst).syn(5000, dport))
}

#[test]
fn a_container_reaches_published_ports_by_any_address_of_the_host() {
    for (name, dst) in [("the uplink's", HOST.1), ("the gateway's", GATEWAY.1)] {
        let env = lab();
        let there = hairpin(&env, dst, 8080);
        assert_eq!(there.to(), (Action::Peer, ifindex::A), "{name}");
        assert_eq!(
            (&there.bytes[26..30], &there.bytes[30..34]),
            (&dst[..], &A.1[..]),
            "from the address dialled"
        );
        let sport = u16::from_be_bytes([there.bytes[34], there.bytes[35]]);
        let back = sends(&env, ifindex::A, out(A, GATEWAY, dst).tcp(80, sport, SYN | ACK, b""));
        assert_eq!(back.to(), (Action::Peer, ifindex::B), "{name}");
        assert_eq!(
            (&back.bytes[26..30], &back.bytes[30..34], &back.bytes[34..38]),
            (&dst[..], &B.1[..], &[0x1f, 0x90, 0x13, 0x88][..])
        );
        assert_eq!(env.flows.borrow().len(), 2);
    }
}

#[test]
fn a_container_reaches_its_own_published_port() {
    let env = lab();
    let there = sends(&env, ifindex::A, out(A, GATEWAY, HOST.1).syn(5000, 8080));
    assert_eq!(there.to(), (Action::Peer, ifindex::A));
    let sport = u16::from_be_bytes([there.bytes[34], there.bytes[35]]);
    let back = sends(&env, ifindex::A, out(A, GATEWAY, HOST.1).tcp(80, sport, SYN | ACK, b""));
    assert_eq!(back.to(), (Action::Peer, ifindex::A));
}

/// A datagram of a container's port 5000 to a port at the host's address.
fn meets(env: &HostEnv, (index, from): (u32, Node), port: u16) -> Result {
    sends(env, index, out(from, GATEWAY, HOST.1).udp(5000, port, b"hello"))
}

#[test]
fn containers_meet_at_their_mapped_ports_once_both_have_tried() {
    const BOTH: [(u32, Node); 2] = [(ifindex::A, A), (ifindex::B, B)];
    let env = independent();
    let ports = [udp_a(&env, 5000, remote(1)), udp_b(&env, 5000, remote(1))];
    for _ in 0..2 {
        assert_eq!(meets(&env, BOTH[1], ports[0]).reason(), Reason::Unsolicited);
    }
    for (to, from) in [(1, 0), (0, 1), (1, 0)] {
        let there = meets(&env, BOTH[from], ports[to]);
        assert_eq!(there.to(), (Action::Peer, BOTH[to].0));
        let (host, port) = (HOST.1, ports[from].to_be_bytes());
        assert_eq!((&there.bytes[26..30], &there.bytes[34..36]), (&host[..], &port[..]));
        assert_eq!(there.bytes[36..38], 5000_u16.to_be_bytes());
    }
    assert_eq!(env.flows.borrow().len(), 6, "one flow between them");

    let open = with(network_flags::INDEPENDENT_MAPPING | network_flags::INDEPENDENT_FILTERING);
    let port = udp_a(&open, 5000, remote(1));
    assert_eq!(meets(&open, BOTH[1], port).to(), (Action::Peer, ifindex::A));

    let env = independent();
    let port = udp_a(&env, 5000, remote(1));
    let internal = sends(&env, ifindex::D, out(D, GATEWAYS[1], HOST.1).udp(5000, port, b""));
    assert_eq!(internal.action(), Action::Pass, "who has no way out meets nobody");
    assert_eq!(env.flows.borrow().len(), 2);
}

#[test]
fn who_waits_at_a_mapped_port_is_judged_anew_every_second() {
    const OF_B: (u32, Node) = (ifindex::B, B);
    let waiting = || {
        let env = independent();
        let port = udp_a(&env, 5000, remote(1));
        assert_eq!(meets(&env, OF_B, port).reason(), Reason::Unsolicited);
        (env, port)
    };
    let (mut env, port) = waiting();
    env.sockets.insert((proto::UDP, port));
    env.now += SECOND;
    assert_eq!(
        meets(&env, OF_B, port).action(),
        Action::Pass,
        "a program of the host's"
    );
    let (mut env, port) = waiting();
    publish(&mut env, (proto::UDP, HOST.1, port), (E, ifindex::E, slot::E), 53);
    env.now += SECOND;
    assert_eq!(meets(&env, OF_B, port).to(), (Action::Peer, ifindex::E), "published");
    let (env, port) = waiting();
    let [high, low] = port.to_be_bytes();
    let quote = Datagram::new(HOST, B).packet(proto::UDP, &[high, low, 0x13, 0x88, 0, 8, 0, 0]);
    let error = sends(&env, ifindex::B, out(B, GATEWAY, HOST.1).error(3, &quote));
    assert_eq!(error.reason(), Reason::Unsolicited, "about what nobody has sent");
}

#[test]
fn a_container_that_meets_itself_pays_for_it() {
    let env = independent();
    let port = udp_a(&env, 5000, remote(1));
    assert_eq!(meets(&env, (ifindex::A, A), port).reason(), Reason::Unsolicited);
    let forward = env
        .flows
        .borrow()
        .values()
        .filter(|flow| flow.head.flags & flow_flags::REPLY == 0)
        .count();
    assert_eq!((env.flows.borrow().len(), forward), (4, 2));
    assert_eq!(env.loads.borrow()[&slot::A].flows, 2);
}

#[test]
fn mapped_ports_meet_by_the_addresses_that_they_are_at() {
    const OTHER: Ip = [192, 0, 2, 2];
    let mut env = independent();
    env.subnets.insert((OTHER, 32), SUBNET_LOCAL);
    let local = env.hops[&(HOST.1, 32)];
    env.hops.insert((OTHER, 32), local);
    let by_other = Hop {
        src: OTHER,
        ..env.hops[&(ROUTER.1, 32)]
    };
    env.hops.insert((remote(2), 32), by_other);
    let (a, b) = (udp_a(&env, 5000, remote(1)), udp_b(&env, 5000, remote(2)));
    assert_eq!(meets(&env, (ifindex::B, B), a).reason(), Reason::Unsolicited);
    let there = sends(&env, ifindex::A, out(A, GATEWAY, OTHER).udp(5000, b, b""));
    assert_eq!(there.to(), (Action::Peer, ifindex::B));
    assert_eq!(
        (&there.bytes[26..30], &there.bytes[34..36]),
        (&HOST.1[..], &a.to_be_bytes()[..])
    );
}

#[test]
fn a_port_lives_as_long_as_its_container_sends_by_it() {
    // To another remote every ten seconds.
    let mut env = independent();
    let port = udp_a(&env, 40_000, remote(0));
    for number in 1..200 {
        env.now += 10 * SECOND;
        assert_eq!(udp_a(&env, 40_000, remote(number)), port, "{number}");
    }
    // To a neighbour, who opened the flow.
    let mut env = independent();
    let (a, b) = (udp_a(&env, 40_000, remote(1)), udp_b(&env, 5000, remote(1)));
    meets(&env, (ifindex::B, B), a);
    for _ in 0..20 {
        env.now += 100 * SECOND;
        let answer = sends(&env, ifindex::A, out(A, GATEWAY, HOST.1).udp(40_000, b, b""));
        assert_eq!(answer.to(), (Action::Peer, ifindex::B));
    }
    assert_eq!(udp_a(&env, 40_000, remote(2)), a);
}

#[test]
fn a_published_port_does_not_lead_to_who_had_it_before() {
    let mut env = independent();
    assert_eq!(udp_a(&env, 5000, remote(1)), 5000);
    env.now += 200 * SECOND + 1;
    publish(&mut env, (proto::UDP, HOST.1, 5000), (B, ifindex::B, slot::B), 53);
    let late = arrives(&env, inward(remote(1), HOST.1).udp(53, 5000, b"for whom?"));
    assert_eq!(late.reason(), Reason::TupleTaken, "it may have been meant for A");
    assert_eq!(env.flows.borrow().len(), 2);
    let other = arrives(&env, inward(remote(1), HOST.1).udp(54, 5000, b"for B"));
    assert_eq!(other.to(), (Action::Peer, ifindex::B));
}

#[test]
fn connections_of_containers_meet_in_a_simultaneous_open() {
    let env = independent();
    let syn = |env: &HostEnv, (index, from), dst, dport| sends(env, index, out(from, GATEWAY, dst).syn(5000, dport));
    let (a, b) = ((ifindex::A, A), (ifindex::B, B));
    let ports = [a, b].map(|from| port(&syn(&env, from, remote(1), 80)));
    assert_eq!(syn(&env, b, HOST.1, ports[0]).reason(), Reason::Unsolicited);
    assert_eq!(syn(&env, a, HOST.1, ports[1]).to(), (Action::Peer, ifindex::B));
    let segment =
        |(index, from), port, flags| sends(&env, index, out(from, GATEWAY, HOST.1).tcp(5000, port, flags, b""));
    assert_eq!(segment(b, ports[0], SYN | ACK).to(), (Action::Peer, ifindex::A));
    assert_eq!(segment(a, ports[1], ACK).to(), (Action::Peer, ifindex::B));
    assert_eq!(env.flows.borrow().len(), 6);
}

#[test]
fn what_is_not_published_is_the_hosts() {
    let env = lab();
    // An address that has moved to another machine, which the controller has not heard of.
    let mut moved = env.clone();
    let elsewhere = moved.hops[&(ROUTER.1, 32)];
    moved.hops.insert((HOST.1, 32), elsewhere);
    assert_eq!(hairpin(&moved, HOST.1, 8080).action(), Action::Pass);
    assert_eq!(hairpin(&env, HOST.1, 8081).action(), Action::Pass);
    assert_eq!(
        hairpin(&env, [192, 0, 2, 7], 8080).action(),
        Action::Neigh,
        "another host's"
    );
    let segment = out(B, GATEWAY, HOST.1).tcp(5000, 8080, ACK, b"");
    assert_eq!(
        sends(&env, ifindex::B, segment).action(),
        Action::Pass,
        "the host resets it"
    );
    // At another address of the host.
    let mut env = lab();
    env.published.clear();
    publish(
        &mut env,
        (proto::TCP, [127, 0, 0, 1], 8080),
        (A, ifindex::A, slot::A),
        80,
    );
    assert_eq!(hairpin(&env, HOST.1, 8080).action(), Action::Pass);
}

#[test]
fn errors_about_a_hairpinned_packet_find_their_way_back() {
    let env = lab();
    let there = sends(&env, ifindex::A, out(A, GATEWAY, HOST.1).udp(5000, 5353, b"ask"));
    assert_eq!(there.to(), (Action::Peer, ifindex::B));
    let quote = there.bytes[14..].to_vec();
    let error = out(B, GATEWAY, HOST.1).error(3, &quote);
    let back = sends(&env, ifindex::B, error);
    assert_eq!(back.to(), (Action::Peer, ifindex::A));
    assert_eq!((&back.bytes[26..30], &back.bytes[30..34]), (&HOST.1[..], &A.1[..]));
    // What it quotes is what A sent, but for the TTL.
    assert_eq!(
        back.bytes[42 + 12..42 + 24],
        [&A.1[..], &HOST.1, &[0x13, 0x88, 0x14, 0xe9]].concat()
    );
    let stranger = out(B, GATEWAY, HOST.1).error(3, &out(A, GATEWAY, B.1).packet(proto::UDP, &[0; 8]));
    assert_eq!(sends(&env, ifindex::B, stranger).action(), Action::Pass);
}
