//! Whether the processor ran at its full pace: on a shared machine a neighbour slows it down for a while, by a third, and
//! then one contestant of a round and not the next. The floor shows it, which has nothing to do with the contestant.

use std::cell::Cell;

use super::session::Round;

/// How much slower than the fastest floor of the run a floor may be.
const SLACK: f64 = 1.05;

/// The pace of a run.
#[derive(Debug)]
pub(super) struct Pace {
    /// The fastest floor so far, nanoseconds.
    fastest: Cell<f64>,
}

impl Pace {
    /// Nothing is known yet.
    pub(super) const fn unknown() -> Self {
        Self {
            fastest: Cell::new(f64::INFINITY),
        }
    }

    /// The first of at most `tries` attempts at a round with both floors at full pace, else the one whose slower floor is
    /// the fastest.
    pub(super) fn keep<E>(&self, tries: usize, mut attempt: impl FnMut() -> Result<Round, E>) -> Result<Round, E> {
        let mut best = attempt()?;
        self.learn(&best);
        for _ in 1..tries {
            if best.slower_floor() <= SLACK * self.fastest.get() {
                break;
            }
            let round = attempt()?;
            self.learn(&round);
            if round.slower_floor() < best.slower_floor() {
                best = round;
            }
        }
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
    fn kept(pace: &Pace, tries: usize, attempts: &[Round]) -> (Round, usize) {
        let mut made = 0;
        let Ok(round) = pace.keep(tries, || {
            made += 1;
            Ok::<_, Infallible>(attempts[made - 1])
        });
        (round, made)
    }

    #[test]
    fn a_round_at_full_pace_is_kept_at_once() {
        let pace = Pace::unknown();
        let steady = round(300.0, 310.0);
        assert_eq!(kept(&pace, 3, &[steady]), (steady, 1));
        let slack = round(314.0, 300.0);
        assert_eq!(kept(&pace, 3, &[slack]), (slack, 1));
    }

    #[test]
    fn a_round_that_was_slowed_down_is_repeated() {
        let pace = Pace::unknown();
        let (before, after, steady) = (round(400.0, 300.0), round(300.0, 400.0), round(310.0, 305.0));
        assert_eq!(kept(&pace, 4, &[before, after, steady]), (steady, 3));
        // It is known now what is full pace, for whoever comes next.
        let slow = round(400.0, 400.0);
        assert_eq!(kept(&pace, 4, &[slow, steady]), (steady, 2));
    }

    #[test]
    fn of_slow_rounds_the_least_slow_is_kept() {
        let pace = Pace::unknown();
        assert_eq!(kept(&pace, 1, &[round(300.0, 300.0)]).1, 1);
        let rounds = [round(420.0, 400.0), round(300.0, 390.0), round(410.0, 400.0)];
        assert_eq!(kept(&pace, 3, &rounds), (rounds[1], 3));
    }
}
