//! How long transactions took.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones; transactions fail long before.
const LONGEST: Duration = Duration::from_mins(1);

/// Significant figures of a recorded time.
const FIGURES: u8 = 3;

/// A percentile that fewer transactions exceed is one of single transactions.
const LEAST_BEYOND: f64 = 10.0;

/// The times of many transactions, to three significant figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    nanos: Histogram<u64>,
}

impl Latency {
    /// No transactions yet.
    pub fn new() -> Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).context("the longest time does not fit")?;
        let nanos = Histogram::new_with_max(longest, FIGURES).context("cannot make a histogram")?;
        Ok(Self { nanos })
    }

    /// One transaction.
    pub fn record(&mut self, took: Duration) {
        self.nanos
            .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the transactions of another round.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.nanos.add(&other.nanos).context("cannot add up two histograms")
    }

    /// How many transactions were recorded.
    pub fn count(&self) -> u64 {
        self.nanos.len()
    }

    /// The time in microseconds that `share` (0 to 1) of the transactions did not exceed; none if fewer than ten of
    /// them lie beyond.
    #[expect(clippy::cast_precision_loss, reason = "a count of transactions is far below 2^52")]
    pub fn micros_at(&self, share: f64) -> Option<f64> {
        let beyond = self.count() as f64 * (1.0 - share);
        // 10,000 transactions have ten beyond 99.9 %, whatever is lost in the last bits.
        (beyond > LEAST_BEYOND - 0.0005).then(|| self.nanos.value_at_quantile(share) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::new().unwrap();
        for micros in 1..=10_000 {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.count(), 10_000);
        for (share, expected) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let micros = latency.micros_at(share).unwrap();
            assert!((micros / expected - 1.0_f64).abs() < 0.001, "{share}: {micros}");
        }
    }

    #[test]
    fn a_percentile_that_few_transactions_exceed_is_not_told() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.micros_at(0.5), None);
        for _ in 0..9_999 {
            latency.record(Duration::from_micros(7));
        }
        assert!(latency.micros_at(0.99).is_some());
        assert_eq!(latency.micros_at(0.999), None);
        latency.record(Duration::from_micros(7));
        assert!(latency.micros_at(0.999).is_some());
    }

    #[test]
    fn rounds_add_up() {
        let (mut all, mut other) = (Latency::new().unwrap(), Latency::new().unwrap());
        for micros in 1..=5_000 {
            all.record(Duration::from_micros(micros));
            other.record(Duration::from_micros(5_000 + micros));
        }
        all.add(&other).unwrap();
        assert_eq!(all.count(), 10_000);
        let tail = all.micros_at(0.999).unwrap();
        assert!((tail / 9_990.0 - 1.0_f64).abs() < 0.001, "{tail}");
    }

    #[test]
    fn a_time_beyond_the_longest_is_the_longest() {
        let mut latency = Latency::new().unwrap();
        for _ in 0..20 {
            latency.record(Duration::from_mins(10));
        }
        let micros = latency.micros_at(0.5).unwrap();
        assert!((micros / 60e6 - 1.0).abs() < 0.001, "{micros}");
    }
}
