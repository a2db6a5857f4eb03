//! Rules as sets: those that name the same things become elements of one set, and a packet meets one lookup a set,
//! however many rules there are.
//!
//! A set has no order. That is the same as first match where all rules that drop come before those that accept: all sets
//! that drop are asked first. Elements of one set must not overlap; one that would goes to a further set of the same shape.

use std::fmt;

use super::super::rule::{Rule, Target};

/// What a rule can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Source,
    Destination,
    Protocol,
    Ports,
}

impl Field {
    const ALL: [Self; 4] = [Self::Source, Self::Destination, Self::Protocol, Self::Ports];

    /// Its type in a set.
    const fn kind(self) -> &'static str {
        match self {
            Self::Source | Self::Destination => "ipv4_addr",
            Self::Protocol => "inet_proto",
            Self::Ports => "inet_service",
        }
    }

    /// How a packet is asked for it.
    const fn selector(self) -> &'static str {
        match self {
            Self::Source => "ip saddr",
            Self::Destination => "ip daddr",
            Self::Protocol => "meta l4proto",
            Self::Ports => "th dport",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The fields that a rule names; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape(u8);

impl Shape {
    /// A rule that names nothing is one of every source.
    fn of(rule: &Rule) -> Self {
        let named = Field::ALL.into_iter().filter(|field| match field {
            Field::Source => rule.src.prefix_len() > 0,
            Field::Destination => rule.dst.prefix_len() > 0,
            Field::Protocol => rule.proto > 0,
            Field::Ports => rule.proto > 0 && rule.dports.is_some(),
        });
        match named.fold(0, |bits, field| bits | field.bit()) {
            0 => Self(Field::Source.bit()),
            bits => Self(bits),
        }
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.0 & field.bit() != 0)
    }

    /// Something of each field, as a concatenation.
    fn join(self, part: impl Fn(Field) -> String) -> String {
        self.fields().map(part).collect::<Vec<_>>().join(" . ")
    }
}

/// What a rule matches, each field from and to, both included.
type Span = [(u32, u32); 4];

fn span(rule: &Rule) -> Span {
    let net = |net: ipnet::Ipv4Net| (net.network().into(), net.broadcast().into());
    let proto = u32::from(rule.proto);
    let (first, last) = rule.dports.unwrap_or((0, u16::MAX));
    [
        net(rule.src),
        net(rule.dst),
        (proto, proto),
        (first.into(), last.into()),
    ]
}

fn overlap(a: &Span, b: &Span) -> bool {
    a.iter().zip(b).all(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
}

/// A set of nftables.
#[derive(Debug)]
pub(super) struct Set {
    target: Target,
    shape: Shape,
    /// Further sets of the same shape and target are numbered.
    number: usize,
    elements: Vec<(usize, Span)>,
}

impl Set {
    /// `add set`'s definition.
    pub(super) fn definition(&self) -> String {
        let kinds = self.shape.join(|field| field.kind().to_owned());
        format!("{{ type {kinds}; flags interval; }}")
    }

    /// The rule that asks it.
    pub(super) fn question(&self) -> String {
        let selectors = self.shape.join(|field| field.selector().to_owned());
        let verdict = match self.target {
            Target::Drop => "drop",
            // Behind the operator's rules come the host's own.
            Target::Accept => "return",
        };
        format!("{selectors} @{self} {verdict}")
    }

    /// A rule as an element of it.
    pub(super) fn element(&self, rule: &Rule) -> String {
        self.shape.join(|field| match field {
            Field::Source => rule.src.to_string(),
            Field::Destination => rule.dst.to_string(),
            Field::Protocol => rule.proto.to_string(),
            Field::Ports => match rule.dports {
                Some((first, last)) if first != last => format!("{first}-{last}"),
                Some((port, _)) => port.to_string(),
                None => "0-65535".to_owned(),
            },
        })
    }

    /// The numbers of the rules in it.
    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        self.elements.iter().map(|(index, _)| *index)
    }

    /// Whether it is asked first.
    pub(super) fn drops(&self) -> bool {
        self.target == Target::Drop
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            Target::Drop => "drop",
            Target::Accept => "accept",
        };
        write!(f, "{target}_{}_{}", self.shape.0, self.number)
    }
}

/// All sets of a list of rules.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Set>,
}

impl Sets {
    /// Groups rules.
    pub(super) fn group(rules: &[Rule]) -> Self {
        let mut sets = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            sets.add(index, rule);
        }
        sets
    }

    /// Puts rule number `index` into the first set that takes it; the set's place, and whether it is new.
    pub(super) fn add(&mut self, index: usize, rule: &Rule) -> (usize, bool) {
        let (shape, span) = (Shape::of(rule), span(rule));
        let mut number = 0;
        for (place, set) in self.sets.iter_mut().enumerate() {
            if set.shape != shape || set.target != rule.target {
                continue;
            }
            number += 1;
            if !set.elements.iter().any(|(_, other)| overlap(&span, other)) {
                set.elements.push((index, span));
                return (place, false);
            }
        }
        self.sets.push(Set {
            target: rule.target,
            shape,
            number,
            elements: vec![(index, span)],
        });
        (self.sets.len() - 1, true)
    }

    /// Takes rule number `index` out of its set; the set's place.
    pub(super) fn remove(&mut self, index: usize) -> Option<usize> {
        self.sets.iter_mut().position(|set| {
            let before = set.elements.len();
            set.elements.retain(|(other, _)| *other != index);
            set.elements.len() < before
        })
    }

    /// The set at a place.
    pub(super) fn get(&self, place: usize) -> Option<&Set> {
        self.sets.get(place)
    }

    /// All of them, those that drop first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Set> {
        let of = |drops| self.sets.iter().filter(move |set| set.drops() == drops);
        of(true).chain(of(false))
    }
}

/// Whether first match and sets come to the same: nothing drops after something accepts.
pub(super) fn is_orderless(targets: impl Iterator<Item = Target>) -> bool {
    targets
        .skip_while(|target| *target == Target::Drop)
        .all(|target| target == Target::Accept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(src: &str, proto: u8, dports: Option<(u16, u16)>, target: Target) -> Rule {
        Rule {
            src: src.parse().unwrap(),
            dst: "0.0.0.0/0".parse().unwrap(),
            proto,
            dports,
            target,
        }
    }

    #[test]
    fn rules_of_one_shape_share_a_set() {
        let rules = [
            rule("10.0.0.0/8", 17, Some((1, 9)), Target::Drop),
            rule("11.0.0.0/8", 0, None, Target::Drop),
            rule("12.0.0.0/8", 6, Some((80, 80)), Target::Drop),
            rule("0.0.0.0/0", 0, None, Target::Accept),
        ];
        let sets = Sets::group(&rules);
        let questions: Vec<String> = sets.in_order().map(Set::question).collect();
        assert_eq!(
            questions,
            [
                "ip saddr . meta l4proto . th dport @drop_13_0 drop",
                "ip saddr @drop_1_0 drop",
                "ip saddr @accept_1_0 return",
            ]
        );
        let first = sets.get(0).unwrap();
        assert_eq!(
            first.definition(),
            "{ type ipv4_addr . inet_proto . inet_service; flags interval; }"
        );
        let elements: Vec<String> = first.rules().map(|index| first.element(&rules[index])).collect();
        assert_eq!(elements, ["10.0.0.0/8 . 17 . 1-9", "12.0.0.0/8 . 6 . 80"]);
    }

    #[test]
    fn what_overlaps_goes_to_a_further_set() {
        let mut sets = Sets::group(&[
            rule("10.0.0.0/8", 0, None, Target::Drop),
            rule("10.1.0.0/16", 0, None, Target::Drop),
            rule("11.0.0.0/8", 0, None, Target::Drop),
        ]);
        let names: Vec<String> = sets.in_order().map(Set::to_string).collect();
        assert_eq!(names, ["drop_1_0", "drop_1_1"]);
        assert_eq!(sets.remove(0), Some(0));
        assert_eq!(sets.add(0, &rule("10.1.2.0/24", 0, None, Target::Drop)), (0, false));
        assert_eq!(sets.add(3, &rule("10.1.2.0/24", 0, None, Target::Accept)), (2, true));
        assert_eq!(sets.remove(7), None);
    }

    #[test]
    fn order_matters_once_something_accepts_before_a_drop() {
        let orderless = |targets: &[Target]| is_orderless(targets.iter().copied());
        assert!(orderless(&[]) && orderless(&[Target::Drop, Target::Drop, Target::Accept]));
        assert!(!orderless(&[Target::Accept, Target::Drop]));
    }
}
