//! Datagrams in fragments, in any order: what arrives is whole and translated once, and what should not arrive does not.

use crate::abi::{HELD_PLACES, Hook, Reason, proto, verdict};
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, echo_message};
use crate::host::filter::rule_flags;
use crate::host::lab::{
    A, B, E, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, SECOND, at, ifindex, inward, lab, out, publish, rule, slot,
};
use crate::host::pieces::{cut, joined, set_place};
use crate::host::rewrite::fault;
use crate::host::{Frame, HostEnv};
use crate::wire::tcp::{ACK, SYN};

use super::{answer_to, arrives, halves, run, sends};

/// Where frames come in.
type Way = (Hook, u32);

const FROM_A: Way = (Hook::FromContainer, ifindex::A);
const FROM_B: Way = (Hook::FromContainer, ifindex::B);
const INWARD: Way = (Hook::FromUplink, ifindex::UPLINK);

/// Every order of three, and some with one of them twice.
const ORDERS: [&[usize]; 12] = [
    &[0, 1, 2],
    &[0, 2, 1],
    &[1, 0, 2],
    &[1, 2, 0],
    &[2, 0, 1],
    &[2, 1, 0],
    &[0, 0, 1, 2],
    &[0, 1, 1, 2],
    &[1, 1, 0, 2],
    &[2, 2, 1, 0],
    &[0, 1, 2, 0],
    &[0, 1, 2, 2],
];

/// Frames of a way as they leave, those that have waited in their turn.
fn pass(env: &HostEnv, (hook, index): Way, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<(Action, u32, Vec<u8>)> {
    let mut left = Vec::new();
    let mut take = |frame: &Frame| {
        let result = run(env, hook, frame);
        if result.action() != Action::Drop {
            left.push((result.action(), result.verdict.ifindex, result.bytes));
        }
    };
    for bytes in frames {
        take(&at(index, bytes));
        loop {
            let released = env.released.take();
            if released.is_empty() {
                break;
            }
            released.iter().for_each(&mut take);
        }
    }
    left
}

/// What arrives of a datagram whose fragments come in this order, put together; all must go the same way.
fn arrival(env: &HostEnv, way: Way, whole: &[u8], id: u16, order: &[usize]) -> (Action, u32, Vec<u8>) {
    let pieces = cut(whole, id, 24);
    assert_eq!(pieces.len(), 3, "three pieces");
    let left = pass(env, way, order.iter().map(|number| pieces[*number].clone()));
    assert_eq!(left.len(), order.len(), "{order:?}: all of them leave");
    let mut frames = Vec::new();
    for (action, index, bytes) in &left {
        assert_eq!((action, index), (&left[0].0, &left[0].1), "{order:?}: by one way");
        if !frames.contains(bytes) {
            frames.push(bytes.clone());
        }
    }
    let whole = joined(&frames).unwrap_or_else(|| panic!("{order:?}: no whole datagram in {frames:x?}"));
    (left[0].0, left[0].1, whole)
}

/// A frame without what a cut changes in its IP header, for comparison.
fn settled(mut frame: Vec<u8>) -> Vec<u8> {
    set_place(&mut frame, 0, 0, false);
    frame
}

/// Sends a datagram in every order, and compares with what the same datagram is that comes whole.
fn same_as_whole(prepare: impl Fn(&HostEnv), way: Way, whole: &[u8]) {
    let env = lab();
    prepare(&env);
    let expected = run(&env, way.0, &at(way.1, whole.to_vec()));
    assert_eq!(fault(&expected.bytes), None);
    for order in ORDERS {
        let env = lab();
        prepare(&env);
        let (action, index, bytes) = arrival(&env, way, whole, 7, order);
        assert_eq!(
            (action, index),
            (expected.action(), expected.verdict.ifindex),
            "{order:?}"
        );
        assert_eq!(bytes, settled(expected.bytes.clone()), "{order:?}");
        assert_eq!(fault(&bytes), None, "{order:?}");
        assert!(env.held.borrow().is_empty(), "{order:?}: nothing waits any more");
        assert_eq!(env.held_by.borrow().values().sum::<i32>(), 0, "{order:?}");
        assert_eq!(
            env.drops.borrow().iter().sum::<u64>(),
            0,
            "{order:?}: nothing counts as dropped"
        );
        let slot = if way == INWARD { slot::UPLINK } else { way.1 - 10 };
        let traffic = env.traffic.borrow().get(&slot).copied().unwrap_or_default();
        assert_eq!(traffic.drops, 0, "{order:?}");
    }
}

#[test]
fn a_datagram_arrives_whole_in_any_order_and_both_ways() {
    let payload: Vec<u8> = (0..60).collect();
    let question = out(A, GATEWAY, REMOTE).udp(40_001, 53, &payload);
    let nothing = |_: &HostEnv| ();
    same_as_whole(nothing, FROM_A, &question);
    let asked = sends(&lab(), ifindex::A, question.clone()).bytes;
    let ask = |env: &HostEnv| drop(sends(env, ifindex::A, question.clone()));
    same_as_whole(ask, INWARD, &answer_to(&asked, None));

    let published = inward(REMOTE, HOST.1).udp(5000, 5353, &payload);
    same_as_whole(nothing, INWARD, &published);
    let delivered = arrives(&lab(), published.clone()).bytes;
    let deliver = |env: &HostEnv| drop(arrives(env, published.clone()));
    same_as_whole(deliver, FROM_B, &answer_to(&delivered, None));

    let hairpin = out(A, GATEWAY, HOST.1).udp(5000, 5353, &payload);
    same_as_whole(nothing, FROM_A, &hairpin);
    let delivered = sends(&lab(), ifindex::A, hairpin.clone()).bytes;
    let turn = |env: &HostEnv| drop(sends(env, ifindex::A, hairpin.clone()));
    same_as_whole(turn, FROM_B, &answer_to(&delivered, None));
}

#[test]
fn every_protocol_that_is_translated_may_come_in_fragments() {
    let nothing = |_: &HostEnv| ();
    let datagram = out(A, GATEWAY, REMOTE);
    same_as_whole(nothing, FROM_A, &datagram.echo(8, 77, &[1; 60]));
    same_as_whole(nothing, FROM_A, &datagram.tcp(40_001, 80, SYN, &[2; 50]));
    same_as_whole(nothing, FROM_A, &datagram.frame(proto::GRE, &[3; 60]));
    let with_options = Datagram {
        options: vec![1; 8],
        ..datagram.clone()
    };
    same_as_whole(nothing, FROM_A, &with_options.udp(40_001, 53, &[4; 60]));
    let request = sends(&lab(), ifindex::A, datagram.echo(8, 77, &[1; 60])).bytes;
    let id = u16::from_be_bytes([request[38], request[39]]);
    let reply = inward(REMOTE, HOST.1).frame(proto::ICMP, &echo_message(0, id, &[1; 60]));
    same_as_whole(|env| drop(sends(env, ifindex::A, request_of(77))), INWARD, &reply);
    // Without a checksum there is none afterwards.
    let mut without = datagram.udp(40_001, 53, &[5; 60]);
    without[40..42].fill(0);
    same_as_whole(nothing, FROM_A, &without);
}

fn request_of(id: u16) -> Vec<u8> {
    out(A, GATEWAY, REMOTE).echo(8, id, &[1; 60])
}

#[test]
fn a_network_without_masquerade_and_neighbours_under_a_filter_have_fragments_too() {
    let payload = [0x5a; 60];
    same_as_whole(
        |_| (),
        (Hook::FromContainer, ifindex::E),
        &out(E, GATEWAYS[2], REMOTE).udp(1, 53, &payload),
    );
    same_as_whole(|_| (), FROM_A, &out(A, GATEWAY, B.1).udp(5000, 53, &payload));
    let mut refuse = rule(verdict::DROP);
    (refuse.head.proto, refuse.head.flags) = (proto::UDP, rule_flags::PORTS);
    (refuse.head.dport_min, refuse.head.dport_max) = (99, 99);
    for order in ORDERS {
        let mut env = lab();
        env.set_filter(verdict::ACCEPT, &[refuse]);
        let datagram = Datagram::new(A, B);
        let accepted = arrival(&env, FROM_A, &datagram.udp(5000, 53, &payload), 1, order);
        assert_eq!((accepted.0, accepted.1), (Action::Peer, ifindex::B));
        assert_eq!(halves(&env, 1).len(), 2, "one flow");
        let refused = cut(&datagram.udp(5000, 99, &payload), 2, 24);
        let left = pass(&env, FROM_A, order.iter().map(|number| refused[*number].clone()));
        assert_eq!(left, [], "{order:?}");
        assert!(
            env.held.borrow().is_empty(),
            "{order:?}: what was refused does not wait"
        );
        let dropped = env.dropped(Reason::Filtered) + env.dropped(Reason::FragmentWaits);
        assert_eq!(dropped, order.len() as u64, "{order:?}");
    }
}

#[test]
fn later_fragments_go_by_the_answer_that_the_filter_gave_the_flow() {
    let mut answers = rule(verdict::ACCEPT);
    answers.head.states = crate::abi::CtState::ESTABLISHED;
    let mut env = lab();
    env.set_filter(verdict::DROP, &[answers]);
    let question = Datagram::new(B, A).udp(53, 5000, &[0; 60]);
    assert_eq!(pass(&env, FROM_B, cut(&question, 1, 24)), []);
    env.set_filter(verdict::ACCEPT, &[]);
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    env.set_filter(verdict::DROP, &[answers]);
    let answer = inward(REMOTE, HOST.1).udp(53, 5000, &[7; 60]);
    let (action, index, _) = arrival(&env, INWARD, &answer, 3, &[2, 1, 0]);
    assert_eq!((action, index), (Action::Peer, ifindex::A));
}

#[test]
fn without_its_first_nothing_arrives_and_what_waits_is_bounded() {
    let env = lab();
    let pieces = cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 400]), 7, 8);
    let later = pieces.len() - 1;
    assert_eq!(pass(&env, FROM_A, pieces.iter().skip(1).cloned()), []);
    assert_eq!(env.held.borrow().len(), HELD_PLACES as usize);
    assert_eq!(env.dropped(Reason::FragmentWaits), u64::from(HELD_PLACES));
    assert_eq!(env.dropped(Reason::Fragment), later as u64 - u64::from(HELD_PLACES));
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn one_sender_leaves_room_for_others_and_time_makes_room_for_all() {
    let mut env = lab();
    env.config.held_quota = 20;
    env.held_capacity = 30;
    let lone = |id| {
        cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 40]), id, 24)
            .pop()
            .unwrap_or_default()
    };
    assert_eq!(pass(&env, FROM_A, (0..50).map(lone)), []);
    assert_eq!(
        (env.dropped(Reason::FragmentWaits), env.dropped(Reason::Fragment)),
        (20, 30)
    );
    assert_eq!(env.held_by.borrow().get(&slot::A), Some(&20));
    let of_b = out(B, GATEWAY, REMOTE).udp(5000, 53, &[0; 60]);
    assert_eq!(arrival(&env, FROM_B, &of_b, 7, &[2, 1, 0]).0, Action::Redirect);
    let mut order = cut(&out(A, GATEWAY, REMOTE).udp(5001, 53, &[0; 60]), 99, 24);
    assert_eq!(pass(&env, FROM_A, order.clone()).len(), 3, "in order none waits");
    assert_eq!(
        pass(&env, FROM_A, order.drain(1..2)).len(),
        1,
        "a duplicate of one finds its first"
    );

    env.now += 30 * SECOND + 1;
    let lone = |id| {
        cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 40]), id, 24)
            .pop()
            .unwrap_or_default()
    };
    pass(&env, FROM_A, (100..105).map(lone));
    assert_eq!(env.held.borrow().len(), 5, "what was too old is gone");
    assert_eq!(env.held_by.borrow().get(&slot::A), Some(&5));
}

#[test]
fn what_waits_behind_a_place_that_was_given_up_is_found() {
    let mut env = lab();
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    let pieces = cut(&inward(REMOTE, HOST.1).udp(53, 5000, &[0; 64]), 7, 24);
    let waits = |env: &HostEnv, piece: &[u8]| assert_eq!(arrives(env, piece.to_vec()).reason(), Reason::FragmentWaits);
    waits(&env, &pieces[1]);
    env.now += 20 * SECOND;
    waits(&env, &pieces[2]);
    env.now += 11 * SECOND;
    env.reap();
    assert_eq!(env.held.borrow().len(), 1, "the first place is free");
    arrives(&env, pieces[0].clone());
    assert_eq!((env.held.borrow().len(), env.released.borrow().len()), (0, 1));
}

#[test]
fn frames_longer_than_the_room_for_one_do_not_wait_and_let_nothing_go() {
    let env = lab();
    let datagram = Datagram::new((ROUTER.0, REMOTE), (HOST.0, HOST.1)).udp(5000, 5353, &[0; 5000]);
    let long = cut(&datagram, 7, 2400);
    // To the host itself it may go, which makes nothing of it.
    assert_eq!(arrives(&env, long[1].clone()).action(), Action::Pass);
    assert_eq!(
        sends(
            &env,
            ifindex::A,
            cut(&out(A, GATEWAY, REMOTE).udp(1, 53, &[0; 5000]), 7, 2400).swap_remove(1)
        )
        .reason(),
        Reason::Fragment
    );
    let mut wait = long[2].clone();
    set_place(&mut wait, 8, 4800, false);
    assert_eq!(pass(&env, INWARD, [wait]), []);
    let mut first = long[0].clone();
    set_place(&mut first, 8, 0, true);
    assert_eq!(pass(&env, INWARD, [first]).len(), 1);
    assert_eq!(env.held.borrow().len(), 1);
    assert_eq!(pass(&env, INWARD, long).len(), 3, "in order they pass");
}

#[test]
fn after_half_a_minute_a_datagram_is_another_one() {
    let mut env = lab();
    let pieces = cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 60]), 7, 24);
    let [first, second, last] = &pieces[..] else {
        panic!("three pieces")
    };
    assert_eq!(pass(&env, FROM_A, [last.clone()]), []);
    env.now += 30 * SECOND + 1;
    assert_eq!(pass(&env, FROM_A, [first.clone()]).len(), 1, "what waited is too old");
    assert!(env.held.borrow().is_empty());
    assert_eq!(env.dropped(Reason::FragmentWaits), 1);
    env.now += 30 * SECOND;
    assert_eq!(pass(&env, FROM_A, [second.clone()]).len(), 1);
    env.now += 1;
    assert_eq!(
        pass(&env, FROM_A, [second.clone()]),
        [],
        "it waits for a first of its own"
    );
}

#[test]
fn nobody_points_the_rest_of_a_datagram_elsewhere() {
    let env = lab();
    let whole = |port| inward(REMOTE, HOST.1).udp(port, 5353, &[0; 60]);
    let (genuine, forged) = (cut(&whole(5000), 7, 24), cut(&whole(6000), 7, 24));
    assert_eq!(pass(&env, INWARD, [genuine[0].clone()]).len(), 1);
    assert_eq!(pass(&env, INWARD, [forged[0].clone()]), []);
    assert_eq!(env.dropped(Reason::Fragment), 1);
    assert_eq!(pass(&env, INWARD, genuine[1..].to_vec()).len(), 2);
    // A datagram that is complete makes way: identifications are used again.
    let left = pass(&env, INWARD, forged);
    assert_eq!(left.len(), 3);
    let frames: Vec<_> = left.into_iter().map(|(.., bytes)| bytes).collect();
    let whole = joined(&frames).expect("a whole datagram");
    assert_eq!((fault(&whole), &whole[34..36]), (None, &6000_u16.to_be_bytes()[..]));
    // One that was refused makes way too: nobody can have another's refused for half a minute.
    let env = lab();
    let forged = cut(&out(A, GATEWAY, REMOTE).tcp(6000, 80, ACK, &[0; 40]), 9, 24);
    let genuine = cut(&out(A, GATEWAY, REMOTE).tcp(5000, 80, SYN, &[0; 40]), 9, 24);
    assert_eq!(pass(&env, FROM_A, [forged[0].clone()]), []);
    assert_eq!(pass(&env, FROM_A, genuine).len(), 3);
}

#[test]
fn the_header_of_the_first_is_out_of_reach() {
    let env = lab();
    let segment = out(A, GATEWAY, REMOTE).tcp(5000, 80, SYN, &[0; 60]);
    let mut over = cut(&segment, 7, 8);
    assert_eq!(
        pass(&env, FROM_A, [over[0].clone()]),
        [],
        "a first that hides its header"
    );
    assert_eq!(env.dropped(Reason::Malformed), 1);
    let first = cut(&segment, 7, 24).swap_remove(0);
    assert_eq!(pass(&env, FROM_A, [over[1].clone()]), []);
    // The first comes after what would overwrite it.
    assert_eq!(pass(&env, FROM_A, [first]).len(), 1);
    assert_eq!(pass(&env, FROM_A, [over.swap_remove(2)]), []);
    assert_eq!(env.dropped(Reason::Fragment), 2);
    assert_eq!(env.dropped(Reason::FragmentWaits), 0);
}

#[test]
fn a_fragment_says_who_sent_it_like_any_frame() {
    let env = lab();
    let forged = cut(
        &Datagram::new((A.0, B.1), (GATEWAY.0, REMOTE)).udp(1, 53, &[0; 60]),
        7,
        24,
    );
    assert_eq!(pass(&env, FROM_A, forged), []);
    assert_eq!(env.dropped(Reason::SpoofedIp), 3);
    assert!(env.fragments.borrow().is_empty() && env.held.borrow().is_empty());
}

#[test]
fn what_is_the_hosts_own_passes_in_any_order_and_without_room() {
    for quota in [64, 0] {
        for order in ORDERS {
            let mut env = lab();
            env.config.held_quota = quota;
            let (action, _, _) = arrival(&env, INWARD, &inward(REMOTE, HOST.1).udp(1, 22, &[0; 60]), 7, order);
            assert_eq!(action, Action::Pass);
            assert!(env.flows.borrow().is_empty());
        }
    }
    let env = lab();
    let transit = cut(&inward(REMOTE, [198, 51, 100, 1]).udp(1, 2, &[0; 60]), 7, 24);
    let left = pass(&env, INWARD, transit.into_iter().rev());
    assert_eq!(left.len(), 3, "what the host forwards for others");
    assert!(env.fragments.borrow().is_empty() && env.held.borrow().is_empty());
}

#[test]
fn within_a_network_without_a_filter_fragments_are_frames_like_others() {
    let env = lab();
    let pieces = cut(&Datagram::new(A, B).udp(1, 2, &[0; 60]), 7, 24);
    assert_eq!(pass(&env, FROM_A, pieces.into_iter().rev()).len(), 3);
    assert!(env.fragments.borrow().is_empty() && env.held.borrow().is_empty());
}

/// What the host's stack makes of A's fragment, and sends out.
fn leaves(env: &HostEnv, bytes: Vec<u8>) -> (Action, Vec<u8>) {
    let frame = Frame {
        ingress: ifindex::BRIDGES[0],
        ..at(ifindex::UPLINK, bytes)
    };
    let result = run(env, Hook::ToUplink, &frame);
    (result.action(), result.bytes)
}

#[test]
fn what_is_too_long_for_the_uplink_is_cut_again_by_the_stack_and_translated_as_it_leaves() {
    let mut env = lab();
    env.networks[1].head.mtu = 120;
    let whole = out(A, GATEWAY, REMOTE).udp(40_001, 53, &[0x77; 400]);
    let pieces = cut(&whole, 7, 160);
    let left = pass(&env, FROM_A, pieces.clone());
    let passed: Vec<_> = left.iter().map(|(action, ..)| *action).collect();
    assert_eq!(passed, [Action::Pass; 3]);
    assert_eq!(halves(&env, 1).len(), 0);
    // The stack sends its own MACs, and smaller fragments.
    let stack = Datagram::new((HOST.0, A.1), (ROUTER.0, REMOTE)).udp(40_001, 53, &[0x77; 400]);
    let smaller: Vec<_> = cut(&stack, 7, 80)
        .into_iter()
        .map(|piece| leaves(&env, piece))
        .collect();
    assert!(smaller.iter().all(|(action, _)| *action == Action::Pass));
    let frames: Vec<_> = smaller.into_iter().map(|(_, bytes)| bytes).collect();
    let arrived = joined(&frames).expect("a whole datagram");
    assert_eq!(fault(&arrived), None);
    assert_eq!(arrived[26..30], HOST.1);
    assert_eq!(halves(&env, 1).len(), 1, "one flow");
    // Now that there is a flow, the stack gets what is too long, and the rest goes on as it does.
    let again = pass(
        &env,
        FROM_A,
        cut(&out(A, GATEWAY, REMOTE).udp(40_001, 53, &[0x77; 200]), 8, 160),
    );
    assert_eq!(
        again.iter().map(|(action, ..)| *action).collect::<Vec<_>>(),
        [Action::Pass; 2]
    );
    // Nothing leaves by itself.
    let lone = cut(&stack, 9, 80).swap_remove(1);
    assert_eq!(leaves(&env, lone).0, Action::Drop);
}

#[test]
fn a_duplicate_first_opens_one_flow_and_an_answer_in_fragments_settles_it() {
    let env = lab();
    let question = out(A, GATEWAY, REMOTE).udp(40_001, 53, &[0; 60]);
    let (.., asked) = arrival(&env, FROM_A, &question, 7, &[0, 0, 1, 2]);
    assert_eq!(env.flows.borrow().len(), 2);
    assert!(halves(&env, 1)[0].1.head.state == 0);
    arrival(&env, INWARD, &answer_to(&asked, None), 7, &[1, 2, 0]);
    assert_eq!(halves(&env, 1)[0].1.head.state, 1, "answered");
}

#[test]
fn later_fragments_change_no_state() {
    let mut env = lab();
    publish(&mut env, (proto::TCP, HOST.1, 81), (A, ifindex::A, slot::A), 80);
    let pieces = cut(&inward(REMOTE, HOST.1).tcp(5000, 81, SYN, &[0; 40]), 7, 24);
    assert_eq!(pass(&env, INWARD, pieces).len(), 3);
    let state = || env.flows.borrow().values().map(|flow| flow.head.state).max();
    assert_eq!(state(), Some(0));
    let answer = cut(&out(A, GATEWAY, REMOTE).tcp(80, 5000, SYN | ACK, &[0; 40]), 7, 24);
    assert_eq!(pass(&env, FROM_A, answer).len(), 3);
    assert_eq!(state(), Some(1), "answered, and not acknowledged");
}

#[test]
fn only_the_first_fragment_is_answered() {
    let env = lab();
    let dying = Datagram {
        ttl: 1,
        ..out(A, GATEWAY, REMOTE)
    };
    let left = pass(&env, FROM_A, cut(&dying.udp(5000, 53, &[0; 60]), 7, 24));
    // What follows goes to the stack, which drops it without a word.
    assert_eq!(
        left.iter().map(|(action, ..)| *action).collect::<Vec<_>>(),
        [Action::Answer, Action::Pass, Action::Pass]
    );
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    let mut mixed = cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 60]), 8, 24);
    mixed[1][22] = 1;
    set_place(&mut mixed[1], 8, 24, true);
    let left = pass(&env, FROM_A, mixed);
    assert_eq!(left.len(), 2);
    assert_eq!(env.dropped(Reason::TtlExpired), 2);
}
