//! How figures are written: three digits, in units that keep them short.

use super::series::Metric;
use super::statistics::{Ratio, Summary};

impl Metric {
    /// The unit that reports show, and the factor from [`unit`](Self::unit) to it.
    pub const fn shown(self) -> (&'static str, f64) {
        match self {
            Self::CpuNsPerGib => ("ms/GiB", 1e-6),
            Self::ResidentBytes | Self::MapBytes => ("MiB", 1.0 / 1_048_576.0),
            _ => (self.unit(), 1.0),
        }
    }

    /// What a table of this yardstick is called.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NetNs => "Net cost",
            Self::TotalNs => "Cost with the generator's own",
            Self::PacketsPerSecond => "Packet rate",
            Self::LossPercent => "Loss",
            Self::BpfNs => "Time in BPF programs",
            Self::GbitPerSecond => "Throughput",
            Self::P50Micros => "Latency, p50",
            Self::P90Micros => "Latency, p90",
            Self::P99Micros => "Latency, p99",
            Self::P999Micros => "Latency, p99.9",
            Self::PerSecond => "Transactions",
            Self::CpuNsPerPacket => "CPU time per packet",
            Self::CpuNsPerGib => "CPU time per GiB",
            Self::Millis => "Duration",
            Self::UndoMillis => "Duration of taking it back",
            Self::ResidentBytes => "Resident memory",
            Self::MapBytes => "Memory of BPF maps",
        }
    }
}

/// Three digits or more, thousands set apart: `0.052`, `7.31`, `48.2`, `1,960`.
pub fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 99.95 => 0,
        medium if medium >= 9.995 => 1,
        small if small >= 0.0995 || small == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.chars().count() - index;
        if left % 3 == 0 && grouped.ends_with(|last: char| last.is_ascii_digit()) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or_else(|| grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

/// A median with its quartiles: `1,960 (1,900–2,050)`; alone where they are the same.
pub fn spread(metric: Metric, summary: Summary) -> String {
    let (_, factor) = metric.shown();
    let [median, lower, upper] = [summary.median, summary.lower, summary.upper].map(|value| figure(value * factor));
    within(&median, &lower, &upper)
}

/// A ratio with its interval: `0.071 (0.066–0.078)`; alone where its ends are the same, as of a single round.
pub fn interval(ratio: Ratio) -> String {
    let high = if ratio.high.is_finite() {
        figure(ratio.high)
    } else {
        "∞".to_owned()
    };
    within(&figure(ratio.value), &figure(ratio.low), &high)
}

fn within(value: &str, low: &str, high: &str) -> String {
    if low == high {
        value.to_owned()
    } else {
        format!("{value} ({low}–{high})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_thousands_apart() {
        let of = [
            0.0,
            0.0523,
            0.1,
            7.312,
            9.996,
            48.25,
            99.96,
            780.4,
            1960.0,
            227_000.4,
            1_234_567.0,
            -61.23,
            -0.004,
        ];
        let shown = [
            "0.00",
            "0.052",
            "0.10",
            "7.31",
            "10.0",
            "48.2",
            "100",
            "780",
            "1,960",
            "227,000",
            "1,234,567",
            "-61.2",
            "-0.004",
        ];
        assert_eq!(of.map(figure), shown);
        assert_eq!(figure(-123_456.0), "-123,456");
    }

    #[test]
    fn spreads_and_intervals_are_in_brackets() {
        let summary = Summary {
            lower: 0.5e9,
            median: 1e9,
            upper: 2e9,
        };
        assert_eq!(spread(Metric::CpuNsPerGib, summary), "1,000 (500–2,000)");
        let ratio = Ratio {
            value: 0.5,
            low: 0.25,
            high: f64::INFINITY,
        };
        assert_eq!(interval(ratio), "0.50 (0.25–∞)");
        let single = Ratio {
            low: 0.5,
            high: 0.5,
            ..ratio
        };
        assert_eq!(interval(single), "0.50");
    }
}
