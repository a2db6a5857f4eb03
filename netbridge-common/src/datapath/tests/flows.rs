//! Quotas, what goes when they are used up, and how the controller ends flows.

use crate::abi::{FlowKey, FlowState, Hook, Load, Reason, ZONE_UPLINK, network_flags};
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::lab::{
    A, B, BEHIND_TRUNK, GATEWAY, HOST, REMOTE, ROUTER, SECOND, at, ifindex, inward, lab, out, slot,
};
use crate::host::{Frame, HostEnv, Ip};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{arrives, halves, run, sends};

fn open(env: &HostEnv, sport: u16) -> Reason {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).syn(sport, 80)).reason()
}

fn establish(env: &HostEnv, sport: u16) {
    assert_eq!(open(env, sport), Reason::None);
    arrives(env, inward(REMOTE, HOST.1).tcp(80, sport, SYN | ACK, b""));
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(sport, 80, ACK, b""));
}

/// Both sides close.
fn close(env: &HostEnv, sport: u16) {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(sport, 80, FIN | ACK, b""));
    arrives(env, inward(REMOTE, HOST.1).tcp(80, sport, FIN | ACK, b""));
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
    assert_eq!(load(&env, slot::A), (2, 1), "one question, one answer");
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5002, 53, b""));
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
fn closed_connections_make_room_before_those_that_are_about_to_begin() {
    let mut env = lab();
    env.config.quota = 7;
    for port in 5000..5005 {
        establish(&env, port);
    }
    // Of these one lives on, one was reset, and may live, and three are closed.
    arrives(&env, inward(REMOTE, HOST.1).tcp(80, 5001, RST, b""));
    for port in 5002..5005 {
        close(&env, port);
    }
    for port in 6000..6005 {
        assert_eq!(open(&env, port), Reason::None, "{port}");
    }
    let mut left = ports(&env);
    left.sort_unstable();
    assert_eq!(left, [5000, 5001, 6000, 6001, 6002, 6003, 6004]);
    // Where it is connections about to begin that are too many, one of these makes room.
    let mut env = lab();
    env.config.half_open_quota = 2;
    establish(&env, 5000);
    close(&env, 5000);
    for port in 6000..6010 {
        assert_eq!(open(&env, port), Reason::None, "{port}");
    }
    assert_eq!(load(&env, slot::A), (3, 2));
    assert!(ports(&env).contains(&5000));
}

#[test]
fn a_closed_connection_that_is_no_sample_any_more_makes_room_after_some_seconds() {
    let mut env = lab();
    env.config.quota = 2;
    establish(&env, 5000);
    // Its key takes the other's place.
    establish(&env, 5064);
    close(&env, 5000);
    assert_eq!(open(&env, 6000), Reason::QuotaExceeded);
    env.now += 5 * SECOND;
    assert_eq!(open(&env, 6000), Reason::QuotaExceeded);
    env.now += 5 * SECOND;
    assert_eq!(open(&env, 6000), Reason::None);
    assert_eq!((load(&env, slot::A), ports(&env).contains(&5064)), ((2, 1), true));
}

/// A client outside that is not there.
fn forged(number: u32) -> Ip {
    (0x0808_0000 + number).to_be_bytes()
}

/// A's published port at its quota of flows that are not established, from one port, as a flood is.
fn flooded(quota: u32) -> HostEnv {
    let mut env = lab();
    (env.config.quota, env.config.half_open_quota) = (quota, quota);
    for number in 0..2 * quota {
        arrives(&env, inward(forged(number), HOST.1).syn(1234, 8080));
    }
    env
}

/// A fiftieth of a second.
const MOMENT: u32 = 2000;

#[test]
fn a_handshake_comes_through_a_flood_of_syns() {
    let mut env = flooded(1000);
    assert_eq!(load(&env, slot::A), (1000, 1000));
    let handshake = |env: &HostEnv, number: u16| {
        let [high, low] = number.to_be_bytes();
        let client: Ip = [198, 18, high, low];
        let to_server = || inward(client, HOST.1);
        let syn = arrives(env, to_server().syn(40_000, 8080)).reason();
        let answer = sends(env, ifindex::A, out(A, GATEWAY, client).tcp(80, 40_000, SYN | ACK, b"")).reason();
        let ask = arrives(env, to_server().tcp(40_000, 8080, ACK, b"ask")).reason();
        let told = sends(env, ifindex::A, out(A, GATEWAY, client).tcp(80, 40_000, ACK, b"told")).reason();
        [syn, answer, ask, told] == [Reason::None; 4]
    };
    // A thousand SYNs a second, and fifty clients.
    for number in 0..400 {
        for more in 0..20 {
            let from = forged(10_000 + 20 * u32::from(number) + more);
            arrives(&env, inward(from, HOST.1).syn(1234, 8080));
        }
        env.now += MOMENT;
        assert!(handshake(&env, number), "{number}");
    }
    assert_eq!(open(&env, 5000), Reason::None, "A's own too");
    // After some seconds those go that nobody has answered.
    let mut env = flooded(10);
    env.now += 6 * SECOND;
    assert!(handshake(&env, 1000));
    assert_eq!(load(&env, slot::A), (1, 0));
}

#[test]
fn a_flow_stays_among_those_that_make_room_whatever_a_stranger_sends() {
    let mut env = lab();
    env.config.quota = 4;
    for number in 0..20 {
        for flags in [SYN, RST] {
            arrives(&env, inward(forged(number), HOST.1).tcp(1234, 8080, flags, b""));
        }
        assert_eq!(load(&env, slot::A).0, load(&env, slot::A).1, "SYN and RST");
    }
    assert_eq!(open(&env, 5000), Reason::None);
    // Questions that were answered, one each.
    for port in 6000..6050 {
        let question = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(port, 53, b""));
        assert_eq!(question.reason(), Reason::None, "{port}");
        arrives(&env, inward(REMOTE, HOST.1).udp(53, port, b""));
    }
    assert_eq!(load(&env, slot::A), (4, 4));
}

#[test]
fn who_dials_a_neighbour_by_the_host_is_charged_for_it() {
    let mut env = lab();
    env.config.quota = 3;
    for port in 5000..5010 {
        sends(&env, ifindex::B, out(B, GATEWAY, HOST.1).syn(port, 8080));
    }
    assert_eq!((load(&env, slot::A), load(&env, slot::B)), ((0, 0), (3, 3)));
    assert_eq!(open(&env, 5000), Reason::None, "A has its own");
}

#[test]
fn what_the_stack_brings_from_behind_a_trunk_is_on_the_uplinks_quota() {
    let mut env = lab();
    env.config.quota = 10;
    for to in [REMOTE, B.1] {
        for port in 5000..5100 {
            let datagram = Datagram::new((HOST.0, BEHIND_TRUNK.1), (ROUTER.0, to)).udp(port, 53, b"");
            let frame = Frame {
                ingress: ifindex::BRIDGES[0],
                ..at(ifindex::UPLINK, datagram)
            };
            run(&env, Hook::ToUplink, &frame);
        }
        assert_eq!(load(&env, slot::UPLINK).0, 10, "to {to:?}");
    }
    assert!(env.flows.borrow().values().all(|flow| flow.head.owner == slot::UPLINK));
    env.now += 8000 * SECOND;
    env.reap();
    assert_eq!(load(&env, slot::UPLINK), (0, 0));
}

#[test]
fn two_answers_at_once_settle_a_flow_once() {
    let env = lab();
    let ask = || sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    ask();
    arrives(&env, inward(REMOTE, HOST.1).udp(53, 5000, b""));
    // Another CPU has read the half before this one settles the flow.
    let (key, before) = halves(&env, 1)[0];
    ask();
    assert_eq!(load(&env, slot::A), (1, 0));
    env.flows.borrow_mut().insert(key, before);
    ask();
    assert_eq!(load(&env, slot::A), (1, 0));
}

#[test]
fn a_flow_that_makes_room_gives_its_port_up() {
    // At once, or after some seconds.
    for pause in [0, SECOND >> 1] {
        let mut env = lab();
        env.networks[1].head.flags |= network_flags::INDEPENDENT_MAPPING;
        env.config.quota = 20;
        env.config.half_open_quota = 10;
        for port in 2000..2200 {
            sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(port, 53, b""));
            env.now += pause;
        }
        let flows = halves(&env, 1).len();
        assert!(flows <= 10, "{flows}");
        assert_eq!(env.bindings.borrow().len(), 2 * flows, "both sides of each");
    }
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
    assert_eq!(load(&env, slot::A), (1, 1), "anybody's");
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(80, 5000, ACK, b"welcome"));
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
