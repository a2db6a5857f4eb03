//! From figures to pixels.

/// The numbers that a grid's lines stand at.
pub(super) type Ticks = Vec<f64>;

/// An axis along which equal steps are equal differences, from zero.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    top: f64,
    pub(super) ticks: Ticks,
}

impl Linear {
    /// Holds zero and `largest`, with some five round ticks.
    pub(super) fn to(largest: f64) -> Self {
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let magnitude = 10_f64.powf((largest / 5.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|factor| factor * magnitude)
            .into_iter()
            .find(|step| largest / step <= 6.0)
            .unwrap_or(largest);
        let ticks: Ticks = (0..=6)
            .map(|index| f64::from(index) * step)
            .filter(|tick| *tick <= largest * 1.0001)
            .collect();
        Self { top: largest, ticks }
    }

    /// Where on the axis, 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value / self.top).clamp(0.0, 1.0)
    }
}

/// How far a logarithmic axis reaches beyond its ends, so that no mark lies on its edge.
const MARGIN: f64 = 1.25;

/// An axis along which equal steps are equal factors.
#[derive(Debug, Clone)]
pub(super) struct Logarithmic {
    low: f64,
    high: f64,
    pub(super) ticks: Ticks,
}

impl Logarithmic {
    /// Holds all of these that are positive; its ends and ticks are of the row 1, 2, 5, 10, or powers of ten alone where
    /// that would be many. None if nothing is positive.
    pub(super) fn over(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if high <= 0.0 {
            return None;
        }
        let decades = (low.log10().floor(), high.log10().ceil());
        let powers: Ticks = successive(decades.0)
            .take_while(|tick| *tick <= 10_f64.powf(decades.1) * 1.001)
            .collect();
        let fine: Ticks = powers
            .iter()
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * power))
            .collect();
        let held = |ticks: &Ticks| {
            let first = ticks.iter().rposition(|tick| *tick <= low * 1.001).unwrap_or(0);
            let last = ticks
                .iter()
                .position(|tick| *tick >= high * 0.999)
                .unwrap_or(ticks.len() - 1);
            ticks.get(first..=last.max(first)).unwrap_or_default().to_vec()
        };
        let mut ticks = held(&fine);
        let (low, high) = (*ticks.first()?, *ticks.last()?);
        if ticks.len() > 8 {
            ticks = powers
                .into_iter()
                .filter(|power| (low..=high).contains(power))
                .collect();
        }
        Some(Self {
            low: low / MARGIN,
            high: high * MARGIN,
            ticks,
        })
    }

    /// Where on the axis, 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value / self.low).ln() / (self.high / self.low).ln()).clamp(0.0, 1.0)
    }
}

/// Powers of ten from this exponent up.
fn successive(exponent: f64) -> impl Iterator<Item = f64> {
    (0..40).map(move |index| 10_f64.powf(exponent + f64::from(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_has_round_ticks_from_zero() {
        assert_eq!(Linear::to(8100.0).ticks, [0.0, 2000.0, 4000.0, 6000.0, 8000.0]);
        assert_eq!(Linear::to(9.9).ticks, [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(Linear::to(0.0).ticks.first(), Some(&0.0));
        assert!((Linear::to(200.0).share(50.0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_axis_holds_what_it_is_made_for() {
        let axis = Logarithmic::over([134.0, 222_000.0, -3.0].into_iter()).unwrap();
        assert_eq!(axis.ticks.len(), 4, "{axis:?}");
        for value in [134.0, 222_000.0] {
            assert!(axis.share(value) > 0.0 && axis.share(value) < 1.0, "{axis:?}");
        }
        let narrow = Logarithmic::over([24.0, 33.0].into_iter()).unwrap();
        assert_eq!(narrow.ticks, [20.0, 50.0]);
        assert!(Logarithmic::over([0.0].into_iter()).is_none());
        let single = Logarithmic::over([100.0].into_iter()).unwrap();
        assert!((single.share(100.0) - 0.5).abs() < 1e-9);
    }
}
