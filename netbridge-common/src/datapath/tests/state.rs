//! The states of a flow: every transition, and what forged segments cannot do.

use crate::abi::FlowState::{self, Answered, Closing, Ended, Established, ForwardClosed, Opening, ReplyClosed, Reset};
use crate::abi::{CtState, Reason, ZONE_UPLINK, verdict};
use crate::datapath::state::next;
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::Datagram;
use crate::host::lab::{A, B, GATEWAY, HOST, REMOTE, SECOND, ifindex, inward, lab, out, rule};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{Result, arrives, halves, sends};

const STATES: [FlowState; 8] = [
    Opening,
    Answered,
    Established,
    ForwardClosed,
    ReplyClosed,
    Closing,
    Reset,
    Ended,
];

/// For each state: the next after a segment of who opened the flow, and after one of who answered.
type Row = (&'static str, u8, bool, [(FlowState, FlowState); 8]);

/// RFC 6146, section 3.5.2, and what of it is ours.
const TABLE: [Row; 6] = [
    (
        "SYN",
        SYN,
        false,
        [
            (Opening, Answered),
            (Answered, Answered),
            (Established, Established),
            (ForwardClosed, ForwardClosed),
            (ReplyClosed, ReplyClosed),
            (Closing, Closing),
            (Reset, Reset),
            (Ended, Ended),
        ],
    ),
    (
        "SYN and ACK",
        SYN | ACK,
        false,
        [
            (Opening, Answered),
            (Answered, Answered),
            (Established, Established),
            (ForwardClosed, ForwardClosed),
            (ReplyClosed, ReplyClosed),
            (Closing, Closing),
            (Reset, Reset),
            (Ended, Ended),
        ],
    ),
    (
        "ACK",
        ACK,
        false,
        [
            (Opening, Answered),
            (Established, Answered),
            (Established, Established),
            (ForwardClosed, ForwardClosed),
            (ReplyClosed, ReplyClosed),
            (Closing, Closing),
            (Established, Established),
            (Ended, Ended),
        ],
    ),
    (
        "data",
        ACK,
        true,
        [
            (Opening, Answered),
            (Established, Answered),
            (Established, Established),
            (Established, ForwardClosed),
            (ReplyClosed, Established),
            (ReplyClosed, ForwardClosed),
            (Established, Established),
            (Ended, Ended),
        ],
    ),
    (
        "FIN",
        FIN | ACK,
        false,
        [
            (Opening, Opening),
            (ForwardClosed, ReplyClosed),
            (ForwardClosed, ReplyClosed),
            (ForwardClosed, Closing),
            (Closing, ReplyClosed),
            (Closing, Closing),
            (ForwardClosed, ReplyClosed),
            (Ended, Ended),
        ],
    ),
    (
        "RST",
        RST,
        false,
        [
            (Opening, Ended),
            (Answered, Answered),
            (Reset, Reset),
            (Reset, Reset),
            (Reset, Reset),
            (Closing, Closing),
            (Reset, Reset),
            (Ended, Ended),
        ],
    ),
];

#[test]
fn every_segment_in_every_state() {
    for (name, flags, payload, row) in TABLE {
        for (state, (forward, reply)) in STATES.into_iter().zip(row) {
            assert_eq!(
                next(state, false, false, flags, payload),
                forward,
                "{name} in {state:?}, asking"
            );
            assert_eq!(
                next(state, true, true, flags, payload),
                reply,
                "{name} in {state:?}, answering"
            );
        }
    }
    for payload in [false, true] {
        assert_eq!(
            next(Opening, true, true, 0, payload),
            Answered,
            "the first answer without TCP"
        );
        assert_eq!(next(Answered, true, true, 0, payload), Answered);
        assert_eq!(next(Answered, false, true, 0, payload), Established, "a conversation");
        assert_eq!(next(Opening, false, true, 0, payload), Opening);
        assert_eq!(next(Established, false, true, 0, payload), Established);
    }
}

/// A stranger may forge all of his own part of a handshake.
#[test]
fn what_a_stranger_opens_is_established_by_the_container() {
    for (flags, payload) in [(ACK, false), (ACK, true), (SYN, false), (RST, false), (FIN | ACK, true)] {
        assert_eq!(next(Answered, false, true, flags, payload), Answered);
    }
    assert_eq!(next(Answered, true, false, SYN | ACK, false), Answered, "once more");
    assert_eq!(next(Answered, true, false, RST, false), Answered, "an ACK was wrong");
    assert_eq!(next(Answered, true, false, ACK, false), Established);
    // Where a container opens it, the other side may as well be a stranger.
    assert_eq!(next(Answered, true, true, ACK, false), Answered);
    assert_eq!(next(Answered, false, false, ACK, false), Established);
}

fn ask(env: &HostEnv, flags: u8, payload: &[u8]) -> Result {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(5000, 80, flags, payload))
}

fn answer(env: &HostEnv, flags: u8, payload: &[u8]) -> Result {
    arrives(env, inward(REMOTE, HOST.1).tcp(80, 5000, flags, payload))
}

fn states(env: &HostEnv) -> (u8, u8) {
    let state = |zone| halves(env, zone)[0].1.head.state;
    (state(1), state(ZONE_UPLINK))
}

const fn both(state: FlowState) -> (u8, u8) {
    (state as u8, state as u8)
}

fn connected() -> HostEnv {
    let env = lab();
    ask(&env, SYN, b"");
    answer(&env, SYN | ACK, b"");
    ask(&env, ACK, b"");
    assert_eq!(states(&env), both(Established));
    env
}

#[test]
fn a_simultaneous_open_is_one_connection() {
    let env = lab();
    ask(&env, SYN, b"");
    assert_eq!(answer(&env, SYN, b"").action(), Action::Peer);
    for flags in [SYN | ACK, ACK] {
        assert_eq!(ask(&env, flags, b"").action(), Action::Redirect);
        assert_eq!(answer(&env, flags, b"").action(), Action::Peer);
    }
    assert_eq!(states(&env), both(Established));
    assert_eq!(env.flows.borrow().len(), 2);
}

#[test]
fn a_forged_reset_changes_nothing_that_lasts() {
    for restore in [ask as fn(&HostEnv, u8, &[u8]) -> Result, answer] {
        let mut env = connected();
        assert_eq!(answer(&env, RST, b"").action(), Action::Peer, "the endpoint judges it");
        assert_eq!(states(&env), both(Reset));
        env.now += 200 * SECOND;
        restore(&env, ACK, b"");
        assert_eq!(states(&env), both(Established));
        env.now += 7000 * SECOND;
        assert_eq!(answer(&env, ACK, b"").action(), Action::Peer);
    }
}

#[test]
fn resets_without_end_keep_nothing_alive() {
    let mut env = connected();
    answer(&env, RST, b"");
    for _ in 0..3 {
        env.now += 100 * SECOND;
        answer(&env, RST, b"");
    }
    assert_eq!(answer(&env, ACK, b"").action(), Action::Pass);
}

#[test]
fn a_forged_fin_is_forgotten_with_the_next_data() {
    let mut env = connected();
    answer(&env, FIN | ACK, b"");
    assert_eq!(states(&env), both(ReplyClosed));
    env.now += SECOND;
    ask(&env, ACK, b"still here");
    assert_eq!(states(&env), both(ReplyClosed), "that may be a half-closed connection");
    answer(&env, ACK, b"");
    assert_eq!(states(&env), both(ReplyClosed), "an acknowledgement is none");
    answer(&env, ACK, b"more");
    assert_eq!(states(&env), both(Established));
}

#[test]
fn what_was_lost_before_a_fin_and_comes_again_opens_nothing_anew() {
    let env = connected();
    ask(&env, FIN | ACK, b"");
    ask(&env, ACK, b"lost at first");
    assert_eq!(states(&env), both(ForwardClosed));
    answer(&env, FIN | ACK, b"");
    ask(&env, ACK, b"lost at first");
    assert_eq!(states(&env), both(Closing));
}

#[test]
fn a_half_closed_connection_lives_on_and_one_closed_by_both_does_not() {
    let mut env = connected();
    ask(&env, FIN | ACK, b"");
    for _ in 0..3 {
        env.now += 3000 * SECOND;
        assert_eq!(answer(&env, ACK, b"data").action(), Action::Peer);
        ask(&env, ACK, b"");
    }
    answer(&env, FIN | ACK, b"");
    ask(&env, ACK, b"");
    assert_eq!(states(&env), both(Closing));
    env.now += 221 * SECOND;
    assert_eq!(ask(&env, ACK, b"").reason(), Reason::MidStream);
}

#[test]
fn a_refused_connection_leaves_nothing() {
    let env = lab();
    for _ in 0..3 {
        ask(&env, SYN, b"");
        assert_eq!(
            answer(&env, RST | ACK, b"").action(),
            Action::Peer,
            "the client is told"
        );
        assert!(env.flows.borrow().is_empty());
        assert_eq!(
            env.loads.borrow()[&crate::host::lab::slot::A],
            crate::abi::Load::default()
        );
    }
}

#[test]
fn a_challenge_ack_is_no_answer_to_a_syn() {
    // A server that still knows the connection of the past answers with an ACK, the client resets that and asks again.
    let env = lab();
    ask(&env, SYN, b"");
    assert_eq!(answer(&env, ACK, b"").action(), Action::Peer);
    assert_eq!(ask(&env, RST, b"").action(), Action::Redirect);
    assert_eq!(states(&env), both(Answered));
    assert_eq!(ask(&env, SYN, b"").action(), Action::Redirect);
    answer(&env, SYN | ACK, b"");
    ask(&env, ACK, b"");
    assert_eq!(states(&env), both(Established));
}

#[test]
fn a_late_syn_is_for_the_endpoints_to_challenge() {
    let env = connected();
    for _ in 0..2 {
        assert_eq!(answer(&env, SYN, b"").action(), Action::Peer);
        assert_eq!(ask(&env, SYN, b"").action(), Action::Redirect);
        assert_eq!(ask(&env, ACK, b"").action(), Action::Redirect, "a challenge");
    }
    assert_eq!(states(&env), both(Established));
}

#[test]
fn the_middle_of_a_connection_is_taken_up_in_the_window_alone() {
    let mut env = lab();
    assert_eq!(ask(&env, ACK, b"data").reason(), Reason::MidStream);
    assert_eq!(ask(&env, FIN | ACK, b"").reason(), Reason::MidStream);
    env.config.pickup_until = env.now + SECOND;
    for flags in [RST, FIN | ACK, SYN | ACK] {
        assert_eq!(ask(&env, flags, b"").reason(), Reason::MidStream, "{flags}");
    }
    assert_eq!(
        answer(&env, ACK, b"data").reason(),
        Reason::MidStream,
        "the host would reset it"
    );
    for port in [443, env.config.local_min] {
        let segment = inward(REMOTE, HOST.1).tcp(80, port, ACK, b"data");
        assert_eq!(
            arrives(&env, segment).action(),
            Action::Pass,
            "{port} stands for nobody"
        );
    }
    assert_eq!(ask(&env, ACK, b"data").action(), Action::Redirect);
    assert_eq!(states(&env), both(Established));
    assert_eq!(answer(&env, ACK, b"data").action(), Action::Peer);
    env.flows.borrow_mut().clear();
    env.now += SECOND;
    assert_eq!(ask(&env, ACK, b"data").reason(), Reason::MidStream);
    assert_eq!(answer(&env, ACK, b"data").action(), Action::Pass);
    // What a socket of the host takes is the host's.
    env.now -= SECOND;
    env.sockets.insert((crate::abi::proto::TCP, 5000));
    assert_eq!(answer(&env, ACK, b"data").action(), Action::Pass);
}

#[test]
fn the_filter_takes_what_neighbours_take_up_for_established_and_what_goes_out_for_new() {
    let mut env = lab();
    let mut established = rule(verdict::ACCEPT);
    established.head.states = CtState::ESTABLISHED;
    env.set_filter(verdict::DROP, &[established]);
    let between = |env: &HostEnv, flags| {
        let segment = Datagram::new(A, B).tcp(5000, 80, flags, b"data");
        sends(env, ifindex::A, segment).reason()
    };
    assert_eq!(between(&env, ACK), Reason::Filtered);
    env.config.pickup_until = env.now + SECOND;
    assert_eq!(between(&env, SYN), Reason::Filtered);
    assert_eq!(between(&env, ACK), Reason::None);
    assert_eq!(ask(&env, ACK, b"data").reason(), Reason::Filtered);
    env.now += SECOND;
    assert_eq!(between(&env, ACK), Reason::None, "it is known");
}

#[test]
fn what_neighbours_take_up_opens_nothing_that_the_filter_forbids() {
    let mut env = lab();
    let mut established = rule(verdict::ACCEPT);
    established.head.states = CtState::ESTABLISHED;
    env.set_filter(verdict::DROP, &[established]);
    env.config.pickup_until = env.now + SECOND;
    let forth = |flags| {
        let segment = Datagram::new(A, B).tcp(5000, 80, flags, b"");
        sends(&env, ifindex::A, segment).reason()
    };
    let back = |flags| {
        let segment = Datagram::new(B, A).tcp(80, 5000, flags, b"");
        sends(&env, ifindex::B, segment).reason()
    };
    for answered in [false, true] {
        assert_eq!(forth(ACK), Reason::None, "it could be in the middle of a connection");
        if answered {
            assert_eq!(back(ACK), Reason::None);
        }
        assert_eq!(forth(SYN), Reason::Filtered);
        assert_eq!(forth(ACK), Reason::None);
        assert_eq!(back(SYN), Reason::Filtered, "the other side cannot either");
    }
}
