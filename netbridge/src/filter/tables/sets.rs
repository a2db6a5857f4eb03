//! Sets of addresses, ports and MACs as what rules ask for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use netbridge_common::abi::{axis, proto};

use super::axis::Wanted;
use super::conditions::{Axes, Conditions};
use super::spans::{EVERYTHING, Span, complement, intersection, union};
use super::values::{Holes, port_span, prefix_spans, range_span};
use crate::filter::syntax::{Element, Part, Protocol, Set, SetMatch};

/// What a set holds, or with `!` what it does not.
#[derive(Debug)]
pub(super) enum Members {
    /// Values of one axis.
    Values {
        /// The axis.
        number: u32,
        /// Which of its values.
        wanted: Wanted,
    },
    /// What is bounded on several axes, in the sets that it consists of.
    Boxes(Vec<Boxes>),
}

/// Elements that are bounded on several axes: of those that hold a packet the first says if the set does.
pub(super) type Boxes = Vec<(Vec<Conditions>, Holding)>;

/// Whether what elements hold is in their set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// It is.
    Yes,
    /// It is not: `nomatch`.
    No,
}

impl<'a> Axes<'a> {
    /// What the set holds that a rule names, looked up as it says, or what it does not hold.
    pub(super) fn members(&mut self, asks: &'a SetMatch, negated: bool) -> Result<Rc<Members>, Holes> {
        let key = (asks.name.as_str(), asks.source.as_slice(), negated);
        if let Some(known) = self.members.get(&key) {
            return Ok(known.clone());
        }
        let all = self.lists(&asks.name);
        let members = if let Some(number) = common_axis(&all, &asks.source) {
            let mut spans = Vec::new();
            for set in all {
                spans.append(&mut self.values(set)?);
            }
            let mut spans = union(spans);
            if negated {
                spans = complement(&spans, EVERYTHING);
            }
            let wanted = self.wanted(number, &spans);
            Members::Values { number, wanted }
        } else {
            let boxes = all.into_iter().map(|set| self.bounded(set, &asks.source));
            Members::Boxes(boxes.collect::<Result<_, _>>()?)
        };
        Ok(self.members.entry(key).or_insert(Rc::new(members)).clone())
    }

    /// The sets that one consists of: itself, or what a list has.
    fn lists(&self, name: &str) -> Vec<&'a Set> {
        let named = |name: &str| self.sets.0.get(name);
        let Some(set) = named(name) else { return Vec::new() };
        let parts = || set.elements.iter().flat_map(|element| &element.parts);
        let members = parts().filter_map(|part| match part {
            Part::Set(member) => Some(named(member)),
            _ => None,
        });
        let members: Vec<_> = members.flatten().collect();
        if members.is_empty() { vec![set] } else { members }
    }

    /// The values that a set of one dimension holds. Of the elements that hold a value the smallest says if the set does: they
    /// are networks, each within another or beside it.
    fn values(&mut self, set: &Set) -> Result<Vec<Span>, Holes> {
        let mut elements = Vec::with_capacity(set.elements.len());
        for element in &set.elements {
            for part in &element.parts {
                let spans = match part {
                    Part::Network(prefix) => prefix_spans(*prefix)?,
                    Part::Range(range) => vec![range_span(*range)],
                    Part::Mac(mac) => vec![self.mac(*mac)],
                    Part::Port { .. } | Part::Set(_) => Vec::new(),
                };
                elements.extend(spans.into_iter().map(|span| (span, element.nomatch)));
            }
        }
        if elements.iter().all(|(_, nomatch)| !nomatch) {
            return Ok(elements.into_iter().map(|(span, _)| span).collect());
        }
        Ok(smallest(elements))
    }

    /// The elements of a set of several dimensions, those first that go before others.
    fn bounded(&mut self, set: &Set, source: &[bool]) -> Result<Boxes, Holes> {
        if source.len() < usize::from(set.dimensions) {
            return Ok(Boxes::new());
        }
        let mut elements: Vec<&Element> = set.elements.iter().collect();
        if elements.iter().any(|element| element.nomatch) {
            // What is added last replaces what was there.
            elements.reverse();
            elements.sort_by_cached_key(|element| Reverse(lengths(set, element)));
        }
        let mut boxes: Boxes = Vec::new();
        for run in elements.chunk_by(|one, other| one.nomatch == other.nomatch) {
            let mut all = Vec::with_capacity(run.len());
            for element in run {
                all.extend(self.bounds(element, source)?);
            }
            let any_of = joined(all)
                .into_iter()
                .filter_map(|bounds| self.conditions(bounds))
                .collect();
            let nomatch = run.first().is_some_and(|element| element.nomatch);
            boxes.push((any_of, if nomatch { Holding::No } else { Holding::Yes }));
        }
        Ok(boxes)
    }

    fn conditions(&mut self, bounds: Bounds) -> Option<Conditions> {
        let mut all = vec![Conditions::ANY];
        for (number, spans) in bounds {
            self.narrow(&mut all, number, &spans);
        }
        all.pop()
    }

    /// What an element is bounded on, none if nothing can be in it.
    fn bounds(&mut self, element: &Element, source: &[bool]) -> Result<Option<Bounds>, Holes> {
        let mut bounds = Bounds::new();
        for (part, source) in element.parts.iter().zip(source) {
            let addresses = address_axis(*source);
            match part {
                Part::Network(prefix) => bound(&mut bounds, addresses, &prefix_spans(*prefix)?),
                Part::Range(range) => bound(&mut bounds, addresses, &[range_span(*range)]),
                Part::Mac(mac) => bound(&mut bounds, axis::MAC, &[self.mac(*mac)]),
                Part::Set(_) => {}
                Part::Port { protocol, ports } => {
                    let number = protocol.map(Protocol::number);
                    // Without one they are those of every protocol that has ports.
                    let protocols: &[u8] = number.as_ref().map_or(&[proto::TCP, proto::UDP], std::slice::from_ref);
                    let protocols = protocols.iter().map(|number| ((*number).into(), (*number).into()));
                    bound(&mut bounds, axis::PROTO, &protocols.collect::<Vec<_>>());
                    let (first, last) = port_span(*ports);
                    match number {
                        None | Some(proto::TCP | proto::UDP) => {
                            let number = if *source { axis::SPORT } else { axis::DPORT };
                            bound(&mut bounds, number, &[(first, last)]);
                        }
                        Some(proto::ICMP) => {
                            bound(&mut bounds, axis::DPORT, &[(axis::ICMP + first, axis::ICMP + last)]);
                        }
                        // Packets of other protocols have no port, which is 0 to a set.
                        Some(_) if first == 0 => {}
                        Some(_) => return Ok(None),
                    }
                }
            }
        }
        Ok(bounds.values().all(|spans| !spans.is_empty()).then_some(bounds))
    }
}

/// The spans that something is bounded by, by axis.
type Bounds = BTreeMap<u32, Vec<Span>>;

/// Bounds on an axis, if there are bounds already by both.
fn bound(bounds: &mut Bounds, number: u32, spans: &[Span]) {
    let place = bounds.entry(number).or_insert_with(|| vec![EVERYTHING]);
    *place = intersection(place, spans);
}

/// As few bounds as can be found that hold the same: those that differ in one axis alone are one.
fn joined(mut all: Vec<Bounds>) -> Vec<Bounds> {
    for number in [axis::SRC, axis::DST, axis::SPORT, axis::DPORT] {
        let mut alike: BTreeMap<Bounds, Vec<Span>> = BTreeMap::new();
        let mut others = Vec::new();
        for mut bounds in all {
            match bounds.remove(&number) {
                Some(mut spans) => alike.entry(bounds).or_default().append(&mut spans),
                None => others.push(bounds),
            }
        }
        others.extend(alike.into_iter().map(|(mut bounds, spans)| {
            bounds.insert(number, union(spans));
            bounds
        }));
        all = others;
    }
    all
}

const fn address_axis(source: bool) -> u32 {
    if source { axis::SRC } else { axis::DST }
}

/// The axis on which all elements are bounded, if it is one.
fn common_axis(sets: &[&Set], source: &[bool]) -> Option<u32> {
    let axis_of = |element: &Element| match element.parts.as_slice() {
        [Part::Network(_) | Part::Range(_)] => Some(address_axis(source.first().copied().unwrap_or(true))),
        [Part::Mac(_)] => Some(axis::MAC),
        _ => None,
    };
    let mut all = sets.iter().flat_map(|set| &set.elements).map(axis_of);
    let Some(first) = all.next() else {
        return Some(axis::SRC);
    };
    first.filter(|_| all.all(|other| other == first))
}

/// The lengths of an element's networks, in the order of dimensions: the kernel tries longer ones first, those of the first
/// dimension before those of the second (`mtype_test_cidrs`, `net/netfilter/ipset/ip_set_hash_gen.h`).
fn lengths(set: &Set, element: &Element) -> Vec<u32> {
    let dimensions = set.kind.split_once(':').map_or("", |(_, dimensions)| dimensions);
    let parts = dimensions.split(',').zip(&element.parts);
    let networks = parts.filter_map(|(dimension, part)| match part {
        Part::Network(prefix) if dimension == "net" => Some(prefix.mask().to_bits().count_ones()),
        _ => None,
    });
    networks.collect()
}

/// The values that the smallest span around each says are held. Spans are within others or beside them; of two that are the
/// same the last counts.
fn smallest(mut elements: Vec<(Span, bool)>) -> Vec<Span> {
    elements.sort_by_key(|((first, last), _)| (*first, Reverse(*last)));
    let mut held = Vec::new();
    // The spans around the current value, and where what was said of it begins.
    let mut around: Vec<(u32, bool)> = Vec::new();
    let mut from = 0_u64;
    let mut say = |until: u64, from: &mut u64, nomatch: bool| {
        if *from < until && !nomatch {
            let value = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            held.push((value(*from), value(until - 1)));
        }
        *from = until.max(*from);
    };
    for ((first, last), nomatch) in elements {
        while let Some((end, outer)) = around.pop_if(|(end, _)| *end < first) {
            say(u64::from(end) + 1, &mut from, outer);
        }
        say(first.into(), &mut from, around.last().is_none_or(|(_, outer)| *outer));
        around.push((last, nomatch));
    }
    while let Some((end, outer)) = around.pop() {
        say(u64::from(end) + 1, &mut from, outer);
    }
    union(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_differ_in_one_axis_are_joined() {
        let bounds = |src: Span, dport: Span| Bounds::from([(axis::SRC, vec![src]), (axis::DPORT, vec![dport])]);
        let all = vec![
            bounds((1, 1), (80, 80)),
            bounds((2, 2), (80, 80)),
            bounds((1, 2), (81, 81)),
            bounds((9, 9), (7, 7)),
        ];
        assert_eq!(joined(all), [bounds((1, 2), (80, 81)), bounds((9, 9), (7, 7))]);
        assert_eq!(joined(Vec::new()), []);
    }

    #[test]
    fn the_smallest_span_decides() {
        let yes = |first, last| ((first, last), false);
        let no = |first, last| ((first, last), true);
        for (elements, held) in [
            (vec![], vec![]),
            (vec![no(0, u32::MAX)], vec![]),
            (vec![yes(0, u32::MAX), no(0, 9)], vec![(10, u32::MAX)]),
            (
                vec![yes(0, 99), no(10, 19), yes(12, 13)],
                vec![(0, 9), (12, 13), (20, 99)],
            ),
            (vec![no(10, 19), yes(0, 99), yes(10, 10)], vec![(0, 10), (20, 99)]),
            (vec![yes(4, 7), no(4, 7)], vec![]),
            (vec![no(4, 7), yes(4, 7)], vec![(4, 7)]),
            (vec![yes(u32::MAX, u32::MAX), no(0, 0)], vec![(u32::MAX, u32::MAX)]),
        ] {
            assert_eq!(smallest(elements.clone()), held, "{elements:?}");
        }
    }
}
