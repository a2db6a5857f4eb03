//! CPU time of the whole machine, from `/proc/stat`: whatever works for a packet counts, in whosever name.
//!
//! Counted is user, nice, system, irq and softirq time; idle, iowait and steal are not. The kernel adds to these by
//! sampling: at every tick (1–10 ms) the whole tick goes to what runs at that moment; and it prints them in units of
//! 1/100 s. Over a window of half a second with one busy CPU a figure is good to some 2 %, and better by the number of
//! rounds; a window shorter than [`LEAST_WINDOW`] gives none.
//!
//! All other work of the machine is in it too. What the machine uses while the benchmark waits is taken off ([`Idle`]),
//! and on a machine that has more to do than [`MOST_IDLE_SHARE`] no figure is told at all.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// One unit of `/proc/stat`: `USER_HZ` is 100 on every architecture that Rust has.
const UNIT: Duration = Duration::from_millis(10);

/// The shortest window whose CPU time is told: twenty units of `/proc/stat`.
pub const LEAST_WINDOW: Duration = Duration::from_millis(200);

/// The most that a machine may have to do besides, in busy CPUs.
pub const MOST_IDLE_SHARE: f64 = 0.1;

/// How long the idle machine is watched before a case.
const IDLE_WINDOW: Duration = Duration::from_secs(1);

/// A moment, and the CPU time used until then.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    busy: Duration,
}

impl Reading {
    /// Reads `/proc/stat`.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Ok(Self {
            at: Instant::now(),
            busy: busy(&text).context("/proc/stat does not begin with the CPUs' times")?,
        })
    }

    /// What was used from `earlier` until this reading.
    pub fn since(&self, earlier: &Self) -> Used {
        Used {
            window: self.at.duration_since(earlier.at),
            busy: self.busy.saturating_sub(earlier.busy),
        }
    }
}

/// CPU time that all CPUs together used in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The window, by the clock.
    pub window: Duration,
    /// CPU time used in it.
    pub busy: Duration,
}

impl Used {
    /// Nanoseconds per item of work above an idle machine; or why that cannot be told.
    pub fn nanos_per(&self, items: f64, idle: Idle) -> Result<f64, String> {
        if self.window < LEAST_WINDOW {
            return Err(format!("rounds of less than {} ms", LEAST_WINDOW.as_millis()));
        }
        if idle.share > MOST_IDLE_SHARE {
            return Err(format!("other work kept {:.1} of a core busy", idle.share));
        }
        if items <= 0.0 {
            return Err("no work was done".to_owned());
        }
        let busy = self.busy.as_secs_f64() - idle.share * self.window.as_secs_f64();
        if busy <= 0.0 {
            return Err("less CPU time than on an idle machine".to_owned());
        }
        Ok(busy * 1e9 / items)
    }
}

/// What the machine uses when the benchmark does nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Idle {
    /// Busy CPUs.
    share: f64,
}

impl Idle {
    /// A machine that does nothing else.
    #[cfg(test)]
    pub(super) const NOTHING: Self = Self { share: 0.0 };

    /// Watches the machine for a second.
    pub fn watch() -> Result<Self> {
        let before = Reading::now()?;
        thread::sleep(IDLE_WINDOW);
        Ok(Self::of(Reading::now()?.since(&before)))
    }

    fn of(used: Used) -> Self {
        Self {
            share: used.busy.as_secs_f64() / used.window.as_secs_f64(),
        }
    }

    /// Busy CPUs: 0.02 is two per cent of one.
    pub fn share(self) -> f64 {
        self.share
    }
}

/// The time that all CPUs were busy, from the text of `/proc/stat`.
fn busy(stat: &str) -> Option<Duration> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || fields.next()?.parse::<u32>().ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait) = (next()?, next()?);
    let (irq, softirq) = (next()?, next()?);
    Some(
        [user, nice, system, irq, softirq]
            .iter()
            .map(|units| UNIT * *units)
            .sum(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1000 200 30 999999 8888 4 5 777 66 0\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 5\n";

    #[test]
    fn busy_is_all_but_idle_iowait_and_steal_of_all_cpus() {
        assert_eq!(busy(STAT), Some(UNIT * 1239));
    }

    #[test]
    fn a_text_that_is_not_proc_stat_gives_nothing() {
        for text in ["", "cpu0 1 2 3 4 5 6 7", "cpu  1 2 3 4 5 6", "cpu  1 2 x 4 5 6 7"] {
            assert_eq!(busy(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_idle_machine_is_taken_off() {
        let idle = Idle::of(Used {
            window: Duration::from_secs(2),
            busy: Duration::from_millis(100),
        });
        assert!((idle.share() - 0.05).abs() < 1e-9);
        let used = Used {
            window: Duration::from_secs(1),
            busy: Duration::from_millis(1050),
        };
        let per = used.nanos_per(1_000_000.0, idle).unwrap();
        assert!((per - 1000.0).abs() < 1e-6, "{per}");
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let idle = Idle::NOTHING;
        let busy = Duration::from_millis(100);
        let short = Used {
            window: Duration::from_millis(199),
            busy,
        };
        assert_eq!(short.nanos_per(1.0, idle).unwrap_err(), "rounds of less than 200 ms");
        let long = Used {
            window: LEAST_WINDOW,
            busy,
        };
        assert!(long.nanos_per(1.0, idle).is_ok());
        assert!(long.nanos_per(0.0, idle).unwrap_err().contains("no work"));
        let others = long.nanos_per(1.0, Idle { share: 0.41 });
        assert_eq!(others.unwrap_err(), "other work kept 0.4 of a core busy");
        let nothing = Used {
            busy: Duration::ZERO,
            ..long
        };
        assert!(
            nothing
                .nanos_per(1.0, idle)
                .unwrap_err()
                .contains("than on an idle machine")
        );
    }

    #[test]
    fn this_machine_has_a_proc_stat() {
        let before = Reading::now().unwrap();
        let used = Reading::now().unwrap().since(&before);
        assert!(used.busy <= Duration::from_hours(1));
    }
}
