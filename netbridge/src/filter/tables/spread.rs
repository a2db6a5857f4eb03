//! Lists of boxes cut into parts.

use std::cmp::Reverse;

use super::forest::{Cell, Region};
use super::hidden::covers;
use super::spans::Span;

/// Bits that one cut takes, at most.
const MOST_BITS: u32 = 12;

/// A way to cut a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) axis: usize,
    pub(super) shift: u32,
    /// Number of the first part.
    pub(super) first: u32,
    /// Number of parts.
    pub(super) parts: u32,
    /// Boxes that are not copied often.
    pub(super) narrow: usize,
    /// Copies of these.
    pub(super) copies: usize,
    /// Copies of all boxes.
    pub(super) all: usize,
}

/// How a list would be cut along each axis on which there is something to tell apart.
pub(super) fn cuts(cells: &[Cell], list: &[u32], region: &Region) -> Vec<Cut> {
    let quarter = u32::try_from(list.len() / 4)
        .unwrap_or(1 << MOST_BITS)
        .min(1 << MOST_BITS);
    let wanted = quarter.next_power_of_two().max(2);
    let cut = |(axis, (from, to)): (usize, &Span)| {
        let shift = (0..31).find(|shift| (to >> shift) - (from >> shift) < wanted)?;
        Some(Cut::new((axis, shift), (from >> shift, to >> shift))).filter(|cut| cut.parts >= 2)
    };
    let mut cuts: Vec<Cut> = region.iter().enumerate().filter_map(cut).collect();
    for index in list {
        let Some(cell) = cells.get(*index as usize) else {
            continue;
        };
        for cut in &mut cuts {
            cut.add(cell, region);
        }
    }
    cuts
}

/// Copies that a narrow box has at most.
fn limit(parts: u32) -> u32 {
    (parts / 8).clamp(1, 2)
}

impl Cut {
    /// The cut along an axis into parts of two to the power of a shift, of no box yet.
    const fn new((axis, shift): (usize, u32), (first, last): Span) -> Self {
        Self {
            axis,
            shift,
            first,
            parts: last - first + 1,
            narrow: 0,
            copies: 0,
            all: 0,
        }
    }

    /// The best come first: most boxes are narrow, with few copies.
    pub(super) const fn order(&self) -> (Reverse<usize>, usize) {
        (Reverse(self.narrow), self.copies)
    }

    fn add(&mut self, cell: &Cell, region: &Region) {
        let copies = self.copies(cell, region);
        if copies <= limit(self.parts) {
            self.narrow += 1;
            self.copies += copies as usize;
        }
        self.all += copies as usize;
    }

    /// The cut into fewer parts, one where there are two to the power of `fewer`; none if these are too few.
    pub(super) fn coarser(&self, cells: &[Cell], list: &[u32], region: &Region, fewer: u32) -> Option<Self> {
        if fewer == 0 {
            return Some(*self);
        }
        let (from, to) = *region.get(self.axis)?;
        let shift = self.shift + fewer;
        let mut cut = Self::new((self.axis, shift), (from.checked_shr(shift)?, to.checked_shr(shift)?));
        if cut.parts < 4 {
            return None;
        }
        let boxes = list.iter().filter_map(|index| cells.get(*index as usize));
        boxes.for_each(|cell| cut.add(cell, region));
        Some(cut)
    }

    /// True if a box may hide all others in some part.
    pub(super) fn may_hide(&self, cells: &[Cell], list: &[u32], region: &Region) -> bool {
        list.iter().any(|index| {
            let cell = cells.get(*index as usize);
            cell.is_some_and(|cell| {
                let (first, last) = self.reaches(cell, region);
                last > first + 1 && self.closes(cell, *index, region)
            })
        })
    }

    /// True if a box hides all others in the parts that it holds all of.
    fn closes(&self, cell: &Cell, index: u32, region: &Region) -> bool {
        cell.hides > index && cell.states == u32::MAX && cell.tcp == u64::MAX && covers(cell, region, Some(self.axis))
    }

    /// The first and the last part that a box reaches into.
    fn reaches(&self, cell: &Cell, region: &Region) -> Span {
        let (from, to) = region.get(self.axis).copied().unwrap_or_default();
        let (first, last) = cell.spans.get(self.axis).copied().unwrap_or_default();
        ((first.max(from) >> self.shift), (last.min(to) >> self.shift))
    }

    /// Parts that a box reaches into.
    fn copies(&self, cell: &Cell, region: &Region) -> u32 {
        let (first, last) = self.reaches(cell, region);
        last.saturating_sub(first) + 1
    }

    pub(super) fn is_narrow(&self, cells: &[Cell], index: u32, region: &Region) -> bool {
        let cell = cells.get(index as usize);
        cell.is_some_and(|cell| self.copies(cell, region) <= limit(self.parts))
    }

    /// The bits that the numbers of the parts differ in, how many, and what the first of them would be without.
    pub(super) fn index(&self) -> (u32, u32) {
        let bits = u32::BITS - (self.first ^ (self.first + self.parts - 1)).leading_zeros();
        (bits, self.first >> bits << bits)
    }

    /// The region of a part.
    pub(super) fn part(&self, region: &Region, number: u32) -> Region {
        let (number, mut inner) = (self.first + number, *region);
        if let Some((from, to)) = inner.get_mut(self.axis) {
            *from = (*from).max(number << self.shift);
            *to = (*to).min((number << self.shift) | ((1 << self.shift) - 1));
        }
        inner
    }
}

/// The lists that a list was cut into.
pub(super) struct Parts {
    all: Vec<u32>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Parts {
    pub(super) fn get(&self, number: u32) -> &[u32] {
        let end = |number: u32| self.ends.get(number as usize).map_or(0, |end| *end as usize);
        let begin = number.checked_sub(1).map_or(0, end);
        self.all.get(begin..end(number)).unwrap_or_default()
    }

    pub(super) fn total(&self) -> usize {
        self.all.len()
    }

    pub(super) fn longest(&self) -> usize {
        let begins = std::iter::once(&0).chain(&self.ends);
        let lengths = self.ends.iter().zip(begins).map(|(end, begin)| end - begin);
        lengths.max().unwrap_or(0) as usize
    }
}

/// The boxes that reach into each part and are not hidden there; none if they are more than `most`, or all in every part.
pub(super) fn spread(cells: &[Cell], list: &[u32], region: &Region, cut: &Cut, most: usize) -> Option<Parts> {
    let mut kept: Vec<(u32, u32)> = Vec::with_capacity(list.len() + list.len() / 2);
    let mut open = Open::new(cut.parts);
    for index in list {
        let Some(cell) = cells.get(*index as usize) else {
            continue;
        };
        if *index >= open.until {
            open.all();
        }
        let (first, last) = cut.reaches(cell, region);
        let (first, last) = (first - cut.first, last - cut.first);
        let closes = cut.closes(cell, *index, region);
        let mut part = open.from(first);
        while part <= last {
            kept.push((part, *index));
            if closes && (part != first && part != last || covers(cell, &cut.part(region, part), None)) {
                open.close(part, cell.hides);
            }
            part = open.from(part + 1);
        }
        if kept.len() > most {
            return None;
        }
    }
    if kept.len() == list.len() * cut.parts as usize {
        return None;
    }
    let mut ends = vec![0_u32; cut.parts as usize];
    for (part, _) in &kept {
        ends.iter_mut()
            .skip(*part as usize)
            .take(1)
            .for_each(|count| *count += 1);
    }
    let mut sum = 0;
    for end in &mut ends {
        // Where the part begins, until it is filled.
        sum += std::mem::replace(end, sum);
    }
    let mut all = vec![0; kept.len()];
    for (part, index) in kept {
        let Some(at) = ends.get_mut(part as usize) else {
            continue;
        };
        if let Some(place) = all.get_mut(*at as usize) {
            *place = index;
        }
        *at += 1;
    }
    Some(Parts { all, ends })
}

/// Parts that no box hides yet.
struct Open {
    /// For each part the next that may be open, itself if it is.
    next: Vec<u32>,
    /// The box before which the others stay hidden.
    until: u32,
}

impl Open {
    fn new(parts: u32) -> Self {
        Self {
            next: (0..=parts).collect(),
            until: u32::MAX,
        }
    }

    fn all(&mut self) {
        (0_u32..).zip(&mut self.next).for_each(|(part, next)| *next = part);
        self.until = u32::MAX;
    }

    fn close(&mut self, part: u32, until: u32) {
        if let Some(next) = self.next.get_mut(part as usize) {
            *next = part + 1;
        }
        self.until = until;
    }

    /// The first open part from this one on.
    fn from(&mut self, part: u32) -> u32 {
        let mut found = part;
        while let Some(next) = self.next.get(found as usize).copied().filter(|next| *next != found) {
            found = next;
        }
        // The next time it is one step.
        let mut step = part;
        while step != found {
            let Some(next) = self.next.get_mut(step as usize) else {
                break;
            };
            step = std::mem::replace(next, found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tables::hidden::{
        shortened,
        tests::{cell, numbers, region},
    };

    #[test]
    fn every_part_has_what_reaches_into_it_in_order() {
        let cells: Vec<Cell> = (0..64).map(|n| cell(n * 37 % 64, n * 37 % 64 + n % 5)).collect();
        let (list, region) = (numbers(&cells), region(67));
        let cut = cuts(&cells, &list, &region)[0];
        let parts = spread(&cells, &list, &region, &cut, usize::MAX).unwrap();
        assert_eq!(
            (0..cut.parts).map(|number| parts.get(number).len()).sum::<usize>(),
            parts.total()
        );
        for number in 0..cut.parts {
            let inner = cut.part(&region, number);
            let reaches = |index: &u32| {
                let (first, last) = cells[*index as usize].spans[0];
                first <= inner[0].1 && inner[0].0 <= last
            };
            let expected: Vec<u32> = list.iter().copied().filter(reaches).collect();
            let got = parts.get(number);
            assert!(got.is_sorted() && got.iter().all(|index| expected.contains(index)));
            assert_eq!(shortened(&cells, got, &inner), shortened(&cells, &expected, &inner));
        }
        assert!(spread(&cells, &list, &region, &cut, 10).is_none());
    }

    #[test]
    fn hidden_parts_open_again_where_what_hides_them_ends() {
        let mut cells = vec![cell(0, 9); 6];
        cells[0].hides = 3;
        let (list, region) = (numbers(&cells), region(9));
        let cut = cuts(&cells, &list, &region)[0];
        let parts = spread(&cells, &list, &region, &cut, usize::MAX).unwrap();
        for number in 0..cut.parts {
            assert_eq!(parts.get(number), [0, 3]);
        }
        assert_eq!((parts.total(), parts.longest()), (2 * cut.parts as usize, 2));
    }

    #[test]
    fn what_is_everywhere_is_not_cut() {
        let mut cells = vec![cell(0, 9); 3];
        for cell in &mut cells {
            cell.hides = 0;
        }
        let (list, region) = (numbers(&cells), region(9));
        let cut = cuts(&cells, &list, &region)[0];
        assert!(spread(&cells, &list, &region, &cut, usize::MAX).is_none());
        assert_eq!(
            cuts(&cells, &list, &region).len(),
            1,
            "on other axes there is one class"
        );
    }
}
