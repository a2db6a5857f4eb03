//! The filter as text: as `iptables-save` writes it, and in the columns of `iptables -L -v -n`.

use std::fmt::Write as _;

use super::super::reply::or_dash;
use super::args::ShowArgs;
use crate::filter::syntax::{Chain, Interface, Match, Rule, Ruleset};
use crate::ops::{ChainView, FilterView, Imported, Met, Tested};

/// The filter in force.
pub(super) fn shown(filter: Option<&FilterView>, args: &ShowArgs) -> String {
    match filter {
        None if args.verbose => format!("{}\n{}", header("FORWARD", "policy ACCEPT"), columns(args)),
        None => Ruleset::empty().to_string(),
        Some(filter) if args.verbose => listed(filter, args),
        Some(filter) => saved(filter, args),
    }
}

/// What becomes of a packet.
pub(super) fn tested(tested: &Tested) -> String {
    let mut lines = vec![match &tested.decided {
        None => format!("{}: no rule is in force", tested.verdict),
        Some(Met {
            chain,
            number: None,
            text,
            ..
        }) => format!("{}: {text} of {chain}", tested.verdict),
        Some(Met {
            chain,
            number: Some(number),
            line,
            text,
        }) => format!(
            "{}: rule {number} of {chain}, line {}: {text}",
            tested.verdict,
            or_dash(*line)
        ),
    }];
    lines.push(format!("packet: {}", tested.packet));
    if !tested.path.is_empty() {
        lines.push("rules that match:".to_owned());
    }
    let met = |met: &Met| {
        format!(
            "  {:<20} {}",
            format!("{} {}", met.chain, or_dash(met.number)),
            met.text
        )
    };
    lines.extend(tested.path.iter().map(met));
    lines.extend(tested.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

/// What would change, and what is left alone.
pub(super) fn imported(imported: &Imported) -> String {
    let diff = if imported.diff.is_empty() {
        "nothing would change"
    } else {
        imported.diff.trim_end()
    };
    let notes = imported.notes.iter().map(|note| format!("note: {note}"));
    [diff.to_owned()]
        .into_iter()
        .chain(notes)
        .collect::<Vec<_>>()
        .join("\n")
}

/// As `iptables-save` writes it. Writing to a string cannot fail.
fn saved(filter: &FilterView, args: &ShowArgs) -> String {
    let mut text = "*filter\n".to_owned();
    for chain in &filter.chains {
        let policy = if is_forward(chain) { filter.policy } else { "-" };
        let (packets, bytes) = if args.counters {
            (chain.packets, chain.bytes)
        } else {
            (0, 0)
        };
        let _ = writeln!(text, ":{} {policy} [{packets}:{bytes}]", chain.name);
    }
    for chain in &filter.chains {
        for rule in &chain.rules {
            if args.line_numbers {
                let _ = write!(text, "{:<4} ", rule.number);
            }
            if args.counters {
                let _ = write!(text, "[{}:{}] ", rule.packets, rule.bytes);
            }
            let _ = writeln!(text, "{}", rule.text);
        }
    }
    text + "COMMIT\n"
}

/// In columns; what a chain that is not reached says is not read, and so told as it stands.
fn listed(filter: &FilterView, args: &ShowArgs) -> String {
    let chains = filter.chains.iter().map(|view| {
        let rules = filter.ruleset.chains.iter().find(|chain| chain.name == view.name);
        let about = if is_forward(view) {
            let (packets, bytes) = (number(view.packets, args), number(view.bytes, args));
            format!(
                "policy {} {} packets, {} bytes",
                filter.policy,
                packets.trim(),
                bytes.trim()
            )
        } else if view.reached {
            format!("{} references", references(&filter.ruleset, &view.name))
        } else {
            "not reached from FORWARD".to_owned()
        };
        let lines = match rules {
            Some(chain) => chain_lines(chain, args),
            None => view.rules.iter().map(|rule| rule.text.clone()).collect(),
        };
        [header(&view.name, &about), columns(args)]
            .into_iter()
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    });
    chains.collect::<Vec<_>>().join("\n\n")
}

fn is_forward(chain: &ChainView) -> bool {
    chain.name == "FORWARD"
}

fn header(name: &str, about: &str) -> String {
    format!("Chain {name} ({about})")
}

fn columns(args: &ShowArgs) -> String {
    let [packets, bytes] = if args.exact {
        ["    pkts", "     bytes"]
    } else {
        [" pkts", "bytes"]
    };
    let columns = format!(
        "{packets} {bytes} {:<10} {:<4} {:<3} {:<6} {:<6} {:<20} destination",
        "target", "prot", "opt", "in", "out", "source"
    );
    if args.line_numbers {
        format!("num  {columns}")
    } else {
        columns
    }
}

fn chain_lines(chain: &Chain, args: &ShowArgs) -> Vec<String> {
    let line = |(place, rule): (usize, &Rule)| {
        let (target, told) = target(rule);
        let counters = rule.counters;
        let mut line = String::new();
        if args.line_numbers {
            let _ = write!(line, "{place:<4} ");
        }
        let _ = write!(
            line,
            "{} {} {target:<10} {:<4} --  {:<6} {:<6} {:<20} {:<20}",
            number(counters.packets, args),
            width(number(counters.bytes, args), args),
            asked(rule.protocol.as_ref(), "all"),
            interface(rule.in_interface.as_ref()),
            interface(rule.out_interface.as_ref()),
            asked(rule.source.as_ref(), "0.0.0.0/0").trim_end_matches("/32"),
            asked(rule.destination.as_ref(), "0.0.0.0/0").trim_end_matches("/32"),
        );
        for extension in &rule.matches {
            let _ = write!(line, " {extension}");
        }
        if !told.is_empty() {
            let _ = write!(line, " {told}");
        }
        line.trim_end().to_owned()
    };
    (1..).zip(&chain.rules).map(line).collect()
}

/// The name of a rule's target, and what else is said of it.
fn target(rule: &Rule) -> (String, String) {
    let text = rule.target.to_string();
    let mut words = text.splitn(3, ' ');
    let is_goto = words.next() == Some("-g");
    let name = words.next().unwrap_or_default().to_owned();
    let told = if is_goto {
        "[goto]"
    } else {
        words.next().unwrap_or_default()
    };
    (name, told.to_owned())
}

fn asked<T: ToString>(asks: Option<&Match<T>>, any: &str) -> String {
    asks.map_or_else(
        || any.to_owned(),
        |Match { value, negated }| format!("{}{}", if *negated { "!" } else { "" }, value.to_string()),
    )
}

fn interface(asks: Option<&Match<Interface>>) -> String {
    asked(asks, "*")
}

/// A counter: in full, or in five places.
fn number(value: u64, args: &ShowArgs) -> String {
    if args.exact {
        return format!("{value:>8}");
    }
    if value <= 99_999 {
        return format!("{value:>5}");
    }
    let mut value = value;
    for unit in ["K", "M", "G"] {
        value = value.saturating_add(500) / 1000;
        if value <= 9999 {
            return format!("{value:>4}{unit}");
        }
    }
    format!("{:>4}T", value.saturating_add(500) / 1000)
}

/// Bytes have two places more where they are told in full.
fn width(number: String, args: &ShowArgs) -> String {
    if args.exact { format!("{number:>10}") } else { number }
}

/// How many rules lead to a chain.
fn references(rules: &Ruleset, name: &str) -> usize {
    use crate::filter::syntax::Target;
    let all = rules.chains.iter().flat_map(|chain| &chain.rules);
    all.filter(|rule| matches!(&rule.target, Target::Jump(to) | Target::Goto(to) if to == name))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(exact: bool) -> ShowArgs {
        ShowArgs {
            chain: None,
            verbose: true,
            counters: false,
            exact,
            line_numbers: false,
        }
    }

    #[test]
    fn numbers_are_those_of_iptables() {
        for (value, text) in [
            (0, "    0"),
            (99_999, "99999"),
            (100_000, " 100K"),
            (9_999_499, "9999K"),
            (9_999_500, "  10M"),
            (12_345_678_901, "  12G"),
            (12_345_678_901_234, "  12T"),
        ] {
            assert_eq!(number(value, &args(false)), text);
        }
        assert_eq!(number(100_000, &args(true)), "  100000");
    }

    #[test]
    fn rules_stand_in_columns() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n[7:420] -A FORWARD ! -s 10.0.0.0/8 -i eth0 ! -o web+ -p tcp \
            -m tcp --dport 80 -j REJECT --reject-with tcp-reset\n-A FORWARD -s 192.0.2.1 -g mine\n-A FORWARD\nCOMMIT\n";
        let parsed = crate::filter::syntax::parse("f", text, None).unwrap();
        let lines = chain_lines(&parsed.ruleset.chains[0], &args(false));
        assert_eq!(
            lines[0],
            "    7   420 REJECT     tcp  --  eth0   !web+  !10.0.0.0/8          0.0.0.0/0            -m tcp --dport 80 \
             --reject-with tcp-reset"
        );
        assert_eq!(
            lines[1],
            "    0     0 mine       all  --  *      *      192.0.2.1            0.0.0.0/0            [goto]"
        );
        assert_eq!(
            lines[2],
            "    0     0            all  --  *      *      0.0.0.0/0            0.0.0.0/0"
        );
        assert_eq!(references(&parsed.ruleset, "mine"), 1);
        let titles = columns(&args(false));
        assert_eq!(titles.find("target"), lines[0].find("REJECT"));
        assert_eq!(titles.find("destination"), lines[1].find("0.0.0.0/0"));
    }
}
