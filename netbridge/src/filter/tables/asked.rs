//! What a rule asks for, step by step.
//!
//! Most rules are one stage: a packet that meets one of its alternatives matches. There are more where a packet takes a token of
//! a limit before the rest of the rule is asked, as in netfilter, and where the alternatives would multiply.

use netbridge_common::abi::axis;

use super::conditions::{Axes, Conditions};
use super::sets::{Boxes, Holding, Members};
use super::spans::{EVERYTHING, Span, complement, union};
use super::values::{
    Holes, ICMP, PORTS, PROTOCOLS, conntrack_matches, flag_bits, icmp_span, port_span, range_span, state_bits,
    state_matches,
};
use crate::filter::syntax::{Extension, Match, Ports, Rule, SetMatch, Which};

/// Alternatives that are multiplied with others.
const MOST_ALTERNATIVES: usize = 16;

/// What packets are asked for at once.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) asks: Asks,
    /// The limit that asks for a token what meets all this, which has no sections then.
    pub(super) limit: Option<Limited<'a>>,
}

/// What decides about packets.
#[derive(Debug)]
pub(super) enum Asks {
    /// Those that meet one of these match.
    Any(Vec<Conditions>),
    /// Lists of alternatives, one list after another.
    Sections(Vec<Vec<Alternatives>>),
}

/// A limit, and its place among a rule's matches.
pub(super) type Limited<'a> = (&'a Extension, u32);

/// What may decide about a packet.
#[derive(Debug)]
pub(super) struct Alternatives {
    /// It decides about packets that meet one of these, and of which no other has decided before.
    pub(super) any_of: Vec<Conditions>,
    /// And this is how.
    pub(super) then: Then,
}

/// What alternatives decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The packet goes on with the next stage.
    Match,
    /// The packet does not match.
    Fail,
    /// The next section is asked.
    Next,
}

/// A rule's stages, as far as they are read.
struct Reader<'r, 'a> {
    axes: &'r mut Axes<'a>,
    stages: Vec<Stage<'a>>,
    /// Of the current stage, as long as it has one list of them.
    any_of: Vec<Conditions>,
    /// Its sets that exclude, or except.
    sets: Vec<(std::rc::Rc<Members>, bool)>,
}

impl<'a> Axes<'a> {
    /// The stages of a rule, at least one.
    pub(super) fn asked(&mut self, rule: &'a Rule) -> Result<Vec<Stage<'a>>, Holes> {
        let mut reader = Reader {
            axes: self,
            stages: Vec::with_capacity(1),
            any_of: vec![Conditions::ANY],
            sets: Vec::new(),
        };
        reader.header(rule)?;
        for (place, extension) in (0..).zip(&rule.matches) {
            reader.extension(place, extension)?;
        }
        reader.exclude();
        if reader.stages.is_empty() || reader.any_of != [Conditions::ANY] {
            reader.close();
        }
        Ok(reader.stages)
    }
}

impl<'a> Reader<'_, 'a> {
    fn header(&mut self, rule: &'a Rule) -> Result<(), Holes> {
        for (asks, number) in [(&rule.source, axis::SRC), (&rule.destination, axis::DST)] {
            if let Some(asks) = asks {
                let wanted = self.axes.prefix(number, asks)?;
                self.axes.narrow_to(&mut self.any_of, number, wanted);
            }
        }
        for (asks, number) in [(&rule.in_interface, axis::INPUT), (&rule.out_interface, axis::OUTPUT)] {
            if let Some(asks) = asks {
                let wanted = self.axes.named(asks);
                self.axes.narrow_to(&mut self.any_of, number, wanted);
            }
        }
        if let Some(asks) = &rule.protocol {
            let number = u32::from(asks.value.number());
            self.ask(axis::PROTO, asks.negated, &[(number, number)], PROTOCOLS);
        }
        Ok(())
    }

    fn extension(&mut self, place: u32, extension: &'a Extension) -> Result<(), Holes> {
        match extension {
            Extension::Tcp { sport, dport, flags } => {
                self.ports(sport.as_ref(), dport.as_ref());
                if let Some(asks) = flags {
                    let bits = flag_bits(asks);
                    self.any_of.iter_mut().for_each(|conditions| conditions.tcp &= bits);
                }
            }
            Extension::Udp { sport, dport } => self.ports(sport.as_ref(), dport.as_ref()),
            Extension::Icmp(asks) => self.ask(axis::DPORT, asks.negated, &[icmp_span(asks.value)], ICMP),
            Extension::Multiport { which, ports } => self.multiport(*which, ports),
            Extension::Conntrack { states, direction } => {
                self.states(state_bits(|state| {
                    conntrack_matches(state, states.as_ref(), *direction)
                }));
            }
            Extension::State(asks) => self.states(state_bits(|state| state_matches(state, asks))),
            Extension::Mac(asks) => {
                let value = self.axes.mac(asks.value);
                self.ask(axis::MAC, asks.negated, &[value], EVERYTHING);
            }
            Extension::IpRange { source, destination } => {
                for (asks, number) in [(source, axis::SRC), (destination, axis::DST)] {
                    if let Some(asks) = asks {
                        self.ask(number, asks.negated, &[range_span(asks.value)], EVERYTHING);
                    }
                }
            }
            Extension::AddrType { source, destination } => {
                for (asks, number) in [(source, axis::SRC), (destination, axis::DST)] {
                    if let Some(asks) = asks {
                        let wanted = self.axes.of_types(number, asks);
                        self.axes.narrow_to(&mut self.any_of, number, wanted);
                    }
                }
            }
            Extension::Set(asks) => return self.set(asks),
            // A packet of a container's or of the outside has no mark: netfilter is not asked, and nobody else sets one.
            Extension::Mark(Match { value, negated }) => {
                if (value.value == 0) == *negated {
                    self.any_of.clear();
                }
            }
            Extension::Limit(_) | Extension::HashLimit(_) => self.limit((extension, place)),
            Extension::Comment(_) => {}
        }
        Ok(())
    }

    /// Asks for values on an axis, or for all others.
    fn ask(&mut self, number: u32, negated: bool, spans: &[Span], all: Span) {
        if negated {
            self.axes.narrow(&mut self.any_of, number, &complement(spans, all));
        } else {
            self.axes.narrow(&mut self.any_of, number, spans);
        }
    }

    fn states(&mut self, bits: u32) {
        self.any_of.iter_mut().for_each(|conditions| conditions.states &= bits);
    }

    fn ports(&mut self, sport: Option<&Match<Ports>>, dport: Option<&Match<Ports>>) {
        for (asks, number) in [(sport, axis::SPORT), (dport, axis::DPORT)] {
            if let Some(Match { value, negated }) = asks {
                self.ask(number, *negated, &[port_span(*value)], PORTS);
            }
        }
    }

    fn multiport(&mut self, which: Which, ports: &Match<Vec<Ports>>) {
        let spans = union(ports.value.iter().copied().map(port_span).collect());
        let axes: &[u32] = match which {
            Which::Source => &[axis::SPORT],
            Which::Destination => &[axis::DPORT],
            Which::Either => &[axis::SPORT, axis::DPORT],
        };
        if which == Which::Either && !ports.negated {
            if self.any_of.len() * 2 > MOST_ALTERNATIVES {
                self.close();
            }
            let mut all = Vec::with_capacity(self.any_of.len() * 2);
            for number in axes {
                let mut one = self.any_of.clone();
                self.axes.narrow(&mut one, *number, &spans);
                all.append(&mut one);
            }
            self.any_of = all;
            return;
        }
        for number in axes {
            self.ask(*number, ports.negated, &spans, PORTS);
        }
    }

    fn set(&mut self, asks: &'a Match<SetMatch>) -> Result<(), Holes> {
        let Match { value, negated } = asks;
        let members = self.axes.members(value, *negated)?;
        match &*members {
            Members::Values { number, wanted } => self.axes.narrow_to(&mut self.any_of, *number, *wanted),
            Members::Boxes(sets) => {
                let plain = sets.iter().flatten().all(|(_, holding)| *holding == Holding::Yes);
                if *negated || !plain {
                    self.sets.push((members, *negated));
                    return Ok(());
                }
                let elements = sets.iter().flatten().flat_map(|(elements, _)| elements);
                let elements: Vec<Conditions> = elements.cloned().collect();
                if self.any_of.len() > 1 && self.any_of.len() * elements.len() > MOST_ALTERNATIVES {
                    self.close();
                }
                self.any_of = self.axes.both(&self.any_of, &elements);
            }
        }
        Ok(())
    }

    /// Asks for a token of a limit.
    fn limit(&mut self, limit: Limited<'a>) {
        self.exclude();
        self.close();
        if let Some(stage) = self.stages.last_mut() {
            stage.limit = Some(limit);
        }
    }

    /// Makes a stage of each of the sets that exclude or except, the first together with what else is asked for.
    fn exclude(&mut self) {
        for (members, negated) in std::mem::take(&mut self.sets) {
            if self.any_of.len() > 1 {
                self.close();
            }
            let Members::Boxes(sets) = &*members else { continue };
            let base = std::mem::replace(&mut self.any_of, vec![Conditions::ANY]);
            let mut sections: Vec<_> = sets.iter().map(|boxes| self.section(boxes, &base, negated)).collect();
            if negated {
                sections.push(vec![Alternatives {
                    any_of: base,
                    then: Then::Match,
                }]);
            }
            self.stages.push(Stage {
                asks: Asks::Sections(sections),
                limit: None,
            });
        }
    }

    /// What elements decide of the packets that meet the base.
    fn section(&mut self, boxes: &Boxes, base: &[Conditions], negated: bool) -> Vec<Alternatives> {
        let each = boxes.iter().map(|(elements, holding)| Alternatives {
            any_of: self.axes.both(base, elements),
            then: match holding {
                Holding::No => Then::Next,
                Holding::Yes if negated => Then::Fail,
                Holding::Yes => Then::Match,
            },
        });
        each.collect()
    }

    /// Ends the current stage.
    fn close(&mut self) {
        let any_of = std::mem::replace(&mut self.any_of, vec![Conditions::ANY]);
        self.stages.push(Stage {
            asks: Asks::Any(any_of),
            limit: None,
        });
    }
}
