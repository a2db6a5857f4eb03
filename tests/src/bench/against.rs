//! What changed since an earlier run, which may have been on another day or another machine: so no figure of one run is
//! put beside one of the other. Each contestant is first compared with another one of its own run, and these ratios are
//! then compared with each other.

use std::fmt::Write as _;

use super::contestant::Contestant;
use super::figure::{figure, interval};
use super::results::Results;
use super::series::{Metric, Series};
use super::statistics::{Ratio, ratio};
use super::table::Table;

/// Who the others are compared with: the first that has a figure in both runs.
const REFERENCES: [Contestant; 3] = [Contestant::IptablesNft, Contestant::RawPair, Contestant::Bridge];
/// A change of less than this that lies within the intervals is only counted.
const NOTEWORTHY: f64 = 0.05;

/// One contestant's ratio to the reference, then and now.
struct Change {
    then: Ratio,
    now: Ratio,
    reference: Contestant,
}

/// The changes since `old` in Markdown, those outside of both intervals marked and first.
pub fn changes(old: &Results, new: &Results) -> String {
    let (mut certain, mut doubtful) = (Vec::new(), Vec::new());
    let (mut steady, mut alone) = (0_usize, 0_usize);
    for series in new.series.iter().filter(|series| says_something(series)) {
        let Some(change) = Change::find(old, new, series) else {
            alone += usize::from(!REFERENCES.contains(&series.contestant));
            continue;
        };
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
            interval(change.then),
            interval(change.now),
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
    if table.is_empty() {
        text += "Nothing changed.\n";
    } else {
        text += "`**` marks what lies outside of both intervals.\n\n";
        text += &table.markdown();
    }
    let _ = write!(
        text,
        "\n{steady} ratios are within their intervals and {} % of what they were",
        NOTEWORTHY * 100.0
    );
    if alone > 0 {
        let _ = write!(
            text,
            "; {alone} series have nothing to be compared with in the other run"
        );
    }
    text += ".\n";
    text
}

/// False of what the generator's own cost is part of: its share would hide a change.
fn says_something(series: &Series) -> bool {
    let generators = matches!(series.metric, Metric::TotalNs | Metric::PacketsPerSecond);
    !(generators && series.case.starts_with("forwarding/"))
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

    /// True if neither ratio lies in the interval of the other.
    fn is_certain(&self) -> bool {
        let within = |value: f64, of: Ratio| of.low <= value && value <= of.high;
        !within(self.now.value, self.then) && !within(self.then.value, self.now)
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
