//! Properties that hold for every rule set and for every text.

use std::net::Ipv4Addr;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::meaning;
use crate::filter::{Interface, Match, Ports, Prefix, Protocol, Rule, Ruleset, States, Verdict, compile, parse};

fn verdict() -> impl Strategy<Value = Verdict> {
    select(vec![Verdict::Accept, Verdict::Drop])
}

fn matching<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Match<T>>> {
    option::of((value, any::<bool>()).prop_map(|(value, negated)| Match { value, negated }))
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let contiguous = (1..=32u32).prop_map(|length| u32::MAX << (32 - length));
    let mask = prop_oneof![3 => contiguous, 1 => 1..u32::MAX];
    (any::<u32>(), mask).prop_map(|(addr, mask)| Prefix::new(Ipv4Addr::from_bits(addr), Ipv4Addr::from_bits(mask)))
}

fn ports() -> impl Strategy<Value = Ports> {
    (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Ports {
        first: a.min(b),
        last: a.max(b),
    })
}

/// A protocol with ports or without, and the ports a rule for it may ask for.
fn transport() -> impl Strategy<Value = (Option<Protocol>, Option<Ports>, Option<Ports>)> {
    let with_ports = (
        select(vec![Protocol::TCP, Protocol::UDP]),
        option::of(ports()),
        option::of(ports()),
    );
    prop_oneof![
        any::<u8>().prop_map(|number| (Protocol::new(number), None, None)),
        with_ports.prop_map(|(protocol, source, destination)| (Some(protocol), source, destination)),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let name = || "[a-z0-9][a-z0-9_.-]{0,14}";
    let states = option::of((1..16u8).prop_map(|bits| States::from_bits(bits).unwrap()));
    let comment = option::of(r#"[ -~é"'\\]{0,40}"#);
    (
        (
            matching(prefix()),
            matching(prefix()),
            matching(name()),
            matching(name()),
        ),
        (transport(), states, comment, verdict()),
    )
        .prop_map(
            |((source, destination, in_interface, out_interface), (transport, states, comment, verdict))| {
                let (protocol, source_ports, destination_ports) = transport;
                Rule {
                    line: 0,
                    text: String::new(),
                    source,
                    destination,
                    in_interface,
                    out_interface,
                    protocol,
                    source_ports,
                    destination_ports,
                    states,
                    comment,
                    verdict,
                }
            },
        )
}

/// Words of the language and others, in any order.
fn scrambled() -> impl Strategy<Value = String> {
    let word = select(vec![
        "*filter",
        "*nat",
        "COMMIT",
        ":FORWARD",
        "DROP",
        "[0:0]",
        "-A",
        "FORWARD",
        "INPUT",
        "!",
        "-s",
        "-d",
        "-i",
        "-o",
        "-p",
        "tcp",
        "--dport",
        "80:90",
        ":",
        "-m",
        "conntrack",
        "--ctstate",
        "NEW,",
        "comment",
        "--comment",
        "\"",
        "\\",
        "-j",
        "ACCEPT",
        "LOG",
        "10.0.0.0/8",
        "é",
        "#",
        "\n",
        "\n",
        "\n",
    ]);
    vec(word, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn shown_rules_are_read_back(policy in verdict(), rules in vec(rule(), 0..=64)) {
        let rules = Ruleset { policy, rules };
        let again = parse("f", &rules.to_string());
        prop_assert_eq!(again.map(|again| meaning(&again)), Ok(rules));
    }

    #[test]
    fn any_text_is_answered(text in prop_oneof![scrambled(), any::<String>()]) {
        match parse("f", &text) {
            Ok(rules) => prop_assert!(compile(&rules, &|_| Interface::Gone).1.len() <= 64),
            Err(errors) => {
                prop_assert!(!errors.faults.is_empty());
                let lines = text.lines().count().max(1);
                prop_assert!(errors.faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
                prop_assert!(errors.faults.is_sorted_by_key(|fault| fault.line));
            }
        }
    }
}
