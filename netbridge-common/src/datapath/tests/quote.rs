//! Whatever was sent, an error quotes to its receiver what that one has sent, byte by byte.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::abi::proto;
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, echo_message, packet_of};
use crate::host::lab::{A, GATEWAY, HOST, REMOTE, ROUTER, ifindex, inward, lab, out};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, PARAMETER_PROBLEM, TIME_EXCEEDED, UNREACHABLE};
use crate::wire::tcp::SYN;

use super::icmp::THIRD;
use super::{arrives, halves, sends};

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
