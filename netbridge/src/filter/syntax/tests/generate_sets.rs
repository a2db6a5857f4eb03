//! Sets for generated rules to ask for.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    sample::{select, subsequence},
};

use super::generate::network;
use crate::filter::syntax::{AddressRange, Element, Part, Ports, Protocol, Set, SetMatch, Sets};

/// The sets that rules ask for: name, type, options, dimensions.
const SETS: [(&str, &str, &str, u8); 14] = [
    ("hosts", "hash:ip", "family inet hashsize 1024 maxelem 65536", 1),
    ("masked", "hash:ip", "netmask 24 counters comment", 1),
    ("networks", "hash:net", "family inet", 1),
    ("services", "hash:ip,port", "", 2),
    ("exposed", "hash:net,port", "", 2),
    ("ways", "hash:ip,port,net", "", 3),
    ("pairs", "hash:net,net", "", 2),
    ("stations", "hash:mac", "", 1),
    ("ports", "bitmap:port", "range 0-1023", 1),
    ("lan", "bitmap:ip", "range 10.0.0.0-10.0.0.255", 1),
    ("subnets", "bitmap:ip", "range 10.0.0.0-10.0.255.255 netmask 24", 1),
    ("leases", "hash:ip,mac", "", 2),
    ("calls", "hash:ip,port,ip", "", 3),
    ("routes", "hash:net,port,net", "", 3),
];

/// Lists, and the sets in them.
const LISTS: [(&str, &[&str], u8); 3] = [
    ("all", &["services", "networks"], 2),
    ("places", &["networks", "hosts", "subnets"], 1),
    ("every", &["routes", "exposed", "stations", "pairs"], 3),
];

/// Membership in one of them, or of a list. MACs are those of the source: the filter does not see the others.
pub(super) fn asked() -> impl Strategy<Value = SetMatch> {
    let mut names: Vec<_> = SETS
        .iter()
        .map(|(name, _, _, dimensions)| (*name, *dimensions))
        .collect();
    names.extend(LISTS.iter().map(|(name, _, dimensions)| (*name, *dimensions)));
    (select(names), any::<[bool; 3]>()).prop_map(|((name, dimensions), mut source)| {
        match name {
            "stations" | "every" => source[0] = true,
            "leases" => source[1] = true,
            _ => {}
        }
        SetMatch {
            name: name.to_owned(),
            source: source[..usize::from(dimensions)].to_vec(),
        }
    })
}

/// All of them, and the lists.
pub(super) fn sets() -> impl Strategy<Value = Sets> {
    let sets: Vec<_> = SETS
        .into_iter()
        .map(|(name, kind, options, dimensions)| {
            subsequence(elements(kind, options), 0..=elements(kind, options).len())
                .prop_map(move |elements| {
                    let set = Set {
                        line: 0,
                        kind: kind.to_owned(),
                        options: options.to_owned(),
                        dimensions,
                        elements,
                    };
                    (name.to_owned(), set)
                })
                .boxed()
        })
        .collect();
    sets.prop_map(|sets| {
        let mut sets: BTreeMap<_, _> = sets.into_iter().collect();
        for (name, members, dimensions) in LISTS {
            let part = |name: &&str| Part::Set((*name).to_owned());
            let member = |name: &&str| Element {
                parts: vec![part(name)],
                nomatch: false,
            };
            let list = Set {
                line: 0,
                kind: "list:set".to_owned(),
                options: "size 8".to_owned(),
                dimensions,
                elements: members.iter().map(member).collect(),
            };
            sets.insert(name.to_owned(), list);
        }
        Sets(sets)
    })
}

/// What a set of this type may hold; `ipset` takes any of them together, as none is in another of a set of addresses.
fn elements(kind: &str, options: &str) -> Vec<Element> {
    let net = |address, length| Part::Network(network(address, length));
    let host = |last| net([10, 0, 0, last], 32);
    let range = |first: [u8; 4], last: [u8; 4]| {
        Part::Range(AddressRange {
            first: first.into(),
            last: last.into(),
        })
    };
    let port = |protocol: Option<Protocol>, first, last| Part::Port {
        protocol,
        ports: Ports { first, last },
    };
    let of = |parts: Vec<Part>| Element { parts, nomatch: false };
    let except = |parts: Vec<Part>| Element { parts, nomatch: true };
    let http = || port(Some(Protocol::TCP), 80, 80);
    match kind {
        "hash:ip" if options.contains("netmask") => {
            vec![of(vec![net([10, 0, 0, 0], 24)]), of(vec![net([10, 0, 2, 0], 23)])]
        }
        "hash:ip" => vec![
            of(vec![host(1)]),
            of(vec![net([10, 0, 1, 0], 24)]),
            of(vec![range([10, 0, 0, 2], [10, 0, 0, 4])]),
        ],
        "hash:net" => vec![
            of(vec![net([10, 0, 0, 0], 8)]),
            except(vec![net([10, 0, 0, 0], 24)]),
            of(vec![host(1)]),
            of(vec![net([128, 0, 0, 0], 1)]),
        ],
        "hash:ip,port" => vec![
            of(vec![host(1), http()]),
            of(vec![net([10, 0, 1, 0], 24), port(Some(Protocol::UDP), 53, 55)]),
            of(vec![host(2), port(Some(Protocol::ICMP), 0x0800, 0x0800)]),
            of(vec![host(2), port(Some(Protocol::ICMP), 0x0301, 0x0301)]),
            of(vec![host(2), port(Protocol::new(47), 0, 0)]),
        ],
        "hash:net,port" => vec![
            of(vec![net([10, 0, 0, 0], 8), http()]),
            except(vec![net([10, 0, 0, 0], 24), http()]),
            of(vec![net([10, 0, 0, 0], 31), http()]),
            of(vec![net([10, 0, 1, 0], 24), port(Protocol::new(47), 0, 0)]),
            except(vec![host(2), port(Some(Protocol::UDP), 53, 55)]),
        ],
        "hash:net,port,net" => vec![
            of(vec![net([10, 0, 0, 0], 24), http(), net([10, 0, 0, 0], 8)]),
            // Longer in the one and shorter in the other: the first decides.
            except(vec![host(1), http(), net([10, 0, 0, 0], 8)]),
            except(vec![net([10, 0, 0, 0], 24), http(), net([10, 0, 1, 0], 24)]),
            of(vec![host(1), http(), net([10, 0, 1, 0], 24)]),
        ],
        "hash:ip,port,ip" => vec![
            of(vec![host(1), http(), host(2)]),
            of(vec![
                net([10, 0, 1, 0], 24),
                port(Some(Protocol::UDP), 0, 53),
                range([10, 0, 0, 1], [10, 0, 0, 2]),
            ]),
        ],
        "hash:ip,mac" => vec![
            of(vec![host(1), Part::Mac([2, 0x42, 10, 0, 0, 1])]),
            of(vec![net([10, 0, 1, 0], 24), Part::Mac([2, 0x42, 10, 0, 0, 2])]),
        ],
        "hash:ip,port,net" => vec![
            of(vec![host(1), http(), net([10, 0, 1, 0], 24)]),
            of(vec![host(2), http(), host(1)]),
            except(vec![host(1), http(), net([10, 0, 1, 6], 31)]),
            of(vec![host(1), http(), net([10, 0, 1, 7], 32)]),
        ],
        "hash:net,net" => vec![
            of(vec![net([10, 0, 0, 0], 24), net([10, 0, 1, 0], 24)]),
            except(vec![host(1), host(2)]),
            except(vec![host(1), net([10, 0, 1, 0], 24)]),
            of(vec![host(1), net([10, 0, 1, 6], 31)]),
            of(vec![net([10, 0, 0, 0], 31), net([10, 0, 0, 0], 8)]),
        ],
        "hash:mac" => vec![of(vec![Part::Mac([2, 0x42, 10, 0, 0, 1])])],
        "bitmap:port" => vec![of(vec![port(None, 80, 80)]), of(vec![port(None, 0, 53)])],
        "bitmap:ip" if options.contains("netmask") => {
            vec![of(vec![net([10, 0, 1, 0], 24)]), of(vec![net([10, 0, 2, 0], 23)])]
        }
        _ => vec![of(vec![host(1)]), of(vec![range([10, 0, 0, 2], [10, 0, 0, 4])])],
    }
}
