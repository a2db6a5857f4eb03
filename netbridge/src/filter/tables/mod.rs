//! Rules to the tables of the datapath, see [`netbridge_common::abi::FilterHead`].

mod axis;
mod conditions;
mod forest;
mod limits;
mod program;
mod sets;
mod world;

use std::collections::BTreeMap;

use bytemuck::Zeroable;
use netbridge_common::abi::{
    BOX_PAGES, FilterHead, LIMITS, Limit, MAX_NETWORKS, NO_PATH, PAGE_BOXES, PAGE_WORDS, PROBES, RuleBox, SEARCH_STEPS,
    WORD_PAGES, axis as number, word,
};

use self::axis::{Axis, Classes, EVERYTHING, Span, put, reserve};
use self::conditions::{Axes, Conditions};
use self::forest::{AXES, Cell, forest};
use self::limits::Limits;
pub use self::program::RuleId;
use self::program::{NoProgram, Place, program};
pub use self::world::{KnownInterface, Uses, World};
use super::syntax::{Policy, Ruleset};

/// A compiled filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Its head.
    pub head: FilterHead,
    /// Its words.
    pub words: Vec<u64>,
    /// Its boxes.
    pub boxes: Vec<RuleBox>,
    /// Its limits.
    pub limits: Vec<Limit>,
    /// For each place, the rules that it counts for.
    pub counts: Vec<Vec<RuleId>>,
    /// Most steps that a search takes.
    pub steps: usize,
}

impl Tables {
    /// Everything is accepted, and nothing counted.
    pub fn empty() -> Self {
        Self {
            head: FilterHead::zeroed(),
            words: Vec::new(),
            boxes: Vec::new(),
            limits: Vec::new(),
            counts: Vec::new(),
            steps: 0,
        }
    }
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooComplex {
    /// Chains are reached in too many ways.
    #[error(
        "the rules reach more than {} places, chains counted as often as they are jumped to",
        program::MOST_PLACES
    )]
    Places {
        /// The rule that goes beyond.
        at: RuleId,
    },
    /// Limits.
    #[error("the rules have more than {LIMITS} limits")]
    Limits {
        /// The rule that goes beyond.
        at: RuleId,
    },
    /// Alternatives of a rule.
    #[error("the rules ask for more than {most} combinations", most = BOX_PAGES * PAGE_BOXES)]
    Boxes,
    /// A value of too many kinds.
    #[error("the rules tell more than 65,536 {what} apart")]
    Classes {
        /// Of what.
        what: &'static str,
    },
    /// Rules cross in too many ways.
    #[error("the rules cross each other in too many ways")]
    Crossing,
}

impl TooComplex {
    /// The rule that goes beyond, where it is one.
    pub fn at(&self) -> Option<RuleId> {
        match self {
            Self::Places { at } | Self::Limits { at } => Some(*at),
            Self::Boxes | Self::Classes { .. } | Self::Crossing => None,
        }
    }
}

impl From<NoProgram> for TooComplex {
    fn from(error: NoProgram) -> Self {
        match error {
            NoProgram::TooLong(at) => Self::Places { at },
            NoProgram::TooManyLimits(at) => Self::Limits { at },
        }
    }
}

/// For each place of the compiled rules, the rules that it counts for: [`Tables::counts`] without the tables, and whatever
/// the names in the rules stand for.
pub fn counts(rules: &Ruleset) -> Result<Vec<Vec<RuleId>>, TooComplex> {
    let world = World::default();
    let places = program(rules, &mut Axes::of(rules, &world), &mut Limits::new(1))?;
    Ok(places.into_iter().map(|place| place.counts).collect())
}

/// Compiles rules for a host, whose kernel's clock ticks `hz` times in a second.
pub fn compile(rules: &Ruleset, world: &World, hz: u64) -> Result<Tables, TooComplex> {
    let forward = rules.chains.first().map_or(0, |chain| chain.rules.len());
    let mut axes = Axes::of(rules, world);
    let mut limits = Limits::new(hz);
    let places = program(rules, &mut axes, &mut limits)?;
    let mut words = Vec::new();
    let classes = axes.axes.each_ref().map(Axis::classes);
    let mut head = FilterHead {
        active: u32::from(forward > 0 || rules.policy == Policy::Drop),
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
    (head.interface, head.networks) = interfaces(&mut words, world, input);
    head.mac = macs(&mut words, &axes.macs, mac);
    let (boxes, cells) = boxes(&places, &axes, &classes)?;
    head.boxes = u32::try_from(boxes.len()).unwrap_or(u32::MAX);
    let mut counts = classes.each_ref().map(|classes| classes.count);
    counts[number::OUTPUT as usize] = input.count;
    let most = (WORD_PAGES * PAGE_WORDS) as usize;
    let (root, cost) = forest(&mut words, &cells, counts, most).map_err(|forest::TooLarge| TooComplex::Crossing)?;
    head.root = root;
    if words.len() > most || cost.steps > SEARCH_STEPS as usize {
        return Err(TooComplex::Crossing);
    }
    head.places = u32::try_from(places.len()).unwrap_or(u32::MAX);
    Ok(Tables {
        head,
        words,
        boxes,
        limits: limits.all,
        counts: places.into_iter().map(|place| place.counts).collect(),
        steps: cost.steps,
    })
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

/// The boxes of places, and what the search must know of each.
fn boxes(
    places: &[Place],
    axes: &Axes<'_>,
    classes: &[Classes; AXES],
) -> Result<(Vec<RuleBox>, Vec<Cell>), TooComplex> {
    let mut boxes: Vec<RuleBox> = Vec::with_capacity(places.len());
    let mut cells = Vec::with_capacity(places.len());
    let mut firsts = Vec::with_capacity(places.len());
    // The farthest that a place before this one goes on to.
    let mut reach = 0;
    for (index, place) in places.iter().enumerate() {
        firsts.push(u32::try_from(boxes.len()).unwrap_or(u32::MAX));
        for conditions in &place.any_of {
            let hides = place.outcome.is_final()
                && place.limit == 0
                && conditions.states == u32::MAX
                && conditions.tcp == u64::MAX
                && reach <= index;
            for spans in products(conditions, classes) {
                if boxes.len() >= (BOX_PAGES * PAGE_BOXES) as usize {
                    return Err(TooComplex::Boxes);
                }
                boxes.push(made(&spans, conditions, place, index));
                cells.push(Cell { spans, hides });
            }
        }
        if !place.outcome.is_final() {
            reach = reach.max(place.next);
        }
    }
    let _ = axes;
    for (found, index) in boxes.iter_mut().zip(0_u32..) {
        let number = found.next as usize;
        let Some(place) = places.get(number) else { continue };
        let first = |place: usize| firsts.get(place).copied().unwrap_or(NO_PATH);
        if place.outcome.is_final() {
            found.next = first(number + 1);
        } else {
            found.next = first(place.next);
            let behind = first(number + 1).saturating_sub(index + 1);
            found.with = u8::try_from(behind).unwrap_or(u8::MAX);
        }
    }
    Ok((boxes, cells))
}

/// One span of classes on each axis, in every way.
fn products(conditions: &Conditions, classes: &[Classes; AXES]) -> Vec<[Span; AXES]> {
    let mut all = vec![[EVERYTHING; AXES]];
    for (number, (wanted, own)) in conditions.wanted.iter().zip(classes).enumerate() {
        let kept = if number == number::OUTPUT as usize {
            &classes[number::INPUT as usize]
        } else {
            own
        };
        let Some(wanted) = wanted else { continue };
        let spans = kept.of(*wanted);
        if let [span] = spans {
            all.iter_mut().for_each(|made| made[number] = *span);
            continue;
        }
        let each = all.iter().flat_map(|made| {
            spans.iter().map(|span| {
                let mut made = *made;
                made[number] = *span;
                made
            })
        });
        all = each.collect();
    }
    all
}

/// A box; `next` is the number of its place, to be replaced.
fn made(spans: &[Span; AXES], conditions: &Conditions, place: &Place, index: usize) -> RuleBox {
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

/// Writes the classes of interfaces: those that differ from their network's one by one.
fn interfaces(words: &mut Vec<u64>, world: &World, classes: &Classes) -> (u64, u32) {
    if classes.count <= 1 {
        return (word::new(word::CLASS, 0), 0);
    }
    let networks = reserve(words, MAX_NETWORKS as usize);
    let each = || {
        (0_u32..)
            .zip(&world.interfaces)
            .map(|(place, interface)| (interface, classes.class(place)))
    };
    let mut others = vec![0_u64; MAX_NETWORKS as usize];
    for (interface, class) in each().filter(|(interface, _)| interface.ifindex == 0) {
        if let Some(place) = others.get_mut(usize::from(interface.network)) {
            *place = class.into();
        }
    }
    put(words, networks, &others);
    let differs =
        |interface: &KnownInterface, class: u32| others.get(usize::from(interface.network)) != Some(&class.into());
    let known = each().filter(|(interface, class)| interface.ifindex != 0 && differs(interface, *class));
    let entries = known
        .map(|(interface, class)| (interface.ifindex.into(), class))
        .collect::<Vec<_>>();
    (exact(words, &entries), networks)
}

/// Writes the classes of MACs.
fn macs(words: &mut Vec<u64>, macs: &BTreeMap<[u8; 6], u32>, classes: &Classes) -> u64 {
    if classes.count <= 1 {
        return word::new(word::CLASS, classes.class(0));
    }
    let value = |[a, b, c, d, e, f]: [u8; 6]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let entries = macs
        .iter()
        .map(|(mac, number)| (value(*mac), classes.class(*number)))
        .collect::<Vec<_>>();
    exact(words, &entries)
}

/// Writes a table of exact values, in which each is found at one of [`PROBES`] places.
fn exact(words: &mut Vec<u64>, entries: &[(u64, u32)]) -> u64 {
    let mut bits = (entries.len() * 2).next_power_of_two().trailing_zeros().max(3);
    let (table, root) = loop {
        let root = word::exact(bits, 0);
        let mut table = vec![0_u64; 1 << bits];
        let all = entries.iter().all(|(value, class)| {
            let (first, mask) = word::place(root, *value);
            let mut places = (0..PROBES).map(|probe| (first.wrapping_add(probe) & mask) as usize);
            let free = places.find(|place| table.get(*place) == Some(&0));
            let place = free.and_then(|place| table.get_mut(place));
            place.map(|place| *place = value << 16 | u64::from(*class)).is_some()
        });
        if all {
            break (table, root);
        }
        bits += 1;
    };
    let at = reserve(words, table.len());
    put(words, at, &table);
    root | u64::from(at)
}
