//! Rules as `iptables-save` writes them; parsing the text gives the same rules.

use std::fmt;

use super::{Match, Rule, Ruleset, syntax::lex};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*filter\n:INPUT ACCEPT [0:0]")?;
        writeln!(f, ":FORWARD {} [0:0]\n:OUTPUT ACCEPT [0:0]", self.policy.name())?;
        for rule in &self.rules {
            writeln!(f, "{rule}")?;
        }
        writeln!(f, "COMMIT")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A FORWARD")?;
        option(f, "-s", self.source.as_ref())?;
        option(f, "-d", self.destination.as_ref())?;
        option(f, "-i", self.in_interface.as_ref())?;
        option(f, "-o", self.out_interface.as_ref())?;
        if let Some(protocol) = self.protocol {
            write!(f, " -p {protocol}")?;
            if self.source_ports.is_some() || self.destination_ports.is_some() {
                write!(f, " -m {protocol}")?;
            }
        }
        if let Some(ports) = self.source_ports {
            write!(f, " --sport {ports}")?;
        }
        if let Some(ports) = self.destination_ports {
            write!(f, " --dport {ports}")?;
        }
        if let Some(states) = self.states {
            write!(f, " -m conntrack --ctstate {states}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " -m comment --comment {}", lex::quote(comment))?;
        }
        write!(f, " -j {}", self.verdict.name())
    }
}

fn option<T: fmt::Display>(f: &mut fmt::Formatter<'_>, option: &str, value: Option<&Match<T>>) -> fmt::Result {
    let Some(Match { value, negated }) = value else {
        return Ok(());
    };
    let not = if *negated { "! " } else { "" };
    write!(f, " {not}{option} {value}")
}
