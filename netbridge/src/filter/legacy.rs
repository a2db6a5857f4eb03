//! Bridge between the old rules and the new ones, until the old parser goes.

use super::syntax as new;
use super::{Match, Rule, Ruleset, Verdict};

fn up<T: Clone>(asks: Option<&Match<T>>) -> Option<new::Match<T>> {
    asks.map(|asks| new::Match {
        value: asks.value.clone(),
        negated: asks.negated,
    })
}

fn rule(old: &Rule) -> new::Rule {
    let interface = |asks: Option<&Match<String>>| {
        asks.map(|asks| new::Match {
            value: new::Interface {
                name: asks.value.clone(),
                wildcard: false,
            },
            negated: asks.negated,
        })
    };
    let plain = |ports| new::Match {
        value: ports,
        negated: false,
    };
    let mut matches = Vec::new();
    if old.source_ports.is_some() || old.destination_ports.is_some() {
        matches.push(new::Extension::Udp {
            sport: old.source_ports.map(plain),
            dport: old.destination_ports.map(plain),
        });
    }
    matches.extend(old.states.map(|states| new::Extension::Conntrack {
        states: Some(new::Match {
            value: states,
            negated: false,
        }),
        direction: None,
    }));
    new::Rule {
        line: old.line,
        counters: new::Counters::default(),
        source: up(old.source.as_ref()),
        destination: up(old.destination.as_ref()),
        in_interface: interface(old.in_interface.as_ref()),
        out_interface: interface(old.out_interface.as_ref()),
        protocol: old.protocol.map(|value| new::Match { value, negated: false }),
        matches,
        target: match old.verdict {
            Verdict::Accept => new::Target::Accept,
            Verdict::Drop => new::Target::Drop,
        },
    }
}

/// The same rules.
pub fn upgrade(old: &Ruleset) -> new::Ruleset {
    new::Ruleset {
        policy: match old.policy {
            Verdict::Accept => new::Policy::Accept,
            Verdict::Drop => new::Policy::Drop,
        },
        chains: vec![new::Chain {
            name: "FORWARD".to_owned(),
            line: 1,
            counters: new::Counters::default(),
            rules: old.rules.iter().map(rule).collect(),
        }],
        sets: new::Sets::default(),
    }
}
