//! Packets for the gateway, for the host, and past it.

use crate::abi::{Hook, NO_SLOT, Reason};
use crate::datapath::env::{Hop, HopKind};
use crate::datapath::verdict::{Action, edits};
use crate::host::build::{Datagram, arp};
use crate::host::lab::{A, B, BEHIND_TRUNK, D, E, ELSEWHERE, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, SECOND};
use crate::host::lab::{UNREACHABLE, UNRESOLVED, at, ifindex, inward, lab, out, slot};
use crate::host::{Frame, HostEnv, Ip};
use crate::wire::tcp::{ACK, SYN};

use super::{Result, arrives, halves, run, sends};

/// A's packet for `dst`, by way of the gateway.
fn to(dst: Ip) -> Datagram {
    out(A, GATEWAY, dst)
}

/// A frame of the host's stack that leaves by the uplink and came in by an interface.
fn leaves(env: &HostEnv, ingress: u32, between: Datagram) -> Result {
    let datagram = Datagram {
        smac: HOST.0,
        dmac: ROUTER.0,
        ..between
    };
    let frame = Frame {
        ingress,
        ..at(ifindex::UPLINK, datagram.udp(5000, 53, b"slow"))
    };
    run(env, Hook::ToUplink, &frame)
}

#[test]
fn where_a_packet_for_the_gateway_goes() {
    let env = lab();
    let table: [(&str, Ip, Action, u32, Reason); 11] = [
        ("the gateway", GATEWAY.1, Action::Pass, 0, Reason::None),
        ("the host elsewhere", HOST.1, Action::Pass, 0, Reason::None),
        ("a neighbour", B.1, Action::Peer, ifindex::B, Reason::None),
        ("a neighbour unknown", [10, 1, 0, 99], Action::Pass, 0, Reason::None),
        ("itself", A.1, Action::Pass, 0, Reason::None),
        ("another network", D.1, Action::Drop, 0, Reason::Isolated),
        ("multicast", [224, 0, 0, 251], Action::Pass, 0, Reason::None),
        ("the world", REMOTE, Action::Redirect, ifindex::UPLINK, Reason::None),
        (
            "a next hop to be resolved",
            UNRESOLVED,
            Action::Neigh,
            ifindex::UPLINK,
            Reason::None,
        ),
        ("where the host has no way", UNREACHABLE, Action::Pass, 0, Reason::None),
        ("another uplink", ELSEWHERE, Action::Drop, 0, Reason::OffUplink),
    ];
    for (name, dst, action, index, reason) in table {
        let result = sends(&env, ifindex::A, to(dst).udp(5000, 53, b""));
        assert_eq!((result.to(), result.reason()), ((action, index), reason), "{name}");
    }
}

#[test]
fn no_network_reaches_another_and_an_internal_one_not_the_world() {
    let env = lab();
    let nodes = [
        (A, GATEWAYS[0], ifindex::A),
        (D, GATEWAYS[1], ifindex::D),
        (E, GATEWAYS[2], ifindex::E),
    ];
    for (from, gateway, index) in nodes {
        for (other, _, _) in nodes {
            let reason = sends(&env, index, out(from, gateway, other.1).echo(8, 1, b"")).reason();
            assert_eq!(reason == Reason::Isolated, from != other, "{from:x?} to {other:x?}");
        }
    }
    let internal = |dst| sends(&env, ifindex::D, out(D, GATEWAYS[1], dst).syn(1, 2));
    assert_eq!(internal(REMOTE).reason(), Reason::NoUplink);
    assert_eq!(internal(GATEWAYS[1].1).action(), Action::Pass, "but its gateway");
}

#[test]
fn without_masquerade_a_packet_leaves_under_its_own_address() {
    let env = lab();
    let routed = |smac, dmac, ttl| Datagram {
        ttl,
        ..Datagram::new((smac, E.1), (dmac, REMOTE))
    };
    let left = sends(&env, ifindex::E, routed(E.0, GATEWAYS[2].0, 64).syn(80, 5000));
    assert_eq!(left.to(), (Action::Redirect, ifindex::UPLINK));
    assert_eq!(left.bytes, routed(HOST.0, ROUTER.0, 63).syn(80, 5000));
    let back = arrives(&env, inward(REMOTE, E.1).tcp(5000, 80, SYN | ACK, b""));
    assert_eq!(back.to(), (Action::Peer, ifindex::E));
    let stranger = arrives(&env, inward(REMOTE, E.1).tcp(5001, 80, SYN, b""));
    assert_eq!(stranger.reason(), Reason::DirectAccess);
}

#[test]
fn what_does_not_fit_the_way_out_is_for_the_stack_to_cut_up() {
    // Headers of 40 bytes, and a GSO frame counts by its segments.
    let table = [
        (1460, 0, true),
        (1461, 0, false),
        (9000, 1460, true),
        (9000, 1461, false),
        (9000, 0, false),
    ];
    for known in [false, true] {
        for (payload, gso_size, fits) in table {
            let env = lab();
            if known {
                sends(&env, ifindex::A, to(REMOTE).syn(5000, 80));
            }
            let frame = Frame {
                gso_size,
                ..at(
                    ifindex::A,
                    to(REMOTE).tcp(5000, 80, if known { ACK } else { SYN }, &vec![0; payload]),
                )
            };
            let result = run(&env, Hook::FromContainer, &frame);
            let expected = if fits { Action::Redirect } else { Action::Pass };
            let is = (result.action(), result.reason());
            assert_eq!(
                is,
                (expected, Reason::None),
                "{payload} bytes, GSO {gso_size}, known: {known}"
            );
            assert_eq!(halves(&env, 1).len(), usize::from(fits || known));
        }
    }
    let env = lab();
    let result = sends(&env, ifindex::A, to(B.1).udp(1, 2, &[0; 3000]));
    assert_eq!(result.action(), Action::Peer, "a neighbour is not behind the uplink");
}

#[test]
fn a_neighbour_is_reached_through_the_gateway_both_ways() {
    let env = lab();
    let hop = |smac, dmac, ttl, (from, to): (Ip, Ip)| Datagram {
        ttl,
        ..Datagram::new((smac, from), (dmac, to))
    };
    let result = sends(&env, ifindex::A, hop(A.0, GATEWAY.0, 64, (A.1, B.1)).syn(5000, 80));
    assert_eq!(result.to(), (Action::Peer, ifindex::B));
    assert_eq!(result.bytes, hop(GATEWAY.0, B.0, 63, (A.1, B.1)).syn(5000, 80));
    let answer = |smac, dmac, ttl| hop(smac, dmac, ttl, (B.1, A.1)).tcp(80, 5000, SYN | ACK, b"");
    let result = sends(&env, ifindex::B, answer(B.0, GATEWAY.0, 64));
    assert_eq!(result.to(), (Action::Peer, ifindex::A));
    assert_eq!(result.bytes, answer(GATEWAY.0, A.0, 63));
    let straight = sends(&env, ifindex::B, answer(B.0, A.0, 64));
    assert_eq!(straight.to(), (Action::Peer, ifindex::A));
    assert_eq!(straight.bytes, answer(B.0, A.0, 64), "straight to its MAC, as it is");
}

#[test]
fn the_next_hop_is_looked_for_again_once_a_second() {
    let mut env = lab();
    let send = |env: &HostEnv| sends(env, ifindex::A, to(UNRESOLVED).udp(5000, 53, b""));
    let first = send(&env);
    assert_eq!(first.to(), (Action::Neigh, ifindex::UPLINK));
    assert_eq!(first.verdict.edits & edits::MACS, 0);
    let mut resolve = |kind, ifindex, mac: u8| {
        let (dmac, smac) = ([mac; 6], HOST.0);
        env.hops.insert(
            (UNRESOLVED, 32),
            Hop {
                kind,
                ifindex,
                dmac,
                smac,
                src: HOST.1,
            },
        );
        let before = send(&env).verdict.dmac;
        env.now += SECOND;
        let after = send(&env);
        (before, after.action(), after.verdict.dmac)
    };
    let (one, two, none) = ([2; 6], [4; 6], [0; 6]);
    let (resolved, uplink) = (HopKind::Resolved, ifindex::UPLINK);
    assert_eq!(resolve(resolved, uplink, 2), (none, Action::Redirect, one));
    assert_eq!(resolve(resolved, uplink, 4), (one, Action::Redirect, two));
    assert_eq!(resolve(resolved, ifindex::OTHER, 6), (two, Action::Neigh, none));
    assert_eq!(resolve(resolved, uplink, 2), (none, Action::Redirect, one));
    assert_eq!(resolve(HopKind::Unresolved, uplink, 0), (one, Action::Neigh, none));
}

#[test]
fn what_may_be_handed_to_a_container() {
    let env = lab();
    let bridge = ifindex::BRIDGES[0];
    let from = |src| Datagram::new((GATEWAY.0, src), A).udp(53, 5000, b"");
    let bridged = |node| Datagram::new(node, A).udp(53, 5000, b"");
    let table = [
        ("a neighbour", ifindex::B, bridged(B), Reason::None),
        (
            "a station behind the trunk",
            ifindex::TRUNK,
            bridged(BEHIND_TRUNK),
            Reason::None,
        ),
        ("a neighbour by the gateway", bridge, from(B.1), Reason::None),
        (
            "a neighbour's address from outside",
            ifindex::UPLINK,
            from(B.1),
            Reason::DirectAccess,
        ),
        (
            "the host's address from elsewhere",
            ifindex::OTHER,
            from(HOST.1),
            Reason::DirectAccess,
        ),
        ("the gateway", bridge, from(GATEWAY.1), Reason::None),
        ("the host", 0, from(HOST.1), Reason::None),
        ("the host, whatever it says", 0, from(REMOTE), Reason::None),
        ("ARP", ifindex::UPLINK, arp(GATEWAY.0, GATEWAY, A.1), Reason::None),
        ("the outside", ifindex::UPLINK, from(REMOTE), Reason::DirectAccess),
        ("another network", ifindex::BRIDGES[1], from(D.1), Reason::DirectAccess),
        (
            "the outside cut short",
            ifindex::UPLINK,
            from(REMOTE)[..40].to_vec(),
            Reason::Malformed,
        ),
    ];
    for (name, ingress, bytes, reason) in table {
        let frame = Frame {
            ingress,
            ..at(ifindex::A, bytes)
        };
        let result = run(&env, Hook::ToContainer, &frame);
        assert_eq!(result.reason(), reason, "{name}");
        assert_eq!(result.bytes, frame.bytes, "{name}");
    }
    assert_eq!(env.traffic.borrow()[&slot::A].rx_packets, 7);
}

#[test]
fn what_arrives_and_is_not_ours_passes_as_it_is() {
    let env = lab();
    let elsewhere = Datagram::new((ROUTER.0, REMOTE), ([2, 9, 9, 9, 9, 9], A.1)).syn(1, 2);
    let mut tagged = inward(REMOTE, A.1).syn(1, 2);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    for (name, index, bytes) in [
        ("for the host", ifindex::UPLINK, inward(REMOTE, HOST.1).syn(1, 22)),
        ("for a third", ifindex::UPLINK, inward(REMOTE, UNRESOLVED).syn(1, 22)),
        ("for another MAC", ifindex::UPLINK, elsewhere),
        ("ARP", ifindex::UPLINK, arp(ROUTER.0, ROUTER, HOST.1)),
        ("a tag", ifindex::UPLINK, tagged),
        (
            "cut short",
            ifindex::UPLINK,
            inward(REMOTE, HOST.1).syn(1, 2)[..40].to_vec(),
        ),
        ("by an interface unknown", ifindex::OTHER, inward(REMOTE, A.1).syn(1, 2)),
    ] {
        let result = run(&env, Hook::FromUplink, &at(index, bytes.clone()));
        assert_eq!((result.action(), result.bytes), (Action::Pass, bytes), "{name}");
    }
    assert!(env.traffic.borrow().is_empty(), "nor is it counted");
}

#[test]
fn the_slow_path_is_masqueraded_where_it_leaves() {
    let env = lab();
    let [bridge, internal, open] = ifindex::BRIDGES;
    let rewritten = |result: &Result| result.bytes[26..30] == HOST.1;
    let slow = leaves(&env, bridge, to(UNREACHABLE));
    assert_eq!((slow.action(), rewritten(&slow)), (Action::Pass, true));
    assert_eq!(slow.bytes[22], 64, "the stack has counted this hop");
    let dying = Datagram { ttl: 1, ..to(ROUTER.1) };
    assert!(rewritten(&leaves(&env, bridge, dying)), "with its last hop");
    let back = arrives(&env, inward(UNREACHABLE, HOST.1).udp(53, 5000, b""));
    assert_eq!(back.to(), (Action::Peer, ifindex::A));
    assert_eq!(back.bytes[..6], A.0);

    // A rule that the lookup does not know of, by a mark, sends here what the table sends elsewhere.
    let mut marked = env.clone();
    let other = Hop {
        kind: HopKind::Resolved,
        ifindex: ifindex::OTHER,
        dmac: [6; 6],
        smac: [7; 6],
        src: [198, 51, 100, 1],
    };
    marked.hops.insert((UNREACHABLE, 32), other);
    assert!(rewritten(&leaves(&marked, bridge, out(B, GATEWAY, UNREACHABLE))));

    for (name, ingress) in [("the host's own", 0), ("judged before", ifindex::A)] {
        let result = leaves(&env, ingress, to(REMOTE));
        assert_eq!((result.action(), rewritten(&result)), (Action::Pass, false), "{name}");
    }
    let plain = leaves(&env, open, out(E, GATEWAYS[2], REMOTE));
    assert_eq!((plain.action(), rewritten(&plain)), (Action::Pass, false));
    assert_eq!(
        leaves(&env, internal, out(D, GATEWAYS[1], REMOTE)).reason(),
        Reason::NoUplink
    );
    for ingress in [ifindex::UPLINK, ifindex::OTHER, internal] {
        let forged = leaves(&env, ingress, to(REMOTE));
        assert_eq!(forged.reason(), Reason::SpoofedIp, "by {ingress}");
    }
    let mut elsewhere = env.clone();
    elsewhere.networks[1].head.uplink = ifindex::OTHER;
    assert_eq!(leaves(&elsewhere, bridge, to(REMOTE)).reason(), Reason::OffUplink);
    let mut gone = env;
    (gone.networks[1].head.bridge, gone.networks[1].head.uplink_slot) = (0, NO_SLOT);
    assert_eq!(leaves(&gone, bridge, to(REMOTE)).reason(), Reason::UnknownLink);
}
