//! ICMP queries pass as flows do, their answers come back, and other messages go no further than they must.

use crate::abi::{CtState, Reason, verdict};
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::lab::{A, B, E, GATEWAY, GATEWAYS, HOST, REMOTE, ifindex, inward, lab, out, rule};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, TIMESTAMP_REPLY, TIMESTAMP_REQUEST};

use super::{arrives, sends};

#[test]
fn a_query_passes_and_only_its_answer_comes_back() {
    for (request, reply) in [(ECHO_REQUEST, ECHO_REPLY), (TIMESTAMP_REQUEST, TIMESTAMP_REPLY)] {
        let env = lab();
        let asked = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).echo(request, 5000, &[1; 12]));
        assert_eq!(asked.to(), (Action::Redirect, ifindex::UPLINK));
        assert_eq!(asked.bytes[26..30], HOST.1);
        let answer = |icmp_type| inward(REMOTE, HOST.1).echo(icmp_type, 5000, &[1; 12]);
        for other in [ECHO_REQUEST, ECHO_REPLY, TIMESTAMP_REQUEST, TIMESTAMP_REPLY] {
            let action = arrives(&env.clone(), answer(other)).action();
            let expected = if other == reply { Action::Peer } else { Action::Pass };
            assert_eq!(action, expected, "type {other} to type {request}");
        }
        let other = inward(REMOTE, HOST.1).echo(reply, 5001, &[1; 12]);
        assert_eq!(arrives(&env, other).action(), Action::Pass, "another identifier");
        // Nor does a request of B's find A's flow, with A's identifier.
        let neighbour = sends(&env, ifindex::B, out(B, GATEWAY, REMOTE).echo(request, 5000, &[1; 12]));
        assert_eq!(neighbour.to(), (Action::Redirect, ifindex::UPLINK));
        assert_ne!(neighbour.bytes[38..40], 5000_u16.to_be_bytes(), "and takes another");
        let delivered = arrives(&env, answer(reply));
        assert_eq!(
            delivered.bytes,
            Datagram {
                ttl: 63,
                ..Datagram::new((GATEWAY.0, REMOTE), A)
            }
            .echo(reply, 5000, &[1; 12])
        );
    }
}

#[test]
fn a_reply_opens_nothing() {
    let mut env = lab();
    for reply in [ECHO_REPLY, TIMESTAMP_REPLY] {
        let result = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).echo(reply, 7, b""));
        assert_eq!(result.reason(), Reason::UntrackedIcmp, "type {reply}");
    }
    let mut refuse = rule(verdict::DROP);
    refuse.head.states = CtState::INVALID;
    env.set_filter(verdict::ACCEPT, &[refuse]);
    for reply in [ECHO_REPLY, TIMESTAMP_REPLY] {
        for dmac in [B.0, GATEWAY.0] {
            let unasked = Datagram::new(A, (dmac, B.1)).echo(reply, 7, b"");
            assert_eq!(
                sends(&env, ifindex::A, unasked).reason(),
                Reason::Filtered,
                "type {reply}"
            );
        }
    }
    assert!(env.flows.borrow().is_empty());
    for dmac in [B.0, GATEWAY.0] {
        let request = Datagram::new(A, (dmac, B.1)).echo(ECHO_REQUEST, 7, b"");
        assert_eq!(sends(&env, ifindex::A, request).to(), (Action::Peer, ifindex::B));
        let reply = Datagram::new(B, A).echo(ECHO_REPLY, 7, b"");
        assert_eq!(sends(&env, ifindex::B, reply).to(), (Action::Peer, ifindex::A));
    }
}

#[test]
fn other_messages_reach_the_host_and_the_neighbour_and_no_further() {
    let env = lab();
    // Router discovery, information, address mask (RFC 6918), extended echo, nothing known.
    for icmp_type in [9, 10, 15, 16, 17, 18, 42, 43, 200] {
        let to = |from, gateway, dst| out(from, gateway, dst).echo(icmp_type, 7, &[0; 4]);
        let refused = [
            sends(&env, ifindex::A, to(A, GATEWAY, REMOTE)),
            sends(&env, ifindex::E, to(E, GATEWAYS[2], REMOTE)),
        ];
        for result in refused {
            assert_eq!(result.reason(), Reason::UnsupportedIcmp, "type {icmp_type}");
        }
        assert_eq!(
            sends(&env, ifindex::A, to(A, GATEWAY, GATEWAY.1)).action(),
            Action::Pass
        );
        assert_eq!(
            sends(&env, ifindex::A, Datagram::new(A, B).echo(icmp_type, 7, &[0; 4])).to(),
            (Action::Peer, ifindex::B)
        );
        let inward = inward(REMOTE, HOST.1).echo(icmp_type, 7, &[0; 4]);
        assert_eq!(
            arrives(&env, inward).action(),
            Action::Pass,
            "type {icmp_type} is the host's"
        );
    }
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn queries_alone_are_new_to_the_filter() {
    for state in [CtState::NEW, CtState::INVALID] {
        let mut env = lab();
        let mut refuse = rule(verdict::DROP);
        refuse.head.states = state;
        env.set_filter(verdict::ACCEPT, &[refuse]);
        for icmp_type in [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43, 200] {
            let is_new = matches!(icmp_type, 8 | 13 | 15 | 17);
            for dmac in [B.0, GATEWAY.0] {
                let message = Datagram::new(A, (dmac, B.1)).echo(icmp_type, 7, &[0; 4]);
                let reason = sends(&env.clone(), ifindex::A, message).reason();
                let refused = is_new == (state == CtState::NEW);
                assert_eq!(reason == Reason::Filtered, refused, "type {icmp_type}");
            }
        }
    }
}
