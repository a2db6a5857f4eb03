//! The language as a whole: what is taken, what is refused and with which words, and what is left alone.

mod accepted;
mod files;
pub(in crate::filter) mod generate;
mod generate_sets;
mod property;
mod refused;
mod sets;
mod software;

use super::{FilterErrors, Parsed, Ruleset, parse};

/// A file that holds `rules`, the first of them on line 4, and beside `FORWARD` a chain `mine`.
fn file(rules: &str) -> String {
    format!("*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n{rules}\nCOMMIT\n")
}

/// Sets for rules to ask for.
const SETS: &str = "create hosts hash:ip\nadd hosts 10.0.0.1\ncreate services hash:ip,port\n";

fn read(rules: &str) -> Result<Parsed, FilterErrors> {
    parse("f", &file(rules), Some(("s", SETS)))
}

/// The rules without their places in a file: what two files that mean the same agree on.
pub(in crate::filter) fn meaning(mut rules: Ruleset) -> Ruleset {
    for chain in &mut rules.chains {
        chain.line = 0;
        for rule in &mut chain.rules {
            rule.line = 0;
        }
    }
    for set in rules.sets.0.values_mut() {
        set.line = 0;
    }
    rules
}
