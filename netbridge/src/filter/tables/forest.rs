//! The search: which boxes a packet of some classes may be in.
//!
//! All boxes begin in one list. A list that is longer than a few is cut along an axis into lists of boxes that reach into
//! each part. Boxes that are wide on an axis would be copied into most parts, and two kinds of them (some open in the source,
//! others in the destination) into the product of the parts: so those that are wide go a way of their own, and a packet
//! goes both (a fork), unless those before hide them in most parts. What remains together is short, and looked at one by one.

use netbridge_common::abi::{SEARCH_DEPTH, axis, word};

use super::cost::Cost;
use super::hidden::shortened;
use super::spans::Span;
use super::spread::{Cut, Parts, cuts, spread};
use super::words::{Room, Words};

/// Axes.
pub(super) const AXES: usize = axis::COUNT as usize;

/// Lists as long as this are not cut.
const SHORT: usize = 8;

/// Lists as long as this are cut only if that copies few.
const LONG: usize = 24;

/// One box in so many is narrow where a cut is worth a fork.
const MANY: usize = 4;

/// Axes that are tried where all cuts copy many.
const TRIED: usize = 4;

/// Steps of a search that is not worth another try.
const GOOD: usize = 128;

/// Boxes that may be looked at to find where to cut, in any case, for each box, and for these at most.
const EFFORT: usize = 1 << 22;
const EFFORT_FOR_EACH: usize = 2000;
const MOST_EFFORT: usize = 1 << 27;

/// A box to be found.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Its classes on each axis.
    pub(super) spans: [Span; AXES],
    /// States, as bits of their numbers.
    pub(super) states: u32,
    /// TCP flags, as bits of theirs.
    pub(super) tcp: u64,
    /// Of the cells behind it those before this one cannot count for a packet that is in it.
    pub(super) hides: u32,
    /// If a packet that is in it may be searched for anew, the place that it is part of.
    pub(super) turn: Option<u32>,
}

/// Classes on each axis.
pub(super) type Region = [Span; AXES];

/// A search that would not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Writes the search for cells, which are numbered in order from the first box of `room` on, into `words`.
pub(super) fn forest(
    words: &mut Words,
    cells: &[Cell],
    counts: [u32; AXES],
    room: Room,
) -> Result<(u64, Cost), TooLarge> {
    let region = counts.map(|count| (0, count.saturating_sub(1)));
    let all: Vec<u32> = (0..u32::try_from(cells.len()).unwrap_or(u32::MAX)).collect();
    let grown = |words: &mut Words, bold| {
        let mut grower = Grower {
            cells,
            words,
            room,
            bold,
            effort: EFFORT + cells.len().saturating_mul(EFFORT_FOR_EACH).min(MOST_EFFORT),
        };
        grower.grow(&all, &region)
    };
    let begin = words.all.len();
    let timid = grown(words, false);
    if timid.is_ok_and(|(_, cost)| cost.steps <= GOOD && cost.fits()) {
        return timid;
    }
    let kept = words.all.split_off(begin);
    let bold = grown(words, true);
    let all_steps = |found: Result<(u64, Cost), TooLarge>| found.map_or(usize::MAX, |(_, cost)| cost.all_steps());
    if all_steps(bold) < all_steps(timid) {
        return bold;
    }
    words.all.truncate(begin);
    words.all.extend(kept);
    timid
}

struct Grower<'a> {
    cells: &'a [Cell],
    words: &'a mut Words,
    room: Room,
    /// True if it tries further where every cut copies many: that takes long, and seldom helps.
    bold: bool,
    /// Boxes that may still be looked at.
    effort: usize,
}

impl Grower<'_> {
    fn grow(&mut self, list: &[u32], region: &Region) -> Result<(u64, Cost), TooLarge> {
        let list = shortened(self.cells, list, region);
        if list.len() <= SHORT {
            return self.list(&list);
        }
        self.spend(list.len() * AXES)?;
        let mut cuts = cuts(self.cells, &list, region);
        cuts.sort_by_key(Cut::order);
        let Some(finest) = cuts.first().copied() else {
            return self.list(&list);
        };
        let best = self.wider(&list, region, &cuts)?.unwrap_or(finest);
        let wide = list.len() - best.narrow;
        if best.narrow > 0 && wide * best.parts as usize + best.copies <= list.len() * 2 {
            return self.divide(&list, region, &best);
        }
        if self.bold && list.len() > LONG {
            cuts.truncate(TRIED);
            if let Some((cut, parts)) = self.boldly(&list, region, &cuts)? {
                return self.write(&parts, region, &cut);
            }
        }
        if list.len() <= LONG || best.narrow <= SHORT {
            return self.list(&list);
        }
        let narrow = |index: &u32| best.is_narrow(self.cells, *index, region);
        let (narrow, wide): (Vec<u32>, Vec<u32>) = list.iter().partition(|index| narrow(index));
        self.fork([narrow, wide], region)
    }

    /// If few boxes are narrow in the parts of any cut, the cut into fewer parts that many are narrow in: networks of one
    /// length are all wide where the parts are smaller.
    fn wider(&mut self, list: &[u32], region: &Region, cuts: &[Cut]) -> Result<Option<Cut>, TooLarge> {
        let many = |cut: &Cut| cut.narrow * MANY >= list.len();
        if list.len() <= LONG || cuts.iter().any(many) {
            return Ok(None);
        }
        for fewer in (2..12).step_by(2) {
            self.spend(list.len() * cuts.len())?;
            let coarser = cuts
                .iter()
                .filter_map(|cut| cut.coarser(self.cells, list, region, fewer));
            if let Some(cut) = coarser.filter(many).min_by_key(Cut::order) {
                return Ok(Some(cut));
            }
        }
        Ok(None)
    }

    /// Parts that are much shorter than the list, or have not many more boxes together: as many parts as there are boxes, or
    /// fewer, which copies less.
    fn boldly(&mut self, list: &[u32], region: &Region, cuts: &[Cut]) -> Result<Option<(Cut, Parts)>, TooLarge> {
        let most = list.len() * 4;
        for fewer in (0..8).step_by(2) {
            self.spend(list.len() * cuts.len())?;
            for cut in cuts
                .iter()
                .filter_map(|cut| cut.coarser(self.cells, list, region, fewer))
            {
                if cut.all > most && !cut.may_hide(self.cells, list, region) {
                    continue;
                }
                self.spend(most)?;
                if let Some(parts) = spread(self.cells, list, region, &cut, most)
                    && (parts.total() <= list.len() * 2 || parts.longest() <= list.len() / 4)
                {
                    return Ok(Some((cut, parts)));
                }
            }
        }
        Ok(None)
    }

    /// Writes a cut that copies few.
    fn divide(&mut self, list: &[u32], region: &Region, cut: &Cut) -> Result<(u64, Cost), TooLarge> {
        match spread(self.cells, list, region, cut, usize::MAX) {
            Some(parts) => self.write(&parts, region, cut),
            None => self.list(list),
        }
    }

    /// Writes the parts of a cut.
    fn write(&mut self, parts: &Parts, region: &Region, cut: &Cut) -> Result<(u64, Cost), TooLarge> {
        let (bits, base) = cut.index();
        let at = self.reserve(1 << bits)?;
        let mut cost = Cost::default();
        let mut before: Option<(&[u32], u64)> = None;
        for number in 0..cut.parts {
            let (part, place) = (parts.get(number), at + (cut.first + number - base));
            if let Some((list, word)) = before
                && list == part
                && list.len() <= SHORT
            {
                self.words.put(place, &[word]);
                continue;
            }
            let (word, own) = self.grow(part, &cut.part(region, number))?;
            self.words.put(place, &[word]);
            cost = cost.either(own);
            before = Some((part, word));
        }
        let axis = u32::try_from(cut.axis).unwrap_or(0);
        Ok((word::cut(axis, cut.shift, bits, at), cost.and_steps(1)))
    }

    /// Writes a fork.
    fn fork(&mut self, mut ways: [Vec<u32>; 2], region: &Region) -> Result<(u64, Cost), TooLarge> {
        ways.sort_by_key(|way| way.first().copied());
        let at = self.reserve(4)?;
        let mut costs = [Cost::default(); 2];
        for ((way, place), cost) in ways.iter().zip([at, at + 2]).zip(&mut costs) {
            let least = way.first().map_or(u32::MAX, |index| self.number(*index));
            let (word, own) = self.grow(way, region)?;
            self.words.put(place, &[word, least.into()]);
            *cost = own;
        }
        let [one, other] = costs;
        let cost = one.both(other);
        if cost.depth > SEARCH_DEPTH as usize {
            return Err(TooLarge);
        }
        Ok((word::many(word::FORK, 2, at), cost))
    }

    /// Writes a list that is looked at one by one.
    fn list(&mut self, list: &[u32]) -> Result<(u64, Cost), TooLarge> {
        let cost = Cost::of_list(list.iter().filter_map(|index| self.cells.get(*index as usize)));
        let word = match list {
            [] => word::EMPTY,
            [one] => word::new(word::ONE, self.number(*one)),
            many => {
                let at = self.reserve(many.len())?;
                let words: Vec<u64> = many.iter().map(|index| self.number(*index).into()).collect();
                self.words.put(at, &words);
                word::many(word::LIST, u32::try_from(many.len()).unwrap_or(u32::MAX), at)
            }
        };
        Ok((word, cost))
    }

    /// The number of a cell's box in the bank.
    fn number(&self, index: u32) -> u32 {
        self.room.boxes.saturating_add(index)
    }

    fn spend(&mut self, boxes: usize) -> Result<(), TooLarge> {
        self.effort = self.effort.checked_sub(boxes).ok_or(TooLarge)?;
        Ok(())
    }

    fn reserve(&mut self, count: usize) -> Result<u32, TooLarge> {
        if self.words.all.len() + count > self.room.most_words() {
            return Err(TooLarge);
        }
        Ok(self.words.reserve(count))
    }
}
