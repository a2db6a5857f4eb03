//! Sets of values, as spans in order.

use std::ops::Range;

/// Values from the first to the last, both included.
pub(super) type Span = (u32, u32);

/// Every value.
pub(super) const EVERYTHING: Span = (0, u32::MAX);

/// Lists of spans, one behind the other.
#[derive(Default)]
pub(super) struct Lists {
    all: Vec<Span>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Lists {
    /// Spans of all lists.
    pub(super) fn all(&self) -> &[Span] {
        &self.all
    }

    /// Adds a list.
    pub(super) fn push(&mut self, spans: &[Span]) {
        self.all.extend_from_slice(spans);
        self.ends.push(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// Where the spans of a list are.
    pub(super) fn range(&self, number: u32) -> Range<usize> {
        let end = |number: u32| self.ends.get(number as usize).map_or(0, |end| *end as usize);
        number.checked_sub(1).map_or(0, end)..end(number)
    }

    /// The spans of a list.
    pub(super) fn get(&self, number: u32) -> &[Span] {
        self.all.get(self.range(number)).unwrap_or_default()
    }

    /// For each span the list that it is in.
    pub(super) fn owners(&self) -> Vec<u32> {
        let lists = (0..self.len()).flat_map(|number| std::iter::repeat_n(number, self.range(number).len()));
        lists.collect()
    }
}

/// What two lists of spans in order have in common.
pub(super) fn intersection(one: &[Span], other: &[Span]) -> Vec<Span> {
    let (mut ones, mut others) = (reaching(one, other).peekable(), reaching(other, one).peekable());
    let mut common = Vec::new();
    while let (Some((a, b)), Some((c, d))) = (ones.peek(), others.peek()) {
        if a.max(c) <= b.min(d) {
            common.push((*a.max(c), *b.min(d)));
        }
        if b < d {
            ones.next();
        } else {
            others.next();
        }
    }
    common
}

/// The spans of a list that are not all before or behind those of another.
fn reaching<'a>(spans: &'a [Span], others: &[Span]) -> impl Iterator<Item = &'a Span> {
    let (from, to) = (
        others.first().map_or(0, |(first, _)| *first),
        others.last().map_or(0, |(_, last)| *last),
    );
    let start = spans.partition_point(|(_, last)| *last < from);
    let end = spans.partition_point(|(first, _)| *first <= to);
    spans.get(start..end).unwrap_or_default().iter()
}

/// The values of `within` that are in none of `spans`, which are in order.
pub(super) fn complement(spans: &[Span], within: Span) -> Vec<Span> {
    let mut left = Vec::with_capacity(spans.len() + 1);
    let mut from = Some(within.0);
    for (first, last) in spans {
        let Some(start) = from else { break };
        if *first > start {
            left.push((start, (*first - 1).min(within.1)));
        }
        from = last.checked_add(1).map(|next| next.max(start));
    }
    left.extend(from.filter(|start| *start <= within.1).map(|start| (start, within.1)));
    left
}

/// Spans in order, of which none touch.
pub(super) fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u32 = u32::MAX;

    #[test]
    fn what_is_left_out_and_what_is_left() {
        for (spans, within, left) in [
            (vec![], EVERYTHING, vec![EVERYTHING]),
            (vec![EVERYTHING], EVERYTHING, vec![]),
            (vec![(0, 0)], EVERYTHING, vec![(1, LAST)]),
            (vec![(LAST, LAST)], EVERYTHING, vec![(0, LAST - 1)]),
            (vec![(5, 9), (20, 29)], (0, 25), vec![(0, 4), (10, 19)]),
            (vec![(5, 9)], (7, 8), vec![]),
            (vec![(5, 9)], (20, 30), vec![(20, 30)]),
            (vec![(40, 50)], (20, 30), vec![(20, 30)]),
        ] {
            assert_eq!(complement(&spans, within), left, "{spans:?} in {within:?}");
        }
    }

    #[test]
    fn unions_join_what_touches() {
        for (spans, joined) in [
            (vec![], vec![]),
            (vec![(7, 9), (0, 3), (4, 6)], vec![(0, 9)]),
            (vec![(0, 3), (5, 6), (1, 2)], vec![(0, 3), (5, 6)]),
            (vec![(3, LAST), (LAST, LAST)], vec![(3, LAST)]),
            (vec![(0, LAST), (5, 6)], vec![(0, LAST)]),
        ] {
            assert_eq!(union(spans.clone()), joined, "{spans:?}");
        }
    }

    #[test]
    fn common_values_of_every_pair() {
        // Every set of the values 0 to 5, against what is counted value by value.
        let spans_of = |set: u32| union((0..6).filter(|n| set >> n & 1 != 0).map(|n| (n, n)).collect());
        for one in 0..64 {
            for other in 0..64 {
                assert_eq!(intersection(&spans_of(one), &spans_of(other)), spans_of(one & other));
            }
            assert_eq!(complement(&spans_of(one), (0, 5)), spans_of(!one & 63));
        }
        assert_eq!(
            intersection(&[EVERYTHING], &[(0, 0), (LAST, LAST)]),
            [(0, 0), (LAST, LAST)]
        );
    }

    #[test]
    fn lists_are_found_by_their_numbers() {
        let mut lists = Lists::default();
        for spans in [&[(1, 2)][..], &[], &[(3, 4), (6, 7)]] {
            lists.push(spans);
        }
        assert_eq!(
            (lists.len(), lists.get(0), lists.get(2)),
            (3, &[(1, 2)][..], &[(3, 4), (6, 7)][..])
        );
        assert_eq!((lists.get(1), lists.get(9)), (&[][..], &[][..]));
        assert_eq!(lists.owners(), [0, 2, 2]);
    }
}
