//! How far a run is and how long it will take: a bar on a terminal, elsewhere a line per case. On stderr: stdout is for
//! the results.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How far a run is. Work is counted in the seconds that cases say they take.
pub struct Progress {
    bar: ProgressBar,
    /// Without a terminal.
    lines: bool,
    start: Instant,
    total: f64,
    done: f64,
}

impl Progress {
    /// Nothing done yet of `total` seconds of work.
    pub fn new(total: f64) -> Self {
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
            total,
            done: 0.0,
        }
    }

    /// The next case begins; it is number `index` of `count`.
    pub fn case(&self, id: &str, index: usize, count: usize) {
        if self.lines {
            eprintln!("[{index}/{count}{}] {id}", self.left());
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

    /// That much work is done.
    pub fn step(&mut self, seconds: f64) {
        self.done += seconds;
        self.bar.set_prefix(self.left().trim_start_matches(", ").to_owned());
        self.bar.set_position(milliseconds(self.done));
    }

    /// The factor by which the clock has exceeded what the cases said so far; 1 at the start.
    pub fn pace(&self) -> f64 {
        if self.done > 0.0 {
            self.start.elapsed().as_secs_f64() / self.done
        } else {
            1.0
        }
    }

    /// Says something that must not be overdrawn.
    pub fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The time left, if the rest takes as long as what is done: `, 4 min left`; empty at the start.
    fn left(&self) -> String {
        if self.done <= 0.0 {
            return String::new();
        }
        let left = (self.total - self.done).max(0.0) * self.pace();
        format!(", {} left", rough(Duration::from_secs_f64(left)))
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

    #[test]
    fn the_time_left_is_told_once_there_is_something_to_go_by() {
        let mut progress = Progress::new(100.0);
        assert_eq!(progress.left(), "");
        progress.step(50.0);
        assert_eq!(progress.left(), ", 0 s left");
        assert!(progress.pace() < 1.0);
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
