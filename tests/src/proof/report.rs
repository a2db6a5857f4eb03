//! The report: a line per check as it happens, or one JSON document at the end.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// Width of the column of names.
const WIDTH: usize = 44;

/// What has been checked so far.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    ok: bool,
    notes: Vec<Note>,
    checks: Vec<Check>,
    #[serde(skip)]
    json: bool,
    #[serde(skip)]
    start: Instant,
    #[serde(skip)]
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Serialize)]
struct Note {
    name: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// What was measured, or what went wrong.
    result: String,
}

impl Report {
    /// An empty report; once `stop` is raised, no further check is made.
    pub(super) fn new(json: bool, stop: Arc<AtomicBool>) -> Self {
        Self {
            ok: true,
            notes: Vec::new(),
            checks: Vec::new(),
            json,
            start: Instant::now(),
            stop,
        }
    }

    /// Says something that cannot fail.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        self.line("    ", name, value);
        self.notes.push(Note {
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }

    /// Makes a check; it returns what it measured.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let (ok, result) = match check() {
            Ok(measured) => (true, measured),
            Err(error) => (false, format!("{error:#}")),
        };
        self.line(if ok { "ok  " } else { "FAIL" }, name, &result);
        self.ok &= ok;
        self.checks.push(Check {
            name: name.to_owned(),
            ok,
            result,
        });
    }

    /// Sums up; true if every check held.
    pub(super) fn finish(&self) -> Result<bool> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            let held = self.checks.iter().filter(|check| check.ok).count();
            writeln!(
                out,
                "\n{held} of {} checks held, {:.1} s",
                self.checks.len(),
                self.start.elapsed().as_secs_f64()
            )?;
        }
        Ok(self.ok)
    }

    fn line(&self, status: &str, name: &str, result: &str) {
        if !self.json {
            let padding = WIDTH.saturating_sub(name.chars().count());
            // A reader that went away does not change what holds.
            let _ = writeln!(std::io::stdout(), "{status} {name}{:padding$} {result}", "");
        }
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

/// What was moved each way, and how fast.
pub(super) fn throughput(bytes_each_way: u64, elapsed: Duration) -> String {
    let mebibytes = bytes_each_way >> 20;
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    let bits = bytes_each_way as f64 * 16.0;
    format!(
        "2 × {mebibytes} MiB, hashes equal, {:.2} Gbit/s",
        bits / elapsed.as_secs_f64() / 1e9
    )
}
