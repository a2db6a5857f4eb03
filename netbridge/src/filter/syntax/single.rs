//! A rule that stands alone, and how every rule begins.

use super::{
    Counters, FilterErrors, Rule, Single,
    build::{self, Output},
    chain_name::{BUILT_IN, check_chain_name},
    fault::Refusal,
    file, lex,
    number::digits,
    options::{Chains, Options},
};

/// What messages call the text of a rule that stands alone.
pub const RULE: &str = "rule";

/// Reads one rule: its options, or with `-A CHAIN` before them a line of a file. What it jumps to and the sets it asks
/// for are not looked for.
///
/// # Errors
///
/// Every fault of the rule, the file being named [`RULE`].
pub fn rule(text: &str) -> Result<Single, FilterErrors> {
    single(text.trim()).map_err(|refusals| {
        let faults = refusals.into_iter().map(|refusal| refusal.at(1));
        FilterErrors::new(RULE, faults.collect())
    })
}

/// The rules of one chain of a file, not read.
pub struct ChainText<'t> {
    /// How many there are, and their lines: the index of the first rule of a line, and its options.
    pub count: usize,
    lines: Vec<(usize, &'t str)>,
}

impl<'t> ChainText<'t> {
    /// Finds the rules of a chain in a text without faults.
    pub fn of(text: &'t str, chain: &str) -> Self {
        let mut found = Self {
            count: 0,
            lines: Vec::new(),
        };
        for options in file::options_of(text, chain) {
            found.lines.push((found.count, options));
            // Lists alone make several rules of a line.
            let several = options
                .contains(',')
                .then(|| rule(options).map_or(1, |single| single.rules.len()));
            found.count += several.unwrap_or(1);
        }
        found
    }

    /// The rule at an index.
    pub fn rule(&self, index: usize) -> Option<Rule> {
        let behind = self.lines.partition_point(|(first, _)| *first <= index);
        let (first, options) = self.lines.get(behind.checked_sub(1)?)?;
        rule(options).ok()?.rules.into_iter().nth(index - first)
    }
}

fn single(text: &str) -> Result<Single, Vec<Refusal>> {
    let one = |refusal| vec![refusal];
    let (counters, options) = counted(text);
    let appended = options.starts_with("-A") || options.starts_with("--append");
    let (chain, rest) = if appended {
        appended_to(options).map_err(one)?
    } else {
        ("FORWARD", options)
    };
    if chain != "FORWARD" && BUILT_IN.contains(&chain) {
        let reason = "only FORWARD is filtered, the rule would have no effect";
        return Err(one(Refusal::new(format!("-A {chain}"), reason, "write `-A FORWARD …`")));
    }
    if chain != "FORWARD" {
        check_chain_name(chain).map_err(one)?;
    }
    let (mut words, mut read, mut output) = (Vec::new(), Options::default(), Output::default());
    lex::split(rest, &mut words).map_err(one)?;
    read.read(&words, Chains::Any);
    build::rules(1, counters, &words, &mut read, &mut output);
    if !read.faults.is_empty() {
        return Err(read.faults);
    }
    Ok(Single {
        chain: chain.to_owned(),
        rules: output.rules,
    })
}

/// Takes the counters from the beginning of a line.
pub(super) fn counted(text: &str) -> (Counters, &str) {
    let (word, rest) = lex::first_word(text);
    let counters = read_counters(word).filter(|_| !rest.is_empty());
    counters.map_or((Counters::default(), text), |counters| (counters, rest))
}

/// Reads `[PACKETS:BYTES]`.
pub(super) fn read_counters(word: &str) -> Option<Counters> {
    let inner = word.strip_prefix('[')?.strip_suffix(']')?;
    let (packets, bytes) = inner.split_once(':')?;
    Some(Counters {
        packets: digits(packets)?,
        bytes: digits(bytes)?,
    })
}

/// Takes `-A CHAIN` from the beginning of a line.
pub(super) fn appended_to(text: &str) -> Result<(&str, &str), Refusal> {
    let (command, rest) = lex::first_word(text);
    if !matches!(command, "-A" | "--append") {
        let advice = match command {
            "-I" | "--insert" => "write `-A FORWARD …` where the rule is to stand",
            "-N" | "--new-chain" => "write `:CHAIN - [0:0]`",
            "-P" | "--policy" => "write `:FORWARD ACCEPT [0:0]` or `:FORWARD DROP [0:0]`",
            _ => "write `-A FORWARD …`",
        };
        return Err(Refusal::new(command, "not a rule", advice));
    }
    let (chain, options) = lex::first_word(rest);
    if chain.is_empty() {
        return Err(Refusal::new(command, "the rule names no chain", "write `-A FORWARD …`"));
    }
    Ok((chain, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_taken_with_its_chain_and_without() {
        for (text, chain, shown) in [
            ("-s 10.0.0.0/8 -j DROP", "FORWARD", "-s 10.0.0.0/8 -j DROP"),
            ("  -A FORWARD -j DROP ", "FORWARD", "-j DROP"),
            ("--append mine -p tcp --dport 80", "mine", "-p tcp -m tcp --dport 80"),
            ("[1:2] -A FORWARD -j theirs", "FORWARD", "-j theirs"),
            ("-A FORWARD", "FORWARD", ""),
            ("", "FORWARD", ""),
        ] {
            let single = rule(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
            assert_eq!(single.chain, chain, "{text}");
            assert_eq!(single.rules.len(), 1);
            assert_eq!(single.rules[0].to_string(), shown);
        }
        let single = rule("-s 1.2.3.4,5.6.7.8 -d 9.9.9.9,8.8.8.8 -j DROP").unwrap();
        let shown: Vec<_> = single.rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "-s 1.2.3.4/32 -d 9.9.9.9/32 -j DROP",
                "-s 1.2.3.4/32 -d 8.8.8.8/32 -j DROP",
                "-s 5.6.7.8/32 -d 9.9.9.9/32 -j DROP",
                "-s 5.6.7.8/32 -d 8.8.8.8/32 -j DROP",
            ]
        );
    }

    #[test]
    fn a_bad_rule_says_why() {
        for (text, message) in [
            ("-A INPUT -j DROP", "rule:1: `-A INPUT`: only FORWARD is filtered"),
            ("-A -j DROP", "rule:1: `-j`: not a name for a chain"),
            ("-A LOG -j DROP", "rule:1: `LOG`: this is the name of a target"),
            ("-A", "rule:1: `-A`: the rule names no chain"),
            ("-s \"x", "rule:1: `\"x`: the quote is not closed"),
            (
                "-j MARK --set-mark 1",
                "rule:1: `-j MARK`: the filter decides about packets",
            ),
            ("-j INPUT", "rule:1: `-j INPUT`: a chain of netfilter's own"),
            ("-i a\nb", "rule:1: `a\u{fffd}b`: not an interface name"),
        ] {
            let errors = rule(text).unwrap_err().to_string();
            assert!(errors.starts_with(message), "{text}: {errors}");
        }
    }

    #[test]
    fn rules_are_the_same_wherever_they_stand() {
        let (one, other) = (rule("[1:2] -A a -j DROP").unwrap(), rule("-j DROP").unwrap());
        assert_eq!(one.rules[0].to_string(), other.rules[0].to_string());
    }
}
