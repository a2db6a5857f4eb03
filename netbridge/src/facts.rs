//! What a plan must know of the host and of a namespace, read before it decides.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use anyhow::Result;
use ipnet::{IpNet, Ipv4Net};

use crate::datapath::SnatRange;
use crate::filter::tables::Bank;
use crate::names;
use crate::netlink::{LinkInfo, Netlink, in_namespace};
use crate::netns::Netns;
use crate::state::State;

/// The host namespace.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// The instance's name.
    pub instance: String,
    /// Whether the instance's programs and maps are loaded.
    pub loaded: bool,
    /// The inode number of the host's network namespace.
    pub inode: u64,
    /// That of the machine's first process, where it can be seen.
    pub machine: Option<u64>,
    /// The host's interfaces.
    pub links: Vec<LinkInfo>,
    /// Its IPv4 addresses, by ifindex.
    pub addresses: Vec<(u32, Ipv4Net)>,
    /// Where its IPv4 routes lead, by ifindex.
    pub routes: Vec<(u32, Ipv4Net)>,
    /// The ports it gives to programs and to masqueraded packets; none where that is not known.
    pub ports: Option<SnatRange>,
    /// Ports of that range that programs are not given: `net.ipv4.ip_local_reserved_ports`.
    pub reserved: Vec<RangeInclusive<u16>>,
    /// Why the host's own sockets are not led to published ports, nor kept from taking them.
    pub unhooked: Option<String>,
    /// What tables for its kernel and its datapath depend on.
    pub kernel: KernelFacts,
}

/// What the tables of a filter depend on beside its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Ticks of the kernel's clock in a second.
    pub hz: u64,
    /// The serial of the filter in force, see [`netbridge_common::abi::generation`]: no other filter of the instance had it.
    pub serial: u32,
    /// The bank of that filter, if rules are in it.
    pub bank: Option<Bank>,
}

impl Default for KernelFacts {
    fn default() -> Self {
        Self {
            hz: 1,
            serial: 0,
            bank: None,
        }
    }
}

impl HostFacts {
    /// Reads what rtnetlink and the socket tables say. Interfaces of the instance that `state` does
    /// not know, which an interrupted call left, are no facts: they are returned beside.
    pub async fn read(
        netlink: &Netlink,
        netns: &Netns,
        instance: &str,
        loaded: bool,
        state: &State,
    ) -> Result<(Self, Vec<LinkInfo>)> {
        let known = |index| {
            state.networks.iter().any(|network| network.ifindex == index)
                || state.endpoints.iter().any(|endpoint| endpoint.ifindex == index)
        };
        let (litter, links): (Vec<_>, _) = netlink.links().await?.into_iter().partition(|link| {
            let ours = match &link.alias {
                Some(alias) => names::is_alias(alias, instance),
                None => link.group == names::group(instance),
            };
            ours && !known(link.index)
        });
        let stays = |index: &u32| litter.iter().all(|link| link.index != *index);
        let addresses = netlink.all_addresses().await?.into_iter().filter_map(only_ipv4);
        let routes = netlink
            .routes()
            .await?
            .into_iter()
            .map(|route| (route.index, route.dst))
            .filter_map(only_ipv4);
        let facts = Self {
            instance: instance.to_owned(),
            loaded,
            inode: netns.inode(),
            machine: Netns::of_the_machine(),
            links,
            addresses: addresses.filter(|(index, _)| stays(index)).collect(),
            routes: routes.filter(|(index, _)| stays(index)).collect(),
            ports: SnatRange::of_host().ok(),
            reserved: reserved_ports(),
            unhooked: None,
            kernel: KernelFacts::default(),
        };
        Ok((facts, litter))
    }

    /// Whether an address is the host's own.
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|(_, net)| net.addr() == address)
    }

    /// The interface called `name`.
    pub fn link(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The addresses of an interface, in the kernel's order: the primary first.
    pub fn addresses_of(&self, ifindex: u32) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses
            .iter()
            .filter(move |(owner, _)| *owner == ifindex)
            .map(|(_, net)| net.addr())
    }
}

/// The namespace of an endpoint to be.
#[derive(Clone, Debug, Default)]
pub struct TargetFacts {
    /// Its inode number.
    pub inode: u64,
    /// The names of its interfaces.
    pub links: Vec<String>,
    /// Whether it has a default route.
    pub default_route: bool,
}

impl TargetFacts {
    /// Reads what rtnetlink says inside the namespace.
    pub fn read(netns: &Netns) -> Result<Self> {
        in_namespace(netns, async |netlink| {
            let routes = netlink.routes().await?;
            Ok(Self {
                inode: netns.inode(),
                links: netlink.links().await?.into_iter().map(|link| link.name).collect(),
                default_route: routes.iter().any(|route| route.dst.prefix_len() == 0),
            })
        })
    }
}

fn only_ipv4((index, net): (u32, IpNet)) -> Option<(u32, Ipv4Net)> {
    match net {
        IpNet::V4(net) => Some((index, net)),
        IpNet::V6(_) => None,
    }
}

/// The ports that the kernel of the calling thread's namespace does not give to programs by itself.
fn reserved_ports() -> Vec<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
    text.map(|text| parse_ports(&text)).unwrap_or_default()
}

/// `FIRST-LAST,PORT,…`, as the sysctl prints it.
fn parse_ports(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::parse_ports;

    #[test]
    fn reads_the_ports_that_the_kernel_prints() {
        assert_eq!(parse_ports("\n"), []);
        assert_eq!(parse_ports("8080,9000-9099\n"), [8080..=8080, 9000..=9099]);
    }
}
