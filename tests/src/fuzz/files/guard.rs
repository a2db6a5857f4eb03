//! Judges an input in a thread of its own, so that one that panics, does not end or takes all memory is found like any other.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::check::{Ended, check};
use super::clock::Limits;
use super::input::Input;

/// Memory that judging an input may take beside what the process has, bytes: rules, tables and texts several times over.
const MEMORY: u64 = 1 << 30;

/// How often memory is looked at while an input is judged.
const GLANCE: Duration = Duration::from_millis(20);

/// What is wrong with the answer to an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// In words.
    pub said: String,
    /// True if the input is being judged still, and will be until the process ends.
    pub lost: bool,
}

/// Judges an input.
pub fn judge(input: &Input, limits: Limits) -> Result<Ended, Wrong> {
    let (sender, receiver) = channel();
    let own = input.clone();
    let before = resident();
    let deadline = Instant::now() + limits.all;
    thread::spawn(move || {
        let judged = catch_unwind(AssertUnwindSafe(|| check(&own, limits)));
        let judged = judged.unwrap_or_else(|panic| {
            let literal = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = literal.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("panics: {}", said.unwrap_or_default()))
        });
        // Nobody waits any longer for one that took too much.
        drop(sender.send(judged));
    });
    let wrong = |said: &str, lost| Wrong {
        said: said.to_owned(),
        lost,
    };
    loop {
        match receiver.recv_timeout(GLANCE) {
            Ok(judged) => return judged.map_err(|said| wrong(&said, false)),
            Err(RecvTimeoutError::Disconnected) => return Err(wrong("gives no answer", false)),
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => return Err(wrong("takes too long", true)),
            Err(RecvTimeoutError::Timeout) if resident().saturating_sub(before) > MEMORY => {
                return Err(wrong("takes too much memory", true));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Memory that the process has, bytes; 0 where the kernel does not say.
fn resident() -> u64 {
    let pages = || {
        fs::read_to_string("/proc/self/statm")
            .ok()?
            .split(' ')
            .nth(1)?
            .parse::<u64>()
            .ok()
    };
    pages().unwrap_or(0) * 4096
}
