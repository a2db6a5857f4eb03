//! What a run leaves behind for machines: `results.json`.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::contestant::Contestant;
use super::crosscheck::Check;
use super::machine::Machine;
use super::series::{Absence, Metric, Series};

/// The version of the file's layout; a reader of one refuses the others.
const FORMAT: u32 = 3;

/// One run: where and how it was made, and all that it measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Always the version that this code writes: files of others are refused.
    format: u32,
    /// When the run began, RFC 3339, UTC.
    pub started: String,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What it ran on.
    pub machine: Machine,
    /// What was asked for.
    pub options: Options,
    /// Every case that was to be measured, in the order of the run.
    pub cases: Vec<CaseName>,
    /// What was measured.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub absences: Vec<Absence>,
    /// What went wrong.
    pub errors: Vec<Failure>,
    /// Our load programs beside others' for the same traffic.
    pub checks: Vec<Check>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Fewer and shorter cases.
    pub quick: bool,
    /// Rounds to keep of each case; a series has fewer where time would have run out.
    pub rounds: usize,
    /// Who was asked to take part.
    pub contestants: Vec<Contestant>,
    /// The patterns that picked the cases; none: all.
    pub cases: Vec<String>,
}

/// A case as reports refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseName {
    /// [`super::case::Case::id`].
    pub id: String,
    /// [`super::case::Case::title`].
    pub title: String,
}

/// A cell that has no figure because something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// [`super::case::Case::id`].
    pub case: String,
    /// Who.
    pub contestant: Contestant,
    /// What went wrong, with its causes.
    pub error: String,
}

/// Why a cell is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap<'r> {
    /// The contestant cannot, and why.
    Absent(&'r str),
    /// Something went wrong.
    Wrong(&'r str),
}

impl<'r> Gap<'r> {
    /// For places that have no room for an error.
    pub fn brief(self) -> &'r str {
        match self {
            Self::Absent(reason) => reason,
            Self::Wrong(_) => "went wrong, see the errors",
        }
    }
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(reason) => f.write_str(reason),
            Self::Wrong(error) => write!(f, "error: {error}"),
        }
    }
}

/// A text without the paths of the machine it was written on: of each, the last part is left. What is the same on every
/// Linux, `/proc` and `/sys`, stays.
pub fn portable(text: &str) -> String {
    let ends = |letter: char| letter.is_whitespace() || "`'\"(),;:<>=".contains(letter);
    let shorten = |word: &str| match word.rsplit_once('/') {
        Some((_, last))
            if word.len() > 1
                && word.starts_with('/')
                && !["/proc/", "/sys/"].iter().any(|at| word.starts_with(at)) =>
        {
            format!("…/{last}")
        }
        _ => word.to_owned(),
    };
    let pieces = text.split_inclusive(ends).map(|piece| {
        let word = piece.trim_end_matches(ends);
        shorten(word) + &piece[word.len()..]
    });
    pieces.collect()
}

impl Results {
    /// A run that has measured nothing yet.
    pub fn new(started: String, machine: Machine, options: Options, cases: Vec<CaseName>) -> Self {
        Self {
            format: FORMAT,
            started,
            seconds: 0.0,
            machine,
            options,
            cases,
            series: Vec::new(),
            absences: Vec::new(),
            errors: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// [`Series::values`] of one contestant in one case by one yardstick.
    pub fn values(&self, case: &str, contestant: Contestant, metric: Metric) -> Option<&[f64]> {
        let series = self
            .series
            .iter()
            .find(|series| series.case == case && series.contestant == contestant && series.metric == metric)?;
        Some(&series.values)
    }

    /// Why a contestant has no figure in a case by a yardstick; none if it was not asked or if it has.
    pub fn gap(&self, case: &str, contestant: Contestant, metric: Metric) -> Option<Gap<'_>> {
        let mut absences = self.absences.iter();
        let mut errors = self.errors.iter();
        absences
            .find(|absence| {
                absence.case == case
                    && absence.contestant == contestant
                    && absence.metric.is_none_or(|absent| absent == metric)
            })
            .map(|absence| Gap::Absent(&absence.reason))
            .or_else(|| {
                errors
                    .find(|failure| failure.case == case && failure.contestant == contestant)
                    .map(|failure| Gap::Wrong(&failure.error))
            })
    }

    /// The contestants that have at least one figure or a reason for having none, the limits first.
    pub fn contestants(&self) -> Vec<Contestant> {
        let takes_part = |contestant: &Contestant| {
            self.series.iter().any(|series| series.contestant == *contestant)
                || self.absences.iter().any(|absence| absence.contestant == *contestant)
                || self.errors.iter().any(|failure| failure.contestant == *contestant)
        };
        Contestant::ALL.into_iter().filter(takes_part).collect()
    }

    /// As the text of `results.json`.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("cannot put the results into JSON")?;
        text.push('\n');
        Ok(text)
    }

    /// Reads a `results.json`, an older one included as long as its layout is the present one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read {}; give the results.json of an earlier run",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("{} is of no use", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_str(text).context("it is not the results.json of a run")?;
        if head.format != FORMAT {
            bail!(
                "it has format {}, this program reads format {FORMAT}; check out the commit that wrote it, or repeat \
                 that run with this program",
                head.format
            );
        }
        serde_json::from_str(text).context("it is damaged, or written by hand")
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn results_are_read_as_they_were_written() {
        let results = fixture::results();
        assert!(Results::parse(&results.to_json().unwrap()).unwrap() == results);
    }

    #[test]
    fn another_format_is_refused_with_advice() {
        let of = |text: &str| format!("{:#}", Results::parse(text).unwrap_err());
        let other = of(r#"{"format": 7, "rows": []}"#);
        assert!(
            other.contains("format 7") && other.contains("repeat that run"),
            "{other}"
        );
        assert!(of("[]").contains("not the results.json"));
        assert!(of(r#"{"format": 3}"#).contains("damaged"));
        let missing = format!("{:#}", Results::read(Path::new("/nonexistent.json")).unwrap_err());
        assert!(missing.contains("/nonexistent.json"), "{missing}");
    }

    #[test]
    fn a_cell_has_values_or_a_reason() {
        let results = fixture::results();
        for case in &results.cases {
            for contestant in results.contestants() {
                for series in results.series.iter().filter(|series| series.case == case.id) {
                    let measured = results.values(&case.id, contestant, series.metric).is_some();
                    let gap = results.gap(&case.id, contestant, series.metric);
                    assert!(
                        measured != gap.is_some(),
                        "{} {contestant} {:?}",
                        case.id,
                        series.metric
                    );
                }
            }
        }
    }

    #[test]
    fn a_reason_for_one_yardstick_is_none_for_another() {
        let mut results = fixture::results();
        let (case, who) = ("sockets/tcp-rr/local", Contestant::Netbridge);
        results.absences.push(Absence {
            case: case.to_owned(),
            contestant: who,
            metric: Some(Metric::P999Micros),
            reason: "too few".to_owned(),
        });
        assert_eq!(results.gap(case, who, Metric::P999Micros), Some(Gap::Absent("too few")));
        assert_eq!(results.gap(case, who, Metric::CpuNsPerPacket), None);
    }

    #[test]
    fn texts_lose_the_paths_of_their_machine() {
        let text =
            "cannot run `/home/me/target/netbridge`: no /lib/x.so; see /proc/stat, 10.77.0.0/16, 5 ns/packet, a / b";
        let expected = "cannot run `…/netbridge`: no …/x.so; see /proc/stat, 10.77.0.0/16, 5 ns/packet, a / b";
        assert_eq!(portable(text), expected);
    }
}
