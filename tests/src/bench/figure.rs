//! How figures are written: three digits, in units that keep them short.

use super::series::Metric;
use super::statistics::{Basis, Estimate, Summary};

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

/// An estimate with its interval: `0.071 (0.066–0.078)`; a range is called so: `0.071 (range 0.066–0.078)`. Alone where
/// the ends are the same, as of a single round.
pub fn estimate(of: Estimate) -> String {
    let high = if of.high.is_finite() {
        figure(of.high)
    } else {
        "∞".to_owned()
    };
    let low = match of.basis {
        Basis::Interval => figure(of.low),
        Basis::Range => format!("range {}", figure(of.low)),
    };
    if of.low.total_cmp(&of.high).is_eq() {
        figure(of.value)
    } else {
        format!("{} ({low}–{high})", figure(of.value))
    }
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
        let ratio = Estimate {
            value: 0.5,
            low: 0.25,
            high: f64::INFINITY,
            basis: Basis::Interval,
        };
        assert_eq!(estimate(ratio), "0.50 (0.25–∞)");
        let few = Estimate {
            basis: Basis::Range,
            ..ratio
        };
        assert_eq!(estimate(few), "0.50 (range 0.25–∞)");
        let single = Estimate {
            low: 0.5,
            high: 0.5,
            ..few
        };
        assert_eq!(estimate(single), "0.50");
    }
}
