//! Sets of addresses, ports and MACs as what rules ask for.

use std::collections::BTreeMap;

use netbridge_common::abi::{Mac, axis, proto};

use super::axis::{Span, complement, intersection, union};
use super::conditions::{port_span, prefix_spans, range_spans};
use crate::filter::syntax::{Element, Part, SetMatch, Sets};

/// The axes that a box is bounded on, and its spans there.
pub(super) type Bounds = Vec<(u32, Vec<Span>)>;

/// What a set holds.
pub(super) enum Elements {
    /// Values of one axis.
    Values { number: u32, spans: Vec<Span> },
    /// What is bounded on several.
    Boxes(Vec<Bounds>),
}

/// The elements of the set that a rule names, looked up as it says; those of a list's members.
pub(super) fn elements(sets: &Sets, macs: &mut BTreeMap<Mac, u32>, asks: &SetMatch) -> Elements {
    let mut all = Vec::new();
    collect(sets, &asks.name, &mut all);
    let mut boxes: Vec<(Bounds, bool)> = Vec::with_capacity(all.len());
    for element in all {
        let mut bounds = Bounds::new();
        let directions = asks.source.iter().copied().chain(std::iter::repeat(true));
        for (part, source) in element.parts.iter().zip(directions) {
            bounds.append(&mut bounds_of(part, source, macs));
        }
        boxes.push((bounds, element.nomatch));
    }
    let Some(number) = common_axis(&boxes) else {
        return Elements::Boxes(
            boxes
                .into_iter()
                .filter(|(_, nomatch)| !nomatch)
                .map(|(bounds, _)| bounds)
                .collect(),
        );
    };
    let spans = boxes.into_iter().map(|(bounds, nomatch)| {
        let spans: Vec<Span> = bounds.into_iter().flat_map(|(_, spans)| spans).collect();
        (spans, nomatch)
    });
    Elements::Values {
        number,
        spans: most_specific(spans.collect()),
    }
}

/// The elements of a set and of its members.
fn collect<'a>(sets: &'a Sets, name: &str, all: &mut Vec<&'a Element>) {
    let Some(set) = sets.0.get(name) else { return };
    for element in &set.elements {
        match element.parts.as_slice() {
            [Part::Set(member)] => collect(sets, member, all),
            _ => all.push(element),
        }
    }
}

/// The axis on which all boxes are bounded, if it is one.
fn common_axis(boxes: &[(Bounds, bool)]) -> Option<u32> {
    let ([(bounds, _), ..], mut all) = (boxes, boxes.iter()) else {
        return Some(axis::SRC);
    };
    let [(number, _)] = bounds.as_slice() else { return None };
    let same = all.all(|(bounds, _)| matches!(bounds.as_slice(), [(other, _)] if other == number));
    same.then_some(*number)
}

/// What is in the set, where of the elements that hold a value the smallest says if it is.
fn most_specific(mut elements: Vec<(Vec<Span>, bool)>) -> Vec<Span> {
    if elements.iter().all(|(_, nomatch)| !nomatch) {
        return union(elements.into_iter().flat_map(|(spans, _)| spans).collect());
    }
    let size = |spans: &[Span]| spans.iter().map(|(first, last)| u64::from(last - first)).sum::<u64>();
    elements.sort_by_key(|(spans, _)| std::cmp::Reverse(size(spans)));
    let mut held: Vec<Span> = Vec::new();
    for (spans, nomatch) in elements {
        held = if nomatch {
            intersection(&held, &complement(&union(spans), (0, u32::MAX)))
        } else {
            union(held.into_iter().chain(spans).collect())
        };
    }
    held
}

/// What a part of an element is bounded on.
fn bounds_of(part: &Part, source: bool, macs: &mut BTreeMap<Mac, u32>) -> Bounds {
    let addresses = if source { axis::SRC } else { axis::DST };
    match part {
        Part::Network(prefix) => vec![(addresses, prefix_spans(*prefix))],
        Part::Range(range) => vec![(addresses, range_spans(range))],
        Part::Port { protocol, ports } => {
            let number = protocol.map(|protocol| protocol.number());
            let (first, last) = port_span(*ports);
            let ports = if number == Some(proto::ICMP) {
                (axis::DPORT, vec![(axis::ICMP + first, axis::ICMP + last)])
            } else if source {
                (axis::SPORT, vec![(first, last)])
            } else {
                (axis::DPORT, vec![(first, last)])
            };
            // Without one they are those of every protocol that has ports.
            let protocols = number.map_or(vec![proto::TCP, proto::UDP], |number| vec![number]);
            let protocols = protocols.into_iter().map(|number| (number.into(), number.into()));
            vec![(axis::PROTO, protocols.collect()), ports]
        }
        Part::Mac(mac) => {
            let next = u32::try_from(macs.len()).unwrap_or(u32::MAX).saturating_add(1);
            let number = *macs.entry(*mac).or_insert(next);
            vec![(axis::MAC, vec![(number, number)])]
        }
        Part::Set(_) => Vec::new(),
    }
}
