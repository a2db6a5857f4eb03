//! The maps of an instance, by what they mean to the controller.
//!
//! Who writes what: the controller everything but flows, bindings, learned stations and counters, which are
//! the datapath's; of those it removes entries, ends bindings (which keeps their ports for a while) and zeroes counters.
//! Removing what is absent is not an error.

use std::collections::{HashMap, HashSet};

use aya::maps::MapError;
use bytemuck::Zeroable;
use ipnet::Ipv4Net;
use netbridge_common::abi::{
    AddrKey, Binding, BindingKey, BindingV4, Config, FlowKey, FlowV4, Learned, LinkV4, Load, MacKey, NetworkV4, Peer,
    PeerKey, PortBlock, PortKey, PublishedV4, Reason, SourceKey, Station, Traffic, ZONE_UPLINK, flow_flags,
};
use netbridge_common::datapath::state::is_half_open;

use super::filter::FilterMaps;
use super::map::{Array, Hash, PerCpu, Prefix, Trie};
use super::object::maps;
use super::{DatapathError, Pins, housekeeping};

/// The owner of a port that is on nobody's quota: no slot.
const NOBODY: u16 = u16::MAX;

/// An IPv4 address as the maps hold it, in network order.
pub type Ipv4 = [u8; 4];

/// A socket of the host and the container that it was led to, and what it asked for.
pub type Led = (PeerKey<Ipv4>, Peer<Ipv4>);

/// The maps of one instance, opened.
pub struct Tables {
    pins: Pins,
    config: Array<Config>,
    links: Hash<u32, LinkV4>,
    networks: Array<NetworkV4>,
    subnets: Trie<Ipv4, u32>,
    addresses: Hash<AddrKey<Ipv4>, Station>,
    fdb: Hash<MacKey, Station>,
    flows: Hash<FlowKey<Ipv4>, FlowV4>,
    loads: Array<Load>,
    bindings: Hash<BindingKey<Ipv4>, BindingV4>,
    published: Trie<PortKey<Ipv4>, PublishedV4>,
    sources: Trie<SourceKey<Ipv4>, u32>,
    peers: Hash<PeerKey<Ipv4>, Peer<Ipv4>>,
    filter: FilterMaps,
    drops: PerCpu<u64>,
    traffic: PerCpu<Traffic>,
    learned: Array<Learned>,
}

impl Tables {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            pins: pins.clone(),
            config: Array::open(pins, maps::CONFIG)?,
            links: Hash::open(pins, maps::LINKS)?,
            networks: Array::open(pins, maps::NETWORKS)?,
            subnets: Trie::open(pins, maps::SUBNETS)?,
            addresses: Hash::open(pins, maps::ADDRESSES)?,
            fdb: Hash::open(pins, maps::FDB)?,
            flows: Hash::open(pins, maps::FLOWS)?,
            loads: Array::open(pins, maps::LOADS)?,
            bindings: Hash::open(pins, maps::BINDINGS)?,
            published: Trie::open(pins, maps::PUBLISHED)?,
            sources: Trie::open(pins, maps::SOURCES)?,
            peers: Hash::open(pins, maps::PEERS)?,
            filter: FilterMaps::open(pins)?,
            drops: PerCpu::open(pins, maps::DROPS)?,
            traffic: PerCpu::open(pins, maps::TRAFFIC)?,
            learned: Array::open(pins, maps::LEARNED)?,
        })
    }

    /// Version of the maps that are pinned; `None` if their configuration has another size than ours.
    pub(super) fn version(pins: &Pins) -> Result<Option<u32>, DatapathError> {
        match Array::<Config>::open(pins, maps::CONFIG) {
            Ok(config) => Ok(Some(config.get(0)?.version)),
            Err(DatapathError::Map { source, .. }) if matches!(*source, MapError::InvalidValueSize { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> Result<Config, DatapathError> {
        self.config.get(0)
    }

    /// Replaces the configuration.
    pub(super) fn put_config(&self, config: &Config) -> Result<(), DatapathError> {
        self.config.set(0, config)
    }

    /// The maps of the filter.
    pub(super) fn filter_maps(&self) -> &FilterMaps {
        &self.filter
    }

    /// Changes the configuration in force, but for its generation; one that is as it should be is not written.
    pub(super) fn change_config(&self, change: impl FnOnce(&mut Config)) -> Result<(), DatapathError> {
        let before = self.config()?;
        let mut config = before;
        change(&mut config);
        if config == before {
            return Ok(());
        }
        self.config.set(0, &config)
    }

    /// Writes the state of an interface.
    pub fn put_link(&self, ifindex: u32, link: &LinkV4) -> Result<(), DatapathError> {
        self.links.put(&ifindex, link)
    }

    /// The state of an interface.
    pub fn link(&self, ifindex: u32) -> Result<Option<LinkV4>, DatapathError> {
        self.links.get(&ifindex)
    }

    /// Every interface, by ifindex.
    pub fn links(&self) -> Result<Vec<(u32, LinkV4)>, DatapathError> {
        self.links.entries()
    }

    /// Forgets an interface; its packets are then dropped as from an unknown one.
    pub fn remove_link(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.links.remove(&ifindex).map(drop)
    }

    /// Writes a network.
    pub fn put_network(&self, id: u16, network: &NetworkV4) -> Result<(), DatapathError> {
        self.networks.set(id.into(), network)
    }

    /// A network; all zero if there is none with this id.
    pub fn network(&self, id: u16) -> Result<NetworkV4, DatapathError> {
        self.networks.get(id.into())
    }

    /// Every network, by id.
    pub fn networks(&self) -> Result<Vec<(u16, NetworkV4)>, DatapathError> {
        let all = self.networks.entries()?.into_iter();
        let known = all.filter(|(_, network)| *network != NetworkV4::zeroed());
        Ok(known
            .filter_map(|(id, network)| Some((u16::try_from(id).ok()?, network)))
            .collect())
    }

    /// Zeroes a network.
    pub fn remove_network(&self, id: u16) -> Result<(), DatapathError> {
        self.networks.set(id.into(), &NetworkV4::zeroed())
    }

    /// Says which network a subnet is, [`netbridge_common::abi::SUBNET_LOCAL`] for addresses of the host itself.
    pub fn put_subnet(&self, subnet: Ipv4Net, network: u32) -> Result<(), DatapathError> {
        self.subnets.put(subnet_prefix(subnet), &network)
    }

    /// Every subnet and which network it is.
    pub fn subnets(&self) -> Result<Vec<(Ipv4Net, u32)>, DatapathError> {
        let net = |prefix: Prefix<Ipv4>| Ipv4Net::new(prefix.key.into(), u8::try_from(prefix.bits).ok()?).ok();
        let subnets = self.subnets.entries()?.into_iter();
        Ok(subnets
            .filter_map(|(prefix, network)| Some((net(prefix)?, network)))
            .collect())
    }

    /// Forgets exactly this subnet.
    pub fn remove_subnet(&self, subnet: Ipv4Net) -> Result<(), DatapathError> {
        self.subnets.remove(subnet_prefix(subnet)).map(drop)
    }

    /// Says behind which interface an address is.
    pub fn put_address(&self, key: &AddrKey<Ipv4>, station: &Station) -> Result<(), DatapathError> {
        self.addresses.put(key, station)
    }

    /// Every address and where it is.
    pub fn addresses(&self) -> Result<Vec<(AddrKey<Ipv4>, Station)>, DatapathError> {
        self.addresses.entries()
    }

    /// Forgets an address.
    pub fn remove_address(&self, key: &AddrKey<Ipv4>) -> Result<(), DatapathError> {
        self.addresses.remove(key).map(drop)
    }

    /// Says behind which interface a MAC is.
    pub fn put_station(&self, key: &MacKey, station: &Station) -> Result<(), DatapathError> {
        self.fdb.put(key, station)
    }

    /// Every MAC and where it is, learned ones included; those past their lifetime may be among them.
    pub fn stations(&self) -> Result<Vec<(MacKey, Station)>, DatapathError> {
        self.fdb.entries()
    }

    /// Forgets a MAC.
    pub fn remove_station(&self, key: &MacKey) -> Result<(), DatapathError> {
        self.fdb.remove(key).map(drop)
    }

    /// Publishes a block of ports.
    pub fn put_published(&self, ports: &PortBlock<Ipv4>, target: &PublishedV4) -> Result<(), DatapathError> {
        self.published.put(port_prefix(ports), target)
    }

    /// Every block of published ports and where it leads.
    pub fn published(&self) -> Result<Vec<(PortBlock<Ipv4>, PublishedV4)>, DatapathError> {
        let block = |Prefix { bits, key }| PortBlock {
            first: key,
            prefix: bits,
        };
        let published = self.published.entries()?.into_iter();
        Ok(published.map(|(prefix, target)| (block(prefix), target)).collect())
    }

    /// Withdraws exactly this block. Flows that came through it live on; see [`flush_flows`](Self::flush_flows).
    pub fn remove_published(&self, ports: &PortBlock<Ipv4>) -> Result<(), DatapathError> {
        self.published.remove(port_prefix(ports)).map(drop)
    }

    /// Puts a subnet on a list of sources.
    pub fn put_source(&self, list: u32, subnet: Ipv4Net) -> Result<(), DatapathError> {
        self.sources.put(source_prefix(list, subnet), &1)
    }

    /// Every list of sources: its number and a subnet on it.
    pub fn sources(&self) -> Result<Vec<(u32, Ipv4Net)>, DatapathError> {
        let entry = |Prefix { bits, key }: Prefix<SourceKey<Ipv4>>| {
            let length = u8::try_from(bits.checked_sub(SourceKey::<Ipv4>::LIST_BITS)?).ok()?;
            Some((key.list, Ipv4Net::new(key.addr.into(), length).ok()?))
        };
        let sources = self.sources.entries()?.into_iter();
        Ok(sources.filter_map(|(prefix, _)| entry(prefix)).collect())
    }

    /// Takes a subnet off a list of sources.
    pub fn remove_source(&self, list: u32, subnet: Ipv4Net) -> Result<(), DatapathError> {
        self.sources.remove(source_prefix(list, subnet)).map(drop)
    }

    /// Every socket of the host that asked for a published port: the container that it was led to, and what it asked for.
    /// Those that are closed are among them until the room is needed.
    pub fn peers(&self) -> Result<Vec<Led>, DatapathError> {
        self.peers.entries()
    }

    /// Forgets what sockets of the host asked for, where `pred` says so.
    pub fn flush_peers(&self, pred: impl Fn(&PeerKey<Ipv4>, Peer<Ipv4>) -> bool) -> Result<(), DatapathError> {
        for (key, _) in self.peers()?.into_iter().filter(|(key, asked)| pred(key, *asked)) {
            self.peers.remove(&key)?;
        }
        Ok(())
    }

    /// Both halves of every flow, expired ones included.
    pub fn flows(&self) -> Result<Vec<(FlowKey<Ipv4>, FlowV4)>, DatapathError> {
        self.flows.entries()
    }

    /// Ends the halves of flows that `pred` names and returns how many there were.
    ///
    /// A half without the other is repaired or refused by the datapath, never misdelivered; still, name both.
    pub fn flush_flows(&self, mut pred: impl FnMut(&FlowKey<Ipv4>, &FlowV4) -> bool) -> Result<usize, DatapathError> {
        let named = self.flows()?.into_iter().filter(|(key, flow)| pred(key, flow));
        let keys: Vec<_> = named.map(|(key, _)| key).collect();
        housekeeping::end(&self.pins, &keys)
    }

    /// Flows on a slot's quota; some of them may have expired.
    pub fn load(&self, slot: u32) -> Result<Load, DatapathError> {
        self.loads.get(slot)
    }

    /// Sets right what the quotas are charged with: two CPUs that change the state of a flow at the same moment may leave a count
    /// wrong by one. A slot whose flows come and go meanwhile is left to another time.
    pub(super) fn recount(&self) -> Result<(), DatapathError> {
        let slots: HashSet<_> = self.links()?.iter().map(|(_, link)| link.head.slot).collect();
        let charged = slots.into_iter().map(|slot| Ok((slot, self.load(slot)?)));
        let charged: Vec<_> = charged.collect::<Result<_, DatapathError>>()?;
        let (once, twice) = (self.count()?, self.count()?);
        for (slot, before) in charged {
            let counted = once.get(&slot).copied().unwrap_or_default();
            let settled = twice.get(&slot).copied().unwrap_or_default() == counted;
            if settled && counted != before && self.load(slot)? == before {
                self.loads.set(slot, &counted)?;
            }
        }
        Ok(())
    }

    /// The flows of each slot, and its ports, counted.
    fn count(&self) -> Result<HashMap<u32, Load>, DatapathError> {
        let mut counted = HashMap::<u32, Load>::new();
        for (_, FlowV4 { head, .. }) in self.flows()? {
            if head.flags & flow_flags::REPLY == 0 {
                let load = counted.entry(head.owner).or_default();
                load.flows += 1;
                load.half_open += i32::from(is_half_open(head.state));
            }
        }
        for (key, BindingV4 { head, .. }) in self.bindings()? {
            if key.zone == ZONE_UPLINK.to_ne_bytes() {
                counted.entry(head.owner.into()).or_default().ports += 1;
            }
        }
        Ok(counted)
    }

    /// Both sides of every binding, ended ones included.
    pub fn bindings(&self) -> Result<Vec<(BindingKey<Ipv4>, BindingV4)>, DatapathError> {
        self.bindings.entries()
    }

    /// Ends the bindings of which `pred` names a side, at `now`, ticks: the port outside is nobody's, on no quota, and kept from
    /// everybody for a while.
    pub(super) fn end_bindings(
        &self,
        now: u32,
        mut pred: impl FnMut(&BindingKey<Ipv4>, &BindingV4) -> bool,
    ) -> Result<(), DatapathError> {
        for (key, mut binding) in self.bindings()? {
            if pred(&key, &binding) {
                if key.zone == ZONE_UPLINK.to_ne_bytes() {
                    // Ended a tick ago, so that no packet finds it in this one.
                    binding.head.until = now.wrapping_sub(1);
                    binding.tail = Binding::zeroed();
                    binding.head.owner = NOBODY;
                    self.bindings.put(&key, &binding)?;
                } else {
                    self.bindings.remove(&key)?;
                }
            }
        }
        Ok(())
    }

    /// Traffic of a slot, summed over the CPUs.
    pub fn traffic(&self, slot: u32) -> Result<Traffic, DatapathError> {
        let sum = self.traffic.fold(slot, Traffic::default(), |sum, cpu| Traffic {
            tx_packets: sum.tx_packets.wrapping_add(cpu.tx_packets),
            tx_bytes: sum.tx_bytes.wrapping_add(cpu.tx_bytes),
            rx_packets: sum.rx_packets + cpu.rx_packets,
            rx_bytes: sum.rx_bytes + cpu.rx_bytes,
            drops: sum.drops.wrapping_add(cpu.drops),
        })?;
        Ok(Traffic {
            tx_packets: settled(sum.tx_packets),
            tx_bytes: settled(sum.tx_bytes),
            drops: settled(sum.drops),
            ..sum
        })
    }

    /// Zeroes what is counted of a slot, for its next owner.
    pub fn reset_slot(&self, slot: u32) -> Result<(), DatapathError> {
        self.learned.set(slot, &Learned::zeroed())?;
        self.loads.set(slot, &Load::zeroed())?;
        self.traffic.zero(slot)
    }

    /// Drops so far by reason, summed over the CPUs; every reason is listed.
    pub fn drops(&self) -> Result<Vec<(Reason, u64)>, DatapathError> {
        let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::None);
        reasons
            .map(|reason| {
                let sum = self.drops.fold(*reason as u32, 0, u64::wrapping_add)?;
                Ok((*reason, settled(sum)))
            })
            .collect()
    }
}

/// A sum of counters of which one CPU may have taken back what another counted, and was read before it did.
fn settled(sum: u64) -> u64 {
    sum.cast_signed().max(0).cast_unsigned()
}

fn subnet_prefix(subnet: Ipv4Net) -> Prefix<Ipv4> {
    Prefix {
        bits: subnet.prefix_len().into(),
        key: subnet.network().octets(),
    }
}

fn source_prefix(list: u32, subnet: Ipv4Net) -> Prefix<SourceKey<Ipv4>> {
    Prefix {
        bits: SourceKey::<Ipv4>::LIST_BITS + u32::from(subnet.prefix_len()),
        key: SourceKey {
            list,
            addr: subnet.network().octets(),
        },
    }
}

fn port_prefix(ports: &PortBlock<Ipv4>) -> Prefix<PortKey<Ipv4>> {
    Prefix {
        bits: ports.prefix,
        key: ports.first,
    }
}
