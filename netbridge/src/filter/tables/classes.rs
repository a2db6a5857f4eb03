//! Which values of a field rules tell apart, and the way from a value to its class.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::Range;

use netbridge_common::abi::word;

use super::axis::Wanted;
use super::spans::{Lists, Span};
use super::words::Words;

/// Values of one class, up to where the next ones start.
#[derive(Clone, Copy)]
struct Segment {
    start: u32,
    class: u32,
    /// The highest class up to here.
    so_far: u32,
}

/// Segments in the order of values, while they are made.
struct Segments {
    all: Vec<Segment>,
    known: HashMap<u128, u32, BuildHasherDefault<Mixed>>,
}

impl Segments {
    fn with_capacity(segments: usize) -> Self {
        Self {
            all: Vec::with_capacity(segments),
            known: HashMap::with_capacity_and_hasher(segments, BuildHasherDefault::default()),
        }
    }

    /// The place of the segment that is added next.
    fn next(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// Adds the values from `start` on, which are in these sets.
    fn add(&mut self, start: u32, sets: u128) {
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let class = *self.known.entry(sets).or_insert(next);
        let so_far = self.all.last().map_or(class, |segment| segment.so_far.max(class));
        self.all.push(Segment { start, class, so_far });
    }

    /// The classes of a set that has these spans, whose edges are at these places: of each span the classes that are new in it,
    /// for those that are not were new in one before.
    fn ranges(&self, places: &[u32], spans: Range<usize>, ranges: &mut Vec<Span>) {
        ranges.clear();
        // The highest class before an edge.
        let highest = |edge: usize| {
            let place = places.get(edge).map_or(0, |place| *place as usize).min(self.all.len());
            let before = place.checked_sub(1).and_then(|place| self.all.get(place));
            before.map(|segment| segment.so_far)
        };
        for span in spans {
            let from = highest(span * 2).map_or(0, |before| before + 1);
            let Some(to) = highest(span * 2 + 1) else {
                continue;
            };
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == from => *last = to.max(*last),
                _ if to >= from => ranges.push((from, to)),
                _ => {}
            }
        }
    }
}

/// The classes of an axis.
pub(super) struct Classes {
    segments: Vec<Segment>,
    /// How many there are, at least one.
    pub(super) count: u32,
    sets: Lists,
}

impl Classes {
    /// Classes for all values, such that values of one class are in the same sets.
    ///
    /// The sets that hold a value are told by the exclusive or of 128 random bits for each. Classes are numbered as they
    /// first appear in the order of values; so those of one span, unless a set has several, follow each other: none of them
    /// can have appeared before it.
    pub(super) fn of_sets(lists: &Lists) -> Self {
        let random = RandomState::new();
        let seeds = [random.hash_one(0), random.hash_one(1)];
        let mark = |set: u32| {
            let [high, low] = seeds.map(|seed| u128::from(mixed(seed ^ u64::from(set))));
            high << 64 | low
        };
        // Where each span begins, and where what is behind it does: the value above the number of the edge.
        let mut edges: Vec<u64> = Vec::with_capacity(lists.all().len() * 2);
        for ((first, last), number) in lists.all().iter().zip((0_u64..).step_by(2)) {
            edges.push(u64::from(*first) << 32 | number);
            edges.extend(
                last.checked_add(1)
                    .map(|behind| (u64::from(behind) << 32) | (number + 1)),
            );
        }
        edges.sort_unstable();
        let owners = lists.owners();
        let mut places = vec![u32::MAX; lists.all().len() * 2];
        let mut segments = Segments::with_capacity(edges.len() + 1);
        let mut sets = 0_u128;
        if edges.first().is_none_or(|edge| edge >> 32 != 0) {
            segments.add(0, sets);
        }
        for edge in edges.chunk_by(|one, other| one >> 32 == other >> 32) {
            let Some(start) = edge.first().map(|edge| (edge >> 32) as u32) else {
                continue;
            };
            let place = segments.next();
            for number in edge.iter().map(|edge| (*edge & 0xffff_ffff) as usize) {
                sets ^= owners.get(number / 2).map_or(0, |owner| mark(*owner));
                if let Some(known) = places.get_mut(number) {
                    *known = place;
                }
            }
            segments.add(start, sets);
        }
        let mut spans = Lists::default();
        let mut ranges = Vec::new();
        for set in 0..lists.len() {
            segments.ranges(&places, lists.range(set), &mut ranges);
            spans.push(&ranges);
        }
        Self {
            count: u32::try_from(segments.known.len()).unwrap_or(u32::MAX),
            segments: segments.all,
            sets: spans,
        }
    }

    /// The classes of a set, as spans in order.
    pub(super) fn of(&self, wanted: Wanted) -> &[Span] {
        self.sets.get(wanted.get() - 1)
    }

    /// The class of a value.
    pub(super) fn class(&self, value: u32) -> u32 {
        let behind = self.segments.partition_point(|segment| segment.start <= value);
        let found = behind.checked_sub(1).and_then(|place| self.segments.get(place));
        found.map_or(0, |segment| segment.class)
    }

    /// Writes the way from a value to its class; the word that it begins with.
    pub(super) fn write(&self, words: &mut Words) -> u64 {
        way(words, &self.segments, 0, u32::BITS)
    }
}

/// Segments that are told apart by comparing, not by a table.
const COMPARED: usize = 8;

/// Most bits that a table is indexed by.
const MOST_BITS: u32 = 16;

/// Writes the way to the classes of the values that have these segments: `bits` low bits of the values differ, and
/// `start` is the first of them.
fn way(words: &mut Words, segments: &[Segment], start: u32, bits: u32) -> u64 {
    let [first, rest @ ..] = segments else {
        return word::new(word::CLASS, 0);
    };
    if rest.is_empty() {
        return word::new(word::CLASS, first.class);
    }
    if segments.len() <= COMPARED || bits == 0 {
        let (below, above) = segments.split_at(segments.len() / 2);
        let at = words.reserve(3);
        let middle = above.first().map_or(0, |segment| segment.start);
        let ways = [way(words, below, start, bits), way(words, above, middle, bits)];
        words.put(at, &[middle.into(), ways[0], ways[1]]);
        return word::new(word::SPLIT, at);
    }
    let taken = segments.len().ilog2().clamp(1, MOST_BITS).min(bits);
    let left = bits - taken;
    let at = words.reserve(1 << taken);
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
        words.put(at + child, &[next]);
    }
    word::cut(0, left, taken, at)
}

/// A number whose every bit depends on all of another's (Steele et al., "Fast splittable pseudorandom number generators", 2014).
const fn mixed(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
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
