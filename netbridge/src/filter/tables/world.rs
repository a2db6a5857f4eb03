//! What names in rules stand for: interfaces, networks, endpoints, and the host's own addresses.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::axis::{Span, complement, union};
use super::conditions::value;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Tells apart what rules that use this would be compiled to.
    pub fn digest(&self, uses: &Uses, hasher: &mut impl Hasher) {
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

    /// The addresses of some types.
    pub(super) fn of_types(&self, types: AddressTypes) -> Vec<Span> {
        let each = |addresses: &[Ipv4Addr]| -> Vec<Span> { addresses.iter().copied().map(value).collect() };
        let local: Vec<Span> = union(
            each(&self.local)
                .into_iter()
                .chain([(0x7f00_0000, 0x7fff_ffff)])
                .collect(),
        );
        let group: Span = (0xe000_0000, 0xefff_ffff);
        let broadcast: Vec<Span> = union(
            each(&self.broadcast)
                .into_iter()
                .chain([(0, 0), (u32::MAX, u32::MAX)])
                .collect(),
        );
        let others = union(local.iter().chain(&broadcast).copied().chain([group]).collect());
        let unicast = complement(&others, (0, u32::MAX));
        let kinds = [
            (AddressTypes::UNICAST, unicast),
            (AddressTypes::LOCAL, local),
            (AddressTypes::BROADCAST, broadcast),
            (AddressTypes::MULTICAST, vec![group]),
        ];
        let asked = kinds.into_iter().filter(|(kind, _)| types.0 & kind != 0);
        union(asked.flat_map(|(_, spans)| spans).collect())
    }
}
