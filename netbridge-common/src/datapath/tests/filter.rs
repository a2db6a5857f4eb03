//! The FORWARD filter against a naive model of it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::abi::{CtState, Reason, proto, verdict};
use crate::host::Ip;
use crate::host::build::Datagram;
use crate::host::filter::{NO_INTERFACE, RuleV4, rule_flags};
use crate::host::lab::{A, B, GATEWAY, REMOTE, ifindex, lab, rule};

use super::sends;

/// A packet from A as a rule sees it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    to_world: bool,
    proto: u8,
    sport: u16,
    dport: u16,
}

impl Sample {
    fn dst(self) -> Ip {
        if self.to_world { REMOTE } else { B.1 }
    }

    fn bytes(self) -> Vec<u8> {
        let datagram = Datagram::new(A, if self.to_world { (GATEWAY.0, REMOTE) } else { B });
        match self.proto {
            proto::TCP => datagram.syn(self.sport, self.dport),
            proto::UDP => datagram.udp(self.sport, self.dport, b""),
            _ => datagram.echo(8, self.sport, b""),
        }
    }

    fn out(self) -> (u32, u32) {
        if self.to_world {
            (ifindex::UPLINK, 0)
        } else {
            (ifindex::B, 1)
        }
    }
}

/// The definition, rule by rule, written for reading.
fn model(policy: u8, rules: &[RuleV4], sample: Sample) -> u8 {
    for rule in rules {
        let head = rule.head;
        let within = |addr: Ip, net: Ip, mask: Ip| (0..4).all(|place| (addr[place] ^ net[place]) & mask[place] == 0);
        let wanted = |asked: u32, is: u32| asked == 0 || asked == is;
        let negated = |bit: u8| head.flags & bit != 0;
        let (src, src_mask, dst, dst_mask) = (rule.tail.src, rule.tail.src_mask, rule.tail.dst, rule.tail.dst_mask);
        let ports = sample.proto != proto::ICMP
            && head.sport_min <= sample.sport
            && sample.sport <= head.sport_max
            && head.dport_min <= sample.dport
            && sample.dport <= head.dport_max;
        let (out_ifindex, out_net) = sample.out();
        let asks = [
            head.proto == 0 || head.proto == sample.proto,
            head.states & CtState::NEW != 0,
            negated(rule_flags::NOT_SRC) ^ within(A.1, src, src_mask),
            negated(rule_flags::NOT_DST) ^ within(sample.dst(), dst, dst_mask),
            negated(rule_flags::NOT_IN) ^ (wanted(head.in_ifindex, ifindex::A) && wanted(head.in_net, 1)),
            negated(rule_flags::NOT_OUT) ^ (wanted(head.out_ifindex, out_ifindex) && wanted(head.out_net, out_net)),
            head.flags & rule_flags::PORTS == 0 || ports,
        ];
        if asks.iter().all(|answer| *answer) {
            return head.verdict;
        }
    }
    policy
}

prop_compose! {
    fn rules()(
        verdict in select(vec![verdict::ACCEPT, verdict::DROP]),
        proto in select(vec![0, 0, 1, 6, 17]),
        interfaces in (select(vec![0, 0, 11, 12, NO_INTERFACE]), select(vec![0, 0, 1, 2]),
            select(vec![0, 0, 12, 31, NO_INTERFACE]), select(vec![0, 0, 1])),
        addresses in (select(vec![A.1, B.1, REMOTE]), select(vec![A.1, B.1, REMOTE])),
        masks in (select(vec![[0; 4], [255, 255, 255, 0], [255; 4]]), select(vec![[0; 4], [255, 0, 0, 0], [255; 4]])),
        ports in (select(vec![0_u16, 52, 53]), select(vec![53_u16, 54, 65535]), select(vec![0_u16, 52, 53])),
        states in 0_u8..16,
        flags in 0_u8..32,
    ) -> RuleV4 {
        let mut made = rule(verdict);
        (made.head.proto, made.head.states, made.head.flags) = (proto, states | CtState::NEW, flags);
        let head = &mut made.head;
        (head.in_ifindex, head.in_net, head.out_ifindex, head.out_net) = interfaces;
        (head.dport_min, head.dport_max, head.sport_min) = ports;
        (made.tail.src, made.tail.dst) = addresses;
        (made.tail.src_mask, made.tail.dst_mask) = masks;
        made
    }
}

prop_compose! {
    fn samples()(
        to_world in any::<bool>(),
        proto in select(vec![1, 6, 17]),
        sport in select(vec![51, 52, 53, 5000]),
        dport in select(vec![51, 52, 53, 54, 55]),
    ) -> Sample {
        Sample { to_world, proto, sport, dport }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_match_decides_else_the_policy(rules in vec(rules(), 0..6), sample in samples(), policy in 0_u8..2) {
        let mut env = lab();
        env.set_filter(policy, &rules);
        let refused = sends(&env, ifindex::A, sample.bytes()).reason() == Reason::Filtered;
        prop_assert_eq!(refused, model(policy, &rules, sample) == verdict::DROP);
    }
}

#[test]
fn a_rule_that_excludes_an_interface_that_is_gone_matches_everything() {
    for flag in [rule_flags::NOT_IN, rule_flags::NOT_OUT] {
        let mut refuse = rule(verdict::DROP);
        refuse.head.flags = flag;
        (refuse.head.in_ifindex, refuse.head.out_ifindex) = if flag == rule_flags::NOT_IN {
            (NO_INTERFACE, 0)
        } else {
            (0, NO_INTERFACE)
        };
        let mut env = lab();
        env.set_filter(verdict::ACCEPT, &[refuse]);
        assert_eq!(
            sends(&env, ifindex::A, Datagram::new(A, B).udp(1, 2, b"")).reason(),
            Reason::Filtered
        );
        refuse.head.flags = 0;
        env.set_filter(verdict::ACCEPT, &[refuse]);
        assert_eq!(
            sends(&env, ifindex::A, Datagram::new(A, B).udp(1, 2, b"")).reason(),
            Reason::None
        );
    }
}

#[test]
fn the_last_of_64_rules_counts() {
    let mut others = rule(verdict::DROP);
    others.head.in_ifindex = NO_INTERFACE;
    let mut rules = vec![others; 63];
    rules.push(rule(verdict::DROP));
    let mut env = lab();
    env.set_filter(verdict::ACCEPT, &rules);
    assert_eq!(
        sends(&env, ifindex::A, Datagram::new(A, B).udp(1, 2, b"")).reason(),
        Reason::Filtered
    );
}

#[test]
fn what_the_bridge_floods_is_filtered_too() {
    let mut env = lab();
    env.set_filter(verdict::DROP, &[]);
    for mac in [[0xff; 6], [2, 9, 9, 9, 9, 9]] {
        let bytes = Datagram::new(A, (mac, B.1)).udp(1, 2, b"");
        assert_eq!(sends(&env, ifindex::A, bytes).reason(), Reason::Filtered);
    }
}

#[test]
fn a_rule_about_the_way_out_spares_neighbours_and_the_host() {
    let mut refuse = rule(verdict::DROP);
    refuse.head.out_ifindex = ifindex::UPLINK;
    let mut env = lab();
    env.set_filter(verdict::ACCEPT, &[refuse]);
    let reason = |dst| sends(&env, ifindex::A, Datagram::new(A, (GATEWAY.0, dst)).udp(1, 2, b"")).reason();
    assert_eq!(
        [REMOTE, B.1, GATEWAY.1].map(reason),
        [Reason::Filtered, Reason::None, Reason::None]
    );
}
