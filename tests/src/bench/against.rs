//! What changed since an earlier run, which may have been on another day or another machine: so no figure of one run is
//! put beside one of the other. Each contestant is first compared with another one of its own run, and these ratios are
//! then compared with each other.

use std::fmt::Write as _;

use super::contestant::Contestant;
use super::figure::{estimate, figure};
use super::results::Results;
use super::series::{Metric, Series};
use super::statistics::{Basis, Estimate, LEAST_ROUNDS, ratio};
use super::table::Table;

/// Who the others are compared with: the first that has a figure in both runs.
const REFERENCES: [Contestant; 3] = [Contestant::IptablesNft, Contestant::RawPair, Contestant::Bridge];
/// A change of less than this that lies within the intervals is only counted.
const NOTEWORTHY: f64 = 0.05;
/// How often two 95 % intervals of the same quantity miss each other: their ends are 2 × 1.96 standard errors apart, the
/// difference of two such quantities has the standard error √2.
const CHANCE: f64 = 0.0056;

/// One contestant's ratio to the reference, then and now.
struct Change {
    then: Estimate,
    now: Estimate,
    reference: Contestant,
}

/// The changes since `old` in Markdown, those whose intervals do not meet marked and first.
pub fn changes(old: &Results, new: &Results) -> String {
    let (mut certain, mut doubtful) = (Vec::new(), Vec::new());
    let (mut steady, mut alone, mut judged, mut few) = (0_usize, 0_usize, 0_u32, 0_usize);
    for series in new.series.iter().filter(|series| says_something(series)) {
        let Some(change) = Change::find(old, new, series) else {
            alone += usize::from(!REFERENCES.contains(&series.contestant));
            continue;
        };
        if change.has_intervals() {
            judged += 1;
        } else {
            few += 1;
        }
        let factor = change.now.value / change.then.value;
        let rows = match change.is_certain() {
            true => &mut certain,
            false if (factor - 1.0).abs() >= NOTEWORTHY => &mut doubtful,
            false => {
                steady += 1;
                continue;
            }
        };
        rows.push(vec![
            if change.is_certain() { "**" } else { "" }.to_owned(),
            series.case.clone(),
            series.contestant.to_string(),
            series.metric.title().to_owned(),
            change.reference.to_string(),
            estimate(change.then),
            estimate(change.now),
            figure(factor),
        ]);
    }
    let mut table = Table::new(
        5,
        [
            "",
            "case",
            "contestant",
            "what",
            "ratio to",
            "then",
            "now",
            "now / then",
        ],
    );
    for row in certain.into_iter().chain(doubtful) {
        table.row(row);
    }
    let mut text = format!(
        "Compared with the run of {}, in ratios to a contestant of the same run.\n",
        old.started
    );
    for difference in differences(old, new) {
        let _ = writeln!(text, "{difference}");
    }
    if table.is_empty() {
        text += "Nothing changed.\n";
    } else {
        let _ = write!(
            text,
            "`**` marks intervals that do not meet. Of the {judged} that are compared, chance alone would mark about {}.\n\n",
            figure(f64::from(judged) * CHANCE)
        );
        text += &table.markdown();
    }
    let _ = write!(
        text,
        "\n{steady} ratios are within their intervals and {} % of what they were",
        NOTEWORTHY * 100.0
    );
    if few > 0 {
        let _ = write!(
            text,
            "; {few} have fewer than {LEAST_ROUNDS} rounds in a run, and no mark"
        );
    }
    if alone > 0 {
        let _ = write!(
            text,
            "; {alone} series have nothing to be compared with in the other run"
        );
    }
    text += ".\n";
    text
}

/// In what the runs differ that may change ratios too.
fn differences(old: &Results, new: &Results) -> Vec<String> {
    let kind = |run: &Results| if run.options.quick { "quick" } else { "full" };
    let facts = |run: &Results| {
        let machine = &run.machine;
        let processors = format!("{} × {}", machine.cpus, machine.cpu);
        [
            ("kernel", machine.kernel.clone()),
            ("processors", processors),
            ("virtualisation", machine.virtualisation.clone()),
        ]
    };
    let mut differences = Vec::new();
    if old.options.quick != new.options.quick {
        differences.push(format!(
            "**The run then was {}, this one is {}: their rounds are of different length.**",
            kind(old),
            kind(new)
        ));
    }
    for ((what, then), (_, now)) in facts(old).into_iter().zip(facts(new)) {
        if then != now {
            differences.push(format!("**Another {what}: then {then}, now {now}.**"));
        }
    }
    differences
}

/// False of what says nothing of the contestant; of what the generator's own cost is part of, whose share hides a change; and
/// of single figures of all rounds, which have no interval to tell a change from noise.
fn says_something(series: &Series) -> bool {
    !series.metric.includes_generator(&series.case)
        && series.metric != Metric::OtherWorkPercent
        && !series.metric.is_of_all_rounds()
}

impl Change {
    /// None where the other run has no such series, or where the two have no reference in common.
    fn find(old: &Results, new: &Results, series: &Series) -> Option<Self> {
        let before = old.values(&series.case, series.contestant, series.metric)?;
        REFERENCES
            .into_iter()
            .filter(|who| *who != series.contestant)
            .find_map(|reference| {
                let of = |run: &Results, values| ratio(values, run.values(&series.case, reference, series.metric)?);
                let then = of(old, before).filter(|then| then.value > 0.0)?;
                let now = of(new, &series.values)?;
                Some(Self { then, now, reference })
            })
    }

    /// True if both ratios are of enough rounds.
    fn has_intervals(&self) -> bool {
        self.then.basis == Basis::Interval && self.now.basis == Basis::Interval
    }

    /// True if both ratios have an interval, and these do not meet.
    fn is_certain(&self) -> bool {
        self.has_intervals() && (self.now.low > self.then.high || self.now.high < self.then.low)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn scale(results: &mut Results, pick: impl Fn(&Series) -> bool, factor: f64) {
        for series in results.series.iter_mut().filter(|series| pick(series)) {
            for value in &mut series.values {
                *value *= factor;
            }
        }
    }

    #[test]
    fn another_machine_changes_nothing() {
        let old = fixture::results();
        let mut new = old.clone();
        scale(&mut new, |_| true, 3.0);
        let text = changes(&old, &new);
        assert!(
            text.contains("Nothing changed.") && text.contains("run of 2026-02-03"),
            "{text}"
        );
    }

    #[test]
    fn what_changed_beyond_doubt_is_marked() {
        let old = fixture::results();
        let mut new = old.clone();
        let own = |series: &Series| {
            series.contestant == Contestant::Netbridge
                && series.metric == Metric::NetNs
                && series.case.ends_with("l2/rules-0")
        };
        scale(&mut new, own, 2.0);
        let text = changes(&old, &new);
        let marked: Vec<&str> = text.lines().filter(|line| line.starts_with("| **")).collect();
        let [line] = &marked[..] else { panic!("{text}") };
        assert!(
            line.contains("| bridge + iptables-nft | ") && line.ends_with(" 2.00 |"),
            "{line}"
        );
    }

    #[test]
    fn few_rounds_are_never_marked() {
        let old = fixture::results();
        let mut new = old.clone();
        scale(&mut new, |series| series.contestant == Contestant::Netbridge, 2.0);
        for series in &mut new.series {
            series.values.truncate(LEAST_ROUNDS - 1);
        }
        let text = changes(&old, &new);
        assert!(
            !text.contains("| **") && text.contains("fewer than 6 rounds in a run"),
            "{text}"
        );
    }

    #[test]
    fn runs_of_another_kind_are_told_apart() {
        let old = fixture::results();
        assert_eq!(differences(&old, &old), Vec::<String>::new());
        let mut new = old.clone();
        new.options.quick = true;
        new.machine.kernel = "7.0.0".to_owned();
        let text = changes(&old, &new);
        assert!(text.contains("then was full, this one is quick"), "{text}");
        assert!(
            text.contains("Another kernel: then 6.18.0 #1 SMP x86_64, now 7.0.0"),
            "{text}"
        );
    }

    #[test]
    fn a_change_within_the_intervals_is_shown_without_a_mark() {
        let old = fixture::results();
        let mut new = old.clone();
        let own = |series: &&mut Series| {
            series.case == "sockets/tcp-rr/local"
                && series.metric == Metric::P50Micros
                && series.contestant == Contestant::Netbridge
        };
        for series in new.series.iter_mut().filter(own) {
            series.values = vec![10.0, 10.0, 10.0, 10.0, 10.0, 50.0, 50.0, 50.0, 50.0, 50.0];
        }
        let text = changes(&old, &new);
        assert!(text.contains("| Latency, p50 ") && !text.contains("| **"), "{text}");
    }

    #[test]
    fn what_has_no_counterpart_is_counted() {
        let old = fixture::results();
        let mut new = old.clone();
        new.series.retain(|series| !REFERENCES.contains(&series.contestant));
        let text = changes(&old, &new);
        assert!(text.contains("have nothing to be compared with"), "{text}");
    }
}
