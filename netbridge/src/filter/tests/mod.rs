//! The language as a whole: what is taken, what is refused and with which words.

mod accepted;
mod files;
mod property;
mod refused;

use super::{Rule, Ruleset};

/// A file that holds `rules`, the first of them on line 3.
fn file(rules: &str) -> String {
    format!("*filter\n:FORWARD DROP [0:0]\n{rules}\nCOMMIT\n")
}

/// The set without its places in a file: what two files that mean the same agree on.
fn meaning(rules: &Ruleset) -> Ruleset {
    let unplaced = |rule: &Rule| Rule {
        line: 0,
        text: String::new(),
        ..rule.clone()
    };
    Ruleset {
        policy: rules.policy,
        rules: rules.rules.iter().map(unplaced).collect(),
    }
}
