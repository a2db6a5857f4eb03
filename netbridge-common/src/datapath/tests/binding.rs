//! Endpoint-independent mappings: which port stands for a container's, for how long, and who may use it.

use crate::abi::{Reason, SUBNET_LOCAL, flow_flags, network_flags, proto};
use crate::datapath::env::Hop;
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::lab::{
    A, B, D, E, GATEWAY, GATEWAYS, HOST, Node, REMOTE, ROUTER, SECOND, ifindex, inward, lab, out, publish, slot,
};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{Result, arrives, sends};

fn independent() -> HostEnv {
    with(network_flags::INDEPENDENT_MAPPING)
}

fn with(flags: u32) -> HostEnv {
    let mut env = lab();
    env.networks[1].head.flags |= flags;
    env
}

/// A remote of its own for each number.
fn remote(number: u8) -> Ip {
    [203, 0, 113, number]
}

fn udp_a(env: &HostEnv, sport: u16, dst: Ip) -> u16 {
    port(&sends(env, ifindex::A, out(A, GATEWAY, dst).udp(sport, 53, b"")))
}

fn udp_b(env: &HostEnv, sport: u16, dst: Ip) -> u16 {
    port(&sends(env, ifindex::B, out(B, GATEWAY, dst).udp(sport, 53, b"")))
}

fn port(result: &Result) -> u16 {
    assert_eq!(result.action(), Action::Redirect, "{:?}", result.reason());
    u16::from_be_bytes([result.bytes[34], result.bytes[35]])
}

#[test]
fn one_port_stands_for_a_containers_whatever_the_destination() {
    let env = independent();
    for sport in [501, 5000, 40_000, 61_000] {
        let first = udp_a(&env, sport, remote(1));
        for number in 2..20 {
            assert_eq!(udp_a(&env, sport, remote(number)), first, "{sport}");
        }
    }
    let dependent = lab();
    let ports: std::collections::HashSet<_> = (1..20)
        .map(|number| udp_a(&dependent, 40_000, remote(number)))
        .collect();
    assert!(ports.len() > 1, "without it another for each");
}

#[test]
fn no_two_containers_share_a_port_while_there_are_others() {
    let env = independent();
    let a = udp_a(&env, 5000, remote(1));
    let b = udp_b(&env, 5000, remote(2));
    assert_ne!(a, b);
    assert_eq!(udp_b(&env, 5000, remote(1)), b);
    assert_eq!(udp_a(&env, 5000, remote(2)), a);
    // Where there is no other, they share it towards different destinations.
    let mut env = independent();
    env.config.snat_ports = 2;
    let a = udp_a(&env, 40_001, remote(1));
    let b = udp_b(&env, 40_001, remote(2));
    let c = sends(&env, ifindex::B, out(B, GATEWAY, remote(3)).udp(40_003, 53, b""));
    let c = port(&c);
    assert_eq!((a, b), (1025, 1024));
    assert_eq!(udp_b(&env, 40_003, remote(4)), c, "and keep it");
    let taken = sends(&env, ifindex::B, out(B, GATEWAY, remote(1)).udp(40_003, 53, b""));
    assert_eq!(port(&taken), 1024, "to A's remote another one is left");
}

#[test]
fn a_port_is_as_odd_as_the_containers() {
    let env = independent();
    for sport in (40_000..40_064).chain(500..520) {
        // The number itself is taken by a neighbour.
        udp_b(&env, sport, remote(1));
        assert_eq!(udp_a(&env, sport, remote(1)) & 1, sport & 1, "{sport}");
    }
}

#[test]
fn a_low_port_stays_low() {
    let env = independent();
    udp_b(&env, 501, remote(1));
    let moved = udp_a(&env, 501, remote(1));
    assert!((512..1024).contains(&moved), "{moved}");
}

#[test]
fn a_port_that_a_socket_of_the_host_has_is_left_to_it() {
    for env in [lab(), independent()] {
        let mut env = env;
        env.sockets.insert((proto::UDP, 5000));
        assert_ne!(udp_a(&env, 5000, remote(1)), 5000);
        assert_eq!(udp_a(&env, 5001, remote(1)), 5001);
    }
}

#[test]
fn a_binding_lives_as_long_as_its_flows_and_is_kept_from_others_for_a_while() {
    let mut env = independent();
    let a = udp_a(&env, 5000, remote(1));
    for _ in 0..3 {
        env.now += 190 * SECOND;
        assert_eq!(udp_a(&env, 5000, remote(1)), a, "used");
    }
    env.now += 202 * SECOND;
    env.flows.borrow_mut().clear();
    assert_ne!(udp_b(&env.clone(), 5000, remote(2)), a, "quarantined");
    assert_eq!(udp_a(&env.clone(), 5000, remote(2)), a, "its own again");
    env.now += 120 * SECOND;
    assert_eq!(udp_b(&env, 5000, remote(2)), a);
    assert_ne!(udp_a(&env, 5000, remote(3)), a);
}

/// CVE-2021-3773: what was bound before must not shadow what is published or opened since.
#[test]
fn a_bound_port_is_left_to_whoever_has_it_since() {
    let mut env = independent();
    assert_eq!(udp_a(&env, 5060, remote(1)), 5060);
    env.sockets.insert((proto::UDP, 5060));
    assert_ne!(udp_a(&env, 5060, remote(2)), 5060, "a socket of the host's");
    env.sockets.clear();
    publish(&mut env, (proto::UDP, [0; 4], 5060), (B, ifindex::B, slot::B), 5060);
    assert_ne!(udp_a(&env, 5060, remote(3)), 5060, "a published port");
    let call = arrives(&env, inward(remote(3), HOST.1).udp(53, 5060, b""));
    assert_eq!(call.to(), (Action::Peer, ifindex::B));
}

#[test]
fn a_closed_connection_gives_its_port_up_at_once() {
    let connect = |env: &HostEnv, number| {
        let to = || out(A, GATEWAY, remote(number));
        let from = || inward(remote(number), HOST.1);
        sends(env, ifindex::A, to().tcp(5000, 80, SYN, b""));
        arrives(env, from().tcp(80, 5000, SYN | ACK, b""));
        sends(env, ifindex::A, to().tcp(5000, 80, ACK, b""));
        (to(), from())
    };
    let other = |env: &HostEnv| {
        port(&sends(
            env,
            ifindex::B,
            out(B, GATEWAY, remote(9)).tcp(5000, 80, SYN, b""),
        ))
    };
    let env = independent();
    let (to, from) = connect(&env, 1);
    assert_ne!(other(&env.clone()), 5000);
    sends(&env, ifindex::A, to.tcp(5000, 80, FIN | ACK, b""));
    arrives(&env, from.tcp(80, 5000, FIN | ACK, b""));
    assert_eq!(other(&env), 5000);
    // A connection that was reset goes on if the RST was forged.
    let mut env = independent();
    let (to, from) = connect(&env, 1);
    arrives(&env, from.tcp(80, 5000, RST, b""));
    env.reap();
    assert_ne!(other(&env.clone()), 5000);
    let mut later = env.clone();
    later.now += 400 * SECOND;
    assert_eq!(other(&later), 5000, "nothing came");
    env.now += SECOND;
    sends(&env, ifindex::A, to.tcp(5000, 80, ACK, b"data"));
    assert_ne!(other(&env), 5000);
}

/// A container's port may stand for another connection by then.
#[test]
fn what_comes_after_the_end_of_a_connection_ends_no_binding() {
    let syn = |env: &HostEnv, number| port(&sends(env, ifindex::A, out(A, GATEWAY, remote(number)).syn(5000, 80)));
    let from =
        |env: &HostEnv, number, flags| arrives(env, inward(remote(number), HOST.1).tcp(80, 5000, flags, b"")).reason();
    let lives = |env: &HostEnv| {
        let bindings = env.bindings.borrow();
        bindings.len() == 2 && bindings.values().all(|side| side.head.until >= env.now)
    };
    // A binding that had ended would have begun anew, with one flow.
    let shared = |env: &HostEnv| env.bindings.borrow().values().any(|side| side.head.shared == 1);
    // A late FIN, and what makes room.
    let mut env = independent();
    assert_eq!(syn(&env, 1), 5000);
    from(&env, 1, SYN | ACK);
    sends(
        &env,
        ifindex::A,
        out(A, GATEWAY, remote(1)).tcp(5000, 80, FIN | ACK, b""),
    );
    from(&env, 1, FIN | ACK);
    assert!(!lives(&env));
    assert_eq!(syn(&env, 2), 5000);
    from(&env, 2, SYN | ACK);
    sends(&env, ifindex::A, out(A, GATEWAY, remote(2)).tcp(5000, 80, ACK, b""));
    assert!(lives(&env));
    env.now += 2 * SECOND;
    assert_eq!(from(&env, 1, FIN | ACK), Reason::None);
    assert!(lives(&env), "a late FIN");
    env.config.quota = 2;
    sends(&env, ifindex::A, out(A, GATEWAY, remote(3)).syn(5000, 80));
    assert_eq!(env.flows.borrow().len(), 4, "the closed one has made room");
    assert!(lives(&env) && shared(&env), "a closed one that went");
    // One that nobody answered, and that has expired.
    let mut env = independent();
    syn(&env, 1);
    env.now += 242 * SECOND;
    assert!(!lives(&env));
    assert_eq!(syn(&env, 2), 5000);
    from(&env, 2, SYN | ACK);
    sends(&env, ifindex::A, out(A, GATEWAY, remote(2)).tcp(5000, 80, ACK, b""));
    env.config.quota = 2;
    sends(&env, ifindex::A, out(A, GATEWAY, remote(3)).syn(5000, 80));
    assert_eq!(env.flows.borrow().len(), 4, "the expired one has made room");
    assert!(lives(&env) && shared(&env), "an expired one that went");
}

/// RFC 5382 REQ-1: a hole is punched from the port of a connection that stands.
#[test]
fn a_failed_connection_leaves_the_others_their_port() {
    let env = independent();
    let syn = |number| {
        port(&sends(
            &env,
            ifindex::A,
            out(A, GATEWAY, remote(number)).syn(40_000, 80),
        ))
    };
    let from = |number, sport, flags| arrives(&env, inward(remote(number), HOST.1).tcp(80, sport, flags, b""));
    let outside = syn(1);
    from(1, outside, SYN | ACK);
    sends(&env, ifindex::A, out(A, GATEWAY, remote(1)).tcp(40_000, 80, ACK, b""));
    for number in 2..6 {
        assert_eq!(syn(number), outside, "to {number}");
        from(number, outside, SYN | ACK);
        from(number, outside, RST);
    }
    // Alone it gives the port up with its end, and comes by another that suits its container's as well.
    let alone = port(&sends(&env, ifindex::B, out(B, GATEWAY, remote(1)).syn(40_000, 80)));
    arrives(&env, inward(remote(1), HOST.1).tcp(80, alone, SYN | ACK, b""));
    sends(
        &env,
        ifindex::B,
        out(B, GATEWAY, remote(1)).tcp(40_000, 80, FIN | ACK, b""),
    );
    arrives(&env, inward(remote(1), HOST.1).tcp(80, alone, FIN | ACK, b""));
    let bindings = env.bindings.borrow();
    let lives = |port: u16| {
        let side = bindings.values().find(|side| side.tail.port == port.to_be_bytes());
        side.is_some_and(|side| side.head.until >= env.now)
    };
    assert!(lives(outside) && !lives(alone));
}

/// Whatever it does to get more: flows that make room for each other, to one remote or to two, at once or over time.
#[test]
fn a_container_has_no_more_ports_than_its_quota() {
    for remotes in [1, 2] {
        let mut env = independent();
        (env.config.quota, env.config.half_open_quota) = (40, 20);
        for sport in 2000..2400 {
            env.now += SECOND >> 3;
            for number in 0..remotes {
                udp_a(&env, sport, remote(number));
            }
        }
        let ports = |slot| usize::try_from(env.loads.borrow().get(&slot).map_or(0, |load| load.ports)).unwrap();
        let outside = env
            .bindings
            .borrow()
            .values()
            .filter(|side| side.tail.zone == [1, 0])
            .count();
        assert_eq!(ports(slot::A), outside);
        assert!(outside <= 40, "{outside} with {remotes}");
        // The neighbour has its own.
        assert_eq!(udp_b(&env, 2000, remote(1)), udp_b(&env, 2000, remote(2)));
        assert_eq!(ports(slot::B), 1);
        env.now += 500 * SECOND;
        let again = udp_a(&env, 40_000, remote(1)) == udp_a(&env, 40_000, remote(2));
        assert!(again, "what has ended makes room");
        env.now += 500 * SECOND;
        env.reap();
        assert_eq!((ports(slot::A), ports(slot::B)), (0, 0));
    }
}

/// RFC 4787 REQ-6: what a container answers is sent by its port, too.
#[test]
fn answers_to_anybody_keep_a_port() {
    let mut env = with(network_flags::INDEPENDENT_MAPPING | network_flags::INDEPENDENT_FILTERING);
    assert_eq!(udp_a(&env, 5000, remote(1)), 5000);
    for _ in 0..10 {
        env.now += 100 * SECOND;
        let ask = arrives(&env, inward(remote(2), HOST.1).udp(7, 5000, b""));
        assert_eq!(ask.to(), (Action::Peer, ifindex::A));
        let answer = sends(&env, ifindex::A, out(A, GATEWAY, remote(2)).udp(5000, 7, b""));
        assert_eq!(port(&answer), 5000);
    }
    // Questions alone do not: anybody could keep it.
    for _ in 0..10 {
        env.now += 100 * SECOND;
        arrives(&env, inward(remote(2), HOST.1).udp(7, 5000, b""));
    }
    let stranger = arrives(&env, inward(remote(3), HOST.1).udp(7, 5000, b""));
    assert_eq!(stranger.action(), Action::Pass);
}

#[test]
fn a_connection_that_was_picked_up_keeps_its_port_as_long_as_any() {
    let mut env = independent();
    env.config.pickup_until = env.now + 100 * SECOND;
    let from = |env: &HostEnv, (node, index)| {
        port(&sends(
            env,
            index,
            out(node, GATEWAY, remote(1)).tcp(5000, 80, ACK, b"data"),
        ))
    };
    assert_eq!(from(&env, (A, ifindex::A)), 5000);
    env.now += 3600 * SECOND;
    let other = sends(&env, ifindex::B, out(B, GATEWAY, remote(2)).syn(5000, 80));
    assert_ne!(port(&other), 5000);
}

#[test]
fn who_may_send_to_a_port_is_for_the_network_to_say() {
    let knock = |env: &HostEnv, src: Ip| arrives(env, inward(src, HOST.1).udp(7, 5000, b""));
    let env = independent();
    udp_a(&env, 5000, REMOTE);
    assert_eq!(knock(&env, ROUTER.1).reason(), Reason::Unsolicited, "another address");
    assert_eq!(knock(&env, REMOTE).reason(), Reason::Unsolicited, "another port");

    let env = with(network_flags::INDEPENDENT_MAPPING | network_flags::INDEPENDENT_FILTERING);
    assert_eq!(knock(&env, ROUTER.1).action(), Action::Pass, "no binding yet");
    let outside = udp_a(&env, 5000, REMOTE);
    for src in [ROUTER.1, REMOTE] {
        assert_eq!(knock(&env, src).to(), (Action::Peer, ifindex::A));
    }
    let answer = sends(&env, ifindex::A, out(A, GATEWAY, ROUTER.1).udp(5000, 7, b""));
    assert_eq!(port(&answer), outside);
}

#[test]
fn a_binding_is_reclaimed_when_the_table_is_full() {
    let mut env = independent();
    env.binding_capacity = 2;
    let a = udp_a(&env, 5000, remote(1));
    assert_eq!(udp_a(&env, 5002, remote(1)), 5002, "without a binding, and yet open");
    env.now += 1000 * SECOND;
    env.flows.borrow_mut().clear();
    udp_a(&env, 5004, remote(1));
    assert_eq!(udp_a(&env, 5004, remote(2)), 5004);
    assert_eq!(env.bindings.borrow().len(), 2);
    assert_eq!(a, 5000);
}

#[test]
fn identifiers_of_queries_are_bound_as_ports_are() {
    let env = independent();
    let id = |result: Result| u16::from_be_bytes([result.bytes[38], result.bytes[39]]);
    let ask = |from, index, dst| id(sends(&env, index, out(from, GATEWAY, dst).echo(8, 77, b"")));
    let a = ask(A, ifindex::A, remote(1));
    assert_eq!(ask(A, ifindex::A, remote(2)), a);
    assert_ne!(ask(B, ifindex::B, remote(3)), a);
}

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
