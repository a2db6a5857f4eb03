//! Rules as verdict maps: those that name the same fields become elements of one map, and a packet meets one lookup a
//! map, however many rules there are.
//!
//! Rules of a shape that are all exact, addresses and ports, are a hash; the others are a map of intervals. A map has no
//! order, so its elements must not overlap; one that would goes to a further map. The maps have one: where two rules
//! overlap and disagree, the map of the first is asked first, so that lookups come to the same as first match. As far
//! as that leaves it open, hashes are asked before intervals, and of those the ones that name more.

use std::cmp::Reverse;
use std::fmt;

use ipnet::Ipv4Net;

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
            // Not `meta l4proto`: in a map of intervals nft 1.0 adds a conversion of its byte order, of one byte.
            Self::Protocol => "ip protocol",
            Self::Ports => "th dport",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What the rules of one map have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// The fields that they name, a bit each; never none.
    named: u8,
    /// Whether some are ranges of addresses or ports.
    intervals: bool,
}

impl Shape {
    /// A rule that names nothing is one of every source.
    fn of(rule: &Rule) -> Self {
        let named = Field::ALL.into_iter().filter(|field| match field {
            Field::Source => rule.src.prefix_len() > 0,
            Field::Destination => rule.dst.prefix_len() > 0,
            Field::Protocol => rule.proto > 0,
            Field::Ports => rule.proto > 0 && rule.dports.is_some(),
        });
        let named = match named.fold(0, |bits, field| bits | field.bit()) {
            0 => Field::Source.bit(),
            bits => bits,
        };
        let spans = Field::ALL.into_iter().zip(span(rule));
        Self {
            named,
            intervals: spans
                .filter(|(field, _)| named & field.bit() != 0)
                .any(|(_, (first, last))| first < last),
        }
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |field| self.named & field.bit() != 0)
    }

    /// In which order maps are asked that could be asked in any: the cheaper first, then those that name more.
    fn rank(self) -> impl Ord {
        (self.intervals, Reverse(self.named.count_ones()), self.named)
    }

    /// Something of each field, as a concatenation.
    fn join(self, part: impl Fn(Field) -> String) -> String {
        self.fields().map(part).collect::<Vec<_>>().join(" . ")
    }
}

/// What a rule matches, each field from and to, both included.
type Span = [(u32, u32); 4];

fn span(rule: &Rule) -> Span {
    let net = |net: Ipv4Net| (net.network().into(), net.broadcast().into());
    let proto = match rule.proto {
        0 => (0, u8::MAX.into()),
        proto => (proto.into(), proto.into()),
    };
    let (first, last) = rule.dports.unwrap_or((0, u16::MAX));
    [net(rule.src), net(rule.dst), proto, (first.into(), last.into())]
}

fn overlap(a: &Span, b: &Span) -> bool {
    a.iter().zip(b).all(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
}

/// A rule in a map.
#[derive(Debug)]
struct Element {
    /// The rule's number: the lower, the earlier.
    index: usize,
    span: Span,
}

/// A verdict map of nftables.
#[derive(Debug)]
pub(super) struct VerdictMap {
    /// Tells its name from those of others.
    number: usize,
    shape: Shape,
    drops: Vec<Element>,
    accepts: Vec<Element>,
}

impl VerdictMap {
    /// `add map`'s definition.
    pub(super) fn definition(&self) -> String {
        let kinds = self.shape.join(|field| field.kind().to_owned());
        let flags = if self.shape.intervals { " flags interval;" } else { "" };
        format!("{{ type {kinds} : verdict;{flags} }}")
    }

    /// The rule of nftables that asks it.
    pub(super) fn question(&self) -> String {
        let selectors = self.shape.join(|field| field.selector().to_owned());
        format!("{selectors} vmap @{self}")
    }

    /// What a rule matches, as a key of it.
    pub(super) fn key(&self, rule: &Rule) -> String {
        self.shape.join(|field| match field {
            Field::Source => network(rule.src),
            Field::Destination => network(rule.dst),
            Field::Protocol => rule.proto.to_string(),
            Field::Ports => match rule.dports {
                Some((first, last)) if first != last => format!("{first}-{last}"),
                Some((port, _)) => port.to_string(),
                None => "0-65535".to_owned(),
            },
        })
    }

    /// A rule as an element of it.
    pub(super) fn element(&self, rule: &Rule) -> String {
        let verdict = match rule.target {
            Target::Drop => "drop",
            // Behind the operator's rules come the host's own.
            Target::Accept => "return",
        };
        format!("{} : {verdict}", self.key(rule))
    }

    /// Its number, which no other has.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// The numbers of the rules in it that have this target.
    pub(super) fn with_target(&self, target: Target) -> impl Iterator<Item = usize> {
        let elements = match target {
            Target::Drop => &self.drops,
            Target::Accept => &self.accepts,
        };
        elements.iter().map(|element| element.index)
    }

    /// The numbers of the rules in it.
    pub(super) fn rules(&self) -> impl Iterator<Item = usize> {
        self.elements().map(|element| element.index)
    }

    fn elements(&self) -> impl Iterator<Item = &Element> {
        self.drops.iter().chain(&self.accepts)
    }

    /// The elements that disagree with a target.
    fn against(&self, target: Target) -> &[Element] {
        match target {
            Target::Drop => &self.accepts,
            Target::Accept => &self.drops,
        }
    }

    fn push(&mut self, target: Target, element: Element) {
        match target {
            Target::Drop => self.drops.push(element),
            Target::Accept => self.accepts.push(element),
        }
    }
}

impl fmt::Display for VerdictMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rules_{}", self.number)
    }
}

/// A network as nft and ipset take it: in a hash, not even an address may have a length.
pub(super) fn network(net: Ipv4Net) -> String {
    match net.prefix_len() {
        32 => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// Rules with one more before number `index`.
pub(super) fn inserted(rules: &[Rule], index: usize, rule: &Rule) -> Vec<Rule> {
    let (before, behind) = rules.split_at(index);
    [before, std::slice::from_ref(rule), behind].concat()
}

/// Where a rule went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the map at this place.
    Old(usize),
    /// Into a new map at this place, before those that were there.
    New(usize),
}

/// The maps of a list of rules, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct VerdictMaps {
    maps: Vec<VerdictMap>,
}

impl VerdictMaps {
    /// Groups rules.
    pub(super) fn group(rules: &[Rule]) -> Self {
        let mut maps = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            // Always has a place: after all before it.
            maps.add(index, rule);
        }
        maps
    }

    /// Puts rule number `index` into the first map that takes it, a new one if none does. `None` if the maps have an
    /// order in which it has no place.
    fn add(&mut self, index: usize, rule: &Rule) -> Option<Place> {
        let (shape, span) = (Shape::of(rule), span(rule));
        let (first, last) = self.bounds(index, rule.target, &span)?;
        let old = (first..last.min(self.maps.len())).find(|place| {
            let map = &self.maps[*place];
            map.shape == shape && !map.elements().any(|other| overlap(&span, &other.span))
        });
        let place = old.map_or_else(|| Place::New(self.open(shape, first, last)), Place::Old);
        let (Place::Old(at) | Place::New(at)) = place;
        self.maps[at].push(rule.target, Element { index, span });
        Some(place)
    }

    /// Between which maps a rule may be asked: not before the first place, and before the last.
    fn bounds(&self, index: usize, target: Target, span: &Span) -> Option<(usize, usize)> {
        let (mut first, mut last) = (0, self.maps.len());
        for (place, map) in self.maps.iter().enumerate() {
            for other in map.against(target).iter().filter(|other| overlap(span, &other.span)) {
                if other.index < index {
                    first = place + 1;
                } else {
                    last = last.min(place);
                }
            }
        }
        (first <= last).then_some((first, last))
    }

    /// Makes an empty map between two places.
    fn open(&mut self, shape: Shape, first: usize, last: usize) -> usize {
        let place = (first..last)
            .find(|place| self.maps[*place].shape.rank() > shape.rank())
            .unwrap_or(last);
        let number = self.maps.iter().map(|map| map.number + 1).max().unwrap_or(0);
        self.maps.insert(
            place,
            VerdictMap {
                number,
                shape,
                drops: Vec::new(),
                accepts: Vec::new(),
            },
        );
        place
    }

    /// [`add`](Self::add)s a rule; the numbers of those behind it rise by one.
    pub(super) fn insert(&mut self, index: usize, rule: &Rule) -> Option<Place> {
        for element in self.elements_mut().filter(|element| element.index >= index) {
            element.index += 1;
        }
        self.add(index, rule)
    }

    /// Takes rule number `index` out of its map; the map's place. The numbers of those behind it fall by one.
    pub(super) fn remove(&mut self, index: usize) -> Option<usize> {
        let place = self.maps.iter_mut().position(|map| {
            let before = map.elements().count();
            map.drops.retain(|element| element.index != index);
            map.accepts.retain(|element| element.index != index);
            map.elements().count() < before
        })?;
        for element in self.elements_mut().filter(|element| element.index > index) {
            element.index -= 1;
        }
        Some(place)
    }

    fn elements_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.maps
            .iter_mut()
            .flat_map(|map| map.drops.iter_mut().chain(&mut map.accepts))
    }

    /// All of them, in the order in which they are asked.
    pub(super) fn as_slice(&self) -> &[VerdictMap] {
        &self.maps
    }
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

    /// Map by map, its rules.
    fn grouped(maps: &VerdictMaps) -> Vec<Vec<usize>> {
        maps.as_slice().iter().map(|map| map.rules().collect()).collect()
    }

    #[test]
    fn rules_of_one_shape_share_a_map_and_the_exact_are_a_hash() {
        let rules = [
            rule("10.0.0.0/8", 17, Some((1, 9)), Target::Drop),
            rule("11.0.0.0/8", 0, None, Target::Drop),
            rule("12.0.0.0/8", 6, Some((80, 80)), Target::Accept),
            rule("13.0.0.1/32", 6, Some((80, 80)), Target::Drop),
            rule("0.0.0.0/0", 0, None, Target::Accept),
        ];
        let maps = VerdictMaps::group(&rules);
        let list: Vec<String> = maps
            .as_slice()
            .iter()
            .map(|map| {
                let elements: Vec<String> = map.rules().map(|index| map.element(&rules[index])).collect();
                format!("{} {} {}", map.question(), map.definition(), elements.join(", "))
            })
            .collect();
        assert_eq!(
            list,
            [
                "ip saddr . ip protocol . th dport vmap @rules_2 \
                 { type ipv4_addr . inet_proto . inet_service : verdict; } 13.0.0.1 . 6 . 80 : drop",
                "ip saddr . ip protocol . th dport vmap @rules_0 \
                 { type ipv4_addr . inet_proto . inet_service : verdict; flags interval; } \
                 10.0.0.0/8 . 17 . 1-9 : drop, 12.0.0.0/8 . 6 . 80 : return",
                "ip saddr vmap @rules_1 { type ipv4_addr : verdict; flags interval; } 11.0.0.0/8 : drop",
                "ip saddr vmap @rules_3 { type ipv4_addr : verdict; flags interval; } 0.0.0.0/0 : return",
            ]
        );
    }

    #[test]
    fn what_overlaps_goes_to_a_further_map() {
        let mut maps = VerdictMaps::group(&[
            rule("10.0.0.0/8", 0, None, Target::Drop),
            rule("10.1.0.0/16", 0, None, Target::Drop),
            rule("11.0.0.0/8", 0, None, Target::Drop),
        ]);
        assert_eq!(grouped(&maps), [vec![0, 2], vec![1]]);
        assert_eq!(maps.remove(0), Some(0));
        let narrow = rule("10.1.2.0/24", 0, None, Target::Drop);
        assert_eq!(maps.insert(0, &narrow), Some(Place::Old(0)));
        assert_eq!(maps.remove(7), None);
    }

    #[test]
    fn of_rules_that_disagree_the_first_is_asked_first() {
        let rules = [
            rule("10.0.0.0/8", 0, None, Target::Drop),
            rule("10.0.0.1/32", 0, None, Target::Accept),
            rule("10.0.0.0/16", 6, None, Target::Drop),
            rule("192.0.2.1/32", 0, None, Target::Drop),
        ];
        let mut maps = VerdictMaps::group(&rules);
        assert_eq!(grouped(&maps), [vec![0], vec![3, 1], vec![2]]);
        // A hash, and before the accept.
        assert_eq!(maps.remove(0), Some(0));
        let exact = rule("10.0.0.1/32", 0, None, Target::Drop);
        assert_eq!(maps.insert(0, &exact), Some(Place::New(0)));
        // After the first drop, and before the last.
        assert_eq!(maps.remove(1), Some(2));
        let tcp = rule("0.0.0.0/0", 6, None, Target::Accept);
        assert_eq!(maps.insert(1, &tcp), Some(Place::New(1)));
    }

    #[test]
    fn maps_in_another_order_take_no_rule_that_needs_this_one() {
        let mut maps = VerdictMaps::group(&[
            rule("10.0.0.0/8", 0, None, Target::Drop),
            rule("11.0.0.0/8", 0, None, Target::Accept),
            rule("10.0.0.1/32", 0, None, Target::Drop),
        ]);
        assert_eq!(grouped(&maps), [vec![2], vec![0, 1]]);
        maps.remove(1);
        assert_eq!(maps.insert(1, &rule("10.0.0.1/32", 0, None, Target::Accept)), None);
    }
}
