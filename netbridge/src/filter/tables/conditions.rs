//! What packets must be, as sets of values on the axes.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::rc::Rc;

use netbridge_common::abi::{Mac, axis};

use super::axis::{Axis, Wanted};
use super::sets::Members;
use super::spans::{EVERYTHING, Span, complement};
use super::values::{Holes, prefix_span, prefix_spans};
use super::world::World;
use crate::filter::syntax::{AddressTypes, Interface, Match, Prefix, Sets};

/// What packets must be, all of it: on each axis in a set of values if one is named, in one of the states and with one of
/// the TCP flags whose bits are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) wanted: [Option<Wanted>; axis::COUNT as usize],
    pub(super) states: u32,
    pub(super) tcp: u64,
}

impl Conditions {
    /// Any packet.
    pub(super) const ANY: Self = Self {
        wanted: [None; axis::COUNT as usize],
        states: u32::MAX,
        tcp: u64::MAX,
    };
}

/// The axes while rules are read: which sets of values they ask for.
pub(super) struct Axes<'a> {
    pub(super) world: &'a World,
    pub(super) sets: &'a Sets,
    /// By number; interfaces that packets go to are on the axis of those they come from.
    pub(super) all: [Axis; axis::COUNT as usize],
    /// MACs that rules name, and their numbers, from 1 on; 0 is every other.
    macs: BTreeMap<Mac, u32>,
    /// What networks stand for whose masks have holes, by axis, and whether it is for those outside.
    holes: HashMap<(u32, Ipv4Addr, Ipv4Addr, bool), Wanted>,
    /// What names of interfaces stand for.
    named: HashMap<(&'a str, bool, bool), Wanted>,
    /// The sets that rules ask for, by name, directions, and whether it is for those outside.
    pub(super) members: HashMap<(&'a str, &'a [bool], bool), Rc<Members>>,
}

impl<'a> Axes<'a> {
    /// The axes for about as many rules.
    pub(super) fn new(world: &'a World, sets: &'a Sets, rules: usize) -> Self {
        let mut axes: [Axis; axis::COUNT as usize] = std::array::from_fn(|_| Axis::default());
        for addresses in [axis::SRC, axis::DST] {
            axes[addresses as usize].reserve(rules / 2);
        }
        Self {
            world,
            sets,
            all: axes,
            macs: BTreeMap::new(),
            holes: HashMap::new(),
            named: HashMap::new(),
            members: HashMap::new(),
        }
    }

    /// The axis where the sets of another are kept.
    pub(super) const fn place(number: u32) -> usize {
        if number == axis::OUTPUT {
            axis::INPUT as usize
        } else {
            number as usize
        }
    }

    /// Ranges of values that are kept, on all axes.
    pub(super) fn size(&self) -> usize {
        self.all.iter().map(Axis::size).sum()
    }

    /// Ranges that were looked at.
    pub(super) fn work(&self) -> usize {
        self.all.iter().map(Axis::work).sum()
    }

    /// MACs that rules name, and their numbers.
    pub(super) fn macs(&self) -> &BTreeMap<Mac, u32> {
        &self.macs
    }

    /// A MAC as a value.
    pub(super) fn mac(&mut self, mac: Mac) -> Span {
        let next = u32::try_from(self.macs.len()).unwrap_or(u32::MAX).saturating_add(1);
        let number = *self.macs.entry(mac).or_insert(next);
        (number, number)
    }

    /// The addresses of a network, or all others.
    pub(super) fn prefix(&mut self, number: u32, asks: &Match<Prefix>) -> Result<Wanted, Holes> {
        let Match { value, negated } = asks;
        if let Some(span) = prefix_span(*value) {
            return Ok(self.wanted_or_others(number, &[span], *negated));
        }
        let key = (number, value.addr(), value.mask(), *negated);
        if let Some(known) = self.holes.get(&key) {
            return Ok(*known);
        }
        let wanted = self.wanted_or_others(number, &prefix_spans(*value)?, *negated);
        self.holes.insert(key, wanted);
        Ok(wanted)
    }

    /// The interfaces that a name stands for, or all others.
    pub(super) fn named(&mut self, asks: &'a Match<Interface>) -> Wanted {
        let Match { value, negated } = asks;
        let key = (value.name.as_str(), value.wildcard, *negated);
        if let Some(known) = self.named.get(&key) {
            return *known;
        }
        let wanted = self.wanted_or_others(axis::INPUT, &self.world.named(value), *negated);
        self.named.insert(key, wanted);
        wanted
    }

    /// The addresses of some types, or all others.
    pub(super) fn of_types(&mut self, number: u32, Match { value, negated }: &Match<AddressTypes>) -> Wanted {
        self.wanted_or_others(number, &self.world.of_types(*value), *negated)
    }

    /// The number of a set of values on an axis, or of all others.
    fn wanted_or_others(&mut self, number: u32, spans: &[Span], others: bool) -> Wanted {
        if others {
            self.wanted(number, &complement(spans, EVERYTHING))
        } else {
            self.wanted(number, spans)
        }
    }

    /// The number of a set of values on an axis.
    pub(super) fn wanted(&mut self, number: u32, spans: &[Span]) -> Wanted {
        let axis = self.all.get_mut(Self::place(number));
        axis.map_or(Wanted::MIN, |axis| axis.wanted(spans))
    }

    /// Asks for a set of values too.
    pub(super) fn narrow(&mut self, all: &mut Vec<Conditions>, number: u32, spans: &[Span]) {
        let wanted = self.wanted(number, spans);
        self.narrow_to(all, number, wanted);
    }

    /// Asks for a set of values too; what asks for nothing that exists is left out.
    pub(super) fn narrow_to(&mut self, all: &mut Vec<Conditions>, number: u32, wanted: Wanted) {
        let Some(axis) = self.all.get_mut(Self::place(number)) else {
            return;
        };
        if axis.spans(wanted) == [EVERYTHING] {
            return;
        }
        all.retain_mut(|conditions| {
            let Some(place) = conditions.wanted.get_mut(number as usize) else {
                return false;
            };
            let both = place.map_or(wanted, |before| axis.both(before, wanted));
            *place = Some(both);
            !axis.spans(both).is_empty()
        });
    }

    /// What meets one of each.
    pub(super) fn both(&mut self, ones: &[Conditions], others: &[Conditions]) -> Vec<Conditions> {
        let mut all = Vec::with_capacity(ones.len() * others.len());
        for one in ones {
            for other in others {
                all.extend(self.common(one, other));
            }
        }
        all
    }

    /// What meets both; none if nothing does.
    fn common(&mut self, one: &Conditions, other: &Conditions) -> Option<Conditions> {
        let mut common = Conditions {
            states: one.states & other.states,
            tcp: one.tcp & other.tcp,
            ..one.clone()
        };
        for (number, (place, other)) in (0_u32..).zip(common.wanted.iter_mut().zip(other.wanted)) {
            let axis = self.all.get_mut(Self::place(number))?;
            *place = match (*place, other) {
                (Some(one), Some(other)) => Some(axis.both(one, other)),
                (one, other) => one.or(other),
            };
            if place.is_some_and(|both| axis.spans(both).is_empty()) {
                return None;
            }
        }
        (common.states != 0 && common.tcp != 0).then_some(common)
    }

    /// Boxes that alternatives become, at most: one for each range of values on each axis, in every way.
    pub(super) fn boxes(&self, all: &[Conditions]) -> usize {
        let spans = |(number, wanted): (u32, &Option<Wanted>)| {
            let axis = wanted.and_then(|wanted| Some((self.all.get(Self::place(number))?, wanted)));
            axis.map_or(1, |(axis, wanted)| axis.spans(wanted).len())
        };
        let boxes = |conditions: &Conditions| {
            let each = (0_u32..).zip(&conditions.wanted).map(spans);
            each.fold(1, usize::saturating_mul)
        };
        all.iter().map(boxes).fold(0, usize::saturating_add)
    }
}
