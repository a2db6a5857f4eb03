//! ICMP errors follow the flow they quote, and the quote is translated with them.

use crate::abi::{CtState, Reason, proto, verdict};
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::{Datagram, packet_of};
use crate::host::lab::{A, B, GATEWAY, HOST, REMOTE, ROUTER, SECOND, ifindex, inward, lab, out, rule};
use crate::wire::icmp::{REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
use crate::wire::tcp::RST;

use super::{Result, arrives, halves, sends};

/// A router on the way that no flow knows.
pub(super) const THIRD: [u8; 4] = [198, 18, 0, 1];

/// A asks a server through the host; what the server would get.
fn ask(env: &HostEnv) -> Vec<u8> {
    sends(env, ifindex::A, out(A, GATEWAY, REMOTE).udp(40_000, 53, b"ask")).bytes
}

/// A asks and is told; the question as the server gets it, the answer as A does.
fn asked_and_told(env: &HostEnv) -> (Vec<u8>, Vec<u8>) {
    let seen = sends(env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b"ask"));
    let delivered = arrives(env, inward(REMOTE, HOST.1).udp(53, 5000, b"told"));
    assert_eq!(delivered.to(), (Action::Peer, ifindex::A));
    (packet_of(&seen.bytes), packet_of(&delivered.bytes))
}

/// Somebody on the way answers with an error.
fn error_about(env: &HostEnv, quote: &[u8]) -> Result {
    arrives(env, inward(THIRD, HOST.1).error(TIME_EXCEEDED, quote))
}

/// The flows as they are, in an order.
fn flows(env: &HostEnv) -> impl PartialEq + std::fmt::Debug + use<> {
    [0, 1].map(|zone| halves(env, zone))
}

#[test]
fn an_error_neither_refreshes_nor_changes_its_flow() {
    let mut env = lab();
    let seen = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).syn(5000, 80)).bytes;
    let (before, writes) = (flows(&env), *env.writes.borrow());
    env.now += 100 * SECOND;
    assert_eq!(error_about(&env, &packet_of(&seen)).to(), (Action::Peer, ifindex::A));
    assert_eq!((flows(&env), *env.writes.borrow()), (before, writes));
    env.now += 140 * SECOND + 1;
    assert_eq!(
        error_about(&env, &packet_of(&seen)).action(),
        Action::Pass,
        "the flow is over"
    );
}

#[test]
fn an_error_about_none_of_our_flows_is_the_hosts() {
    let env = lab();
    let seen = packet_of(&ask(&env));
    let host_asks = |datagram: Datagram| datagram.packet(proto::UDP, &datagram.udp_segment(40_000, 53, b""));
    let mut fragment = seen.clone();
    fragment[7] = 1;
    let table = [
        ("another port", host_asks(Datagram::new(HOST, (ROUTER.0, REMOTE)))),
        ("a later fragment", fragment),
        ("another protocol", Datagram::new(HOST, ROUTER).packet(47, &[0; 8])),
        ("seven bytes behind the header", seen[..27].to_vec()),
        ("half a header", seen[..12].to_vec()),
        ("nothing", Vec::new()),
        (
            "an error",
            packet_of(&Datagram::new(HOST, (ROUTER.0, REMOTE)).error(UNREACHABLE, &seen)),
        ),
    ];
    for (name, quote) in table {
        assert_eq!(error_about(&env, &quote).action(), Action::Pass, "{name}");
    }
    assert_eq!(error_about(&env, &seen[..28]).action(), Action::Peer);
    let mut other = seen;
    // The destination port; the header's checksum does not cover it.
    other[23] ^= 1;
    for refused in [SOURCE_QUENCH, REDIRECT] {
        let bytes = inward(ROUTER.1, HOST.1).error(refused, &other);
        assert_eq!(arrives(&env, bytes).action(), Action::Pass, "type {refused}");
    }
}

/// The path MTU of a tunnel's is found through SNAT.
#[test]
fn an_error_about_a_packet_without_ports_follows_its_flow() {
    for protocol in [47, 50, 4] {
        let env = lab();
        let sent = |ttl| {
            Datagram {
                ttl,
                ..out(A, GATEWAY, REMOTE)
            }
            .packet(protocol, &[0x5a; 600])
        };
        let datagram = Datagram {
            ttl: 64,
            ..out(A, GATEWAY, REMOTE)
        };
        let seen = packet_of(&sends(&env, ifindex::A, datagram.frame(protocol, &[0x5a; 600])).bytes);
        assert_eq!(seen[12..16], HOST.1);
        for quoted in [28, 100, 620] {
            let result = error_about(&env, &seen[..quoted]);
            assert_eq!(result.to(), (Action::Peer, ifindex::A), "protocol {protocol}");
            assert_eq!(result.bytes[42..], sent(63)[..quoted], "protocol {protocol}");
        }
    }
}

#[test]
fn redirects_and_source_quench_are_carried_neither_way() {
    let mut env = lab();
    let (seen, delivered) = asked_and_told(&env);
    let before = flows(&env);
    env.now += 2 * SECOND;
    for refused in [SOURCE_QUENCH, REDIRECT] {
        let result = arrives(&env, inward(ROUTER.1, HOST.1).error(refused, &seen));
        assert_eq!(result.reason(), Reason::UnsupportedIcmp, "type {refused} from outside");
        for dst in [REMOTE, ROUTER.1, GATEWAY.1, HOST.1, B.1] {
            let result = sends(&env, ifindex::A, out(A, GATEWAY, dst).error(refused, &delivered));
            assert_eq!(result.reason(), Reason::UnsupportedIcmp, "type {refused} to {dst:?}");
        }
        let first = Datagram {
            fragment: 0x2000,
            ..out(A, GATEWAY, GATEWAY.1)
        };
        let result = sends(&env, ifindex::A, first.error(refused, &delivered));
        assert_eq!(
            result.reason(),
            Reason::UnsupportedIcmp,
            "the first fragment of {refused}"
        );
        let bridged = Datagram::new(A, B).error(refused, &delivered);
        assert_eq!(sends(&env, ifindex::A, bridged).to(), (Action::Peer, ifindex::B));
    }
    assert_eq!(flows(&env), before);
}

#[test]
fn a_damaged_error_is_carried_neither_way() {
    let env = lab();
    let (seen, delivered) = asked_and_told(&env);
    let before = flows(&env);
    let both = |error: &dyn Fn(Datagram, &[u8]) -> Vec<u8>| {
        [
            arrives(&env, error(inward(THIRD, HOST.1), &seen)),
            sends(&env, ifindex::A, error(out(A, GATEWAY, REMOTE), &delivered)),
        ]
    };
    // Every byte of the ICMP header but its type, and all that is quoted.
    for place in 35..42 + seen.len() {
        for result in both(&|datagram, quote| {
            let mut bytes = datagram.error(TIME_EXCEEDED, quote);
            bytes[place] ^= 0x10;
            bytes
        }) {
            // What was quoted may be about nothing now.
            let lost = [Reason::BadChecksum, Reason::UntrackedIcmp, Reason::None];
            assert!(lost.contains(&result.reason()), "byte {place}: {:?}", result.reason());
            assert!(matches!(result.action(), Action::Drop | Action::Pass), "byte {place}");
            if place < 42 {
                assert_eq!(result.reason(), Reason::BadChecksum, "byte {place}");
            }
        }
    }
    // The quoted header's identification and its checksum: the error's own checksum is right.
    for place in [4, 10] {
        for result in both(&|datagram, quote| {
            let mut quote = quote.to_vec();
            quote[place] ^= 0x10;
            datagram.error(TIME_EXCEEDED, &quote)
        }) {
            assert_eq!(result.reason(), Reason::BadChecksum, "quoted byte {place}");
        }
    }
    // The quoted UDP checksum is nobody's business.
    for result in both(&|datagram, quote| {
        let mut quote = quote.to_vec();
        quote[26] ^= 0x10;
        datagram.error(TIME_EXCEEDED, &quote)
    }) {
        assert!(result.action() as u8 > Action::Drop as u8, "{:?}", result.reason());
    }
    assert_eq!(flows(&env), before);
}

#[test]
fn what_is_behind_the_quote_survives() {
    let env = lab();
    let asked = packet_of(&sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(40_000, 53, &[7; 100])).bytes);
    // RFC 4884: the quote's length in words, and an extension structure behind it (a label stack, RFC 4950).
    let mut quote = asked;
    quote.resize(128, 0);
    let extension = [0x20, 0, 0x5a, 0x5a, 0, 8, 1, 1, 0, 1, 0x91, 0xff];
    let mut error = inward(THIRD, HOST.1).error(TIME_EXCEEDED, &[&quote[..], &extension].concat());
    error[39] = 32;
    let sum = u16::from_be_bytes([error[36], error[37]]);
    error[36..38].copy_from_slice(&(sum - 32).to_be_bytes());
    let result = arrives(&env, error);
    assert_eq!(result.to(), (Action::Peer, ifindex::A));
    assert_eq!((result.bytes[39], &result.bytes[42 + 128..]), (32, &extension[..]));
}

#[test]
fn padding_is_no_part_of_a_quote() {
    let env = lab();
    let seen = packet_of(&ask(&env));
    let mut padded = inward(THIRD, HOST.1).error(TIME_EXCEEDED, &seen[..27]);
    padded.extend_from_slice(&seen[27..]);
    assert_eq!(arrives(&env, padded).action(), Action::Pass);
    // Nor is a checksum that would be there.
    let seen = packet_of(&sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).syn(5000, 80)).bytes);
    let mut padded = inward(THIRD, HOST.1).error(TIME_EXCEEDED, &seen[..28]);
    padded.extend_from_slice(&seen[28..]);
    let result = arrives(&env, padded);
    assert_eq!(result.action(), Action::Peer);
    assert_eq!(result.bytes[70..], seen[28..]);
}

#[test]
fn a_quoted_udp_checksum_that_becomes_zero_is_written_as_ffff() {
    let env = lab();
    let ask = |payload: &[u8]| {
        Datagram {
            ttl: 63,
            ..out(A, GATEWAY, REMOTE)
        }
        .udp(5000, 53, payload)
    };
    let payload = ask(&[0; 2])[40..42].to_vec();
    assert_eq!(ask(&payload)[40..42], [0xff; 2]);
    let mut sent = ask(&payload);
    sent[22] = 64;
    sent[24] -= 1;
    let seen = sends(&env, ifindex::A, sent).bytes;
    assert_ne!(seen[40..42], [0xff; 2]);
    assert_eq!(
        error_about(&env, &packet_of(&seen)).bytes[42..],
        packet_of(&ask(&payload))
    );
}

#[test]
fn a_quote_of_a_packet_that_the_receiver_did_not_send_is_forged() {
    let env = lab();
    let seen = packet_of(&ask(&env));
    // To another address of the host's than the flow's.
    let forged = inward(THIRD, [192, 0, 2, 255]).error(TIME_EXCEEDED, &seen);
    assert_eq!(arrives(&env, forged).action(), Action::Pass);
    let delivered = arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080)).bytes;
    let forged = out(A, GATEWAY, THIRD).error(UNREACHABLE, &packet_of(&delivered));
    assert_eq!(sends(&env, ifindex::A, forged).reason(), Reason::UntrackedIcmp);
    let honest = out(A, GATEWAY, REMOTE).error(UNREACHABLE, &packet_of(&delivered));
    assert_eq!(sends(&env, ifindex::A, honest.clone()).action(), Action::Neigh);
    let another = Datagram::new(B, (GATEWAY.0, REMOTE)).error(UNREACHABLE, &packet_of(&delivered));
    assert_eq!(
        sends(&env, ifindex::B, another).to(),
        (Action::Neigh, ifindex::UPLINK),
        "a neighbour may report as a router does: the host's address stands before both"
    );
}

#[test]
fn an_error_about_a_flow_that_does_not_leave_does_not_leave() {
    let mut env = lab();
    env.set_filter(verdict::ACCEPT, &[rule(verdict::ACCEPT)]);
    // A has B route what the host routes as well.
    sends(&env, ifindex::A, Datagram::new(A, (B.0, REMOTE)).udp(5000, 53, b""));
    let answer = inward(REMOTE, A.1).udp(53, 5000, b"");
    let error = out(A, GATEWAY, REMOTE).error(UNREACHABLE, &packet_of(&answer));
    assert_eq!(sends(&env, ifindex::A, error).reason(), Reason::UntrackedIcmp);
}

#[test]
fn an_error_is_related_to_the_filter() {
    let table = [
        (CtState::RELATED, Reason::Filtered),
        (CtState::NEW | CtState::ESTABLISHED | CtState::INVALID, Reason::None),
    ];
    for (states, expected) in table {
        let mut env = lab();
        let seen = packet_of(&ask(&env));
        let mut refuse = rule(verdict::DROP);
        refuse.head.states = states;
        // After DNAT the filter sees the container.
        (refuse.tail.dst, refuse.tail.dst_mask) = (A.1, [255; 4]);
        env.set_filter(verdict::ACCEPT, &[refuse]);
        assert_eq!(error_about(&env, &seen).reason(), expected);
    }
}

#[test]
fn between_neighbours_an_error_is_related_or_invalid() {
    let mut env = lab();
    let mut refuse = rule(verdict::DROP);
    refuse.head.states = CtState::INVALID;
    env.set_filter(verdict::ACCEPT, &[refuse]);
    let asked = Datagram::new(A, B).udp(5000, 53, b"");
    let error = || Datagram::new(B, A).error(UNREACHABLE, &packet_of(&asked));
    assert_eq!(sends(&env, ifindex::B, error()).reason(), Reason::Filtered);
    sends(&env, ifindex::A, asked.clone());
    let result = sends(&env, ifindex::B, error());
    assert_eq!(result.to(), (Action::Peer, ifindex::A));
    assert_eq!(result.bytes, error());
}

#[test]
fn an_error_whose_ttl_ends_is_dropped_without_another() {
    let env = lab();
    let seen = packet_of(&ask(&env));
    let dying = Datagram {
        ttl: 1,
        ..inward(THIRD, HOST.1)
    };
    assert_eq!(
        arrives(&env, dying.error(TIME_EXCEEDED, &seen)).reason(),
        Reason::TtlExpired
    );
}

#[test]
fn an_error_finds_a_flow_that_is_closing() {
    let env = lab();
    let seen = packet_of(&sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).syn(5000, 80)).bytes);
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).tcp(5000, 80, RST, b""));
    assert_eq!(error_about(&env, &seen).action(), Action::Peer);
}
