//! What names in rules stand for: interfaces, networks, endpoints, and the host's own addresses.

use std::net::Ipv4Addr;

use super::axis::{Span, complement, union};
use super::conditions::value;
use crate::filter::syntax::{AddressTypes, Interface};

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

/// What a host and its state say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    /// The interfaces, one for each network with index 0 and the network 0 among them; those of a network follow each other.
    pub interfaces: Vec<KnownInterface>,
    /// Names of networks and of their bridges. They stand for all interfaces of the network, and go before others.
    pub networks: Vec<(String, u16)>,
    /// Addresses of the host.
    pub local: Vec<Ipv4Addr>,
    /// Broadcast addresses of its networks.
    pub broadcast: Vec<Ipv4Addr>,
    /// Ticks of the kernel's clock in a second.
    pub hz: u64,
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

    /// True if a name stands for something.
    pub fn knows(&self, name: &Interface) -> bool {
        name.wildcard || !self.named(name).is_empty()
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
