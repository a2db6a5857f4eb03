//! What names in rules stand for: interfaces, networks, endpoints, and the host's own addresses.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::spans::{EVERYTHING, Span, complement, intersection, union};
use crate::filter::syntax::{AddressTypes, Extension, Interface, Ruleset};

/// An interface that packets come from or go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KnownInterface {
    /// Its index; 0 for all others of its network.
    pub ifindex: u32,
    /// The network it belongs to, 0 if to none.
    pub network: u16,
    /// The names that stand for it alone.
    pub names: Vec<String>,
}

/// An endpoint with one address, which its packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownEndpoint {
    /// Its traffic slot.
    pub slot: u32,
    /// The host side of its veth.
    pub ifindex: u32,
    /// Its network.
    pub network: u16,
    /// Its address.
    pub address: Ipv4Addr,
}

/// What of a host rules depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// Names of interfaces, networks and endpoints, with a `+` behind those of which more may follow.
    pub names: BTreeSet<String>,
    /// The host's own addresses.
    pub addresses: bool,
}

impl Uses {
    /// What these rules depend on.
    pub fn of(rules: &Ruleset) -> Self {
        let all = || rules.chains.iter().flat_map(|chain| &chain.rules);
        let names = all()
            .flat_map(|rule| [&rule.in_interface, &rule.out_interface])
            .flatten();
        let types = |extension: &Extension| matches!(extension, Extension::AddrType { .. });
        Self {
            names: names.map(|asks| asks.value.to_string()).collect(),
            addresses: all().any(|rule| rule.matches.iter().any(types)),
        }
    }

    /// What these and others depend on.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            names: self.names.union(&other.names).cloned().collect(),
            addresses: self.addresses || other.addresses,
        }
    }
}

/// What a host and its state say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The interfaces, one for each network with index 0 and the network 0 among them; those of a network follow each other.
    pub interfaces: Vec<KnownInterface>,
    /// Names of networks and of their bridges. They stand for all interfaces of the network, and go before others.
    pub networks: Vec<(String, u16)>,
    /// The endpoints.
    pub endpoints: Vec<KnownEndpoint>,
    /// Addresses of the host.
    pub local: Vec<Ipv4Addr>,
    /// Broadcast addresses of its networks.
    pub broadcast: Vec<Ipv4Addr>,
}

impl World {
    /// The interfaces that a name stands for, as spans of their places.
    pub(super) fn named(&self, asks: &Interface) -> Vec<Span> {
        let fits = |name: &str| {
            if asks.wildcard {
                name.starts_with(&asks.name)
            } else {
                name == asks.name
            }
        };
        let networks: Vec<u16> = self
            .networks
            .iter()
            .filter(|(name, _)| fits(name))
            .map(|(_, id)| *id)
            .collect();
        // A network's name hides an interface's.
        let only_networks = !asks.wildcard && !networks.is_empty();
        let stands = |interface: &KnownInterface| {
            networks.contains(&interface.network)
                || (!only_networks && interface.names.iter().any(|name| fits(name)))
                || (asks.wildcard && asks.name.is_empty())
        };
        let places = (0_u32..)
            .zip(&self.interfaces)
            .filter(|(_, interface)| stands(interface));
        union(places.map(|(place, _)| (place, place)).collect())
    }

    /// The interfaces that a name stands for, each by index and network.
    pub fn interfaces_named<'a>(&'a self, name: &Interface) -> impl Iterator<Item = (u32, u16)> + 'a {
        let places = self.named(name).into_iter().flat_map(|(first, last)| first..=last);
        let known = places.filter_map(|place| self.interfaces.get(place as usize));
        known.map(|interface| (interface.ifindex, interface.network))
    }

    /// True if a name stands for something.
    pub fn knows(&self, name: &Interface) -> bool {
        name.wildcard || !self.named(name).is_empty()
    }

    /// Tells apart what rules that use this would be compiled to: to the endpoints' pairs in any case.
    pub fn digest(&self, uses: &Uses, hasher: &mut impl Hasher) {
        self.endpoints.hash(hasher);
        for name in &uses.names {
            let wildcard = name.strip_suffix('+');
            let name = Interface {
                name: wildcard.unwrap_or(name).to_owned(),
                wildcard: wildcard.is_some(),
            };
            self.interfaces_named(&name).collect::<Vec<_>>().hash(hasher);
        }
        if uses.addresses {
            (&self.local, &self.broadcast).hash(hasher);
        }
    }

    /// The addresses of some types, each being of one (`inet_addr_type`, `net/ipv4/fib_frontend.c`): what the kernel knows without
    /// its routes goes before those, and an address of the host before a broadcast one.
    pub(super) fn of_types(&self, types: AddressTypes) -> Vec<Span> {
        let each = |addresses: &[Ipv4Addr], more: Span| {
            let spans = addresses.iter().map(|address| (address.to_bits(), address.to_bits()));
            union(spans.chain([more]).collect())
        };
        let without = |spans: &[Span], others: &[Span]| intersection(spans, &complement(others, EVERYTHING));
        let always = [(0, 0), (u32::MAX, u32::MAX)];
        let group = [(0xe000_0000, 0xefff_ffff)];
        let fixed = union(always.into_iter().chain(group).collect());
        let own = each(&self.local, LOOPBACK_ITSELF);
        let broadcast = without(&each(&self.broadcast, LOOPBACK_BROADCAST), &own);
        let local = without(&union(own.iter().copied().chain([LOOPBACK]).collect()), &broadcast);
        let routed = union(fixed.iter().chain(&local).chain(&broadcast).copied().collect());
        let kinds = [
            (AddressTypes::UNICAST, complement(&routed, EVERYTHING)),
            (AddressTypes::LOCAL, without(&local, &fixed)),
            (
                AddressTypes::BROADCAST,
                union(without(&broadcast, &fixed).into_iter().chain(always).collect()),
            ),
            (AddressTypes::MULTICAST, group.to_vec()),
        ];
        let asked = kinds.into_iter().filter(|(kind, _)| types.0 & kind != 0);
        union(asked.flat_map(|(_, spans)| spans).collect())
    }
}

/// The host's own network, its one address and its broadcast one.
const LOOPBACK: Span = (0x7f00_0000, 0x7fff_ffff);
const LOOPBACK_ITSELF: Span = (0x7f00_0001, 0x7f00_0001);
const LOOPBACK_BROADCAST: Span = (0x7fff_ffff, 0x7fff_ffff);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_of_one_type() {
        let world = World {
            local: vec![[10, 0, 0, 1].into(), [10, 0, 0, 255].into(), [0; 4].into()],
            broadcast: vec![[10, 0, 0, 255].into(), [10, 1, 255, 255].into(), [224, 0, 0, 9].into()],
            ..World::default()
        };
        let all = [1, 2, 4, 8].map(|kind| world.of_types(AddressTypes(kind)));
        let size = |spans: &Vec<Span>| {
            spans
                .iter()
                .map(|(first, last)| u64::from(last - first) + 1)
                .sum::<u64>()
        };
        assert_eq!(all.iter().map(size).sum::<u64>(), 1 << 32);
        assert_eq!(world.of_types(AddressTypes(15)), [EVERYTHING]);
        for (address, place) in [
            ([10, 0, 0, 2], 0),
            ([10, 0, 0, 1], 1),
            ([10, 0, 0, 255], 1),
            ([127, 9, 9, 9], 1),
            ([127, 255, 255, 255], 2),
            ([10, 1, 255, 255], 2),
            ([0; 4], 2),
            ([255; 4], 2),
            ([224, 0, 0, 9], 3),
        ] {
            let value = u32::from_be_bytes(address);
            let holds = |spans: &Vec<Span>| spans.iter().any(|(first, last)| (first..=last).contains(&&value));
            assert_eq!(all.iter().position(holds), Some(place), "{address:?}");
        }
    }
}
