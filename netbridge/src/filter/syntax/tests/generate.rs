//! Rule sets of every kind, made of few addresses, ports and interfaces, so that rules overlap.

use std::{collections::BTreeMap, net::Ipv4Addr};

use netbridge_common::abi::CtState;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

use super::generate_sets::{asked, sets};
use crate::filter::syntax::{
    AddressRange, AddressTypes, Chain, Counters, Direction, Extension, HashKey, HashLimit, HashTable, IcmpType,
    Interface, Log, Mark, Match, Part, Policy, Ports, Prefix, Protocol, Rate, RejectWith, Rule, Ruleset, Sets, States,
    Target, TcpFlags, Which,
};

/// The chains, each with those that it may jump to: behind it, and at most three within one another.
const CHAINS: [(&str, &[&str]); 5] = [
    ("FORWARD", &["first", "second", "inner", "innermost"]),
    ("first", &["inner", "innermost"]),
    ("second", &["inner", "innermost"]),
    ("inner", &["innermost"]),
    ("innermost", &[]),
];

/// A rule set as `parse` would give it, all lines being 0.
pub(in crate::filter) fn ruleset() -> impl Strategy<Value = Ruleset> {
    let chains: Vec<_> = CHAINS
        .into_iter()
        .map(|(name, targets)| vec(rule(targets), 0..6).prop_map(move |rules| (name, rules)).boxed())
        .collect();
    let policy = select(vec![Policy::Accept, Policy::Drop]);
    (policy, counters(), chains, sets()).prop_map(|(policy, counters, chains, sets)| {
        let mut chains: Vec<Chain> = chains
            .into_iter()
            .map(|(name, rules)| Chain {
                name: name.to_owned(),
                line: 0,
                stood: None,
                counters: if name == "FORWARD" {
                    counters
                } else {
                    Counters::default()
                },
                rules,
            })
            .collect();
        keep_reached(&mut chains);
        let sets = keep_asked(&chains, &sets);
        Ruleset { policy, chains, sets }
    })
}

/// Drops the chains that `FORWARD` does not reach. A chain stands before those that it jumps to.
fn keep_reached(chains: &mut Vec<Chain>) {
    let mut reached = vec!["FORWARD".to_owned()];
    chains.retain(|chain| {
        let kept = reached.contains(&chain.name);
        if kept {
            reached.extend(chain.rules.iter().filter_map(|rule| match &rule.target {
                Target::Jump(chain) | Target::Goto(chain) => Some(chain.clone()),
                _ => None,
            }));
        }
        kept
    });
}

fn keep_asked(chains: &[Chain], sets: &Sets) -> Sets {
    let mut kept = BTreeMap::new();
    let extensions = chains
        .iter()
        .flat_map(|chain| &chain.rules)
        .flat_map(|rule| &rule.matches);
    for extension in extensions {
        let Extension::Set(Match { value, .. }) = extension else {
            continue;
        };
        let set = &sets.0[&value.name];
        for part in set.elements.iter().flat_map(|element| &element.parts) {
            if let Part::Set(member) = part {
                kept.insert(member.clone(), sets.0[member].clone());
            }
        }
        kept.insert(value.name.clone(), set.clone());
    }
    Sets(kept)
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>()).prop_map(|(packets, bytes)| Counters { packets, bytes })
}

fn matching<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Match<T>> {
    (value, any::<bool>()).prop_map(|(value, negated)| Match { value, negated })
}

/// A rule of a chain that may jump to `chains`.
fn rule(chains: &'static [&'static str]) -> impl Strategy<Value = Rule> {
    let rarely = |value| option::weighted(0.3, value);
    let network = || prefix().prop_filter("an option", |prefix| !prefix.is_everything());
    (
        counters(),
        rarely(matching(network()).boxed()),
        rarely(matching(network()).boxed()),
        option::weighted(0.3, matching(interface())),
        option::weighted(0.3, matching(interface())),
        transport(),
        vec(extension(), 0..3),
        target(chains),
    )
        .prop_map(
            |(counters, source, destination, in_interface, out_interface, transport, mut others, mut target)| {
                let (protocol, mut matches) = transport;
                matches.append(&mut others);
                let tcp = Some(Match {
                    value: Protocol::TCP,
                    negated: false,
                });
                if target == Target::Reject(RejectWith::TcpReset) && protocol != tcp {
                    target = Target::Drop;
                }
                Rule {
                    line: 0,
                    stood: None,
                    counters,
                    source,
                    destination,
                    in_interface,
                    out_interface,
                    protocol,
                    matches,
                    target,
                }
            },
        )
}

/// Networks and hosts, within one another and beside, and masks with holes.
pub(in crate::filter) fn prefix() -> impl Strategy<Value = Prefix> {
    let pool = [
        ([10, 0, 0, 0], 8),
        ([10, 0, 0, 0], 24),
        ([10, 0, 0, 0], 31),
        ([10, 0, 0, 1], 32),
        ([10, 0, 0, 2], 32),
        ([10, 0, 1, 0], 24),
        ([10, 0, 1, 7], 32),
        ([192, 168, 0, 0], 16),
        ([128, 0, 0, 0], 1),
    ];
    let network = select(pool.to_vec()).prop_map(|(address, length)| network(address, length));
    let holes = select(vec![[255, 0, 255, 0], [255, 255, 254, 3]])
        .prop_map(|mask: [u8; 4]| Prefix::new(Ipv4Addr::new(10, 0, 1, 1), mask.into()));
    prop_oneof![9 => network, 1 => holes]
}

pub(super) fn network(address: [u8; 4], length: u32) -> Prefix {
    Prefix::new(address.into(), Ipv4Addr::from_bits(u32::MAX << (32 - length)))
}

fn interface() -> impl Strategy<Value = Interface> {
    let pool = [
        ("web", false),
        ("app", false),
        ("eth0", false),
        ("eth", true),
        ("a", true),
    ];
    select(pool.to_vec()).prop_map(|(name, wildcard)| Interface {
        name: name.to_owned(),
        wildcard,
    })
}

/// Ranges within one another, never all ports.
pub(in crate::filter) fn ports() -> impl Strategy<Value = Ports> {
    let pool = [
        (80, 80),
        (443, 443),
        (53, 53),
        (0, 1023),
        (80, 90),
        (1024, 65535),
        (0, 0),
        (65535, 65535),
    ];
    select(pool.to_vec()).prop_map(|(first, last)| Ports { first, last })
}

/// A protocol, and what may be asked of its packets alone.
fn transport() -> impl Strategy<Value = (Option<Match<Protocol>>, Vec<Extension>)> {
    let only = |value: Protocol| Some(Match { value, negated: false });
    let rarely = || option::weighted(0.5, matching(ports()));
    let flags = option::weighted(0.4, matching(flags()));
    let tcp = (rarely(), rarely(), flags).prop_map(|(sport, dport, flags)| Extension::Tcp { sport, dport, flags });
    let udp = (rarely(), rarely()).prop_map(|(sport, dport)| Extension::Udp { sport, dport });
    prop_oneof![
        3 => option::of(matching(select(vec![1u8, 6, 17, 47, 132, 253]).prop_map(|n| Protocol::new(n).unwrap())))
            .prop_map(|protocol| (protocol, Vec::new())),
        2 => tcp.prop_map(move |tcp| (only(Protocol::TCP), vec![tcp])),
        2 => udp.prop_map(move |udp| (only(Protocol::UDP), vec![udp])),
        1 => icmp().prop_map(move |icmp| (only(Protocol::ICMP), vec![icmp])),
        1 => (select(vec![Protocol::TCP, Protocol::UDP]), multiport())
            .prop_map(move |(protocol, ports)| (only(protocol), vec![ports])),
    ]
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    let any_flags = (1..64u8, 0..64u8).prop_map(|(mask, set)| TcpFlags { mask, set: set & mask });
    prop_oneof![Just(TcpFlags { mask: 0x17, set: 0x02 }), any_flags]
}

fn icmp() -> impl Strategy<Value = Extension> {
    let kind = prop_oneof![
        Just((None, None, false)),
        (select(vec![0, 3, 8, 11]), option::of(0..4u8), any::<bool>()).prop_map(|(kind, code, negated)| (
            Some(kind),
            code,
            negated
        )),
    ];
    kind.prop_map(|(kind, code, negated)| {
        Extension::Icmp(Match {
            value: IcmpType { kind, code },
            negated,
        })
    })
}

fn multiport() -> impl Strategy<Value = Extension> {
    let which = select(vec![Which::Source, Which::Destination, Which::Either]);
    (which, matching(vec(ports(), 1..=7))).prop_map(|(which, ports)| Extension::Multiport { which, ports })
}

/// A match that any packet may be asked for.
fn extension() -> impl Strategy<Value = Extension> {
    let state = |bits: std::ops::Range<u8>| bits.prop_map(|bits| States::from_bits(bits).unwrap());
    let plain = CtState::ANY | States::UNTRACKED;
    let direction = option::of(select(vec![Direction::Original, Direction::Reply]));
    let conntrack = (option::of(matching(state(1..128))), direction)
        .prop_filter("an option", |(states, direction)| {
            states.is_some() || direction.is_some()
        })
        .prop_map(|(states, direction)| Extension::Conntrack { states, direction });
    let mac = select(vec![[2, 0x42, 10, 0, 0, 1], [2, 0x42, 10, 0, 0, 2]]);
    let mark = (select(vec![0, 1, 0x4000]), select(vec![u32::MAX, 0x4001]));
    prop_oneof![
        3 => conntrack,
        1 => matching(state(1..plain + 1)).prop_map(Extension::State),
        1 => matching(mac).prop_map(Extension::Mac),
        1 => either(range()).prop_map(|(source, destination)| Extension::IpRange { source, destination }),
        1 => either((1..16u8).prop_map(AddressTypes))
            .prop_map(|(source, destination)| Extension::AddrType { source, destination }),
        2 => matching(asked()).prop_map(Extension::Set),
        1 => rate().prop_map(Extension::Limit),
        1 => hashlimit(),
        1 => matching(mark.prop_map(|(value, mask)| Mark { value, mask })).prop_map(Extension::Mark),
        1 => r#"[ -~é"'\\]{0,20}"#.prop_map(Extension::Comment),
    ]
}

/// Of two options at least one.
fn either<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (Option<Match<T>>, Option<Match<T>>)> {
    let one = || option::of(matching(value.clone()));
    (one(), one()).prop_filter("an option", |(one, other)| one.is_some() || other.is_some())
}

fn range() -> impl Strategy<Value = AddressRange> + Clone {
    let pool = [
        ([10, 0, 0, 1], [10, 0, 0, 2]),
        ([10, 0, 0, 2], [10, 0, 1, 7]),
        ([0; 4], [255; 4]),
        ([10, 0, 0, 1], [10, 0, 0, 1]),
    ];
    select(pool.to_vec()).prop_map(|(first, last)| AddressRange {
        first: first.into(),
        last: last.into(),
    })
}

fn rate() -> impl Strategy<Value = Rate> {
    let rates = [(1, 1), (5, 1), (10_000, 1), (3, 60), (100, 60), (7, 3600), (3, 86_400)];
    (select(rates.to_vec()), select(vec![1, 5, 100])).prop_map(|((packets, seconds), burst)| Rate {
        packets,
        seconds,
        burst,
        bucket: 0,
    })
}

fn hashlimit() -> impl Strategy<Value = Extension> {
    let bits = || select(vec![0u8, 24, 32]);
    let key = (bits(), bits(), any::<bool>(), any::<bool>());
    let table = (
        option::of(1..64u32),
        option::of(1..64u32),
        select(vec![None, Some(500)]),
        select(vec![None, Some(7)]),
    );
    // Netfilter does not take buckets that hold more than about a day.
    let rate = rate().prop_filter("less than a day", |rate| rate.seconds < 86_400);
    (rate, any::<bool>(), key, table).prop_map(|(rate, above, key, table)| {
        let (source, destination, sport, dport) = key;
        let (size, max, gc_interval, expire) = table;
        Extension::HashLimit(HashLimit {
            // Rules of one name share their buckets, and so should be alike.
            name: format!("{}-{}-{}-{key:?}", rate.packets, rate.seconds, rate.burst).replace(['(', ')', ' '], ""),
            rate,
            above,
            key: HashKey {
                source,
                destination,
                sport,
                dport,
            },
            table: HashTable {
                size,
                max,
                gc_interval,
                expire,
            },
        })
    })
}

fn target(chains: &'static [&'static str]) -> BoxedStrategy<Target> {
    let reject = select(vec![0u8, 1, 2, 3, 9, 10, 13]).prop_map(RejectWith::Unreachable);
    let plain = prop_oneof![
        3 => Just(Target::Accept),
        3 => Just(Target::Drop),
        1 => Just(Target::Return),
        1 => Just(Target::Count),
        1 => reject.prop_map(Target::Reject),
        1 => Just(Target::Reject(RejectWith::TcpReset)),
        1 => log().prop_map(Target::Log),
    ];
    if chains.is_empty() {
        return plain.boxed();
    }
    let chain = || select(chains.to_vec()).prop_map(ToOwned::to_owned);
    prop_oneof![
        5 => plain,
        2 => chain().prop_map(Target::Jump),
        1 => chain().prop_map(Target::Goto),
    ]
    .boxed()
}

fn log() -> impl Strategy<Value = Log> {
    let own = |name: &str, value: Option<&str>| (name.to_owned(), value.map(ToOwned::to_owned));
    let syslog = vec![
        own("--log-level", Some("7")),
        own("--log-tcp-sequence", None),
        own("--log-tcp-options", None),
        own("--log-ip-options", None),
        own("--log-uid", None),
        own("--log-macdecode", None),
    ];
    let netlink = vec![
        own("--nflog-group", Some("2")),
        own("--nflog-size", Some("64")),
        own("--nflog-threshold", Some("10")),
    ];
    let prefix = r#"[ -~é"'\\]{0,14}"#;
    prop_oneof![
        (prefix, subsequence(syslog, 0..=6)).prop_map(|(prefix, options)| Log {
            nflog: false,
            prefix,
            options,
        }),
        (prefix, subsequence(netlink, 0..=3)).prop_map(|(prefix, options)| Log {
            nflog: true,
            prefix,
            options,
        }),
    ]
}
