//! Rules as `iptables-save` writes them; parsing the text gives the same rules.

use std::fmt;

use super::{Chain, Counters, Interface, Policy, Rule, Ruleset, Spare, Target, extension::option};

impl Ruleset {
    /// The set as `iptables-save -c` writes it: every rule behind what it had counted.
    pub fn with_counters(&self) -> impl fmt::Display + '_ {
        Shown {
            ruleset: self,
            counters: true,
            spare: &[],
        }
    }

    /// The set without counters, and chains that `FORWARD` does not reach.
    pub fn and<'a>(&'a self, spare: &'a [Spare]) -> impl fmt::Display + 'a {
        Shown {
            ruleset: self,
            counters: false,
            spare,
        }
    }
}

impl Ruleset {
    /// Gives chains and rules the lines that they have in [`Self::and`], where so many chains are not reached.
    pub fn number(&mut self, spare: usize) {
        // The first is `*filter`; chains come before rules.
        let rules = self.chains.len() + spare + 2..;
        for (chain, line) in self.chains.iter_mut().zip(2..) {
            chain.line = line;
        }
        let all = self.chains.iter_mut().flat_map(|chain| &mut chain.rules);
        for (rule, line) in all.zip(rules) {
            rule.line = line;
        }
    }
}

impl Rule {
    /// The rule as a line of this chain.
    pub fn in_chain<'a>(&'a self, chain: &'a str) -> impl fmt::Display + 'a {
        InChain { chain, rule: self }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown {
            ruleset: self,
            counters: false,
            spare: &[],
        }
        .fmt(f)
    }
}

struct Shown<'a> {
    ruleset: &'a Ruleset,
    counters: bool,
    spare: &'a [Spare],
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ruleset { policy, chains, .. } = self.ruleset;
        writeln!(f, "*filter")?;
        for (index, Chain { name, counters, .. }) in chains.iter().enumerate() {
            if index == 0 {
                writeln!(f, ":{name} {policy} {counters}")?;
            } else {
                writeln!(f, ":{name} - [0:0]")?;
            }
        }
        for Spare { name, .. } in self.spare {
            writeln!(f, ":{name} - [0:0]")?;
        }
        for Chain { name, rules, .. } in chains {
            for rule in rules {
                if self.counters {
                    write!(f, "{} ", rule.counters)?;
                }
                writeln!(f, "{}", rule.in_chain(name))?;
            }
        }
        for Spare { name, rules } in self.spare {
            for rule in rules {
                writeln!(f, "{}", format!("-A {name} {rule}").trim_end())?;
            }
        }
        writeln!(f, "COMMIT")
    }
}

struct InChain<'a> {
    chain: &'a str,
    rule: &'a Rule,
}

impl fmt::Display for InChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A {}", self.chain)?;
        write_options(f, self.rule)
    }
}

/// The rule's options, without a chain; empty where it has none.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Options<'a>(&'a Rule);
        impl fmt::Display for Options<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_options(f, self.0)
            }
        }
        f.write_str(Options(self).to_string().trim_start())
    }
}

/// Writes each option behind a blank.
fn write_options(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    option(f, "-s", rule.source.as_ref())?;
    option(f, "-d", rule.destination.as_ref())?;
    option(f, "-i", rule.in_interface.as_ref())?;
    option(f, "-o", rule.out_interface.as_ref())?;
    option(f, "-p", rule.protocol.as_ref())?;
    for extension in &rule.matches {
        write!(f, " {extension}")?;
    }
    match &rule.target {
        Target::Count => Ok(()),
        target => write!(f, " {target}"),
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plus = if self.wildcard { "+" } else { "" };
        write!(f, "{}{plus}", self.name)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.packets, self.bytes)
    }
}
