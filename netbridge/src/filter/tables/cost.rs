//! What a search costs, at most.

use std::borrow::Borrow;

use netbridge_common::abi::SEARCH_STEPS;

use super::forest::Cell;

/// What a search costs, whatever the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Most steps of one search.
    pub(super) steps: usize,
    /// Most forks within each other.
    pub(super) depth: usize,
    /// Most places at which the search begins anew for one packet.
    pub(super) turns: usize,
}

impl Cost {
    /// Of looking at a list of boxes.
    pub(super) fn of_list(list: impl Iterator<Item = impl Borrow<Cell>>) -> Self {
        let (mut boxes, mut before) = (0, None);
        // A packet has one state.
        let mut turns = [0_usize; 32];
        let mut counted = 0_u32;
        for cell in list {
            let cell = cell.borrow();
            boxes += 1;
            let Some(place) = cell.turn else { continue };
            if before != Some(place) {
                counted = 0;
            }
            before = Some(place);
            let states = turns.iter_mut().enumerate();
            let new = states.filter(|(state, _)| (cell.states & !counted) >> state & 1 != 0);
            new.for_each(|(_, turns)| *turns += 1);
            counted |= cell.states;
        }
        Self {
            // The step behind the last box finds nothing; where there is no list, nothing is found at once.
            steps: if boxes > 1 { boxes + 1 } else { boxes },
            turns: turns.into_iter().max().unwrap_or(0),
            depth: 0,
        }
    }

    /// Of one of two ways.
    pub(super) fn either(self, other: Self) -> Self {
        Self {
            steps: self.steps.max(other.steps),
            depth: self.depth.max(other.depth),
            turns: self.turns.max(other.turns),
        }
    }

    /// Of two ways, one after the other, behind a fork.
    pub(super) fn both(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps + 2,
            depth: self.depth.max(other.depth) + 1,
            turns: self.turns + other.turns,
        }
    }

    pub(super) const fn and_steps(mut self, steps: usize) -> Self {
        self.steps += steps;
        self
    }

    /// Most steps for one packet, all searches together.
    pub(super) fn all_steps(self) -> usize {
        self.steps.max(1).saturating_mul(self.turns.saturating_add(1))
    }

    /// True if a packet can be searched for in so many steps as there may be.
    pub(super) fn fits(self) -> bool {
        self.all_steps() <= SEARCH_STEPS as usize
    }
}
