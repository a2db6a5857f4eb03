//! What an instance consists of, as its controller remembers it.
//!
//! [`crate::plan`] reads a state and decides the next one; [`crate::store`] keeps it on disk.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netbridge_common::abi;
use serde::{Deserialize, Serialize};

use crate::filter::syntax::{self, Excerpt, Parsed, Ruleset};
use crate::filter::tables::Uses;
use crate::filter::{Buckets, FilterErrors, Journal, Tally, Text};
use crate::model::{Claims, MacAddr, Name, PortSpec, Settings, Transport};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// Its number in the datapath, 1 to 255.
    pub id: u16,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// The gateway's address, on the bridge.
    pub gateway: Ipv4Addr,
    /// The bridge device.
    pub bridge: String,
    /// The bridge's ifindex; 0 until it is made.
    pub ifindex: u32,
    /// The bridge's MAC.
    pub mac: MacAddr,
    /// MTU of the bridge and its endpoints, bytes.
    pub mtu: u32,
    /// The interface to the outside; `None` for a network without one.
    pub uplink: Option<String>,
    /// No way out, and no default route for its endpoints.
    pub internal: bool,
    /// Packets to the outside take an address of the host's.
    pub masquerade: bool,
    /// That address; `None` for the one that the host would use itself.
    #[serde(default)]
    pub snat: Option<Ipv4Addr>,
    /// What the port outside depends on.
    #[serde(default = "Dependence::mapping")]
    pub mapping: Dependence,
    /// Who may send to it.
    #[serde(default = "Dependence::filtering")]
    pub filtering: Dependence,
    /// The endpoints' own addresses can be reached from outside.
    #[serde(default)]
    pub routed: bool,
    /// Protocols without ports are masqueraded too.
    #[serde(default)]
    pub tunnels: bool,
}

/// What a translation depends on (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dependence {
    /// Not on the remote endpoint.
    Independent,
    /// On the remote address and port.
    Dependent,
}

impl Dependence {
    /// That of the mapping, unless something else is asked for (RFC 4787, REQ-1).
    pub const fn mapping() -> Self {
        Self::Independent
    }

    /// That of the filtering, unless something else is asked for (RFC 4787, REQ-8, where security matters most).
    pub const fn filtering() -> Self {
        Self::Dependent
    }
}

/// An interface to the outside that networks share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The interface.
    pub name: String,
    /// Its ifindex.
    pub ifindex: u32,
    /// Its traffic slot.
    pub slot: u32,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Its IPv4 addresses, from 1 to [`abi::LINK_ADDRS`]; the first is what masquerading takes.
    pub addresses: Vec<Ipv4Addr>,
}

/// A container's connection to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub name: Name,
    /// Its network.
    pub network: Name,
    /// The namespace as it was asked for: a name, a path or `pid:N`.
    pub netns: String,
    /// The namespace's inode number.
    pub netns_inode: u64,
    /// The interface inside the namespace.
    pub ifname: String,
    /// The host side of the veth.
    pub host_if: String,
    /// The host side's ifindex; 0 until it is made.
    pub ifindex: u32,
    /// Its traffic slot.
    pub slot: u32,
    /// The MAC inside the namespace.
    pub mac: MacAddr,
    /// Its addresses with their prefix lengths, from 1 to [`abi::LINK_ADDRS`]; a trunk can have none.
    pub addresses: Vec<Ipv4Net>,
    /// The default route it was given.
    pub gateway: Option<Ipv4Addr>,
    /// Behind it is a bridge of its own.
    pub trunk: bool,
}

impl Endpoint {
    /// Its first address: the target of its published ports.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.addresses.first().map(Ipv4Net::addr)
    }

    /// Whether `address` is one of its own.
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }
}

/// Published ports: one, or a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// The endpoint it leads to.
    pub endpoint: Name,
    /// TCP or UDP.
    pub transport: Transport,
    /// The host's address; `None` for any.
    pub host_ip: Option<Ipv4Addr>,
    /// The first port on the host.
    pub host_port: u16,
    /// The port in the container that it leads to.
    pub port: u16,
    /// How many ports, one behind the other on both sides; a state of format 1 knows single ports alone.
    #[serde(default = "single")]
    pub count: u16,
    /// Who may come in by them from elsewhere than the host, in order and none within another; empty for anybody. A state
    /// of format 2 knows no sources.
    #[serde(default)]
    pub from: Vec<Ipv4Net>,
    /// The number of that list in the datapath, the same for equal ones; 0 for anybody.
    #[serde(default)]
    pub list: u32,
}

const fn single() -> u16 {
    1
}

impl Published {
    /// Ports of an endpoint, for anybody.
    pub fn new(endpoint: Name, ports: &PortSpec) -> Self {
        Self {
            endpoint,
            transport: ports.transport,
            host_ip: ports.host_ip,
            host_port: ports.host,
            port: ports.container,
            count: ports.count,
            from: Vec::new(),
            list: 0,
        }
    }

    /// The ports, whosever they are.
    pub fn ports(&self) -> PortSpec {
        PortSpec {
            host_ip: self.host_ip,
            host: self.host_port,
            container: self.port,
            count: self.count,
            transport: self.transport,
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.ports();
        write!(
            f,
            "{} to {}:{}",
            ports.host_side(),
            self.endpoint,
            ports.container_side()
        )?;
        for (index, source) in self.from.iter().enumerate() {
            let before = if index == 0 { " from " } else { ", " };
            write!(f, "{before}{source}")?;
        }
        Ok(())
    }
}

/// The filter in force, as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterSource {
    /// Where the text came from, for messages.
    pub file: String,
    /// `iptables-save` syntax.
    pub text: Text,
    /// What has changed in it since.
    #[serde(default, skip_serializing_if = "Journal::is_empty")]
    pub journal: Journal,
    /// The sets that its rules name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<SetSource>,
    /// What its tables depend on beside it.
    #[serde(default)]
    pub uses: Uses,
    /// What the rules of its text have counted before the tables in force; counters in the text mean nothing.
    #[serde(default)]
    pub tally: Tally,
    /// The numbers of its limits' buckets.
    #[serde(default)]
    pub buckets: Buckets,
}

impl FilterSource {
    /// Rules without sets, not read yet.
    pub fn new(file: impl Into<String>, text: impl Into<Text>) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            journal: Journal::default(),
            sets: None,
            uses: Uses::default(),
            tally: Tally::default(),
            buckets: Buckets::default(),
        }
    }

    /// Reads its text.
    pub fn parse(&self) -> Result<Parsed, FilterErrors> {
        syntax::parse(&self.file, &self.text, self.sets())
    }

    /// Reads an excerpt of its text, with the numbers of its buckets.
    pub fn excerpt(&self, excerpt: &Excerpt) -> Result<Ruleset, FilterErrors> {
        let mut rules = syntax::excerpt(&self.file, &self.text, self.sets(), excerpt)?;
        self.buckets.put_into_excerpt(&mut rules);
        Ok(rules)
    }

    /// Reads it as it is in force: with what its rules had counted, the numbers of their buckets, and what has changed.
    pub fn in_force(&self) -> Result<Parsed, FilterErrors> {
        let mut parsed = self.parse()?;
        self.tally.put(&mut parsed.ruleset);
        self.buckets.put(&mut parsed.ruleset);
        self.journal.replay(&mut parsed.ruleset)?;
        Ok(parsed)
    }

    fn sets(&self) -> Option<(&str, &str)> {
        self.sets.as_ref().map(|sets| (sets.file.as_str(), &*sets.text))
    }
}

/// The sets of a filter, as their author wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetSource {
    /// Where the text came from, for messages.
    pub file: String,
    /// `ipset save` syntax.
    pub text: Text,
}

/// All that an instance consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The cookie of the network namespace that plays the host.
    pub host: u64,
    /// The networks, in the order of their creation.
    pub networks: Vec<Network>,
    /// The uplinks in use.
    pub uplinks: Vec<Uplink>,
    /// The endpoints, in the order of their attachment.
    pub endpoints: Vec<Endpoint>,
    /// The published ports.
    pub ports: Vec<Published>,
    /// The filter; `None` accepts everything.
    pub filter: Option<FilterSource>,
    /// Addresses the datapath knows as the host's own.
    pub local: BTreeSet<Ipv4Addr>,
    /// What is set for the instance; it stays when the last network goes.
    #[serde(default)]
    pub settings: Settings,
}

impl State {
    /// The network called `name`.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == *name)
    }

    /// The endpoint called `name`.
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == *name)
    }

    /// The uplink on interface `name`.
    pub fn uplink(&self, name: &str) -> Option<&Uplink> {
        self.uplinks.iter().find(|uplink| uplink.name == name)
    }

    /// The endpoints of a network.
    pub fn members<'a>(&'a self, network: &'a Name) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints
            .iter()
            .filter(move |endpoint| endpoint.network == *network)
    }

    /// The endpoint that holds `address`.
    pub fn holder(&self, address: Ipv4Addr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.has_address(address))
    }

    /// What is published, by the ports of the host.
    pub fn claims(&self) -> Claims<&Published> {
        self.ports.iter().map(|port| (port.ports(), port)).collect()
    }

    /// The number of a list of sources: that of an equal one, else the lowest that is free; 0 for an empty list.
    pub fn list_of(&self, from: &[Ipv4Net]) -> u32 {
        if from.is_empty() {
            return 0;
        }
        let equal = self.ports.iter().find(|port| port.from == from);
        let taken: BTreeSet<u32> = self.ports.iter().map(|port| port.list).collect();
        let free = || (1..u32::MAX).find(|list| !taken.contains(list));
        equal.map(|port| port.list).or_else(free).unwrap_or(u32::MAX)
    }

    /// The lowest network id that is free.
    pub fn free_network_id(&self) -> Option<u16> {
        let last = u16::try_from(abi::MAX_NETWORKS - 1).unwrap_or(u16::MAX);
        (1..=last).find(|id| self.networks.iter().all(|network| network.id != *id))
    }

    /// The lowest traffic slot that is free.
    pub fn free_slot(&self) -> Option<u32> {
        let taken: BTreeSet<u32> = self
            .endpoints
            .iter()
            .map(|e| e.slot)
            .chain(self.uplinks.iter().map(|u| u.slot))
            .collect();
        (0..abi::SLOTS).find(|slot| !taken.contains(slot))
    }

    /// There is no network, and so nothing is loaded.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// What stays when the last network goes.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            ..Self::default()
        }
    }

    /// There is nothing to remember.
    pub fn is_forgettable(&self) -> bool {
        self.is_empty() && self.settings == Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_a_count_is_one() {
        let text = r#"{"endpoint":"web","transport":"tcp","host_ip":null,"host_port":80,"port":8080}"#;
        let port: Published = serde_json::from_str(text).unwrap();
        assert_eq!(port.to_string(), "0.0.0.0:80/tcp to web:8080");
        let range = Published { count: 3, ..port };
        assert_eq!(range.to_string(), "0.0.0.0:80-82/tcp to web:8080-8082");
        let from = ["10.0.0.0/8", "192.0.2.7/32"].map(|net| net.parse().unwrap()).into();
        let restricted = Published { from, ..range };
        let text = "0.0.0.0:80-82/tcp to web:8080-8082 from 10.0.0.0/8, 192.0.2.7/32";
        assert_eq!(restricted.to_string(), text);
    }
}
