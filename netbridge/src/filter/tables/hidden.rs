//! Boxes that nothing is left to decide of.

use std::borrow::Cow;

use super::forest::{Cell, Region};

/// True if a box holds all of a region, one axis perhaps left aside.
pub(super) fn covers(cell: &Cell, region: &Region, aside: Option<usize>) -> bool {
    let mut axes = cell.spans.iter().zip(region).enumerate();
    axes.all(|(axis, ((first, last), (from, to)))| Some(axis) == aside || (first <= from && to <= last))
}

/// What is left of a list in a region without what cannot count there: boxes of which those before, if they hold all of the
/// region, have decided for every state and all flags.
pub(super) fn shortened<'a>(cells: &[Cell], list: &'a [u32], region: &Region) -> Cow<'a, [u32]> {
    let holds = |index: &u32| {
        let cell = cells.get(*index as usize);
        cell.is_some_and(|cell| cell.hides > *index && covers(cell, region, None))
    };
    let Some(first) = list.iter().position(holds) else {
        return Cow::Borrowed(list);
    };
    let (before, list) = list.split_at(first);
    let mut left = before.to_vec();
    let (mut until, mut decided) = (0, [0_u64; 32]);
    for index in list {
        let Some(cell) = cells.get(*index as usize) else {
            continue;
        };
        if *index < until && is_decided(cell, &decided) {
            continue;
        }
        left.push(*index);
        if cell.hides <= *index || !covers(cell, region, None) {
            continue;
        }
        if cell.hides != until {
            (until, decided) = (cell.hides, [0; 32]);
        }
        for (state, flags) in decided.iter_mut().enumerate() {
            if cell.states >> state & 1 != 0 {
                *flags |= cell.tcp;
            }
        }
    }
    Cow::Owned(left)
}

/// True if nothing is left to decide of what a box holds.
fn is_decided(cell: &Cell, decided: &[u64; 32]) -> bool {
    let mut states = decided.iter().enumerate();
    states.all(|(state, flags)| cell.states >> state & 1 == 0 || cell.tcp & !flags == 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::filter::tables::forest::AXES;

    /// A box on the first axis; the cells before 100 are hidden by it.
    pub(in crate::filter::tables) fn cell(first: u32, last: u32) -> Cell {
        let mut spans = [(0, u32::MAX); AXES];
        spans[0] = (first, last);
        Cell {
            spans,
            states: u32::MAX,
            tcp: u64::MAX,
            hides: 100,
            turn: None,
        }
    }

    pub(in crate::filter::tables) fn region(to: u32) -> Region {
        let mut region = [(0, 0); AXES];
        region[0] = (0, to);
        region
    }

    pub(in crate::filter::tables) fn numbers(cells: &[Cell]) -> Vec<u32> {
        (0..).take(cells.len()).collect()
    }

    #[test]
    fn what_others_hide_is_left_out() {
        let partial = |states, tcp, hides| Cell {
            states,
            tcp,
            hides,
            ..cell(0, 9)
        };
        for (cells, left) in [
            (vec![cell(0, 9), cell(3, 3), cell(0, 9)], vec![0]),
            (vec![cell(0, 8), cell(3, 3), cell(0, 9), cell(0, 9)], vec![0, 1, 2]),
            // Halves of the states, then of the flags.
            (
                vec![
                    partial(0xffff, u64::MAX, 100),
                    partial(!0xffff, u64::MAX, 100),
                    cell(1, 1),
                ],
                vec![0, 1],
            ),
            (
                vec![
                    partial(1, 0xff, 100),
                    partial(1, 0x0f, 100),
                    partial(3, 0x0f, 100),
                    partial(1, 0x1ff, 100),
                ],
                vec![0, 2, 3],
            ),
            // One that hides nothing, and one that hides only up to the next but one.
            (vec![partial(u32::MAX, u64::MAX, 0), cell(1, 1)], vec![0, 1]),
            (vec![partial(u32::MAX, u64::MAX, 2), cell(1, 1), cell(1, 1)], vec![0, 2]),
        ] {
            assert_eq!(*shortened(&cells, &numbers(&cells), &region(9)), left);
        }
    }
}
