//! Frames between stations of one network.

use crate::abi::{CtState, Hook, MacKey, Reason, Station, verdict};
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::{Datagram, arp};
use crate::host::lab::{A, B, BEHIND_TRUNK, GATEWAY, Node, REMOTE, SECOND, ifindex, lab, rule, slot};
use crate::wire::tcp::{ACK, SYN};

use super::sends;

fn udp(from: Node, to: Node) -> Vec<u8> {
    Datagram::new(from, to).udp(5000, 53, b"hello")
}

fn where_is(env: &HostEnv, (mac, _): Node) -> Option<Station> {
    env.fdb.borrow().get(&MacKey { mac, net: 1 }).copied()
}

/// The lab with a second trunk on the interface `OTHER`.
fn with_two_trunks() -> HostEnv {
    let mut env = lab();
    let trunk = env.links[&ifindex::TRUNK];
    env.links.insert(ifindex::OTHER, trunk);
    env
}

#[test]
fn a_known_station_gets_the_frame_as_it_is() {
    let env = lab();
    let result = sends(&env, ifindex::A, udp(A, B));
    assert_eq!(result.to(), (Action::Peer, ifindex::B));
    assert_eq!(result.bytes, udp(A, B));
    let length = u64::try_from(result.bytes.len()).unwrap();
    let traffic = env.traffic.borrow();
    assert_eq!((traffic[&slot::A].tx_packets, traffic[&slot::A].tx_bytes), (1, length));
    assert_eq!((traffic[&slot::B].rx_packets, traffic[&slot::B].rx_bytes), (1, length));
}

#[test]
fn what_the_fdb_does_not_know_is_the_kernel_bridges() {
    let env = lab();
    let nobody = ([2, 9, 9, 9, 9, 9], B.1);
    for to in [nobody, ([0xff; 6], B.1), ([1, 0, 0x5e, 0, 0, 1], B.1), (A.0, B.1)] {
        assert_eq!(sends(&env, ifindex::A, udp(A, to)).action(), Action::Pass, "{to:x?}");
    }
    assert_eq!(sends(&env, ifindex::A, arp(A.0, A, B.1)).action(), Action::Pass);
    let mut unknown = udp(A, B);
    unknown[12..14].copy_from_slice(&[0x88, 0xb5]);
    assert_eq!(
        sends(&env, ifindex::A, unknown).to(),
        (Action::Peer, ifindex::B),
        "only the MACs matter"
    );
}

#[test]
fn a_station_is_learned_and_forgotten() {
    let mut env = lab();
    assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).action(), Action::Pass);
    sends(&env, ifindex::TRUNK, udp(BEHIND_TRUNK, A));
    assert_eq!(
        sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).to(),
        (Action::Peer, ifindex::TRUNK)
    );
    env.now += 300 * SECOND;
    assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).action(), Action::Peer);
    env.now += 1;
    assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).action(), Action::Pass);
}

#[test]
fn a_station_that_moves_is_followed_at_its_first_frame() {
    let env = with_two_trunks();
    for port in [ifindex::TRUNK, ifindex::OTHER, ifindex::TRUNK] {
        sends(&env, port, udp(BEHIND_TRUNK, A));
        assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).to(), (Action::Peer, port));
    }
}

#[test]
fn a_static_station_never_moves() {
    let env = with_two_trunks();
    let before = where_is(&env, A);
    sends(&env, ifindex::TRUNK, udp((A.0, BEHIND_TRUNK.1), B));
    assert_eq!(where_is(&env, A), before);
    sends(&env, ifindex::TRUNK, udp((GATEWAY.0, BEHIND_TRUNK.1), B));
    assert_eq!(where_is(&env, GATEWAY), None);
}

#[test]
fn what_a_trunk_says_is_written_down_once_a_second() {
    let mut env = lab();
    let heard = |env: &HostEnv| {
        sends(env, ifindex::TRUNK, udp(BEHIND_TRUNK, A));
        *env.writes.borrow()
    };
    assert_eq!((heard(&env), heard(&env)), (1, 1));
    env.now += SECOND;
    assert_eq!((heard(&env), heard(&env)), (2, 2));
}

#[test]
fn a_full_fdb_leaves_the_station_unknown() {
    let mut env = lab();
    env.fdb_capacity = env.fdb.borrow().len();
    sends(&env, ifindex::TRUNK, udp(BEHIND_TRUNK, A));
    assert_eq!(where_is(&env, BEHIND_TRUNK), None);
}

#[test]
fn without_a_filter_nothing_is_tracked() {
    let env = lab();
    sends(&env, ifindex::A, udp(A, B));
    assert!(env.flows.borrow().is_empty());
    let frame = crate::host::lab::at(ifindex::B, udp(A, B));
    assert_eq!(env.run(Hook::ToContainer, &frame).action, Action::Pass);
}

#[test]
fn a_bridged_frame_is_never_rewritten() {
    let mut env = with_two_trunks();
    env.set_filter(verdict::ACCEPT, &[rule(verdict::ACCEPT)]);
    let moved = ([2, 0, 0, 0, 0, 0x8], BEHIND_TRUNK.1);
    sends(&env, ifindex::TRUNK, udp(BEHIND_TRUNK, B));
    assert_eq!(
        sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).to(),
        (Action::Peer, ifindex::TRUNK)
    );
    // The address moves to another MAC, as in a failover, while the flow lives.
    sends(&env, ifindex::OTHER, udp(moved, B));
    let result = sends(&env, ifindex::A, udp(A, moved));
    assert_eq!(result.to(), (Action::Peer, ifindex::OTHER));
    assert_eq!(result.bytes, udp(A, moved));
    // B is asked to route what A also sends through the gateway.
    sends(&env, ifindex::A, udp(A, (GATEWAY.0, REMOTE)));
    let result = sends(&env, ifindex::A, udp(A, (B.0, REMOTE)));
    assert_eq!(result.to(), (Action::Peer, ifindex::B));
    assert_eq!(result.bytes, udp(A, (B.0, REMOTE)));
}

#[test]
fn a_rule_for_the_way_out_holds_for_a_broadcast_frame_and_in_the_shadow_of_another_flow() {
    let mut env = lab();
    let mut refuse = rule(verdict::DROP);
    refuse.head.out_ifindex = ifindex::B;
    env.set_filter(verdict::ACCEPT, &[refuse]);
    let reason = |to| sends(&env, ifindex::A, udp(A, to)).reason();
    assert_eq!(reason(B), Reason::Filtered);
    assert_eq!(reason(([0xff; 6], B.1)), Reason::Filtered, "broadcast to B's address");
    assert_eq!(reason(([0xff; 6], [10, 1, 0, 255])), Reason::None);
    // A flow to another address, and then the same datagram in a frame for B.
    assert_eq!(reason((GATEWAY.0, REMOTE)), Reason::None);
    assert_eq!(reason((B.0, REMOTE)), Reason::Filtered);
}

#[test]
fn a_connection_survives_that_its_station_is_forgotten() {
    let mut env = lab();
    let mut established = rule(verdict::ACCEPT);
    established.head.states = CtState::ESTABLISHED;
    let mut inward = rule(verdict::ACCEPT);
    inward.head.in_ifindex = ifindex::TRUNK;
    env.set_filter(verdict::DROP, &[established, inward]);
    sends(&env, ifindex::TRUNK, Datagram::new(BEHIND_TRUNK, A).syn(5000, 80));
    let answer = |flags| Datagram::new(A, BEHIND_TRUNK).tcp(80, 5000, flags, b"");
    assert_eq!(sends(&env, ifindex::A, answer(SYN | ACK)).action(), Action::Peer);
    sends(
        &env,
        ifindex::TRUNK,
        Datagram::new(BEHIND_TRUNK, A).tcp(5000, 80, ACK, b""),
    );
    env.now += 301 * SECOND;
    assert_eq!(sends(&env, ifindex::A, answer(ACK)).action(), Action::Pass, "flooded");
    assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).reason(), Reason::Filtered);
}

#[test]
fn a_connection_survives_the_move_of_its_station() {
    let mut env = with_two_trunks();
    let mut established = rule(verdict::ACCEPT);
    established.head.states = CtState::ESTABLISHED;
    let mut outward = rule(verdict::ACCEPT);
    outward.head.in_ifindex = ifindex::A;
    env.set_filter(verdict::DROP, &[established, outward]);
    sends(&env, ifindex::TRUNK, arp(BEHIND_TRUNK.0, BEHIND_TRUNK, A.1));
    let question = Datagram::new(BEHIND_TRUNK, A).udp(53, 5000, b"");
    assert_eq!(sends(&env, ifindex::A, udp(A, BEHIND_TRUNK)).reason(), Reason::None);
    assert_eq!(sends(&env, ifindex::TRUNK, question.clone()).reason(), Reason::None);
    let mut only_established = env.clone();
    only_established.set_filter(verdict::DROP, &[established]);
    assert_eq!(
        sends(&only_established, ifindex::OTHER, question).reason(),
        Reason::None
    );
    let moved = sends(&only_established, ifindex::A, udp(A, BEHIND_TRUNK));
    assert_eq!(moved.to(), (Action::Peer, ifindex::OTHER));
}
