//! The datapath's clock: ticks of 64 jiffies, as the kernel counts them.
//!
//! `jiffies` starts at 2^32 − 300 s at boot, advances with `CLOCK_MONOTONIC` (it does not count
//! suspend), and one jiffy is the resolution of the coarse clocks. A program run once gives the
//! low 32 bits; all later readings need only the monotonic clock.

use std::io;
use std::time::Duration;

use aya::programs::SchedClassifier;
use aya::{TestRun, TestRunOptions};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::DatapathError;
use super::housekeeping::FRAME;
use super::object::TICKS;

/// Jiffies in a tick, as a shift.
const TICK_SHIFT: u32 = 6;

/// Seconds before the low 32 bits of jiffies wrap for the first time.
const INITIAL_SECONDS: u64 = 300;

/// Converts between ticks and time. Cheap to copy; good until the machine reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds in a jiffy.
    jiffy: u64,
    /// Jiffies when `CLOCK_MONOTONIC` was 0, wrapping.
    origin: u64,
}

impl Clock {
    /// Ticks of the kernel in a second.
    pub fn hz(&self) -> u64 {
        1_000_000_000 / self.jiffy
    }

    /// Reads the kernel's tick counter through the `ticks` program.
    pub(super) fn calibrate(ticks: &SchedClassifier) -> Result<Self, DatapathError> {
        let jiffy = nanoseconds(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE))
            .map_err(DatapathError::Clock)?
            .max(1);
        let now = monotonic().map_err(DatapathError::Clock)?;
        let run = ticks.test_run(TestRunOptions {
            data_in: Some(&FRAME),
            ..TestRunOptions::default()
        });
        let low = run.map_err(DatapathError::program("run", TICKS))?.return_value;
        Ok(Self::from_reading(jiffy, now, low))
    }

    /// `jiffy`: nanoseconds in a jiffy; `low`: the low 32 bits of jiffies at `now` nanoseconds.
    fn from_reading(jiffy: u64, now: u64, low: u32) -> Self {
        let initial = (1 << 32) - INITIAL_SECONDS * 1_000_000_000 / jiffy;
        let estimate = initial + now / jiffy;
        // The estimate is off by less than a second: it decides the upper half, the reading the lower.
        let error = low.wrapping_sub(low_half(estimate)).cast_signed();
        let jiffies = estimate.wrapping_add_signed(error.into());
        Self {
            jiffy,
            origin: jiffies.wrapping_sub(now / jiffy),
        }
    }

    /// Ticks now, as the programs see them.
    pub fn now_ticks(&self) -> Result<u32, DatapathError> {
        monotonic().map(|now| self.ticks_at(now)).map_err(DatapathError::Clock)
    }

    /// How long ago `ticks` was; zero for what other CPUs stamped a moment after `now`, both in ticks.
    pub fn age(&self, now: u32, ticks: u32) -> Duration {
        let elapsed = now.wrapping_sub(ticks);
        self.ticks_to_duration(if elapsed.cast_signed() < 0 { 0 } else { elapsed })
    }

    /// How long so many ticks are.
    pub fn ticks_to_duration(&self, ticks: u32) -> Duration {
        Duration::from_nanos((u64::from(ticks) << TICK_SHIFT) * self.jiffy)
    }

    /// How many ticks so many seconds are, rounded, and at least one.
    pub fn seconds_to_ticks(&self, seconds: u32) -> u32 {
        let tick = self.jiffy << TICK_SHIFT;
        let ticks = (u64::from(seconds) * 1_000_000_000 + tick / 2) / tick;
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }

    fn ticks_at(&self, nanoseconds: u64) -> u32 {
        low_half(self.origin.wrapping_add(nanoseconds / self.jiffy) >> TICK_SHIFT)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "ticks and readings wrap at 32 bits")]
fn low_half(number: u64) -> u32 {
    number as u32
}

fn monotonic() -> io::Result<u64> {
    nanoseconds(clock_gettime(ClockId::CLOCK_MONOTONIC))
}

fn nanoseconds(time: nix::Result<TimeSpec>) -> io::Result<u64> {
    u64::try_from(Duration::from(time?).as_nanos()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, low_half};

    const SECOND: u64 = 1_000_000_000;

    /// Jiffies of a kernel with this HZ, `now` nanoseconds after boot, and `lag` jiffies behind.
    fn jiffies(hz: u64, now: u64, lag: u64) -> u64 {
        (1 << 32) - 300 * hz + now / (SECOND / hz) - lag
    }

    #[test]
    fn agrees_with_the_kernel_for_every_hz_and_uptime() {
        for hz in [100, 250, 300, 1000, 1024] {
            let jiffy = SECOND / hz;
            for seconds in [1, 299, 300, 301, 86_400, 5_000_000, 100_000_000] {
                for lag in [0, 7] {
                    let now = seconds * SECOND + 123;
                    let clock = Clock::from_reading(jiffy, now, low_half(jiffies(hz, now, lag)));
                    assert_eq!(
                        clock.ticks_at(now),
                        low_half(jiffies(hz, now, lag) >> 6),
                        "{hz} Hz, {seconds} s"
                    );
                    let later = now + 7 * SECOND;
                    assert_eq!(
                        clock.ticks_at(later),
                        low_half(jiffies(hz, later, lag) >> 6),
                        "{hz} Hz, {seconds} s"
                    );
                }
            }
        }
    }

    #[test]
    fn converts_both_ways() {
        let clock = Clock::from_reading(SECOND / 250, 0, 0);
        assert_eq!(clock.seconds_to_ticks(0), 1);
        assert_eq!(clock.seconds_to_ticks(1), 4);
        assert_eq!(clock.seconds_to_ticks(7440), 29_063);
        assert_eq!(clock.seconds_to_ticks(u32::MAX), u32::MAX);
        assert_eq!(clock.ticks_to_duration(4), Duration::from_millis(1024));
    }

    #[test]
    fn ages_survive_the_wrap_and_never_go_negative() {
        let clock = Clock::from_reading(SECOND / 250, 0, 0);
        assert_eq!(clock.age(2, u32::MAX), clock.ticks_to_duration(3));
        assert_eq!(clock.age(10, 11), Duration::ZERO);
    }
}
