//! What an input may cost.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What an input may cost, in time of a processor.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reading a text.
    pub read: Duration,
    /// Compiling what was read.
    pub compile: Duration,
    /// All that is done with an input, by the clock on the wall.
    pub all: Duration,
}

/// Measures the time that this thread works.
pub(super) struct Clock {
    begun: Duration,
    limit: Duration,
}

impl Clock {
    /// Begins now.
    pub(super) fn start(limit: Duration) -> Self {
        Self { begun: worked(), limit }
    }

    /// Ends now: what is wrong if it took longer than it may.
    pub(super) fn stop(&self, what: &str) -> Result<(), String> {
        self.stop_after(1, what)
    }

    /// The same for something that is done several times.
    pub(super) fn stop_after(&self, times: u32, what: &str) -> Result<(), String> {
        let took = worked().saturating_sub(self.begun);
        if took <= self.limit * times {
            return Ok(());
        }
        Err(format!("{what} took {} ms", took.as_millis()))
    }
}

/// What this thread has worked; nothing on a kernel that does not say.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
