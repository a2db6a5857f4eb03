//! Whether the processor ran at its full pace: on a shared machine something slows it down for a while, by a third, which
//! steal time need not show, and then one contestant of a round and not the next. The floor shows it: its frames do not
//! pass through the contestant.

use std::cell::Cell;

use super::session::Round;

/// How much slower than the fastest floor of the run a floor may be.
const SLACK: f64 = 1.05;

/// Repeats that undisturbed rounds can save up for disturbed ones.
const MOST_SAVED: u32 = 8;

/// The pace of a run.
#[derive(Debug)]
pub(super) struct Pace {
    /// The fastest floor so far, nanoseconds.
    fastest: Cell<f64>,
    /// Repeats that may be made. Each round earns one: where the neighbour never rests, repeats double the time and no more.
    saved: Cell<u32>,
}

impl Pace {
    /// Nothing is known yet.
    pub(super) const fn unknown() -> Self {
        Self {
            fastest: Cell::new(f64::INFINITY),
            saved: Cell::new(MOST_SAVED),
        }
    }

    /// The first attempt at a round with both floors at full pace; where there may be no more, the one whose slower floor is
    /// the fastest.
    pub(super) fn keep<E>(&self, mut attempt: impl FnMut() -> Result<Round, E>) -> Result<Round, E> {
        let mut best = attempt()?;
        self.learn(&best);
        while best.slower_floor() > SLACK * self.fastest.get() && self.saved.get() > 0 {
            self.saved.update(|saved| saved - 1);
            let round = attempt()?;
            self.learn(&round);
            if round.slower_floor() < best.slower_floor() {
                best = round;
            }
        }
        self.saved.update(|saved| MOST_SAVED.min(saved + 1));
        Ok(best)
    }

    fn learn(&self, round: &Round) {
        let [before, after] = round.floors;
        self.fastest.set(self.fastest.get().min(before).min(after));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn round(before: f64, after: f64) -> Round {
        Round {
            floors: [before, after],
            total: before + after,
        }
    }

    /// What is kept of these attempts, and how many were made.
    fn kept(pace: &Pace, attempts: &[Round]) -> (Round, usize) {
        let mut made = 0;
        let Ok(round) = pace.keep(|| {
            made += 1;
            Ok::<_, Infallible>(attempts[(made - 1) % attempts.len()])
        });
        (round, made)
    }

    #[test]
    fn a_round_at_full_pace_is_kept_at_once() {
        let pace = Pace::unknown();
        let steady = round(300.0, 310.0);
        assert_eq!(kept(&pace, &[steady]), (steady, 1));
        let slack = round(314.0, 300.0);
        assert_eq!(kept(&pace, &[slack]), (slack, 1));
    }

    #[test]
    fn a_round_that_was_slowed_down_is_repeated() {
        let pace = Pace::unknown();
        let (before, after, steady) = (round(400.0, 300.0), round(300.0, 400.0), round(310.0, 305.0));
        assert_eq!(kept(&pace, &[before, after, steady]), (steady, 3));
        // It is known now what is full pace, for whoever comes next.
        let slow = round(400.0, 400.0);
        assert_eq!(kept(&pace, &[slow, steady]), (steady, 2));
    }

    #[test]
    fn of_slow_rounds_the_least_slow_is_kept_and_repeats_come_to_an_end() {
        let pace = Pace::unknown();
        kept(&pace, &[round(300.0, 300.0)]);
        let rounds = [round(420.0, 400.0), round(300.0, 390.0), round(410.0, 400.0)];
        let most = MOST_SAVED as usize;
        assert_eq!(kept(&pace, &rounds), (rounds[1], 1 + most));
        // From now on each round has earned one.
        assert_eq!(kept(&pace, &rounds), (rounds[1], 2));
        assert_eq!(kept(&pace, &rounds), (rounds[1], 2));
    }
}
