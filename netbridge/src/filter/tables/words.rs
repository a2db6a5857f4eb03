//! The words of tables while they are written, and where in a bank tables go.

use netbridge_common::abi::{BOX_PAGES, FilterHead, LIMITS, PAGE_BOXES, PAGE_WORDS, PLACES, WORD_PAGES, word};

/// What is free of a bank: where its words, boxes, limits and places begin. Words and boxes begin with a page of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The first word.
    pub words: u32,
    /// The first box.
    pub boxes: u32,
    /// The first limit.
    pub limits: u32,
    /// The first place.
    pub places: u32,
}

impl Room {
    /// What is free behind tables.
    pub fn behind(head: &FilterHead) -> Self {
        Self {
            words: head.words.next_multiple_of(PAGE_WORDS),
            boxes: head.boxes.next_multiple_of(PAGE_BOXES),
            limits: head.limits,
            places: head.places,
        }
    }

    /// Words that there is room for.
    pub(super) fn most_words(self) -> usize {
        (WORD_PAGES * PAGE_WORDS).saturating_sub(self.words) as usize
    }

    /// Boxes that there is room for.
    pub(super) fn most_boxes(self) -> usize {
        (BOX_PAGES * PAGE_BOXES).saturating_sub(self.boxes) as usize
    }

    /// Limits that there is room for.
    pub(super) fn most_limits(self) -> usize {
        LIMITS.saturating_sub(self.limits) as usize
    }

    /// Places that there is room for.
    pub(super) fn most_places(self) -> usize {
        PLACES.saturating_sub(self.places) as usize
    }
}

/// Words from some place of a bank on.
pub(super) struct Words {
    /// The place of the first.
    first: u32,
    /// They themselves.
    pub(super) all: Vec<u64>,
}

impl Words {
    /// None yet, and memory for so many.
    pub(super) fn new(first: u32, capacity: usize) -> Self {
        Self {
            first,
            all: Vec::with_capacity(capacity),
        }
    }

    /// The place behind the last of them.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.all.len()).map_or(u32::MAX, |count| self.first.saturating_add(count))
    }

    /// Makes room for words; the place of the first.
    pub(super) fn reserve(&mut self, count: usize) -> u32 {
        let at = self.end();
        self.all.resize(self.all.len() + count, word::EMPTY);
        at
    }

    /// Fills in words that were reserved.
    pub(super) fn put(&mut self, at: u32, values: &[u64]) {
        let places = self.all.iter_mut().skip(at.saturating_sub(self.first) as usize);
        places.zip(values).for_each(|(place, value)| *place = *value);
    }
}
