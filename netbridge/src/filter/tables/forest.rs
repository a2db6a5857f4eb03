//! The search: which boxes a packet of some classes may be in.
//!
//! All boxes begin in one list. A list that is longer than a few is cut along an axis into lists of boxes that reach into
//! each part. Boxes that are wide on an axis would be copied into most parts, and two kinds of them (some open in the source,
//! others in the destination) into the product of the parts: so those that are wide go a way of their own, and a packet
//! goes both (a fork). What remains together is short, and looked at one by one.

use netbridge_common::abi::{SEARCH_DEPTH, axis, word};

use super::axis::{Span, put, reserve};

/// Axes.
pub(super) const AXES: usize = axis::COUNT as usize;

/// Lists as long as this are not cut.
const SHORT: usize = 8;

/// Lists as long as this are cut only if that copies few.
const LONG: usize = 24;

/// Bits that one cut takes, at most.
const MOST_BITS: u32 = 12;

/// A box to be found.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Its classes on each axis.
    pub(super) spans: [Span; AXES],
    /// Of the cells behind it those before this one cannot count for a packet that is within its spans.
    pub(super) hides: u32,
    /// If a packet that is in it may be searched for anew, the place that it is part of.
    pub(super) turn: Option<u32>,
}

/// What a search costs.
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
    /// Most steps for one packet, all searches together.
    pub(super) fn all_steps(self) -> usize {
        self.steps.max(1).saturating_mul(self.turns + 1)
    }
}

/// A search that would not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Writes the search for cells, which are numbered in order, into `words`, of which there may be `most`.
pub(super) fn forest(
    words: &mut Vec<u64>,
    cells: &[Cell],
    counts: [u32; AXES],
    most: usize,
) -> Result<(u64, Cost), TooLarge> {
    let region = counts.map(|count| (0, count.saturating_sub(1)));
    let all = (0..u32::try_from(cells.len()).unwrap_or(u32::MAX)).collect();
    let mut grower = Grower { cells, words, most };
    grower.grow(all, &region)
}

type Region = [Span; AXES];

struct Grower<'a> {
    cells: &'a [Cell],
    words: &'a mut Vec<u64>,
    most: usize,
}

/// A way to cut a list.
#[derive(Clone, Copy)]
struct Cut {
    axis: usize,
    shift: u32,
    /// Number of the first part.
    first: u32,
    /// Number of parts.
    parts: u32,
    /// Boxes that are not copied often.
    narrow: usize,
    /// Copies of these.
    copies: usize,
}

impl Grower<'_> {
    fn grow(&mut self, mut list: Vec<u32>, region: &Region) -> Result<(u64, Cost), TooLarge> {
        self.shorten(&mut list, region);
        if list.len() <= SHORT {
            return self.list(&list);
        }
        let mut best: Option<Cut> = None;
        for axis in 0..AXES {
            let Some(cut) = self.cut(&list, region, axis) else {
                continue;
            };
            let better = |best: &Cut| (cut.narrow, best.copies) > (best.narrow, cut.copies);
            if best.as_ref().is_none_or(better) {
                best = Some(cut);
            }
        }
        let Some(cut) = best.filter(|cut| cut.narrow > 0) else {
            return self.list(&list);
        };
        let wide = list.len() - cut.narrow;
        if wide * cut.parts as usize + cut.copies > list.len() * 2 {
            if list.len() <= LONG || cut.narrow <= SHORT {
                return self.list(&list);
            }
            let (narrow, wide): (Vec<u32>, Vec<u32>) =
                list.iter().partition(|index| self.is_narrow(**index, region, &cut));
            return self.fork(narrow, wide, region);
        }
        self.divide(&list, region, &cut)
    }

    /// Takes out what is behind a box that holds all of the region.
    fn shorten(&self, list: &mut Vec<u32>, region: &Region) {
        let mut from = 0;
        list.retain(|index| {
            if *index < from {
                return false;
            }
            if let Some(cell) = self.cells.get(*index as usize)
                && cell.hides > from
                && (cell.spans.iter().zip(region)).all(|((first, last), (from, to))| first <= from && to <= last)
            {
                from = cell.hides;
            }
            true
        });
    }

    /// The spans of a box on an axis, within the region.
    fn clipped(&self, index: u32, region: &Region, axis: usize) -> Span {
        let span = self
            .cells
            .get(index as usize)
            .and_then(|cell| cell.spans.get(axis))
            .copied();
        let (from, to) = region.get(axis).copied().unwrap_or((0, 0));
        span.map_or((from, to), |(first, last)| (first.max(from), last.min(to)))
    }

    /// How a list would be cut along an axis; none if there is nothing to tell apart.
    fn cut(&self, list: &[u32], region: &Region, axis: usize) -> Option<Cut> {
        let (from, to) = *region.get(axis)?;
        if from == to {
            return None;
        }
        let quarter = u32::try_from(list.len() / 4)
            .unwrap_or(1 << MOST_BITS)
            .min(1 << MOST_BITS);
        let wanted = quarter.next_power_of_two().max(2);
        let shift = (0..31).find(|shift| ((to >> shift) - (from >> shift)) < wanted)?;
        let (first, parts) = (from >> shift, (to >> shift) - (from >> shift) + 1);
        if parts < 2 {
            return None;
        }
        let mut cut = Cut {
            axis,
            shift,
            first,
            parts,
            narrow: 0,
            copies: 0,
        };
        for index in list {
            let copies = self.copies(*index, region, &cut);
            if copies <= limit(parts) {
                cut.narrow += 1;
                cut.copies += copies as usize;
            }
        }
        Some(cut)
    }

    /// Parts that a box reaches into.
    fn copies(&self, index: u32, region: &Region, cut: &Cut) -> u32 {
        let (first, last) = self.clipped(index, region, cut.axis);
        (last >> cut.shift) - (first >> cut.shift) + 1
    }

    fn is_narrow(&self, index: u32, region: &Region, cut: &Cut) -> bool {
        self.copies(index, region, cut) <= limit(cut.parts)
    }

    /// Writes a cut.
    fn divide(&mut self, list: &[u32], region: &Region, cut: &Cut) -> Result<(u64, Cost), TooLarge> {
        let mut parts = vec![Vec::new(); cut.parts as usize];
        for index in list {
            let (first, last) = self.clipped(*index, region, cut.axis);
            let (first, last) = ((first >> cut.shift) - cut.first, (last >> cut.shift) - cut.first);
            for part in parts.iter_mut().take(last as usize + 1).skip(first as usize) {
                part.push(*index);
            }
        }
        if parts.iter().all(|part| part.len() == list.len()) {
            return self.list(list);
        }
        // The index has as many bits as the numbers of the parts differ in.
        let bits = u32::BITS - (cut.first ^ (cut.first + cut.parts - 1)).leading_zeros();
        let base = cut.first >> bits << bits;
        let at = self.reserve(1 << bits)?;
        let mut cost = Cost::default();
        let mut before: Option<(Vec<u32>, u64)> = None;
        for (number, part) in (cut.first..).zip(parts) {
            let place = at + (number - base);
            if let Some((list, word)) = &before
                && *list == part
                && list.len() <= SHORT
            {
                put(self.words, place, &[*word]);
                continue;
            }
            let mut inner = *region;
            if let Some(span) = inner.get_mut(cut.axis) {
                *span = (
                    span.0.max(number << cut.shift),
                    span.1.min((number << cut.shift) | ((1 << cut.shift) - 1)),
                );
            }
            let (word, own) = self.grow(part.clone(), &inner)?;
            put(self.words, place, &[word]);
            cost.steps = cost.steps.max(own.steps);
            cost.depth = cost.depth.max(own.depth);
            cost.turns = cost.turns.max(own.turns);
            before = Some((part, word));
        }
        cost.steps += 1;
        let axis = u32::try_from(cut.axis).unwrap_or(0);
        Ok((word::cut(axis, cut.shift, bits, at), cost))
    }

    /// Writes a fork.
    fn fork(&mut self, one: Vec<u32>, other: Vec<u32>, region: &Region) -> Result<(u64, Cost), TooLarge> {
        let mut ways = [one, other];

        ways.sort_by_key(|way| way.first().copied());
        let at = self.reserve(4)?;
        let mut cost = Cost {
            steps: 2,
            ..Cost::default()
        };
        for (way, place) in ways.into_iter().zip([at, at + 2]) {
            let least = way.first().copied().unwrap_or(u32::MAX);
            let (word, own) = self.grow(way, region)?;
            put(self.words, place, &[word, least.into()]);
            cost.steps += own.steps;
            cost.turns += own.turns;
            cost.depth = cost.depth.max(own.depth);
        }
        cost.depth += 1;
        if cost.depth > SEARCH_DEPTH as usize {
            return Err(TooLarge);
        }
        Ok((word::many(word::FORK, 2, at), cost))
    }

    fn cells_of(&self, list: &[u32]) -> impl Iterator<Item = &Cell> {
        list.iter().filter_map(|index| self.cells.get(*index as usize))
    }

    /// Writes a list that is looked at one by one.
    fn list(&mut self, list: &[u32]) -> Result<(u64, Cost), TooLarge> {
        let mut turns: Vec<u32> = self.cells_of(list).filter_map(|cell| cell.turn).collect();
        turns.dedup();
        let cost = Cost {
            // The step behind the last box finds nothing; where there is no list, nothing is found at once.
            steps: if list.len() > 1 { list.len() + 1 } else { list.len() },
            turns: turns.len(),
            ..Cost::default()
        };
        let word = match list {
            [] => word::EMPTY,
            [one] => word::new(word::ONE, *one),
            many => {
                let at = self.reserve(many.len())?;
                let words: Vec<u64> = many.iter().copied().map(u64::from).collect();
                put(self.words, at, &words);
                word::many(word::LIST, u32::try_from(many.len()).unwrap_or(u32::MAX), at)
            }
        };
        Ok((word, cost))
    }

    fn reserve(&mut self, count: usize) -> Result<u32, TooLarge> {
        if self.words.len() + count > self.most {
            return Err(TooLarge);
        }
        Ok(reserve(self.words, count))
    }
}

/// Copies that a narrow box has at most.
fn limit(parts: u32) -> u32 {
    (parts / 8).clamp(1, 2)
}
