//! What a run is asked for.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use glob::Pattern;

use super::contestant::Contestant;

/// Rounds that are kept of each case, unless asked otherwise.
const ROUNDS: usize = 10;
/// The same of a quick run.
const QUICK_ROUNDS: usize = 4;

/// Measures Linux bridges with iptables and nftables, and netbridge, side by side in namespaces of their own.
///
/// Writes results.json, report.md and charts. Nothing is done to the machine's own network.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "cargo xtask bench", version)]
pub struct Arguments {
    /// Fewer and shorter cases, fewer rounds: under 5 minutes instead of under 25
    #[arg(long)]
    pub quick: bool,
    /// Rounds to keep of each case [default: 10, quick 4; fewer where time would run out]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub rounds: Option<usize>,
    /// Only these contestants, separated by commas
    #[arg(long, value_name = "CONTESTANT", value_enum, value_delimiter = ',')]
    pub only: Vec<Contestant>,
    /// Only cases whose id contains PATTERN, or matches it where it has a `*` or `?`; may be repeated
    #[arg(long = "case", value_name = "PATTERN")]
    pub cases: Vec<String>,
    /// Print the results to stdout as JSON instead of the main tables
    #[arg(long)]
    pub json: bool,
    /// Say what changed since an earlier run, in ratios; FILE is its results.json
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Print the ids of the cases and end
    #[arg(long)]
    pub list: bool,
    /// Where the files go, a new or empty directory [default: target/bench/TIME]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

impl Arguments {
    /// How many rounds of a case to keep.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { QUICK_ROUNDS } else { ROUNDS })
    }

    /// Who takes part, the limits first.
    pub fn contestants(&self) -> Vec<Contestant> {
        let asked = |contestant: &Contestant| self.only.is_empty() || self.only.contains(contestant);
        Contestant::ALL.into_iter().filter(asked).collect()
    }

    /// Which cases to measure.
    pub fn selection(&self) -> Result<Selection> {
        let wanted = self
            .cases
            .iter()
            .map(|text| Wanted::parse(text))
            .collect::<Result<_>>()?;
        Ok(Selection { wanted })
    }
}

/// Which cases to measure.
pub struct Selection {
    /// Any of these; without any, all cases.
    wanted: Vec<Wanted>,
}

enum Wanted {
    Part(String),
    Whole(Pattern),
}

impl Selection {
    /// True if the case with this id is to be measured.
    pub fn picks(&self, id: &str) -> bool {
        self.wanted.is_empty()
            || self.wanted.iter().any(|wanted| match wanted {
                Wanted::Part(part) => id.contains(part.as_str()),
                Wanted::Whole(pattern) => pattern.matches(id),
            })
    }
}

impl Wanted {
    fn parse(text: &str) -> Result<Self> {
        if !text.contains(['*', '?', '[']) {
            return Ok(Self::Part(text.to_owned()));
        }
        let pattern = Pattern::new(text).with_context(|| format!("`--case {text}` is no pattern"))?;
        Ok(Self::Whole(pattern))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn contestants_keep_their_order_whatever_is_asked_first() {
        let arguments = Arguments::parse_from(["bench", "--only", "netbridge,raw-pair", "--only", "bridge"]);
        let all = [Contestant::RawPair, Contestant::Bridge, Contestant::Netbridge];
        assert_eq!(arguments.contestants(), all);
        assert_eq!(Arguments::default().contestants(), Contestant::ALL);
    }

    #[test]
    fn cases_are_picked_by_part_or_by_pattern() {
        let of = |cases: &[&str]| {
            let cases = cases.iter().map(|&case| case.to_owned()).collect();
            let arguments = Arguments {
                cases,
                ..Arguments::default()
            };
            arguments.selection().unwrap()
        };
        assert!(of(&[]).picks("forwarding/l2/rules-10"));
        assert!(of(&["l2"]).picks("forwarding/l2/rules-10"));
        assert!(!of(&["l2", "snat"]).picks("control/attach/first"));
        assert!(of(&["*/rules-10"]).picks("forwarding/l2/rules-10"));
        assert!(!of(&["*/rules-10"]).picks("forwarding/l2/rules-100"));
        let wrong = Arguments {
            cases: vec!["[".to_owned()],
            ..Arguments::default()
        };
        assert!(
            wrong
                .selection()
                .is_err_and(|error| error.to_string().contains("--case ["))
        );
    }

    #[test]
    fn rounds_depend_on_haste_unless_given() {
        let of = |words: &[&str]| Arguments::parse_from([&["bench"], words].concat()).rounds();
        assert_eq!(
            (of(&[]), of(&["--quick"]), of(&["--quick", "--rounds", "7"])),
            (10, 4, 7)
        );
        assert!(Arguments::try_parse_from(["bench", "--rounds", "0"]).is_err());
    }
}
