//! One field of a packet: which values rules tell apart, and the way from a value to its class.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use netbridge_common::abi::word;

/// Values from the first to the last, both included.
pub(super) type Span = (u32, u32);

/// Every value.
pub(super) const EVERYTHING: Span = (0, u32::MAX);

/// A set of values that rules ask for, by its number on its axis.
pub(super) type Wanted = u32;

/// The sets of values that rules ask for.
#[derive(Default)]
pub(super) struct Axis {
    sets: Vec<Box<[Span]>>,
    singles: HashMap<Span, Wanted, BuildHasherDefault<Mixed>>,
    lists: HashMap<Box<[Span]>, Wanted>,
    common: HashMap<(Wanted, Wanted), Wanted, BuildHasherDefault<Mixed>>,
    size: usize,
}

impl Axis {
    /// The number of a set given as spans in order, of which none touch.
    pub(super) fn wanted(&mut self, spans: &[Span]) -> Wanted {
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let number = match spans {
            [single] => *self.singles.entry(*single).or_insert(next),
            _ => match self.lists.get(spans) {
                Some(number) => *number,
                None => *self.lists.entry(spans.into()).or_insert(next),
            },
        };
        if number == next {
            self.sets.push(spans.into());
            self.size += spans.len();
        }
        number
    }

    /// Spans of all sets.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The spans of a set.
    pub(super) fn spans(&self, wanted: Wanted) -> &[Span] {
        self.sets.get(wanted as usize).map_or(&[], |spans| spans)
    }

    /// The number of what two sets have in common.
    pub(super) fn both(&mut self, one: Wanted, other: Wanted) -> Wanted {
        if one == other {
            return one;
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

    /// Classes for all values, such that values of one class are in the same sets.
    ///
    /// The sets that hold a value are told by the exclusive or of 128 random bits for each. Classes are numbered as they
    /// first appear in the order of values; so those of one span, unless a set has several, follow each other: none of them
    /// can have appeared before it.
    pub(super) fn classes(&self) -> Classes {
        let random = RandomState::new();
        let mark = |set: usize| u128::from(random.hash_one((set, 0))) << 64 | u128::from(random.hash_one((set, 1)));
        let mut edges: Vec<(u32, u128)> = Vec::with_capacity(self.sets.len() * 2 + 1);
        for (number, spans) in self.sets.iter().enumerate() {
            let mark = mark(number);
            for (first, last) in spans {
                edges.push((*first, mark));
                edges.extend(last.checked_add(1).map(|behind| (behind, mark)));
            }
        }
        edges.push((0, 0));
        edges.sort_unstable_by_key(|(at, _)| *at);
        let mut known: HashMap<u128, u32, BuildHasherDefault<Mixed>> = HashMap::default();
        let mut segments: Vec<Segment> = Vec::with_capacity(edges.len());
        let mut sets = 0_u128;
        for edge in edges.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((start, _)) = edge.first() else { continue };
            sets = edge.iter().fold(sets, |sets, (_, mark)| sets ^ mark);
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let class = *known.entry(sets).or_insert(next);
            let so_far = segments.last().map_or(class, |segment| segment.so_far.max(class));
            segments.push(Segment {
                start: *start,
                class,
                so_far,
            });
        }
        let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let sets = self.sets.iter().map(|spans| ranges(&segments, spans)).collect();
        Classes { segments, count, sets }
    }
}

/// Values of one class, up to where the next ones start.
struct Segment {
    start: u32,
    class: u32,
    /// The highest class up to here.
    so_far: u32,
}

/// The classes of an axis.
pub(super) struct Classes {
    segments: Vec<Segment>,
    /// How many there are, at least one.
    pub(super) count: u32,
    sets: Vec<Box<[Span]>>,
}

impl Classes {
    /// The classes of a set, as spans in order.
    pub(super) fn of(&self, wanted: Wanted) -> &[Span] {
        self.sets.get(wanted as usize).map_or(&[], |spans| spans)
    }

    /// The class of a value.
    pub(super) fn class(&self, value: u32) -> u32 {
        let behind = self.segments.partition_point(|segment| segment.start <= value);
        let found = behind.checked_sub(1).and_then(|place| self.segments.get(place));
        found.map_or(0, |segment| segment.class)
    }

    /// Writes the way from a value to its class; the word that it begins with.
    pub(super) fn write(&self, words: &mut Vec<u64>) -> u64 {
        way(words, &self.segments, 0, u32::BITS)
    }
}

/// The classes of a set with these spans: of each the classes that are new in it, for those that are not were new in one
/// before.
fn ranges(segments: &[Segment], spans: &[Span]) -> Box<[Span]> {
    let mut ranges: Vec<Span> = Vec::with_capacity(spans.len());
    for (first, last) in spans {
        let start = segments.partition_point(|segment| segment.start < *first);
        let end = segments.partition_point(|segment| segment.start <= *last);
        let highest = |place: usize| segments.get(place).map(|segment| segment.so_far);
        let from = start.checked_sub(1).and_then(highest).map_or(0, |before| before + 1);
        let Some(to) = end.checked_sub(1).and_then(highest) else {
            continue;
        };
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == from => *last = to.max(*last),
            _ if to >= from => ranges.push((from, to)),
            _ => {}
        }
    }
    ranges.into()
}

/// Segments that are told apart by comparing, not by a table.
const COMPARED: usize = 8;

/// Most bits that a table is indexed by.
const MOST_BITS: u32 = 16;

/// Writes the way to the classes of the values that have these segments: `bits` low bits of the values differ, and
/// `start` is the first of them.
fn way(words: &mut Vec<u64>, segments: &[Segment], start: u32, bits: u32) -> u64 {
    let [first, rest @ ..] = segments else {
        return word::new(word::CLASS, 0);
    };
    if rest.is_empty() {
        return word::new(word::CLASS, first.class);
    }
    if segments.len() <= COMPARED || bits == 0 {
        let (below, above) = segments.split_at(segments.len() / 2);
        let at = reserve(words, 3);
        let middle = above.first().map_or(0, |segment| segment.start);
        let ways = [way(words, below, start, bits), way(words, above, middle, bits)];
        put(words, at, &[middle.into(), ways[0], ways[1]]);
        return word::new(word::SPLIT, at);
    }
    let taken = segments.len().ilog2().clamp(1, MOST_BITS).min(bits);
    let left = bits - taken;
    let at = reserve(words, 1 << taken);
    let (mut begin, mut end) = (0, 0);
    for child in 0..1_u32 << taken {
        let first = start + (child << left);
        let last = first | u32::MAX.checked_shr(u32::BITS - left).unwrap_or(0);
        let starts_by = |place: usize, value: u32| segments.get(place).is_some_and(|segment| segment.start <= value);
        while starts_by(begin + 1, first) {
            begin += 1;
        }
        while starts_by(end, last) {
            end += 1;
        }
        let next = way(words, segments.get(begin..end).unwrap_or_default(), first, left);
        put(words, at + child, &[next]);
    }
    word::cut(0, left, taken, at)
}

/// Makes room for words; where it begins.
pub(super) fn reserve(words: &mut Vec<u64>, count: usize) -> u32 {
    let at = words.len();
    words.resize(at + count, word::EMPTY);
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Fills in words that were reserved.
pub(super) fn put(words: &mut [u64], at: u32, values: &[u64]) {
    let places = words.iter_mut().skip(at as usize);
    places.zip(values).for_each(|(place, value)| *place = *value);
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

/// A hash of a few integers, for keys that nobody chooses to collide.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, value: u128) {
        let [low, high]: [u64; 2] = bytemuck::cast(value);
        self.write_u64(low);
        self.write_u64(high);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
