//! What a rule asks for, as sets of values on the axes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netbridge_common::abi::{CtState, Mac, axis};

use super::axis::{Axis, EVERYTHING, Span, Wanted, complement, union};
use super::sets;
use super::world::World;
use crate::filter::syntax::{
    AddressRange, Direction, Extension, IcmpType, Interface, Match, Rule, Ruleset, Sets, TcpFlags, Which,
};
use crate::filter::{Ports, Prefix, States};

/// Every port.
const PORTS: Span = (0, 0xffff);

/// ICMP types and codes on the axis of destination ports.
const ICMP: Span = (axis::ICMP, axis::ICMP + 0xffff);

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

/// What a rule asks for.
pub(super) struct Asked {
    /// It does not match packets that meet one of these.
    pub(super) none_of: Vec<Conditions>,
    /// It matches others that meet one of these.
    pub(super) any_of: Vec<Conditions>,
    /// How many these would be if every name stood for something, and nothing excluded anything.
    pub(super) alternatives: usize,
}

/// The axes while rules are read: which sets of values they ask for.
pub(super) struct Axes<'a> {
    pub(super) world: &'a World,
    pub(super) sets: &'a Sets,
    /// By number; interfaces that packets go to are on the axis of those they come from.
    pub(super) axes: [Axis; axis::COUNT as usize],
    /// MACs that rules name, and their numbers, from 1 on; 0 is every other.
    pub(super) macs: BTreeMap<Mac, u32>,
}

impl<'a> Axes<'a> {
    /// Those of rules that are not read yet.
    pub(super) fn of(rules: &'a Ruleset, world: &'a World) -> Self {
        Self {
            world,
            sets: &rules.sets,
            axes: std::array::from_fn(|_| Axis::default()),
            macs: BTreeMap::new(),
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

    /// What a rule asks for.
    pub(super) fn asked(&mut self, rule: &Rule) -> Asked {
        let mut asked = Asked {
            none_of: Vec::new(),
            any_of: vec![Conditions::ANY],
            alternatives: 1,
        };
        if let Some(asks) = &rule.source {
            self.narrow(
                &mut asked,
                axis::SRC,
                &either(asks, |prefix| prefix_spans(*prefix), EVERYTHING),
            );
        }
        if let Some(asks) = &rule.destination {
            self.narrow(
                &mut asked,
                axis::DST,
                &either(asks, |prefix| prefix_spans(*prefix), EVERYTHING),
            );
        }
        for (asks, number) in [(&rule.in_interface, axis::INPUT), (&rule.out_interface, axis::OUTPUT)] {
            if let Some(asks) = asks {
                let spans = self.interfaces(asks);
                self.narrow(&mut asked, number, &spans);
            }
        }
        if let Some(asks) = &rule.protocol {
            let number = u32::from(asks.value.number());
            self.narrow(
                &mut asked,
                axis::PROTO,
                &negated(asks.negated, vec![(number, number)], (0, 255)),
            );
        }
        for extension in &rule.matches {
            self.extension(&mut asked, extension);
        }
        asked
    }

    fn extension(&mut self, asked: &mut Asked, extension: &Extension) {
        match extension {
            Extension::Tcp { sport, dport, flags } => {
                self.ports(asked, sport.as_ref(), dport.as_ref());
                if let Some(Match { value, negated }) = flags {
                    let bits = flag_bits(*value);
                    let bits = if *negated { !bits } else { bits };
                    asked.any_of.iter_mut().for_each(|conditions| conditions.tcp &= bits);
                }
            }
            Extension::Udp { sport, dport } => self.ports(asked, sport.as_ref(), dport.as_ref()),
            Extension::Icmp(asks) => self.narrow(asked, axis::DPORT, &either(asks, icmp_spans, ICMP)),
            Extension::Multiport { which, ports } => self.multiport(asked, *which, ports),
            Extension::Conntrack { states, direction } => {
                let states = states.as_ref();
                let bits = (0..32).filter(|number| conntrack_matches(*number, states, *direction));
                let bits = bits.fold(0, |bits, number| bits | 1_u32 << number);
                asked.any_of.iter_mut().for_each(|conditions| conditions.states &= bits);
            }
            Extension::State(asks) => {
                let bits = (0..32).filter(|number| state_matches(*number, asks));
                let bits = bits.fold(0, |bits, number| bits | 1_u32 << number);
                asked.any_of.iter_mut().for_each(|conditions| conditions.states &= bits);
            }
            Extension::Mac(asks) => {
                let next = u32::try_from(self.macs.len()).unwrap_or(u32::MAX).saturating_add(1);
                let number = *self.macs.entry(asks.value).or_insert(next);
                self.narrow(
                    asked,
                    axis::MAC,
                    &negated(asks.negated, vec![(number, number)], EVERYTHING),
                );
            }
            Extension::IpRange { source, destination } => {
                for (asks, number) in [(source, axis::SRC), (destination, axis::DST)] {
                    if let Some(asks) = asks {
                        self.narrow(asked, number, &either(asks, range_spans, EVERYTHING));
                    }
                }
            }
            Extension::AddrType { source, destination } => {
                for (asks, number) in [(source, axis::SRC), (destination, axis::DST)] {
                    if let Some(asks) = asks {
                        let spans = either(asks, |types| self.world.of_types(*types), EVERYTHING);
                        self.narrow(asked, number, &spans);
                    }
                }
            }
            Extension::Set(asks) => self.set(asked, asks),
            // A packet of a container's or of the outside has no mark: netfilter is not asked, and nobody else sets one.
            Extension::Mark(Match { value, negated }) => {
                if (value.value == 0) == *negated {
                    asked.any_of.clear();
                }
            }
            Extension::Limit(_) | Extension::HashLimit(_) | Extension::Comment(_) => {}
        }
    }

    fn ports(&mut self, asked: &mut Asked, sport: Option<&Match<Ports>>, dport: Option<&Match<Ports>>) {
        for (asks, number) in [(sport, axis::SPORT), (dport, axis::DPORT)] {
            if let Some(asks) = asks {
                self.narrow(asked, number, &either(asks, |ports| vec![port_span(*ports)], PORTS));
            }
        }
    }

    fn multiport(&mut self, asked: &mut Asked, which: Which, ports: &Match<Vec<Ports>>) {
        let spans = union(ports.value.iter().copied().map(port_span).collect());
        let spans = negated(ports.negated, spans, PORTS);
        match which {
            Which::Source => self.narrow(asked, axis::SPORT, &spans),
            Which::Destination => self.narrow(asked, axis::DPORT, &spans),
            Which::Either if ports.negated => {
                self.narrow(asked, axis::SPORT, &spans);
                self.narrow(asked, axis::DPORT, &spans);
            }
            Which::Either => {
                asked.alternatives = asked.alternatives.saturating_mul(2);
                let mut other = asked.any_of.clone();
                self.narrow(asked, axis::SPORT, &spans);
                self.narrow_all(&mut other, axis::DPORT, &spans);
                asked.any_of.append(&mut other);
            }
        }
    }

    /// A set of one dimension is a set of values; of others each element is a box of its own.
    fn set(&mut self, asked: &mut Asked, asks: &Match<crate::filter::syntax::SetMatch>) {
        let Match { value, negated: not } = asks;
        match sets::elements(self.sets, &mut self.macs, value) {
            sets::Elements::Values { number, spans } => {
                let all = if number == axis::SPORT || number == axis::DPORT {
                    PORTS
                } else {
                    EVERYTHING
                };
                self.narrow(asked, number, &negated(*not, spans, all));
            }
            sets::Elements::Boxes(boxes) => {
                if !*not {
                    asked.alternatives = asked.alternatives.saturating_mul(boxes.len());
                }
                let mut elements = Vec::with_capacity(boxes.len());
                for spans in boxes {
                    let mut one = if *not {
                        vec![Conditions::ANY]
                    } else {
                        asked.any_of.clone()
                    };
                    for (number, spans) in spans {
                        self.narrow_all(&mut one, number, &spans);
                    }
                    elements.append(&mut one);
                }
                if *not {
                    asked.none_of.append(&mut elements);
                } else {
                    asked.any_of = elements;
                }
            }
        }
    }

    /// The interfaces that a name stands for.
    fn interfaces(&self, asks: &Match<Interface>) -> Vec<Span> {
        negated(asks.negated, self.world.named(&asks.value), EVERYTHING)
    }

    fn narrow(&mut self, asked: &mut Asked, number: u32, spans: &[Span]) {
        let mut any_of = std::mem::take(&mut asked.any_of);
        self.narrow_all(&mut any_of, number, spans);
        asked.any_of = any_of;
    }

    /// Asks for a set of values too; what asks for nothing that exists is left out.
    fn narrow_all(&mut self, all: &mut Vec<Conditions>, number: u32, spans: &[Span]) {
        let Some(axis) = self.axes.get_mut(Self::place(number)) else {
            return;
        };
        if spans == [EVERYTHING] {
            return;
        }
        let wanted = axis.wanted(spans);
        for conditions in &mut *all {
            if let Some(place) = conditions.wanted.get_mut(number as usize) {
                *place = Some(place.map_or(wanted, |before| axis.both(before, wanted)));
            }
        }
        let empty = |conditions: &Conditions| {
            let asked = conditions.wanted.get(number as usize).copied().flatten();
            asked.is_some_and(|asked| axis.spans(asked).is_empty())
        };
        all.retain(|conditions| !empty(conditions));
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
            let axis = self.axes.get_mut(Self::place(number))?;
            *place = match (*place, other) {
                (Some(one), Some(other)) if one != other => Some(axis.both(one, other)),
                (one, other) => one.or(other),
            };
            if place.is_some_and(|both| axis.spans(both).is_empty()) {
                return None;
            }
        }
        (common.states != 0 && common.tcp != 0).then_some(common)
    }
}

/// The spans of what is asked for, or of everything else.
fn either<T>(asks: &Match<T>, spans: impl FnOnce(&T) -> Vec<Span>, all: Span) -> Vec<Span> {
    negated(asks.negated, spans(&asks.value), all)
}

fn negated(negated: bool, spans: Vec<Span>, all: Span) -> Vec<Span> {
    if negated { complement(&spans, all) } else { spans }
}

/// The addresses of a network, whose mask need not be of ones first.
pub(super) fn prefix_spans(prefix: Prefix) -> Vec<Span> {
    let (first, mask) = (prefix.addr().to_bits(), prefix.mask().to_bits());
    let low = mask.trailing_zeros();
    let size = 1_u64.checked_shl(low).unwrap_or(1 << 32) - 1;
    // Every way to fill in the bits that the mask leaves open above its lowest one.
    let open = if low >= u32::BITS { 0 } else { !mask >> low << low };
    let mut filled = 0_u32;
    let mut spans = Vec::new();
    loop {
        let start = first | filled;
        spans.push((start, start + size as u32));
        filled = filled.wrapping_sub(open) & open;
        if filled == 0 {
            return union(spans);
        }
    }
}

pub(super) fn range_spans(range: &AddressRange) -> Vec<Span> {
    vec![(range.first.to_bits(), range.last.to_bits())]
}

pub(super) fn port_span(ports: Ports) -> Span {
    (ports.first.into(), ports.last.into())
}

fn icmp_spans(icmp: &IcmpType) -> Vec<Span> {
    let IcmpType { kind, code } = icmp;
    let Some(kind) = kind else { return vec![ICMP] };
    let first = axis::ICMP | u32::from(*kind) << 8;
    match code {
        None => vec![(first, first | 0xff)],
        Some(code) => vec![(first | u32::from(*code), first | u32::from(*code))],
    }
}

/// The combinations of the six flags that a rule asks for, as bits of their numbers.
fn flag_bits(TcpFlags { mask, set }: TcpFlags) -> u64 {
    let matching = (0..64_u8).filter(|flags| flags & mask == set);
    matching.fold(0, |bits, flags| bits | 1_u64 << flags)
}

/// The bits of a state by its number, see [`CtState::number`].
const fn state(number: u32) -> u8 {
    let base = match number & 3 {
        0 => CtState::INVALID,
        1 => CtState::ESTABLISHED,
        2 => CtState::RELATED,
        _ => CtState::NEW,
    };
    base | ((number & 0x1c) << 2) as u8
}

/// `conntrack_mt` (net/netfilter/xt_conntrack.c): SNAT and DNAT count as states, and what belongs to no flow has neither
/// these nor a direction.
fn conntrack_matches(number: u32, states: Option<&Match<States>>, direction: Option<Direction>) -> bool {
    let state = state(number);
    if state & CtState::INVALID != 0 {
        return states.is_some_and(|asks| (asks.value.bits() & CtState::INVALID != 0) != asks.negated);
    }
    let asked = states.is_none_or(|asks| (asks.value.bits() & state & !CtState::REPLY != 0) != asks.negated);
    let reply = state & CtState::REPLY != 0;
    asked && direction.is_none_or(|wanted| (wanted == Direction::Reply) == reply)
}

/// `state_mt` (net/netfilter/xt_state.c), which knows four states.
fn state_matches(number: u32, asks: &Match<States>) -> bool {
    (asks.value.bits() & state(number) & CtState::ANY != 0) != asks.negated
}

/// An address as a value.
pub(super) fn value(address: Ipv4Addr) -> Span {
    (address.to_bits(), address.to_bits())
}
