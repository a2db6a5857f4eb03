//! ICMP errors follow the flow they quote, and the quote is translated with them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::abi::{CtState, Reason, proto, verdict};
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::{Datagram, echo_message, packet_of};
use crate::host::lab::{A, B, E, GATEWAY, GATEWAYS, HOST, REMOTE, ROUTER, SECOND, ifindex, inward, lab, out, rule};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH};
use crate::wire::icmp::{TIME_EXCEEDED, TIMESTAMP_REPLY, TIMESTAMP_REQUEST, UNREACHABLE};
use crate::wire::tcp::{RST, SYN};

use super::{Result, arrives, halves, sends};

/// A router on the way that no flow knows.
const THIRD: [u8; 4] = [198, 18, 0, 1];

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

/// A packet that one side sends and the other's error quotes.
#[derive(Clone, Debug)]
struct Sample {
    proto: u8,
    ports: (u16, u16),
    payload: Vec<u8>,
    options: Vec<u8>,
    ttl: u8,
    /// Bytes quoted behind the quoted header.
    quoted: usize,
    error: u8,
}

impl Sample {
    /// The packet between these ends; an answer instead of a question if `reply`.
    fn frame(&self, between: &Datagram, ttl: u8, (sport, dport): (u16, u16), reply: bool) -> Vec<u8> {
        let datagram = Datagram {
            ttl,
            options: self.options.clone(),
            ..between.clone()
        };
        match self.proto {
            proto::TCP => datagram.tcp(sport, dport, SYN, &self.payload),
            proto::UDP => datagram.udp(sport, dport, &self.payload),
            _ if reply => datagram.frame(proto::ICMP, &echo_message(ECHO_REPLY, dport, &self.payload)),
            _ => datagram.frame(proto::ICMP, &echo_message(ECHO_REQUEST, sport, &self.payload)),
        }
    }

    /// What an error quotes of a frame.
    fn quote(&self, frame: &[u8]) -> Vec<u8> {
        let mut packet = packet_of(frame);
        packet.truncate(20 + self.options.len() + self.quoted);
        packet
    }
}

prop_compose! {
    fn samples()(
        proto in select(vec![proto::TCP, proto::UDP, proto::ICMP]),
        ports in (any::<u16>(), any::<u16>()),
        payload in vec(any::<u8>(), 0..40),
        words in 0_usize..=10,
        ttl in 2_u8..=255,
        // Not 17: half a TCP checksum cannot be mended, and stays what it was.
        quoted in prop_oneof![8_usize..17, 18_usize..60],
        error in select(vec![UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM]),
    ) -> Sample {
        Sample { proto, ports, payload, options: vec![1; words * 4], ttl, quoted, error }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_error_from_outside_quotes_what_the_container_sent(sample in samples(), third in any::<bool>()) {
        let env = lab();
        let from = if third { THIRD } else { REMOTE };
        let sent = |ttl| sample.frame(&out(A, GATEWAY, REMOTE), ttl, sample.ports, false);
        let seen = sends(&env, ifindex::A, sent(sample.ttl)).bytes;
        let result = arrives(&env, inward(from, HOST.1).error(sample.error, &sample.quote(&seen)));
        prop_assert_eq!(result.to(), (Action::Peer, ifindex::A));
        let expected = Datagram { ttl: 63, ..Datagram::new((GATEWAY.0, from), A) };
        prop_assert_eq!(result.bytes, expected.error(sample.error, &sample.quote(&sent(sample.ttl - 1))));
    }

    #[test]
    fn an_error_about_an_answer_quotes_what_the_server_sent(sample in samples()) {
        let env = lab();
        sends(&env, ifindex::A, sample.frame(&out(A, GATEWAY, REMOTE), 64, sample.ports, false));
        let port = u16::from_be_bytes(halves(&env, 1)[0].1.tail.sport);
        let sent = |ttl| sample.frame(&inward(REMOTE, HOST.1), ttl, (sample.ports.1, port), true);
        let seen = arrives(&env, sent(sample.ttl)).bytes;
        let error = out(A, GATEWAY, REMOTE).error(sample.error, &sample.quote(&seen));
        let result = sends(&env, ifindex::A, error);
        prop_assert_eq!(result.to(), (Action::Redirect, ifindex::UPLINK));
        let expected = Datagram { ttl: 63, ..Datagram::new(HOST, (ROUTER.0, REMOTE)) };
        prop_assert_eq!(result.bytes, expected.error(sample.error, &sample.quote(&sent(sample.ttl - 1))));
    }

    #[test]
    fn an_error_about_a_published_port_quotes_what_the_client_sent(sample in samples(), client in any::<u16>()) {
        let env = lab();
        let tcp = Sample { proto: proto::TCP, ..sample };
        let sent = |ttl| tcp.frame(&inward(REMOTE, HOST.1), ttl, (client, 8080), false);
        let seen = arrives(&env, sent(tcp.ttl)).bytes;
        let result = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).error(tcp.error, &tcp.quote(&seen)));
        // No answer has asked for the way back yet: the kernel writes the MACs.
        prop_assert_eq!(result.to(), (Action::Neigh, ifindex::UPLINK));
        let expected = Datagram { ttl: 63, ..Datagram::new((A.0, HOST.1), (GATEWAY.0, REMOTE)) };
        prop_assert_eq!(result.bytes, expected.error(tcp.error, &tcp.quote(&sent(tcp.ttl - 1))));
    }
}
