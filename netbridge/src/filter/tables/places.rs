//! The places of a program while they are written.

use netbridge_common::abi::verdict;

use super::conditions::Conditions;
use super::error::TooComplex;
use super::program::{MOST_BOXES, MOST_PLACES, RuleId};

/// What happens to a packet at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// One of [`verdict`].
    pub(super) verdict: u8,
    /// How a rejected packet's sender is told.
    pub(super) with: u8,
}

impl Outcome {
    /// The packet goes on.
    pub(super) const CONTINUE: Self = Self::of(verdict::CONTINUE);

    /// A verdict that tells nobody.
    pub(super) const fn of(verdict: u8) -> Self {
        Self { verdict, with: 0 }
    }

    /// True if it ends the search.
    pub(super) const fn is_final(self) -> bool {
        matches!(self.verdict, verdict::ACCEPT | verdict::DROP | verdict::REJECT)
    }
}

/// A place of the program.
#[derive(Debug)]
pub(super) struct Place {
    /// It is for packets that meet one of these.
    pub(super) any_of: Vec<Conditions>,
    /// What happens to them.
    pub(super) outcome: Outcome,
    /// The place that is next, where that does not end it.
    pub(super) next: u32,
    /// The farthest place that they come to of those that are written one behind the other from here on.
    pub(super) beyond: u32,
    /// The rules that it counts for.
    pub(super) counts: Vec<RuleId>,
    /// The number of the limit that lets packets in, 0 for none.
    pub(super) limit: u32,
    /// The line of its rule.
    pub(super) line: usize,
}

/// A place that may not be known yet.
pub(super) type Label = u32;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// Places, and where labels stand among them.
#[derive(Default)]
pub(super) struct Places {
    all: Vec<Place>,
    /// [`NOWHERE`] if that is not known yet.
    labels: Vec<u32>,
    /// Alternatives of all places.
    alternatives: usize,
}

impl Places {
    /// Adds a place, which says for now with labels where it leads to.
    pub(super) fn add(&mut self, place: Place) -> Result<(), TooComplex> {
        self.alternatives += place.any_of.len();
        let line = place.line;
        if self.all.len() >= MOST_PLACES {
            return Err(TooComplex::Places { line });
        }
        if self.alternatives > MOST_BOXES {
            return Err(TooComplex::Boxes { line });
        }
        self.all.push(place);
        Ok(())
    }

    /// How many there are.
    pub(super) fn written(&self) -> usize {
        self.all.len()
    }

    /// A new label.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(NOWHERE);
        u32::try_from(self.labels.len() - 1).unwrap_or(NOWHERE)
    }

    /// Says that a label is the place that is added next.
    pub(super) fn here(&mut self, label: Label) {
        let here = u32::try_from(self.all.len()).unwrap_or(NOWHERE);
        if let Some(place) = self.labels.get_mut(label as usize) {
            *place = here;
        }
    }

    /// The places, with places instead of labels.
    pub(super) fn finish(self) -> Vec<Place> {
        let (labels, mut places) = (self.labels, self.all);
        let known = |label: Label| labels.get(label as usize).copied().unwrap_or(NOWHERE);
        for place in &mut places {
            place.next = known(place.next);
            place.beyond = known(place.beyond);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(next: Label, alternatives: usize) -> Place {
        Place {
            any_of: vec![Conditions::ANY; alternatives],
            outcome: Outcome::CONTINUE,
            next,
            beyond: next,
            counts: Vec::new(),
            limit: 0,
            line: 7,
        }
    }

    #[test]
    fn labels_are_places_in_the_end() {
        let mut places = Places::default();
        let [behind, never] = [places.label(), places.label()];
        places.add(place(behind, 1)).unwrap();
        places.add(place(never, 1)).unwrap();
        places.here(behind);
        places.add(place(behind, 0)).unwrap();
        assert_eq!(places.written(), 3);
        let nexts: Vec<u32> = places.finish().iter().map(|place| place.next).collect();
        assert_eq!(nexts, [2, NOWHERE, 2]);
    }

    #[test]
    fn there_are_not_more_than_there_may_be() {
        let mut places = Places::default();
        let full = (0..=MOST_PLACES).find_map(|_| places.add(place(0, 0)).err());
        assert_eq!(
            (full, places.written()),
            (Some(TooComplex::Places { line: 7 }), MOST_PLACES)
        );
        let mut places = Places::default();
        places.add(place(0, MOST_BOXES)).unwrap();
        assert_eq!(places.add(place(0, 1)), Err(TooComplex::Boxes { line: 7 }));
    }
}
