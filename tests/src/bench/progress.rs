//! How far a run is and how long it will take: a bar on a terminal, elsewhere a line per case. On stderr: stdout is for
//! the results.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How far a run is. Work is counted in the seconds that cases say a measurement takes; what comes with a case besides,
/// making ready and undoing, in what it took so far.
pub struct Progress {
    bar: ProgressBar,
    /// Without a terminal.
    lines: bool,
    start: Instant,
    /// Time spent in measurements.
    measured: Duration,
    /// Work that these measurements were, and all of it.
    done: f64,
    total: f64,
    /// Work that turned out to be for contestants who cannot do it.
    absent: f64,
    /// Cases that are over, and all of them.
    over: usize,
    cases: usize,
}

impl Progress {
    /// Nothing done yet of `total` seconds of work in so many cases.
    pub fn new(total: f64, cases: usize) -> Self {
        let lines = !std::io::stderr().is_terminal();
        // Drawn at steps alone: a thread that redraws in between would run while something is measured.
        let bar = ProgressBar::new(milliseconds(total));
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} % {prefix} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            lines,
            start: Instant::now(),
            measured: Duration::ZERO,
            done: 0.0,
            total,
            absent: 0.0,
            over: 0,
            cases,
        }
    }

    /// The next case begins; so many are over.
    pub fn case(&mut self, id: &str, over: usize) {
        self.over = over;
        if self.lines {
            eprintln!("[{}/{}{}] {id}", over + 1, self.cases, self.left());
        }
    }

    /// A contestant is about to be measured.
    pub fn cell(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// That much work need not be done.
    pub fn skip(&mut self, seconds: f64) {
        self.total -= seconds;
        self.bar.set_length(milliseconds(self.total));
    }

    /// That much work need not be done, because a contestant cannot do it; of what is still to do, a like share need not.
    pub fn absent(&mut self, seconds: f64) {
        self.absent += seconds;
        self.skip(seconds);
    }

    /// That much work is done, and took so long.
    pub fn step(&mut self, seconds: f64, took: Duration) {
        self.measured += took;
        self.done += seconds;
        self.bar.set_prefix(self.left().trim_start_matches(", ").to_owned());
        self.bar.set_position(milliseconds(self.done));
    }

    /// How long so much work in so many cases will take, judged by what is done; seconds.
    pub fn forecast(&self, work: f64, cases: usize) -> f64 {
        let pace = if self.done > 0.0 {
            self.measured.as_secs_f64() / (self.done + self.absent)
        } else {
            1.0
        };
        let besides = self.start.elapsed().saturating_sub(self.measured).as_secs_f64();
        // The case at hand has begun: it counts as one that is over.
        work * pace + besides * ratio(cases, self.over + 1)
    }

    /// Says something that must not be overdrawn.
    pub fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The time left, if the rest goes on like this: `, 4 min left`; empty at the start.
    fn left(&self) -> String {
        if self.done <= 0.0 {
            return String::new();
        }
        let left = self.forecast((self.total - self.done).max(0.0), self.cases - self.over);
        format!(", {} left", rough(Duration::from_secs_f64(left)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run has some dozen cases")]
fn ratio(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
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

    #[test]
    fn the_time_left_is_told_once_there_is_something_to_go_by() {
        let mut progress = Progress::new(100.0, 4);
        assert_eq!(progress.left(), "");
        progress.case("fake/case", 1);
        progress.step(50.0, Duration::from_secs(100));
        assert_eq!(progress.left(), ", 2 min left");
        progress.skip(25.0);
        assert_eq!(progress.left(), ", 50 s left");
    }

    #[test]
    fn a_forecast_goes_by_what_measurements_took_and_cases_besides() {
        let mut progress = Progress::new(100.0, 4);
        assert!((progress.forecast(7.0, 0) - 7.0).abs() < 1e-6);
        progress.start -= Duration::from_secs(40);
        progress.case("fake/case", 1);
        progress.step(10.0, Duration::from_secs(20));
        // Measurements take twice what the cases say; the other twenty seconds were two cases'.
        assert!((progress.forecast(10.0, 3) - 50.0).abs() < 0.1);
        // As much again fell to who cannot do it.
        progress.absent(10.0);
        assert!((progress.forecast(10.0, 3) - 40.0).abs() < 0.1);
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
