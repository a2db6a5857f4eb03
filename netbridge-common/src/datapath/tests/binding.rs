//! Endpoint-independent mappings: which port stands for a container's, for how long, and who may use it.

use crate::abi::{Reason, network_flags, proto};
use crate::datapath::verdict::Action;
use crate::host::lab::{A, B, GATEWAY, HOST, REMOTE, ROUTER, SECOND, ifindex, inward, lab, out, publish, slot};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{Result, arrives, sends};

pub(super) fn independent() -> HostEnv {
    with(network_flags::INDEPENDENT_MAPPING)
}

pub(super) fn with(flags: u32) -> HostEnv {
    let mut env = lab();
    env.networks[1].head.flags |= flags;
    env
}

/// A remote of its own for each number.
pub(super) fn remote(number: u8) -> Ip {
    [203, 0, 113, number]
}

pub(super) fn udp_a(env: &HostEnv, sport: u16, dst: Ip) -> u16 {
    port(&sends(env, ifindex::A, out(A, GATEWAY, dst).udp(sport, 53, b"")))
}

pub(super) fn udp_b(env: &HostEnv, sport: u16, dst: Ip) -> u16 {
    port(&sends(env, ifindex::B, out(B, GATEWAY, dst).udp(sport, 53, b"")))
}

pub(super) fn port(result: &Result) -> u16 {
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
