//! Quotas, what goes when they are used up, and how the controller ends flows.

use crate::abi::{FlowKey, FlowState, Load, Reason, ZONE_UPLINK};
use crate::datapath::verdict::Action;
use crate::host::lab::{A, B, GATEWAY, HOST, REMOTE, SECOND, ifindex, inward, lab, out, slot};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, SYN};

use super::{arrives, halves, sends};

fn open(env: &HostEnv, sport: u16) -> Reason {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).syn(sport, 80)).reason()
}

fn establish(env: &HostEnv, sport: u16) {
    assert_eq!(open(env, sport), Reason::None);
    arrives(env, inward(REMOTE, HOST.1).tcp(80, sport, SYN | ACK, b""));
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(sport, 80, ACK, b""));
}

fn load(env: &HostEnv, slot: u32) -> (i32, i32) {
    let load = env.loads.borrow().get(&slot).copied().unwrap_or_default();
    (load.flows, load.half_open)
}

/// The source ports of A's flows.
fn ports(env: &HostEnv) -> Vec<u16> {
    halves(env, 1)
        .iter()
        .map(|(key, _)| u16::from_be_bytes(key.sport))
        .collect()
}

#[test]
fn flows_are_counted_when_they_come_settle_and_go() {
    let mut env = lab();
    establish(&env, 5000);
    open(&env, 5001);
    assert_eq!(load(&env, slot::A), (2, 1));
    arrives(&env, inward(REMOTE, HOST.1).tcp(80, 5001, 4, b""));
    assert_eq!(load(&env, slot::A), (1, 0), "refused by a reset");
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5002, 53, b""));
    assert_eq!(load(&env, slot::A), (2, 1));
    arrives(&env, inward(REMOTE, HOST.1).udp(53, 5002, b""));
    assert_eq!(load(&env, slot::A), (2, 0));
    env.now += 8000 * SECOND;
    assert_eq!(env.reap(), 4);
    assert_eq!(load(&env, slot::A), (0, 0));
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn at_its_quota_an_endpoint_loses_flows_that_are_not_established() {
    let mut env = lab();
    env.config.quota = 4;
    for port in [5000, 5001] {
        establish(&env, port);
    }
    for port in 6000..6050 {
        assert_eq!(open(&env, port), Reason::None, "{port}");
        assert!(load(&env, slot::A).0 <= 4);
    }
    let left = ports(&env);
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.contains(&5000) && left.contains(&5001), "{left:?}");
    assert_eq!(env.flows.borrow().len(), 8, "both halves go");
    // With nothing but established flows there is no room.
    let mut env = lab();
    env.config.quota = 2;
    for port in [5000, 5001] {
        establish(&env, port);
    }
    assert_eq!(open(&env, 5002), Reason::QuotaExceeded);
    let other = sends(&env, ifindex::B, out(B, GATEWAY, REMOTE).syn(5002, 80));
    assert_eq!(other.reason(), Reason::None, "a neighbour has its own");
    // What has expired makes room.
    env.now += 8000 * SECOND;
    assert_eq!(open(&env, 5002), Reason::None);
}

#[test]
fn flows_that_are_not_established_have_a_quota_of_their_own() {
    let mut env = lab();
    env.config.half_open_quota = 3;
    establish(&env, 5000);
    for port in 6000..6020 {
        assert_eq!(open(&env, port), Reason::None);
        assert!(load(&env, slot::A).1 <= 3, "{:?}", load(&env, slot::A));
    }
    assert_eq!(load(&env, slot::A), (4, 3));
    assert!(ports(&env).contains(&5000));
}

#[test]
fn a_full_table_takes_a_new_flow_for_one_of_the_same_endpoint_that_is_not_established() {
    let mut env = lab();
    env.flow_capacity = 6;
    establish(&env, 5000);
    for port in 6000..6010 {
        assert_eq!(open(&env, port), Reason::None, "{port}");
    }
    assert_eq!(ports(&env).len(), 3);
    let other = || sends(&env, ifindex::B, out(B, GATEWAY, REMOTE).syn(5002, 80)).reason();
    assert_eq!(other(), Reason::FlowTableFull, "which has none of its own to give");
}

#[test]
fn a_published_port_is_on_the_quota_of_the_endpoint_behind_it() {
    let mut env = lab();
    let knock = |env: &HostEnv, sport| arrives(env, inward(REMOTE, HOST.1).syn(sport, 8080)).reason();
    assert_eq!(knock(&env, 5000), Reason::None);
    assert_eq!(load(&env, slot::A), (1, 1));
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(80, 5000, SYN | ACK, b""));
    arrives(&env, inward(REMOTE, HOST.1).tcp(5000, 8080, ACK, b""));
    assert_eq!(load(&env, slot::A), (1, 0));
    env.config.quota = 1;
    assert_eq!(knock(&env, 5001), Reason::QuotaExceeded);
}

#[test]
fn a_reply_half_that_was_ended_keeps_its_port_from_others_and_meets_no_packet() {
    let mut env = lab();
    env.config.snat_ports = 1;
    let ask =
        |env: &HostEnv, (node, ifindex)| sends(env, ifindex, out(node, GATEWAY, REMOTE).udp(40_001, 53, b"")).reason();
    let (a, b) = ((A, ifindex::A), (B, ifindex::B));
    assert_eq!(ask(&env, a), Reason::None);
    let keys: Vec<FlowKey<Ip>> = env.flows.borrow().keys().copied().collect();
    assert_eq!(keys.iter().filter(|key| env.end(key)).count(), 2);
    assert_eq!((halves(&env, 1).len(), load(&env, slot::A)), (0, (0, 0)));
    let (_, ended) = halves(&env, ZONE_UPLINK)[0];
    assert_eq!(ended.head.state, FlowState::Ended as u8);
    let late = arrives(&env, inward(REMOTE, HOST.1).udp(53, 1025, b""));
    assert_eq!(late.action(), Action::Pass);
    assert_eq!(ask(&env.clone(), a), Reason::None, "its own may have it again");
    assert_eq!(ask(&env, b), Reason::NatExhausted);
    for flow in env.flows.borrow_mut().values_mut() {
        flow.head.ifindex = 4000;
    }
    assert_eq!(
        ask(&env, a),
        Reason::NatExhausted,
        "whoever has the address now is another"
    );
    assert_eq!(env.reap(), 0);
    env.now += 121 * SECOND;
    assert_eq!(ask(&env, b), Reason::None);
}

#[test]
fn a_walk_leaves_what_may_still_be_renewed() {
    let mut env = lab();
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    env.config.quarantine = 0;
    env.now += 201 * SECOND;
    assert_eq!(env.reap(), 0, "expired a second ago");
    env.now += 2 * SECOND;
    assert_eq!(env.reap(), 2);
    let nothing = Load::default();
    assert_eq!(env.loads.borrow()[&slot::A], nothing);
}
