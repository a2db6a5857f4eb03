//! How far a run is and how long it will take: a bar on a terminal, elsewhere a line per case. On stderr: stdout is for
//! the results.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds of work that a workload is taken to have done at the pace that its cases say, before anything is learnt of it: its
/// first case may be a short one.
const PRIOR: f64 = 30.0;

/// How far a run is. Work is counted in the seconds that cases say they take; how long it really takes, who cannot do it
/// included, is learnt of each workload by itself.
pub struct Progress {
    bar: ProgressBar,
    /// Without a terminal.
    lines: bool,
    /// What is still to do, the case at hand first.
    rest: Vec<Work>,
    /// When the case at hand began, and its work.
    began: Instant,
    work: f64,
    /// Work done in all.
    done: f64,
    learnt: BTreeMap<String, Learnt>,
}

/// The work of a case, or what is left of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The first part of its id.
    pub workload: String,
    /// What the case says that it takes, for all contestants and rounds.
    pub seconds: f64,
}

/// What the cases of a workload that are over took.
#[derive(Debug, Clone, Copy, Default)]
struct Learnt {
    /// Their work.
    work: f64,
    /// What it really took, seconds.
    took: f64,
}

impl Progress {
    /// Nothing done yet.
    pub fn new() -> Self {
        let lines = !std::io::stderr().is_terminal();
        // Drawn at steps alone: a thread that redraws in between would run while something is measured.
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} % {prefix} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            lines,
            rest: Vec::new(),
            began: Instant::now(),
            work: 0.0,
            done: 0.0,
            learnt: BTreeMap::new(),
        }
    }

    /// Case number `index` of `count` begins; it and those after it are `rest`.
    pub fn case(&mut self, id: &str, index: usize, count: usize, rest: Vec<Work>) {
        self.work = rest.first().map_or(0.0, |work| work.seconds);
        self.rest = rest;
        self.began = Instant::now();
        if self.lines {
            eprintln!("[{index}/{count}{}] {id}", self.left());
        }
    }

    /// The case at hand is over, with all that belongs to it.
    pub fn case_over(&mut self) {
        let (work, took) = (self.work, self.began.elapsed().as_secs_f64());
        let workload = self.rest.first().map(|work| work.workload.clone());
        let learnt = self.learnt.entry(workload.unwrap_or_default()).or_default();
        learnt.work += work;
        learnt.took += took;
    }

    /// A contestant is about to be measured.
    pub fn cell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// That much of the case's work is done, or need not be done, because a contestant cannot do it.
    pub fn step(&mut self, seconds: f64) {
        self.done += seconds;
        if let Some(work) = self.rest.first_mut() {
            work.seconds = (work.seconds - seconds).max(0.0);
        }
        let work: f64 = self.rest.iter().map(|work| work.seconds).sum();
        self.bar.set_length(milliseconds(self.done + work));
        self.bar.set_position(milliseconds(self.done));
        self.bar.set_prefix(self.left().trim_start_matches(", ").to_owned());
    }

    /// How long such work will take; seconds.
    pub fn forecast(&self, rest: &[Work]) -> f64 {
        rest.iter().map(|work| self.forecast_one(work)).sum()
    }

    /// Says something that must not be overdrawn.
    pub fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn forecast_one(&self, work: &Work) -> f64 {
        let learnt = self.learnt.get(&work.workload).copied().unwrap_or_default();
        work.seconds * (learnt.took + PRIOR) / (learnt.work + PRIOR)
    }

    /// The time left, if the rest goes on like this: `, 4 min left`; empty at the start.
    fn left(&self) -> String {
        if self.done <= 0.0 {
            return String::new();
        }
        format!(", {} left", rough(Duration::from_secs_f64(self.forecast(&self.rest))))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A time as one says it: whole minutes, or seconds below one.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..100 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a run takes hours at most, and its parts are positive"
)]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(workload: &str, seconds: f64) -> Work {
        let workload = workload.to_owned();
        Work { workload, seconds }
    }

    #[test]
    fn the_time_left_is_told_once_there_is_something_to_go_by() {
        let mut progress = Progress::new();
        assert_eq!(progress.left(), "");
        progress.case("a/1", 1, 2, vec![work("a", 60.0), work("a", 40.0)]);
        progress.step(50.0);
        assert_eq!(progress.left(), ", 50 s left");
        progress.began -= Duration::from_secs(150);
        progress.case_over();
        progress.case("a/2", 2, 2, vec![work("a", 40.0)]);
        // 40 seconds at the pace of 180 for 90.
        assert_eq!(progress.left(), ", 80 s left");
    }

    #[test]
    fn each_workload_is_forecast_by_its_own_past() {
        let mut progress = Progress::new();
        assert!((progress.forecast(&[work("a", 7.0)]) - 7.0).abs() < 1e-6);
        for (id, seconds) in [("a/1", 40), ("a/2", 70)] {
            progress.case(id, 1, 2, vec![work("a", 20.0)]);
            progress.began -= Duration::from_secs(seconds);
            progress.case_over();
        }
        // Twice as long as said.
        assert!((progress.forecast(&[work("a", 10.0)]) - 20.0).abs() < 0.1);
        assert!((progress.forecast(&[work("a", 10.0), work("b", 5.0)]) - 25.0).abs() < 0.1);
    }

    #[test]
    fn times_are_rough() {
        let of = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            (of(7), of(99), of(100), of(1500)),
            ("7 s".into(), "99 s".into(), "2 min".into(), "25 min".into())
        );
    }
}
