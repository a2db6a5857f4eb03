//! Filters of any size that look like an operator's, in the manner of ClassBench (Taylor and Turner, 2007): rules differ
//! in which fields they name, prefixes are of the usual lengths, and ports are exact, of a class, or a range.
//!
//! They make every contestant do the same work for the same packet. All but the last drop other packets, so a linear
//! search must pass them all. Rules that name the same fields never overlap, so that an nftables set with intervals can
//! hold them; for the packet in question their order is of no consequence.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use fastrand::Rng;
use ipnet::Ipv4Net;

use super::rule::{Rule, Target};

/// The packet that only the last rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its source.
    pub src: Ipv4Addr,
    /// Its destination.
    pub dst: Ipv4Addr,
    /// 6 (TCP) or 17 (UDP).
    pub proto: u8,
    /// Its destination port.
    pub dport: u16,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// No protocol named.
const ANY: u8 = 0;

/// The services that rules name most.
const SERVICES: [u16; 16] = [
    21, 22, 23, 25, 53, 80, 110, 123, 143, 161, 389, 443, 445, 3306, 5432, 6379,
];

/// Where addresses come from: the containers' own network, the private ones, the whole world.
const CONTAINERS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 0), 16);
const PRIVATE: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];
const WORLD: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);

/// The fields that a rule names.
#[expect(clippy::struct_excessive_bools, reason = "any of the four may be named or not")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    src: bool,
    dst: bool,
    proto: bool,
    dports: bool,
}

/// Rules that may overlap: of one shape, and, as no network is shorter than an octet, with the same first octets.
type Shelf = (Shape, u8, u8);

/// `count` rules, the same for the same seed. All but the last are [`Target::Drop`] and match neither `probe` nor any
/// packet back from its destination to its source, whatever the ports; the last is [`Target::Accept`] and matches
/// `probe` alone. Those that name the same fields do not overlap.
pub fn rules(count: usize, seed: u64, probe: Probe) -> Vec<Rule> {
    with_last(count, accept(probe), |others| {
        drawn(others, seed, probe, |rule| spares(rule, probe))
    })
}

/// The same, but that no rule is about the ends of `probe`, and the last accepts all that its source sends its
/// destination: whatever the packet between the two, the answer is the same.
pub fn elsewhere(count: usize, seed: u64, probe: Probe) -> Vec<Rule> {
    let last = Rule {
        proto: ANY,
        dports: None,
        ..accept(probe)
    };
    with_last(count, last, |others| {
        drawn(others, seed, probe, |rule| !reaches(rule, probe))
    })
}

/// `count` rules of which each names a network of sources, a protocol and a port: as much as the older types of ipset's sets
/// hold. Otherwise as [`rules`].
pub fn fitting(count: usize, seed: u64, probe: Probe) -> Vec<Rule> {
    let fits = |rule: &Rule| {
        let one_port = rule.dports.is_some_and(|(first, last)| first == last);
        one_port && rule.src.prefix_len() > 0 && rule.dst.prefix_len() == 0
    };
    with_last(count, accept(probe), |others| {
        drawn(others, seed, probe, |rule| fits(rule) && spares(rule, probe))
    })
}

/// `count` rules, at most one for each port, that differ in the port alone, so that it takes every comparison to tell that one does not
/// match. The last accepts `probe`; the others drop what its source sends to other ports of its destination.
pub fn ports(count: usize, probe: Probe) -> Vec<Rule> {
    with_last(count, accept(probe), |others| {
        // An odd factor leads to every port once, and to no two neighbours in a row.
        let ports = (0..=u16::MAX).map(|number| number.wrapping_mul(40_503));
        let other = |dport| Rule {
            dports: Some((dport, dport)),
            target: Target::Drop,
            ..accept(probe)
        };
        ports
            .filter(|port| *port != probe.dport)
            .take(others)
            .map(other)
            .collect()
    })
}

/// `count` rules with this last one.
fn with_last(count: usize, last: Rule, others: impl FnOnce(usize) -> Vec<Rule>) -> Vec<Rule> {
    let Some(before) = count.checked_sub(1) else {
        return Vec::new();
    };
    let mut rules = others(before);
    rules.push(last);
    rules
}

/// A rule that accepts the probe.
fn accept(probe: Probe) -> Rule {
    Rule {
        src: Ipv4Net::from(probe.src),
        dst: Ipv4Net::from(probe.dst),
        proto: probe.proto,
        dports: Some((probe.dport, probe.dport)),
        target: Target::Accept,
    }
}

/// So many rules, of those that `fits` holds for.
fn drawn(count: usize, seed: u64, probe: Probe, fits: impl Fn(&Rule) -> bool) -> Vec<Rule> {
    let mut rng = Rng::with_seed(seed);
    let mut shelves: HashMap<Shelf, Vec<Rule>> = HashMap::new();
    let mut rules = Vec::with_capacity(count + 1);
    // A rule drawn in vain is drawn anew, shape and all: there are 2^64 pairs of addresses to draw from.
    while rules.len() < count {
        let shape = shape(&mut rng);
        let rule = draw(&mut rng, shape, probe);
        let [from, to] = [rule.src, rule.dst].map(|net| net.network().octets()[0]);
        let shelf = shelves.entry((shape, from, to)).or_default();
        if fits(&rule) && !shelf.iter().any(|other| overlap(&rule, other)) {
            shelf.push(rule.clone());
            rules.push(rule);
        }
    }
    rules
}

/// True if a rule matches neither the probe nor an answer to it.
fn spares(rule: &Rule, probe: Probe) -> bool {
    let proto = rule.proto == ANY || rule.proto == probe.proto;
    let back = rule.src.contains(&probe.dst) && rule.dst.contains(&probe.src);
    let port = rule
        .dports
        .is_none_or(|(first, last)| (first..=last).contains(&probe.dport));
    !(proto && reaches(rule, probe) && (port || back))
}

/// True if a rule is about something that the probe's ends can send each other.
fn reaches(rule: &Rule, probe: Probe) -> bool {
    let between = |src, dst| rule.src.contains(src) && rule.dst.contains(dst);
    between(&probe.src, &probe.dst) || between(&probe.dst, &probe.src)
}

/// True if some packet matches both of two rules.
fn overlap(one: &Rule, other: &Rule) -> bool {
    let nested = |one: &Ipv4Net, other: &Ipv4Net| one.contains(other) || other.contains(one);
    let ports = match (one.dports, other.dports) {
        (Some((first, last)), Some((begin, end))) => first <= end && begin <= last,
        _ => true,
    };
    (one.proto == ANY || other.proto == ANY || one.proto == other.proto)
        && ports
        && nested(&one.src, &other.src)
        && nested(&one.dst, &other.dst)
}

/// What ClassBench's access lists and firewalls have most: both addresses and a service. Few rules name no address.
fn shape(rng: &mut Rng) -> Shape {
    let of = |src, dst, proto, dports| Shape {
        src,
        dst,
        proto,
        dports,
    };
    match rng.u32(0..100) {
        0..30 => of(true, true, true, true),
        30..50 => of(false, true, true, true),
        50..65 => of(true, false, false, false),
        65..75 => of(true, true, false, false),
        75..83 => of(true, false, true, true),
        83..90 => of(false, true, false, false),
        90..95 => of(true, true, true, false),
        95..98 => of(false, true, true, false),
        _ => of(false, false, true, true),
    }
}

fn draw(rng: &mut Rng, shape: Shape, probe: Probe) -> Rule {
    // One service in ten is of the probe's own destination, where nothing but protocol and port tell them apart.
    let same_destination = shape.dports && rng.u32(0..10) == 0;
    let source = match rng.u32(0..100) {
        0..15 => CONTAINERS,
        15..50 => private(rng),
        _ => WORLD,
    };
    let destination = match rng.u32(0..100) {
        _ if same_destination => Ipv4Net::from(probe.dst),
        0..50 => CONTAINERS,
        50..85 => private(rng),
        _ => WORLD,
    };
    let tcp = rng.u32(0..10) < 7;
    Rule {
        src: if shape.src { network(rng, source) } else { WORLD },
        dst: if shape.dst { network(rng, destination) } else { WORLD },
        proto: match (shape.proto, tcp) {
            (true, true) => TCP,
            (true, false) => UDP,
            (false, _) => ANY,
        },
        dports: shape.dports.then(|| dports(rng)),
        target: Target::Drop,
    }
}

fn private(rng: &mut Rng) -> Ipv4Net {
    rng.choice(PRIVATE).unwrap_or(CONTAINERS)
}

/// A network within another one, of a usual length; in [`WORLD`] one of unicast addresses, the loopback's excepted.
fn network(rng: &mut Rng, within: Ipv4Net) -> Ipv4Net {
    let length: u8 = match rng.u32(0..100) {
        0..1 => 8,
        1..4 => 12,
        4..20 => 16,
        20..25 => 20,
        25..28 => 22,
        28..60 => 24,
        60..65 => 28,
        _ => 32,
    };
    let within = match rng.u8(1..223) {
        _ if within != WORLD => within,
        first => Ipv4Net::new(Ipv4Addr::new(first + u8::from(first >= 127), 0, 0, 0), 8).unwrap_or(within),
    };
    let address = within.network().to_bits() | (rng.u32(..) & within.hostmask().to_bits());
    Ipv4Net::new(Ipv4Addr::from_bits(address), length.max(within.prefix_len()))
        .unwrap_or(within)
        .trunc()
}

/// One port, a class of ports, or a range.
fn dports(rng: &mut Rng) -> (u16, u16) {
    let one = |port| (port, port);
    match rng.u32(0..100) {
        0..35 => one(rng.choice(SERVICES).unwrap_or(22)),
        35..63 => one(rng.u16(1..)),
        63..67 => (0, 1023),
        67..75 => (1024, u16::MAX),
        _ => {
            let first = rng.u16(1024..60_000);
            (first, first + rng.u16(1..2000))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SIZES: [usize; 5] = [1, 10, 100, 1000, 10_000];

    /// The probes of the benchmark: between neighbours, out, and in.
    fn probes() -> [Probe; 3] {
        let probe = |src: [u8; 4], dst: [u8; 4], proto| Probe {
            src: src.into(),
            dst: dst.into(),
            proto,
            dport: 9000,
        };
        [
            probe([10, 77, 0, 2], [10, 77, 0, 3], UDP),
            probe([10, 77, 0, 2], [198, 51, 100, 2], UDP),
            probe([198, 51, 100, 2], [10, 77, 0, 3], TCP),
        ]
    }

    /// What a chain with these rules does to a packet, and the index of the rule that says so.
    fn first_match(rules: &[Rule], packet: Probe) -> Option<(usize, Target)> {
        let found = rules.iter().enumerate().find(|(_, rule)| {
            rule.src.contains(&packet.src)
                && rule.dst.contains(&packet.dst)
                && (rule.proto == ANY || rule.proto == packet.proto)
                && rule
                    .dports
                    .is_none_or(|(first, last)| first <= packet.dport && packet.dport <= last)
        });
        found.map(|(index, rule)| (index, rule.target))
    }

    #[test]
    fn the_last_rule_alone_matches_the_probe() {
        for probe in probes() {
            for count in SIZES {
                let rules = rules(count, 7, probe);
                assert_eq!(rules.len(), count);
                assert_eq!(first_match(&rules, probe), Some((count - 1, Target::Accept)));
            }
        }
        assert_eq!(rules(0, 7, probes()[0]), []);
    }

    #[test]
    fn no_answer_to_the_probe_meets_a_rule() {
        for probe in probes() {
            let rules = rules(10_000, 7, probe);
            for dport in [0, 22, 53, 1023, 1024, 9000, 8080, 33_333, u16::MAX] {
                let answer = Probe {
                    src: probe.dst,
                    dst: probe.src,
                    dport,
                    ..probe
                };
                assert_eq!(first_match(&rules, answer), None, "{answer:?}");
            }
        }
    }

    #[test]
    fn whatever_a_pair_sends_meets_the_last_rule_alone() {
        let probe = probes()[0];
        let rules = elsewhere(1000, 7, probe);
        for (proto, dport) in [(TCP, 22), (UDP, 53), (UDP, 9000), (1, 0)] {
            let packet = Probe { proto, dport, ..probe };
            assert_eq!(first_match(&rules, packet), Some((999, Target::Accept)));
            let (src, dst) = (packet.dst, packet.src);
            assert_eq!(first_match(&rules, Probe { src, dst, ..packet }), None);
        }
    }

    #[test]
    fn ports_are_all_that_tells_rules_apart() {
        let probe = probes()[0];
        let rules = ports(1 << 16, probe);
        assert_eq!(first_match(&rules, probe), Some((65_535, Target::Accept)));
        let apart: HashSet<_> = rules.iter().map(|rule| rule.dports).collect();
        assert_eq!(apart.len(), 1 << 16);
        assert!(rules.iter().all(|rule| rule.dst == Ipv4Net::from(probe.dst)));
        assert_eq!(ports(10, probe)[..9], rules[..9]);
    }

    #[test]
    fn rules_that_fit_a_set_name_a_network_and_a_port() {
        let rules = fitting(1000, 7, probes()[0]);
        assert_eq!(first_match(&rules, probes()[0]), Some((999, Target::Accept)));
        for rule in &rules[..999] {
            assert!(rule.src.prefix_len() > 0 && rule.dst.prefix_len() == 0, "{rule:?}");
            assert!(rule.dports.is_some_and(|(first, last)| first == last), "{rule:?}");
        }
    }

    #[test]
    fn a_seed_says_which_rules() {
        let probe = probes()[0];
        assert_eq!(rules(1000, 1, probe), rules(1000, 1, probe));
        assert_ne!(rules(1000, 1, probe), rules(1000, 2, probe));
        // More rules of a seed begin with the fewer.
        assert_eq!(rules(1000, 1, probe)[..99], rules(100, 1, probe)[..99]);
    }

    #[test]
    fn rules_that_name_the_same_fields_do_not_overlap() {
        for probe in probes() {
            let mut shapes: HashMap<_, Vec<Rule>> = HashMap::new();
            for rule in rules(10_000, 3, probe) {
                let (src, dst) = (rule.src.prefix_len() > 0, rule.dst.prefix_len() > 0);
                let shape = (src, dst, rule.proto != ANY, rule.dports.is_some());
                shapes.entry(shape).or_default().push(rule);
            }
            assert_eq!(shapes.len(), 9);
            for rules in shapes.into_values() {
                for (index, rule) in rules.iter().enumerate() {
                    let clash = rules[index + 1..].iter().find(|other| overlap(rule, other));
                    assert_eq!(clash, None, "{rule:?}");
                }
            }
        }
    }

    #[test]
    fn the_mixture_is_one_of_real_filters() {
        let rules = rules(10_000, 5, probes()[0]);
        let share = |holds: &dyn Fn(&Rule) -> bool| rules.iter().filter(|rule| holds(rule)).count() / 100;
        for length in [16, 24, 32] {
            assert!(share(&|rule| rule.src.prefix_len() == length) >= 5, "/{length}");
        }
        let ports = |rule: &Rule| rule.dports.unwrap_or((0, 0));
        assert!(share(&|rule| rule.dports.is_some() && ports(rule).0 == ports(rule).1) >= 20);
        assert!(share(&|rule| ports(rule).0 < ports(rule).1) >= 15);
        for (proto, least) in [(TCP, 30), (UDP, 10), (ANY, 15)] {
            assert!(share(&|rule| rule.proto == proto) >= least, "protocol {proto}");
        }
        for rule in &rules {
            assert!(rule.src == rule.src.trunc() && rule.dst == rule.dst.trunc(), "{rule:?}");
            assert!(rule.dports.is_none() || rule.proto != ANY, "{rule:?}");
            assert!(ports(rule).0 <= ports(rule).1, "{rule:?}");
        }
    }

    #[test]
    fn some_rules_differ_from_the_probe_in_the_port_alone() {
        let probe = probes()[0];
        let near = rules(1000, 5, probe)
            .into_iter()
            .filter(|rule| rule.dst == Ipv4Net::from(probe.dst) && rule.src.contains(&probe.src));
        assert!(near.count() >= 10);
    }
}
