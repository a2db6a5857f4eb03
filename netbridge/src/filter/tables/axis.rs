//! One field of a packet: the sets of its values that rules ask for.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::num::NonZero;

use super::classes::Mixed;
use super::spans::{Lists, Span, intersection};

/// A set of values that rules ask for, by its number on its axis, from 1 on.
pub(super) type Wanted = NonZero<u32>;

/// The sets of values that rules ask for.
#[derive(Default)]
pub(super) struct Axis {
    sets: Lists,
    singles: HashMap<Span, Wanted, BuildHasherDefault<Mixed>>,
    lists: HashMap<Box<[Span]>, Wanted>,
    common: HashMap<(Wanted, Wanted), Wanted, BuildHasherDefault<Mixed>>,
    work: usize,
}

impl Axis {
    /// Room for about as many sets.
    pub(super) fn reserve(&mut self, sets: usize) {
        self.singles.reserve(sets);
    }

    /// The number of a set given as spans in order, of which none touch.
    pub(super) fn wanted(&mut self, spans: &[Span]) -> Wanted {
        let next = Wanted::MIN.saturating_add(self.sets.len());
        let number = if let [single] = spans {
            *self.singles.entry(*single).or_insert(next)
        } else {
            self.work += spans.len();
            match self.lists.get(spans) {
                Some(number) => *number,
                None => *self.lists.entry(spans.into()).or_insert(next),
            }
        };
        if number == next {
            self.sets.push(spans);
        }
        number
    }

    /// Spans of all sets.
    pub(super) fn size(&self) -> usize {
        self.sets.all().len()
    }

    /// Spans that were looked at to find out which set is asked for.
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// The spans of a set.
    pub(super) fn spans(&self, wanted: Wanted) -> &[Span] {
        self.sets.get(wanted.get() - 1)
    }

    /// The number of what two sets have in common.
    pub(super) fn both(&mut self, one: Wanted, other: Wanted) -> Wanted {
        if one == other {
            return one;
        }
        if let ([one], [other]) = (self.spans(one), self.spans(other)) {
            let common = (one.0.max(other.0), one.1.min(other.1));
            return self.wanted(if common.0 <= common.1 {
                std::slice::from_ref(&common)
            } else {
                &[]
            });
        }
        let pair = (one.min(other), one.max(other));
        if let Some(known) = self.common.get(&pair) {
            return *known;
        }
        let common = intersection(self.spans(one), self.spans(other));
        let number = self.wanted(&common);
        self.common.insert(pair, number);
        number
    }

    /// The sets.
    pub(super) fn sets(&self) -> &Lists {
        &self.sets
    }
}
