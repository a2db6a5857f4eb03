//! The boxes of places, and what the search must know of each.

use netbridge_common::abi::{NO_PATH, RuleBox, axis};

use super::classes::Classes;
use super::conditions::Conditions;
use super::error::TooComplex;
use super::forest::{AXES, Cell};
use super::places::Place;
use super::program::{MOST_BOXES, Program};
use super::spans::{EVERYTHING, Span};

/// The boxes of a program, and their cells.
pub(super) struct Made {
    pub(super) boxes: Vec<RuleBox>,
    pub(super) cells: Vec<Cell>,
}

/// Makes the boxes of a program, in the order of its places.
pub(super) fn boxes(program: &Program, classes: &[Classes; AXES]) -> Result<Made, TooComplex> {
    let places = &program.places;
    let mut made = Made {
        boxes: Vec::with_capacity(places.len()),
        cells: Vec::with_capacity(places.len()),
    };
    let mut firsts = Vec::with_capacity(places.len() + 1);
    // The farthest that a place before this one goes on to.
    let mut reach = 0;
    for (index, place) in places.iter().enumerate() {
        firsts.push(u32::try_from(made.boxes.len()).unwrap_or(u32::MAX));
        let decides = place.outcome.is_final() && place.limit == 0;
        for conditions in &place.any_of {
            let hides = decides && reach as usize <= index;
            products(conditions, classes, &mut |spans| {
                if made.boxes.len() >= MOST_BOXES {
                    return Err(TooComplex::Boxes { line: place.line });
                }
                made.boxes.push(made_of(spans, conditions, place, index));
                made.cells.push(Cell {
                    spans: *spans,
                    states: conditions.states,
                    tcp: conditions.tcp,
                    // The number of the place, for now.
                    hides: if hides { u32::MAX } else { 0 },
                    turn: (!decides).then(|| u32::try_from(index).unwrap_or(u32::MAX)),
                });
                Ok(())
            })?;
        }
        if !place.outcome.is_final() {
            reach = reach.max(place.beyond);
        }
    }
    firsts.push(u32::try_from(made.boxes.len()).unwrap_or(u32::MAX));
    link(&mut made, program, &firsts);
    Ok(made)
}

/// Replaces numbers of places by those of boxes; `firsts` are the first box of each place.
fn link(made: &mut Made, program: &Program, firsts: &[u32]) {
    let first = |place: usize| firsts.get(place).copied().unwrap_or(NO_PATH);
    let mut ends = program.ends.iter().copied();
    let mut end = ends.next().unwrap_or(usize::MAX);
    for ((found, cell), index) in made.boxes.iter_mut().zip(&mut made.cells).zip(0_u32..) {
        let number = found.next as usize;
        let Some(place) = program.places.get(number) else {
            continue;
        };
        while number >= end {
            end = ends.next().unwrap_or(usize::MAX);
        }
        if cell.hides != 0 {
            cell.hides = first(end);
        }
        if place.outcome.is_final() {
            found.next = first(number + 1);
        } else {
            found.next = first(place.next as usize);
            let behind = first(number + 1).saturating_sub(index + 1);
            found.with = u8::try_from(behind).unwrap_or(u8::MAX);
        }
    }
}

/// Calls `each` for one span of classes on each axis, in every way.
fn products(
    conditions: &Conditions,
    classes: &[Classes; AXES],
    each: &mut impl FnMut(&[Span; AXES]) -> Result<(), TooComplex>,
) -> Result<(), TooComplex> {
    let mut spans = [EVERYTHING; AXES];
    let mut lists: [&[Span]; AXES] = [&[]; AXES];
    let mut several = [0; AXES];
    let mut count = 0;
    for (number, wanted) in conditions.wanted.iter().enumerate() {
        let kept = if number == axis::OUTPUT as usize {
            axis::INPUT as usize
        } else {
            number
        };
        let Some(wanted) = wanted else { continue };
        match classes[kept].of(*wanted) {
            [] => return Ok(()),
            [one] => spans[number] = *one,
            many => {
                lists[count] = many;
                several[count] = number;
                count += 1;
            }
        }
    }
    // As a clock whose last wheel runs fastest.
    let mut wheels = [0; AXES];
    loop {
        for wheel in 0..count {
            spans[several[wheel]] = lists[wheel][wheels[wheel]];
        }
        each(&spans)?;
        let turned = (0..count).rev().find(|wheel| wheels[*wheel] + 1 < lists[*wheel].len());
        let Some(turned) = turned else { return Ok(()) };
        wheels[turned] += 1;
        wheels[turned + 1..count].fill(0);
    }
}

/// A box; `next` is the number of its place, to be replaced.
fn made_of(spans: &[Span; AXES], conditions: &Conditions, place: &Place, index: usize) -> RuleBox {
    let [src, dst, sport, dport, input, output, proto, mac] = *spans;
    let small = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let least = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    RuleBox {
        tcp: conditions.tcp,
        states: conditions.states,
        src: src.0,
        src_more: src.1 - src.0,
        dst: dst.0,
        dst_more: dst.1 - dst.0,
        sport: small(sport.0),
        sport_more: small(sport.1 - sport.0),
        dport: small(dport.0),
        dport_more: small(dport.1 - dport.0),
        input: small(input.0),
        input_more: small(input.1 - input.0),
        output: small(output.0),
        output_more: small(output.1 - output.0),
        mac: small(mac.0),
        mac_more: small(mac.1 - mac.0),
        proto: least(proto.0),
        proto_more: least(proto.1 - proto.0),
        verdict: place.outcome.verdict,
        with: place.outcome.with,
        place: if place.counts.is_empty() { NO_PATH } else { index },
        next: index,
        limit: place.limit,
    }
}
