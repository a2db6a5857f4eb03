//! Flows: how long they live, when they are asked again, what ends them.

use crate::abi::{CtState, FlowState, FlowV4, Reason, ZONE_UPLINK, network_flags, proto, verdict};
use crate::datapath::conntrack::other_half;
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::Datagram;
use crate::host::filter::RuleV4;
use crate::host::lab::{A, B, E, GATEWAY, GATEWAYS, HOST, REMOTE, SECOND, ifindex, inward, lab, out, rule};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{Result, arrives, halves, sends};

const NET: u16 = 1;

/// Opens a flow and brings it to some state.
type Open = fn(&HostEnv);

fn ask_udp(env: &HostEnv) -> Result {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b"ask"))
}

fn answer_udp(env: &HostEnv) -> Result {
    arrives(env, inward(REMOTE, HOST.1).udp(53, 5000, b"answer"))
}

fn ask_tcp(env: &HostEnv, flags: u8) -> Result {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(5000, 80, flags, b""))
}

fn answer_tcp(env: &HostEnv, flags: u8) -> Result {
    arrives(env, inward(REMOTE, HOST.1).tcp(80, 5000, flags, b""))
}

fn connect(env: &HostEnv) {
    ask_tcp(env, SYN);
    answer_tcp(env, SYN | ACK);
    ask_tcp(env, ACK);
}

fn close(env: &HostEnv) {
    connect(env);
    answer_tcp(env, FIN | ACK);
    ask_tcp(env, FIN | ACK);
}

/// The asking and the answering half of A's only flow.
fn pair(env: &HostEnv) -> (FlowV4, FlowV4) {
    let (asks, answers) = (halves(env, NET), halves(env, ZONE_UPLINK));
    assert_eq!((asks.len(), answers.len()), (1, 1), "{asks:x?} {answers:x?}");
    (asks[0].1, answers[0].1)
}

fn state(env: &HostEnv) -> (u8, u8) {
    let (asking, answering) = pair(env);
    (asking.head.state, answering.head.state)
}

/// Writes to the tables that `act` takes.
fn writes<T>(env: &HostEnv, act: impl FnOnce(&HostEnv) -> T) -> u64 {
    let before = *env.writes.borrow();
    act(env);
    *env.writes.borrow() - before
}

/// A rule that drops what is in one of `states` and comes in by an interface.
fn refuse(states: u8, in_ifindex: u32) -> RuleV4 {
    let mut made = rule(verdict::DROP);
    (made.head.states, made.head.in_ifindex) = (states, in_ifindex);
    made
}

fn closed_by_one(env: &HostEnv) {
    connect(env);
    answer_tcp(env, FIN | ACK);
}

fn reset(env: &HostEnv) {
    connect(env);
    ask_tcp(env, RST);
}

#[test]
fn a_flow_lives_as_long_as_its_protocol_and_state_say() {
    let to_a = || inward(REMOTE, HOST.1);
    let ack = || to_a().tcp(80, 5000, ACK, b"");
    let table: [(&str, Open, Vec<u8>, u32); 8] = [
        ("UDP", |env| drop(ask_udp(env)), to_a().udp(53, 5000, b""), 200),
        (
            "UDP, answered",
            |env| {
                ask_udp(env);
                answer_udp(env);
            },
            to_a().udp(53, 5000, b""),
            300,
        ),
        (
            "an echo",
            |env| drop(sends(env, ifindex::A, out(A, GATEWAY, REMOTE).echo(8, 5000, b""))),
            to_a().echo(0, 5000, b""),
            60,
        ),
        ("TCP, not answered", |env| drop(ask_tcp(env, SYN)), ack(), 240),
        (
            "TCP, answered",
            |env| {
                ask_tcp(env, SYN);
                answer_tcp(env, SYN | ACK);
            },
            ack(),
            230,
        ),
        ("TCP", connect, ack(), 7440),
        ("TCP after a FIN", closed_by_one, ack(), 3600),
        ("TCP after both", close, ack(), 220),
    ];
    for (name, open, answer, seconds) in table {
        let mut env = lab();
        open(&env);
        env.now += seconds * SECOND;
        assert_eq!(arrives(&env.clone(), answer.clone()).action(), Action::Peer, "{name}");
        env.now += 1;
        assert_eq!(arrives(&env, answer).action(), Action::Pass, "{name}");
    }
    let mut env = lab();
    reset(&env);
    env.now += 210 * SECOND;
    assert_eq!(answer_tcp(&env.clone(), ACK).action(), Action::Peer, "TCP after a RST");
    env.now += 1;
    assert_eq!(answer_tcp(&env, ACK).action(), Action::Pass);
}

#[test]
fn a_protocol_without_ports_is_known_by_its_addresses() {
    let mut env = lab();
    for protocol in [proto::GRE, proto::ESP, proto::IPV6, proto::IPIP, proto::SCTP] {
        let sent = sends(
            &env,
            ifindex::A,
            out(A, GATEWAY, REMOTE).frame(protocol, b"whatever it is"),
        );
        assert_eq!(sent.action(), Action::Redirect, "{protocol}");
        assert_eq!(sent.bytes[34..], *b"whatever it is", "the payload is as it was");
        let back = arrives(&env, inward(REMOTE, HOST.1).frame(protocol, b"answer"));
        assert_eq!(back.to(), (Action::Peer, ifindex::A), "{protocol}");
        let other = sends(&env, ifindex::B, out(B, GATEWAY, REMOTE).frame(protocol, b""));
        assert_eq!(
            other.reason(),
            Reason::NatExhausted,
            "one container talks to one remote"
        );
    }
    env.now += 600 * SECOND + 1;
    assert_eq!(
        arrives(&env, inward(REMOTE, HOST.1).frame(proto::GRE, b"")).action(),
        Action::Pass
    );
    for protocol in [33, 51, 136, 200] {
        let refused = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).frame(protocol, b"whatever"));
        assert_eq!(refused.reason(), Reason::UnsupportedProtocol, "{protocol}");
    }
}

#[test]
fn a_remotes_tunnel_with_the_host_is_no_containers_unless_the_network_allows_it() {
    let mut env = lab();
    env.networks[1].head.flags &= !network_flags::TUNNELS;
    for protocol in [proto::GRE, proto::ESP, proto::IPV6, proto::IPIP, proto::SCTP] {
        let refused = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).frame(protocol, b"mine"));
        assert_eq!(refused.reason(), Reason::UnsupportedProtocol, "{protocol}");
        let hosts = arrives(&env, inward(REMOTE, HOST.1).frame(protocol, b"the host's"));
        assert_eq!(hosts.action(), Action::Pass, "{protocol}");
    }
    assert!(env.flows.borrow().is_empty());
    let unchanged = sends(&env, ifindex::E, out(E, GATEWAYS[2], REMOTE).frame(proto::GRE, b""));
    assert_eq!(
        unchanged.action(),
        Action::Redirect,
        "without masquerading nothing is taken"
    );
}

#[test]
fn either_direction_keeps_both_alive() {
    for keep in [ask_udp as fn(&HostEnv) -> Result, answer_udp] {
        let mut env = lab();
        ask_udp(&env);
        answer_udp(&env);
        for _ in 0..3 {
            env.now += 299 * SECOND;
            keep(&env);
        }
        let (asking, answering) = pair(&env);
        assert_eq!((asking.head.seen, answering.head.seen), (env.now, env.now));
    }
}

#[test]
fn use_is_written_down_once_a_second() {
    let mut env = lab();
    assert_eq!(writes(&env, ask_udp), 2, "a flow is two halves");
    assert_eq!(
        (writes(&env, answer_udp), *env.renewals.borrow()),
        (0, 2),
        "the first answer changes both in place"
    );
    assert_eq!(
        (writes(&env, answer_udp), *env.renewals.borrow()),
        (0, 2),
        "the second none"
    );
    assert_eq!((writes(&env, ask_udp), *env.renewals.borrow()), (0, 4), "it goes on");
    env.now += SECOND - 1;
    assert_eq!(writes(&env, ask_udp) + writes(&env, answer_udp), 0);
    env.now += 1;
    assert_eq!((writes(&env, answer_udp), *env.renewals.borrow()), (0, 6), "in place");
    assert_eq!(writes(&env, ask_udp), 0);
    assert_eq!(*env.renewals.borrow(), 8, "the asking half looks for its next hop");
    assert_eq!(writes(&env, ask_udp) + writes(&env, answer_udp), 0);
    assert_eq!(*env.renewals.borrow(), 8);
}

#[test]
fn a_record_stamped_by_another_cpu_a_moment_later_is_not_old() {
    let mut env = lab();
    connect(&env);
    env.now -= 1;
    env.set_filter(verdict::ACCEPT, &[refuse(CtState::NEW, 0)]);
    assert_eq!(ask_tcp(&env, ACK).reason(), Reason::None);
    assert_eq!(
        state(&env),
        (FlowState::Established as u8, FlowState::Established as u8)
    );
}

#[test]
fn an_answer_confirms_the_flow_and_both_directions_are_judged_again() {
    let established = CtState::ESTABLISHED;
    let table = [
        ("no rule", refuse(0, 0), [Reason::None; 3]),
        (
            "new packets",
            refuse(CtState::NEW, ifindex::A),
            [Reason::Filtered, Reason::None, Reason::Filtered],
        ),
        (
            "established answers",
            refuse(established, ifindex::UPLINK),
            [Reason::None, Reason::Filtered, Reason::None],
        ),
        (
            "established packets",
            refuse(established, ifindex::A),
            [Reason::None, Reason::None, Reason::Filtered],
        ),
    ];
    for (name, rule, expected) in table {
        let mut env = lab();
        env.set_filter(verdict::ACCEPT, &[rule]);
        let reasons = [ask_udp(&env), answer_udp(&env), ask_udp(&env)].map(|result| result.reason());
        assert_eq!(reasons, expected, "{name}");
    }
    let env = lab();
    connect(&env);
    assert_eq!(
        state(&env),
        (FlowState::Established as u8, FlowState::Established as u8)
    );
}

#[test]
fn a_new_filter_is_asked_once_by_each_direction() {
    let mut env = lab();
    connect(&env);
    for _ in 0..2 {
        env.set_filter(verdict::ACCEPT, &[rule(verdict::ACCEPT)]);
        assert_eq!([0; 3].map(|_: u8| writes(&env, |env| ask_tcp(env, ACK))), [1, 0, 0]);
        assert_eq!([0; 3].map(|_: u8| writes(&env, |env| answer_tcp(env, ACK))), [1, 0, 0]);
    }
}

#[test]
fn a_new_filter_judges_an_unanswered_flow_as_new_and_an_answered_one_as_established() {
    let mut env = lab();
    ask_udp(&env);
    connect(&env);
    env.set_filter(verdict::ACCEPT, &[refuse(CtState::NEW, 0)]);
    assert_eq!(ask_udp(&env).reason(), Reason::Filtered);
    assert_eq!(ask_tcp(&env, ACK).reason(), Reason::None);
    assert_eq!(answer_tcp(&env, ACK).reason(), Reason::None);
}

#[test]
fn a_dropped_packet_is_remembered_and_keeps_nothing_alive() {
    let mut env = lab();
    ask_udp(&env);
    answer_udp(&env);
    let seen = env.now;
    env.set_filter(verdict::DROP, &[]);
    env.now += 200 * SECOND;
    let refused = |env: &HostEnv| assert_eq!(ask_udp(env).reason(), Reason::Filtered);
    assert_eq!([0; 3].map(|_: u8| writes(&env, refused)), [1, 0, 0]);
    let (asking, answering) = pair(&env);
    assert_eq!((asking.head.seen, answering.head.seen), (seen, seen));
    env.now += 100 * SECOND + 1;
    env.set_filter(verdict::ACCEPT, &[]);
    assert_eq!(answer_udp(&env).action(), Action::Pass, "the flow is over");
}

#[test]
fn a_dropped_answer_changes_no_state() {
    for flags in [SYN | ACK, RST, FIN | ACK] {
        let mut env = lab();
        ask_tcp(&env, SYN);
        env.set_filter(verdict::ACCEPT, &[refuse(CtState::ANY, ifindex::UPLINK)]);
        assert_eq!(answer_tcp(&env, flags).reason(), Reason::Filtered);
        assert_eq!(state(&env), (FlowState::Opening as u8, FlowState::Opening as u8));
        env.set_filter(verdict::ACCEPT, &[]);
        answer_tcp(&env, SYN | ACK);
        assert_eq!(
            state(&env),
            (FlowState::Answered as u8, FlowState::Answered as u8),
            "the next one is the first"
        );
    }
}

#[test]
fn a_closing_connection_is_not_revived() {
    let mut env = lab();
    close(&env);
    for _ in 0..3 {
        env.now += SECOND;
        answer_tcp(&env, ACK);
        ask_tcp(&env, ACK);
        answer_tcp(&env, SYN);
        assert_eq!(state(&env), (FlowState::Closing as u8, FlowState::Closing as u8));
    }
}

#[test]
fn what_another_cpu_saw_meanwhile_counts_too() {
    let env = lab();
    connect(&env);
    // The other side's FIN has reached its own half, and not yet this one.
    let (key, mut half) = halves(&env, ZONE_UPLINK)[0];
    half.head.state = FlowState::ReplyClosed as u8;
    env.flows.borrow_mut().insert(key, half);
    ask_tcp(&env, FIN | ACK);
    assert_eq!(state(&env), (FlowState::Closing as u8, FlowState::Closing as u8));
}

#[test]
fn an_answer_to_a_connection_that_was_reset_establishes_nothing() {
    let env = lab();
    ask_tcp(&env, SYN);
    ask_tcp(&env, RST);
    assert_eq!(answer_tcp(&env, SYN | ACK).action(), Action::Peer);
    assert_eq!(state(&env), (FlowState::Answered as u8, FlowState::Answered as u8));
}

#[test]
fn a_syn_where_a_connection_is_closing_opens_a_new_one() {
    let mut env = lab();
    close(&env);
    let refused = {
        let mut env = env.clone();
        env.set_filter(verdict::ACCEPT, &[refuse(CtState::NEW, 0)]);
        (ask_tcp(&env, ACK).reason(), ask_tcp(&env, SYN).reason())
    };
    assert_eq!(refused, (Reason::None, Reason::Filtered), "the filter sees it as new");
    env.now += SECOND;
    assert_eq!(ask_tcp(&env, SYN).action(), Action::Redirect);
    assert_eq!(state(&env), (FlowState::Opening as u8, FlowState::Opening as u8));
    connect(&env);
    ask_tcp(&env, SYN);
    assert_eq!(
        state(&env),
        (FlowState::Established as u8, FlowState::Established as u8),
        "but not where one is open"
    );
}

#[test]
fn a_half_without_its_other_one_goes_too() {
    for (lost, keep) in [(NET, answer_udp as fn(&HostEnv) -> Result), (ZONE_UPLINK, ask_udp)] {
        let mut env = lab();
        ask_udp(&env);
        answer_udp(&env);
        env.flows.borrow_mut().retain(|key, _| key.zone != lost.to_ne_bytes());
        env.now += SECOND;
        assert_ne!(keep(&env).action(), Action::Drop);
        assert!(env.flows.borrow().is_empty());
        ask_udp(&env);
        let (key, flow) = halves(&env, NET)[0];
        let other = env
            .flows
            .borrow()
            .contains_key(&other_half(&key, &flow.head, &flow.tail));
        assert!(other);
    }
}

#[test]
fn the_next_question_makes_a_flow_whole_again() {
    // With and without a source port of the range's choosing.
    for (port, masquerade) in [(5000, true), (80, true), (5000, false)] {
        let mut env = lab();
        if !masquerade {
            env.networks[usize::from(NET)].head.flags = 0;
        }
        let ask = || sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(port, 53, b"ask"));
        let first = ask();
        env.flows.borrow_mut().retain(|key, _| key.zone != NET.to_ne_bytes());
        let again = ask();
        assert_eq!(first.bytes, again.bytes, "{port} {masquerade}");
        assert_eq!(first.to(), again.to());
        pair(&env);
    }
}

#[test]
fn a_full_table_takes_no_half_alone() {
    for capacity in [0, 1] {
        let mut env = lab();
        env.flow_capacity = capacity;
        assert_eq!(ask_udp(&env).reason(), Reason::FlowTableFull);
        assert!(env.flows.borrow().is_empty());
    }
}

#[test]
fn a_full_table_throws_out_what_has_expired_once_a_second() {
    let mut env = lab();
    let another = |env: &HostEnv| sends(env, ifindex::B, out(B, GATEWAY, REMOTE).udp(6000, 53, b"")).reason();
    env.flow_capacity = 2;
    env.config.timeouts.udp_opening = SECOND >> 1;
    ask_udp(&env);
    assert_eq!(another(&env), Reason::FlowTableFull, "nothing has expired");
    env.now += (SECOND >> 1) + 1;
    assert_eq!(another(&env), Reason::FlowTableFull, "it was searched just now");
    env.now += SECOND >> 1;
    assert_eq!(
        another(&env),
        Reason::FlowTableFull,
        "another CPU may still be renewing it"
    );
    env.now += 2 * SECOND;
    assert_eq!(another(&env), Reason::None);
    assert_eq!(env.flows.borrow().len(), 2);
}

#[test]
fn neighbours_share_one_flow_whoever_asks() {
    let mut env = lab();
    env.set_filter(verdict::ACCEPT, &[refuse(CtState::NEW, ifindex::B)]);
    let from_b = || sends(&env, ifindex::B, Datagram::new(B, A).udp(53, 5000, b"")).reason();
    assert_eq!(from_b(), Reason::Filtered);
    let result = sends(&env, ifindex::A, Datagram::new(A, B).udp(5000, 53, b""));
    assert_eq!(result.to(), (Action::Peer, ifindex::B));
    assert_eq!(from_b(), Reason::None, "it answers");
    assert_eq!(halves(&env, NET).len(), 2);
}
