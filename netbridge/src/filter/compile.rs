//! Rules to the tables of the datapath.

use netbridge_common::abi::{CtState, NO_INTERFACE, Policy, RuleAddrs, RuleHead, RuleV4, rule_flags};

use super::{Match, Ports, Prefix, Protocol, Rule, Ruleset, States, Verdict};

/// What the name in `-i` or `-o` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Every interface.
    Any,
    /// Every interface of the network with this id.
    Network(u16),
    /// The interface with this index.
    Device(u32),
    /// Nothing that exists: no packet comes from it or goes to it.
    Gone,
}

/// A name that a rule uses and that stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved<'a> {
    /// The name.
    pub name: &'a str,
    /// The rule's line in its file.
    pub line: usize,
    /// The rule as written.
    pub text: &'a str,
}

/// The bank of rules for the datapath: its head and its rules in order.
pub fn compile(rules: &Ruleset, resolve: &dyn Fn(&str) -> Interface) -> (Policy, Vec<RuleV4>) {
    let Ruleset { policy, rules } = rules;
    let active = !rules.is_empty() || *policy != Verdict::Accept;
    let rules: Vec<RuleV4> = rules.iter().map(|rule| compile_rule(rule, resolve)).collect();
    let count = u32::try_from(rules.len()).unwrap_or(u32::MAX);
    (
        Policy {
            rules: count,
            policy: policy.number(),
            active: u8::from(active),
            pad: 0,
        },
        rules,
    )
}

/// The names that resolve to [`Interface::Gone`], in the order of the rules; one that a rule uses twice, once.
pub fn unresolved<'a>(rules: &'a Ruleset, resolve: &dyn Fn(&str) -> Interface) -> Vec<Unresolved<'a>> {
    let names = |rule: &'a Rule| {
        let interfaces = [&rule.in_interface, &rule.out_interface];
        interfaces
            .into_iter()
            .flatten()
            .map(move |name| (name.value.as_str(), rule))
    };
    let mut unresolved: Vec<_> = rules
        .rules
        .iter()
        .flat_map(names)
        .filter(|(name, _)| resolve(name) == Interface::Gone)
        .map(|(name, rule)| Unresolved {
            name,
            line: rule.line,
            text: &rule.text,
        })
        .collect();
    unresolved.dedup();
    unresolved
}

fn compile_rule(rule: &Rule, resolve: &dyn Fn(&str) -> Interface) -> RuleV4 {
    let (in_ifindex, in_net, not_in) = interface(rule.in_interface.as_ref(), resolve);
    let (out_ifindex, out_net, not_out) = interface(rule.out_interface.as_ref(), resolve);
    let (src, src_mask, not_src) = addresses(rule.source.as_ref());
    let (dst, dst_mask, not_dst) = addresses(rule.destination.as_ref());
    let sport = rule.source_ports.unwrap_or(Ports::ALL);
    let dport = rule.destination_ports.unwrap_or(Ports::ALL);
    let flags = [
        (not_in, rule_flags::NOT_IN),
        (not_out, rule_flags::NOT_OUT),
        (not_src, rule_flags::NOT_SRC),
        (not_dst, rule_flags::NOT_DST),
        (
            rule.source_ports.is_some() || rule.destination_ports.is_some(),
            rule_flags::PORTS,
        ),
    ];
    RuleV4 {
        head: RuleHead {
            in_ifindex,
            in_net,
            out_ifindex,
            out_net,
            sport_min: sport.first,
            sport_max: sport.last,
            dport_min: dport.first,
            dport_max: dport.last,
            proto: rule.protocol.map_or(0, Protocol::number),
            states: rule.states.map_or(CtState::ANY, States::bits),
            flags: flags
                .into_iter()
                .filter(|(set, _)| *set)
                .fold(0, |flags, (_, flag)| flags | flag),
            verdict: rule.verdict.number(),
        },
        tail: RuleAddrs {
            src,
            src_mask,
            dst,
            dst_mask,
        },
    }
}

/// An interface as ifindex, network id and negation.
fn interface(name: Option<&Match<String>>, resolve: &dyn Fn(&str) -> Interface) -> (u32, u32, bool) {
    let Some(Match { value, negated }) = name else {
        return (0, 0, false);
    };
    match (resolve(value), *negated) {
        (Interface::Any, false) => (0, 0, false),
        // No packet comes from elsewhere than from any interface.
        (Interface::Any, true) => (NO_INTERFACE, 0, false),
        // The tables read 0 as "open"; it is no network and no interface.
        (Interface::Gone | Interface::Network(0) | Interface::Device(0), negated) => (NO_INTERFACE, 0, negated),
        (Interface::Network(id), negated) => (0, u32::from(id), negated),
        (Interface::Device(index), negated) => (index, 0, negated),
    }
}

/// A set of addresses as address, mask and negation.
fn addresses(prefix: Option<&Match<Prefix>>) -> ([u8; 4], [u8; 4], bool) {
    prefix.map_or(([0; 4], [0; 4], false), |Match { value, negated }| {
        (value.addr().octets(), value.mask().octets(), *negated)
    })
}

#[cfg(test)]
mod tests {
    use netbridge_common::abi::verdict;
    use netbridge_common::host::lab::rule;

    use super::*;
    use crate::filter::parse;

    const OPEN: RuleV4 = rule(verdict::ACCEPT);

    fn resolve(name: &str) -> Interface {
        match name {
            "web" => Interface::Network(7),
            "eth0" => Interface::Device(42),
            "any" => Interface::Any,
            "zero" => Interface::Network(0),
            "null" => Interface::Device(0),
            _ => Interface::Gone,
        }
    }

    fn ruleset(policy: &str, rules: &str) -> Ruleset {
        parse("f", &format!("*filter\n:FORWARD {policy}\n{rules}\nCOMMIT\n")).unwrap()
    }

    fn compiled(options: &str) -> RuleV4 {
        let (policy, rules) = compile(&ruleset("DROP", &format!("-A FORWARD {options} -j ACCEPT")), &resolve);
        assert_eq!((policy.rules, rules.len()), (1, 1));
        rules[0]
    }

    fn head(change: impl FnOnce(&mut RuleHead)) -> RuleV4 {
        let mut rule = OPEN;
        change(&mut rule.head);
        rule
    }

    #[test]
    fn what_is_not_asked_is_open() {
        assert_eq!(compiled(""), OPEN);
        assert_eq!(compiled("-p all -s 0.0.0.0/0 -i any"), OPEN);
        let (_, rules) = compile(&ruleset("ACCEPT", "-A FORWARD -j DROP"), &resolve);
        assert_eq!(rules, [head(|head| head.verdict = verdict::DROP)]);
    }

    #[test]
    fn interfaces_become_networks_or_devices() {
        assert_eq!(compiled("-i web"), head(|head| head.in_net = 7));
        assert_eq!(compiled("-i eth0"), head(|head| head.in_ifindex = 42));
        let mut expected = head(|head| head.out_net = 7);
        assert_eq!(compiled("-o web"), expected);
        expected.head.flags = rule_flags::NOT_OUT;
        assert_eq!(compiled("! -o web"), expected);
    }

    #[test]
    fn an_interface_that_is_gone_matches_nothing_and_its_negation_everything() {
        for name in ["gone", "zero", "null"] {
            let mut expected = head(|head| head.in_ifindex = NO_INTERFACE);
            assert_eq!(compiled(&format!("-i {name}")), expected, "{name}");
            expected.head.flags = rule_flags::NOT_IN;
            assert_eq!(compiled(&format!("! -i {name}")), expected, "{name}");
        }
        assert_eq!(compiled("! -i any"), head(|head| head.in_ifindex = NO_INTERFACE));
    }

    #[test]
    fn addresses_keep_their_masks() {
        let mut expected = OPEN;
        expected.tail = RuleAddrs {
            src: [10, 0, 0, 0],
            src_mask: [255, 0, 0, 0],
            dst: [1, 2, 3, 4],
            dst_mask: [255; 4],
        };
        assert_eq!(compiled("-s 10.9.9.9/8 -d 1.2.3.4"), expected);
        expected.head.flags = rule_flags::NOT_SRC | rule_flags::NOT_DST;
        assert_eq!(compiled("! -s 10.9.9.9/8 ! -d 1.2.3.4"), expected);
    }

    #[test]
    fn protocols_ports_and_states() {
        let expected = head(|head| {
            (head.proto, head.flags) = (6, rule_flags::PORTS);
            (head.dport_min, head.dport_max) = (80, 90);
        });
        assert_eq!(compiled("-p tcp --dport 80:90"), expected);
        let expected = head(|head| {
            (head.proto, head.flags) = (17, rule_flags::PORTS);
            (head.sport_min, head.sport_max) = (53, 53);
        });
        assert_eq!(compiled("-p udp --sport 53"), expected);
        let expected = head(|head| (head.proto, head.flags) = (17, rule_flags::PORTS));
        assert_eq!(compiled("-p udp --sport :"), expected);
        assert_eq!(compiled("-p 1"), head(|head| head.proto = 1));
        let expected = head(|head| head.states = CtState::NEW | CtState::RELATED);
        assert_eq!(compiled("-m conntrack --ctstate NEW,RELATED"), expected);
    }

    #[test]
    fn a_filter_is_active_unless_it_accepts_everything_without_a_rule() {
        for (policy, rules, number, active) in [
            ("ACCEPT", "", verdict::ACCEPT, 0),
            ("ACCEPT", "-A FORWARD -j ACCEPT", verdict::ACCEPT, 1),
            ("DROP", "", verdict::DROP, 1),
        ] {
            let (head, compiled) = compile(&ruleset(policy, rules), &resolve);
            let count = u32::from(!rules.is_empty());
            assert_eq!(
                head,
                Policy {
                    rules: count,
                    policy: number,
                    active,
                    pad: 0
                }
            );
            assert_eq!(compiled.len(), rules.lines().count());
        }
    }

    #[test]
    fn unresolved_names_are_listed_with_their_rules() {
        let rules = ruleset(
            "DROP",
            "-A FORWARD -i web -o db -j ACCEPT\n-A FORWARD ! -i old -o db -j DROP\n-A FORWARD -i db -o db -j DROP",
        );
        let names: Vec<_> = unresolved(&rules, &resolve)
            .iter()
            .map(|name| (name.name, name.line))
            .collect();
        assert_eq!(names, [("db", 3), ("old", 4), ("db", 4), ("db", 5)]);
        assert_eq!(
            unresolved(&rules, &resolve)[1].text,
            "-A FORWARD ! -i old -o db -j DROP"
        );
    }
}
