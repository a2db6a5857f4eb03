//! Rules to the tables of the datapath, see [`netbridge_common::abi::FilterHead`].

mod asked;
mod axis;
mod boxes;
mod classes;
mod conditions;
mod cost;
mod error;
mod exact;
mod forest;
mod hidden;
pub mod legend;
mod limits;
mod pairs;
mod places;
mod program;
mod sets;
mod spans;
mod spread;
#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::doc_markdown,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::trivially_copy_pass_by_ref,
    reason = "drawn values are made to fit, comments cite the kernel's files, and rules are written as text"
)]
mod tests;
mod values;
mod words;
mod world;
mod writer;

use bytemuck::Zeroable;
use netbridge_common::abi::{FilterHead, Limit, NO_PATH, Region, RuleBox, axis as number};

use self::boxes::{Made, boxes};
use self::classes::Classes;
use self::conditions::Axes;
pub use self::error::TooComplex;
use self::forest::forest;
use self::limits::Limits;
use self::program::program;
pub use self::words::Room;
use self::words::Words;
pub use self::world::{KnownEndpoint, KnownInterface, Uses, World};
pub use super::syntax::RuleId;
use super::syntax::{Policy, Ruleset};

/// A compiled filter, or the part of one that concerns some packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Its head.
    pub head: FilterHead,
    /// Where in a bank it begins.
    pub room: Room,
    /// Its words.
    pub words: Vec<u64>,
    /// Its boxes.
    pub boxes: Vec<RuleBox>,
    /// Its limits.
    pub limits: Vec<Limit>,
    /// For each place, the rules that it counts for.
    pub counts: Vec<Vec<RuleId>>,
    /// True if a packet may count for several places.
    pub joins: bool,
    /// Most steps that a packet takes, however often it is searched for anew.
    pub steps: usize,
}

/// What is known of the bank in force without its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// What it was made from, see [`FilterHead::digest`].
    pub digest: u64,
    /// Its patches.
    pub patches: u32,
    /// What is free of it.
    pub room: Room,
}

impl Tables {
    /// Everything is accepted, and nothing counted.
    pub fn empty() -> Self {
        Self {
            head: FilterHead::zeroed(),
            room: Room::default(),
            words: Vec::new(),
            boxes: Vec::new(),
            limits: Vec::new(),
            counts: Vec::new(),
            joins: false,
            steps: 0,
        }
    }
}

/// Words that a rule takes, on the average of many.
const WORDS_OF_A_RULE: usize = 16;

/// Compiles rules for a host, whose kernel's clock ticks `hz` times in a second.
pub fn compile(rules: &Ruleset, world: &World, hz: u64) -> Result<Tables, TooComplex> {
    compile_into(Room::default(), rules, world, hz, |position| position)
}

/// Compiles rules for what is free of a bank. The legend of rules that stood in a filter before is for where they stood there.
pub fn compile_part(room: Room, rules: &Ruleset, world: &World, hz: u64) -> Result<Tables, TooComplex> {
    let stood = |position: RuleId| {
        let chain = rules.chains.get(position.chain as usize);
        let rule = chain.and_then(|chain| chain.rules.get(position.rule as usize));
        let stood = rule.map_or_else(|| chain.and_then(|chain| chain.stood), |rule| rule.stood);
        stood.unwrap_or(position)
    };
    compile_into(room, rules, world, hz, stood)
}

/// Compiles rules; `id` says by what the legend knows a rule.
fn compile_into(
    room: Room,
    rules: &Ruleset,
    world: &World,
    hz: u64,
    id: impl Fn(RuleId) -> RuleId,
) -> Result<Tables, TooComplex> {
    let forward = rules.chains.first().map_or(0, |chain| chain.rules.len());
    let count = rules.chains.iter().map(|chain| chain.rules.len()).sum();
    let mut axes = Axes::new(world, &rules.sets, count);
    let mut limits = Limits::new(hz);
    let mut program = program(rules, &mut axes, &mut limits)?;
    for place in &mut program.places {
        place.counts.iter_mut().for_each(|rule| *rule = id(*rule));
    }
    let mut words = Words::new(room.words, count * WORDS_OF_A_RULE);
    let classes = axes.all.each_ref().map(|axis| Classes::of_sets(axis.sets()));
    let mut head = FilterHead {
        active: u32::from(forward > 0 || rules.policy == Policy::Drop),
        region: Region::ALL,
        ..FilterHead::zeroed()
    };
    let [src, dst, sport, dport, input, _, proto, mac] = &classes;
    for (classes, what) in [
        (sport, "source ports"),
        (dport, "destination ports"),
        (input, "interfaces"),
        (mac, "MACs"),
    ] {
        if classes.count > 1 << 16 {
            return Err(TooComplex::Classes { what });
        }
    }
    head.src = src.write(&mut words);
    head.dst = dst.write(&mut words);
    head.sport = sport.write(&mut words);
    head.dport = dport.write(&mut words);
    head.proto = proto.write(&mut words);
    (head.interface, head.networks) = exact::interfaces(&mut words, world, input)?;
    head.mac = exact::macs(&mut words, axes.macs(), mac)?;
    let Made { mut boxes, cells } = boxes(&program, &classes)?;
    let mut counts = classes.each_ref().map(|classes| classes.count);
    counts[number::OUTPUT as usize] = input.count;
    let (root, cost) = forest(&mut words, &cells, counts, room).map_err(|forest::TooLarge| TooComplex::Crossing)?;
    head.root = root;
    let steps = cost.all_steps();
    if !cost.fits() {
        return Err(TooComplex::Steps { steps });
    }
    pairs::write(&mut words, &mut head, room, world, &classes, &boxes);
    legend::write(&mut words, &mut head, &program.places);
    let counted = [(words.all.len(), room.most_words()), (boxes.len(), room.most_boxes())];
    let others = [
        (program.places.len(), room.most_places()),
        (limits.all.len(), room.most_limits()),
    ];
    if counted.iter().chain(&others).any(|(count, most)| count > most) {
        return Err(TooComplex::Crossing);
    }
    let end = |first: u32, count: usize| u32::try_from(count).map_or(u32::MAX, |count| first.saturating_add(count));
    head.words = words.end();
    head.boxes = end(room.boxes, boxes.len());
    head.limits = end(room.limits, limits.all.len());
    head.first_place = room.places;
    head.places = end(room.places, program.places.len());
    for found in &mut boxes {
        place_in(found, room);
    }
    Ok(Tables {
        head,
        room,
        words: words.all,
        boxes,
        limits: limits.all,
        joins: program
            .places
            .iter()
            .any(|place| !place.outcome.is_final() && !place.counts.is_empty()),
        counts: program.places.into_iter().map(|place| place.counts).collect(),
        steps,
    })
}

/// Moves what a box names to where that goes in a bank.
fn place_in(found: &mut RuleBox, room: Room) {
    for (number, first) in [(&mut found.place, room.places), (&mut found.next, room.boxes)] {
        if *number != NO_PATH {
            *number += first;
        }
    }
    if found.limit != 0 {
        found.limit += room.limits;
    }
}

/// The names of interfaces in rules that stand for nothing, each with its line.
pub fn unknown(rules: &Ruleset, world: &World) -> Vec<(usize, String)> {
    let all = rules.chains.iter().flat_map(|chain| &chain.rules);
    let names = all.flat_map(|rule| [&rule.in_interface, &rule.out_interface].map(|asks| (rule.line, asks)));
    let gone =
        names.filter_map(|(line, asks)| Some((line, &asks.as_ref()?.value)).filter(|(_, name)| !world.knows(name)));
    let mut gone: Vec<(usize, String)> = gone.map(|(line, name)| (line, name.name.clone())).collect();
    gone.dedup();
    gone
}
