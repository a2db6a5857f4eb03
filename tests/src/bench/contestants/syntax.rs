//! A rule in the syntax that iptables and netbridge share.

use std::fmt;

use super::super::rule::{Rule, Target};

/// Rules as a file for netbridge: a chain that they are all of.
pub fn forward(rules: &[Rule]) -> String {
    let rules = rules.iter().map(|rule| format!("-A FORWARD{}\n", operand(rule)));
    format!("*filter\n:FORWARD ACCEPT [0:0]\n{}COMMIT\n", rules.collect::<String>())
}

/// What stands behind the chain's name in netbridge's commands.
pub(super) fn operand(rule: &Rule) -> String {
    let target = match rule.target {
        Target::Drop => "DROP",
        Target::Accept => "ACCEPT",
    };
    format!("{} -j {target}", Matches(rule))
}

/// What a rule matches, as options of iptables; nothing if it matches everything.
pub(super) struct Matches<'a>(pub(super) &'a Rule);

impl fmt::Display for Matches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule {
            src,
            dst,
            proto,
            dports,
            ..
        } = self.0;
        for (option, net) in [("-s", src), ("-d", dst)] {
            if net.prefix_len() > 0 {
                write!(f, " {option} {net}")?;
            }
        }
        let name = match proto {
            0 => return Ok(()),
            6 => "tcp",
            17 => "udp",
            number => return write!(f, " -p {number}"),
        };
        write!(f, " -p {name}")?;
        match dports {
            None => Ok(()),
            Some((first, last)) if first == last => write!(f, " -m {name} --dport {first}"),
            Some((first, last)) => write!(f, " -m {name} --dport {first}:{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rule_names_is_written() {
        let any = Rule {
            src: "0.0.0.0/0".parse().unwrap(),
            dst: "0.0.0.0/0".parse().unwrap(),
            proto: 0,
            dports: None,
            target: Target::Drop,
        };
        assert_eq!(Matches(&any).to_string(), "");
        let full = Rule {
            src: "10.0.0.0/8".parse().unwrap(),
            dst: "10.77.0.3/32".parse().unwrap(),
            proto: 17,
            dports: Some((53, 53)),
            ..any.clone()
        };
        assert_eq!(
            Matches(&full).to_string(),
            " -s 10.0.0.0/8 -d 10.77.0.3/32 -p udp -m udp --dport 53"
        );
        let range = Rule {
            proto: 6,
            dports: Some((1, 1024)),
            ..any
        };
        assert_eq!(Matches(&range).to_string(), " -p tcp -m tcp --dport 1:1024");
    }
}
