//! What is said about series: medians, quartiles, and ratios with the interval they can be trusted to.

use fastrand::Rng;

/// How many times the rounds are drawn anew for an interval.
const DRAWS: usize = 1000;
/// The seed of those draws: a report that is made again from the same series says the same.
const SEED: u64 = 0x6e65_7462_7269_6467;
/// The shares of the draws below either end of the interval: 95 % lie within.
const ENDS: [f64; 2] = [0.025, 0.975];

/// Below so many rounds there is no interval: what is drawn of three or four values spans less than it promises.
pub const LEAST_ROUNDS: usize = 6;

/// The middle of a series and how far it spreads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// A quarter of the values is below.
    pub lower: f64,
    /// Half of the values is below.
    pub median: f64,
    /// Three quarters of the values are below.
    pub upper: f64,
}

/// A figure, and the ends between which it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end; infinite where the reference could as well be zero.
    pub high: f64,
    /// What the ends are.
    pub basis: Basis,
}

/// What the ends of an estimate are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The bootstrap's 95 % interval.
    Interval,
    /// The least and the most of too few rounds for an interval.
    Range,
}

/// The median and the quartiles; none of an empty series.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let sorted = sorted(values);
    Some(Summary {
        lower: quantile(&sorted, 0.25)?,
        median: quantile(&sorted, 0.5)?,
        upper: quantile(&sorted, 0.75)?,
    })
}

/// The median; none of an empty series.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// The median as an estimate; none of an empty series.
pub fn middle(values: &[f64]) -> Option<Estimate> {
    let value = median(values)?;
    let middle = |rounds: &[usize], room: &mut Vec<f64>| middle_of(values, rounds, room);
    Some(estimate(value, values, middle))
}

/// The ratio of the medians of `values` and `reference`, which were measured in the same rounds: the interval comes from
/// drawing rounds with replacement, the same rounds for both, so that what disturbed both at once does not widen it.
///
/// None if the series are of different length or empty, or if the reference's median is not above zero: there is nothing
/// to compare with.
pub fn ratio(values: &[f64], reference: &[f64]) -> Option<Estimate> {
    if values.len() != reference.len() {
        return None;
    }
    let over = median(reference).filter(|&over| over > 0.0)?;
    let value = median(values)? / over;
    let rounds: Vec<f64> = values
        .iter()
        .zip(reference)
        .map(|(own, over)| quotient(*own, *over))
        .collect();
    let middle = |rounds: &[usize], room: &mut Vec<f64>| {
        let own = middle_of(values, rounds, room)?;
        Some(quotient(own, middle_of(reference, rounds, room)?))
    };
    Some(estimate(value, &rounds, middle))
}

/// The same of series that were measured in rounds of their own, as in two cases: each one's rounds are drawn by themselves,
/// and of few rounds the range is that of any round over any other.
pub fn ratio_apart(values: &[f64], reference: &[f64]) -> Option<Estimate> {
    let over = median(reference).filter(|&over| over > 0.0)?;
    let value = median(values)? / over;
    let (low, high, basis) = if values.len().min(reference.len()) < LEAST_ROUNDS {
        let pairs = values
            .iter()
            .flat_map(|own| reference.iter().map(|over| quotient(*own, *over)));
        let sorted = sorted(&pairs.collect::<Vec<_>>());
        (sorted.first().copied(), sorted.last().copied(), Basis::Range)
    } else {
        let mut rng = Rng::with_seed(SEED);
        let (mut rounds, mut room) = (Vec::new(), Vec::new());
        let mut anew = |series: &[f64]| {
            draw(&mut rng, series.len(), &mut rounds);
            middle_of(series, &rounds, &mut room)
        };
        let draws = (0..DRAWS).filter_map(|_| Some(quotient(anew(values)?, anew(reference)?)));
        let draws = sorted(&draws.collect::<Vec<_>>());
        let [low, high] = ENDS.map(|share| nearest(&draws, share));
        (low, high, Basis::Interval)
    };
    Some(around(value, low, high, basis))
}

fn quotient(value: f64, over: f64) -> f64 {
    if over > 0.0 { value / over } else { f64::INFINITY }
}

/// The ends of a figure: of what `middle` says of rounds drawn anew, or of the rounds' own values.
fn estimate(value: f64, rounds: &[f64], middle: impl Fn(&[usize], &mut Vec<f64>) -> Option<f64>) -> Estimate {
    let (low, high, basis) = if rounds.len() < LEAST_ROUNDS {
        let sorted = sorted(rounds);
        (sorted.first().copied(), sorted.last().copied(), Basis::Range)
    } else {
        let mut rng = Rng::with_seed(SEED);
        let (mut drawn, mut room) = (Vec::new(), Vec::new());
        let draws = (0..DRAWS).filter_map(|_| {
            draw(&mut rng, rounds.len(), &mut drawn);
            middle(&drawn, &mut room)
        });
        let draws = sorted(&draws.collect::<Vec<_>>());
        let [low, high] = ENDS.map(|share| nearest(&draws, share));
        (low, high, Basis::Interval)
    };
    around(value, low, high, basis)
}

/// An estimate whose ends hold its value.
fn around(value: f64, low: Option<f64>, high: Option<f64>, basis: Basis) -> Estimate {
    Estimate {
        value,
        low: low.unwrap_or(value).min(value),
        high: high.unwrap_or(value).max(value),
        basis,
    }
}

/// Puts as many rounds as there were into `rounds`, any of them any number of times.
fn draw(rng: &mut Rng, count: usize, rounds: &mut Vec<usize>) {
    rounds.clear();
    rounds.extend((0..count).map(|_| rng.usize(..count)));
}

/// The median of the values in these rounds; `drawn` is room to sort them in.
fn middle_of(values: &[f64], rounds: &[usize], drawn: &mut Vec<f64>) -> Option<f64> {
    drawn.clear();
    drawn.extend(rounds.iter().filter_map(|&round| values.get(round)));
    drawn.sort_unstable_by(f64::total_cmp);
    quantile(drawn, 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which `share` of the values lie, interpolated between neighbours.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let (below, fraction) = position(sorted.len(), share)?;
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * fraction)
}

/// The same without interpolation: between infinities there is nothing.
fn nearest(sorted: &[f64], share: f64) -> Option<f64> {
    let (below, fraction) = position(sorted.len(), share)?;
    sorted.get(below + usize::from(fraction >= 0.5)).copied()
}

/// Where among `count` sorted values that place is: an index, and how far it is to the next.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "indices of at most thousands of values"
)]
fn position(count: usize, share: f64) -> Option<(usize, f64)> {
    let place = count.checked_sub(1)? as f64 * share;
    Some((place.floor() as usize, place.fract()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_and_quartiles_are_those_computed_by_hand() {
        let of = |values: &[f64]| summary(values).unwrap();
        let odd = of(&[9.0, 1.0, 5.0, 3.0, 7.0]);
        assert_eq!((odd.lower, odd.median, odd.upper), (3.0, 5.0, 7.0));
        // (n - 1) / 4 = 0.75: three quarters of the way from the first value to the second.
        let even = of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((even.lower, even.median, even.upper), (1.75, 2.5, 3.25));
        let single = of(&[6.5]);
        assert_eq!((single.lower, single.median, single.upper), (6.5, 6.5, 6.5));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_steady_ratio_is_certain_and_a_shared_disturbance_does_not_blur_it() {
        let reference = [100.0, 200.0, 150.0, 900.0, 120.0, 130.0];
        let half = reference.map(|value| value / 2.0);
        let of = ratio(&half, &reference).unwrap();
        assert_eq!((of.value, of.low, of.high, of.basis), (0.5, 0.5, 0.5, Basis::Interval));
    }

    #[test]
    fn an_interval_spans_what_the_rounds_allow() {
        // Half of the rounds are 1 and half are 2: so is the median of many a draw.
        let of = ratio(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0], &[1.0; 6]).unwrap();
        assert_eq!((of.value, of.low, of.high, of.basis), (1.5, 1.0, 2.0, Basis::Interval));
    }

    #[test]
    fn few_rounds_have_a_range_and_no_interval() {
        let of = ratio(&[1.0, 6.0, 2.0], &[1.0, 2.0, 4.0]).unwrap();
        assert_eq!((of.value, of.low, of.high, of.basis), (1.0, 0.5, 3.0, Basis::Range));
        let of = middle(&[1.0, 6.0, 2.0]).unwrap();
        assert_eq!((of.value, of.low, of.high, of.basis), (2.0, 1.0, 6.0, Basis::Range));
        assert_eq!(middle(&[1.0; 6]).unwrap().basis, Basis::Interval);
        assert_eq!(middle(&[]), None);
    }

    #[test]
    fn rounds_of_two_cases_are_not_paired() {
        // In pairs the ratio would be 2 without a doubt.
        let of = ratio_apart(&[2.0, 4.0, 6.0], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((of.value, of.low, of.high), (2.0, 2.0 / 3.0, 6.0));
        assert_eq!(of.basis, Basis::Range);
        let many = ratio_apart(&[3.0; 7], &[1.0; 6]).unwrap();
        assert_eq!((many.value, many.low, many.high), (3.0, 3.0, 3.0));
        assert_eq!(many.basis, Basis::Interval);
        assert_eq!(ratio_apart(&[1.0], &[0.0]), None);
        assert_eq!(ratio_apart(&[], &[1.0]), None);
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[1.0], &[-1.0]), None);
        assert_eq!(ratio(&[], &[1.0]), None);
        assert_eq!(ratio(&[], &[]), None);
        assert_eq!(ratio(&[1.0, 1.0], &[1.0]), None, "not of the same rounds");
        // The reference is zero in a round.
        assert!(ratio(&[1.0; 3], &[0.0, 1.0, 1.0]).unwrap().high.is_infinite());
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_ratio_and_stays_within_the_extremes(
            rounds in prop::collection::vec((1.0..1e6_f64, 1.0..1e6_f64), 1..12),
        ) {
            let (values, reference): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
            let of = ratio(&values, &reference).unwrap();
            prop_assert!(of.low <= of.value && of.value <= of.high);
            let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
            prop_assert!(of.low >= least(&values) / most(&reference));
            prop_assert!(of.high <= most(&values) / least(&reference));
            prop_assert_eq!(ratio(&values, &reference), Some(of));
        }

        #[test]
        fn identical_series_have_the_ratio_one(values in prop::collection::vec(1e-3..1e9_f64, 1..12)) {
            let of = ratio(&values, &values).unwrap();
            prop_assert_eq!((of.value, of.low, of.high), (1.0, 1.0, 1.0));
        }
    }
}
