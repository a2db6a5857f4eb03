//! What a plan must know of the host and of a namespace, read before it decides.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};

use crate::model::{PortSpec, Transport};
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
        };
        Ok((facts, litter))
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

/// A port that a socket of the host holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP, listening; or UDP, bound and not connected.
    pub transport: Transport,
    /// The address; `None` for any.
    pub address: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
}

impl Listener {
    /// Whether it would compete for one of these ports.
    pub fn holds(&self, ports: &PortSpec) -> bool {
        let same_address = self.address.is_none() || ports.host_ip.is_none() || self.address == ports.host_ip;
        self.transport == ports.transport && ports.behind(self.port).is_some() && same_address
    }
}

fn only_ipv4((index, net): (u32, IpNet)) -> Option<(u32, Ipv4Net)> {
    match net {
        IpNet::V4(net) => Some((index, net)),
        IpNet::V6(_) => None,
    }
}

/// The ports that sockets of the calling thread's namespace hold. For TCP the kernel walks a table that grows with the
/// machine: milliseconds.
pub fn listeners() -> Result<Vec<Listener>> {
    let mut found = Vec::new();
    for (table, transport) in [
        ("tcp", Transport::Tcp),
        ("tcp6", Transport::Tcp),
        ("udp", Transport::Udp),
        ("udp6", Transport::Udp),
    ] {
        let path = format!("/proc/thread-self/net/{table}");
        match std::fs::read_to_string(&path) {
            Ok(text) => found.extend(text.lines().skip(1).filter_map(|line| listener(transport, line))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // no IPv6 in this kernel
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        }
    }
    Ok(found)
}

/// Reads a line of `/proc/net/{tcp,udp}{,6}`; `None` if its socket holds no IPv4 port.
fn listener(transport: Transport, line: &str) -> Option<Listener> {
    /// `TCP_LISTEN`, and `TCP_CLOSE`, which is what an unconnected UDP socket has.
    const STATES: [&str; 2] = ["0A", "07"];
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let [listen, unconnected] = STATES;
    let wanted = if transport == Transport::Tcp {
        listen
    } else {
        unconnected
    };
    if words.nth(1)? != wanted {
        return None;
    }
    let address = match socket_address(address)? {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) if address.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address.to_ipv4_mapped()?,
    };
    let address = (!address.is_unspecified()).then_some(address);
    Some(Listener {
        transport,
        address,
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

/// The kernel prints addresses as 32-bit words of its own byte order.
fn socket_address(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    if hex.len() == 8 {
        return word(0).map(IpAddr::from);
    }
    let mut bytes = [0; 16];
    for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(index)?);
    }
    Some(IpAddr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn socket_tables_are_read() {
        let line = |address: &str, state: &str| {
            format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1")
        };
        let tcp = |text: &str| listener(Transport::Tcp, text);
        let holds = |address: Option<[u8; 4]>, port| {
            Some(Listener {
                transport: Transport::Tcp,
                address: address.map(Into::into),
                port,
            })
        };
        assert_eq!(tcp(&line("0100007F:0050", "0A")), holds(Some([127, 0, 0, 1]), 80));
        assert_eq!(tcp(&line("00000000:01BB", "0A")), holds(None, 443));
        assert_eq!(
            tcp(&line("00000000000000000000000000000000:0016", "0A")),
            holds(None, 22)
        );
        assert_eq!(
            tcp(&line("0000000000000000FFFF00000100A8C0:0016", "0A")),
            holds(Some([192, 168, 0, 1]), 22)
        );
        assert_eq!(
            tcp(&line("000080FE000000000000000001000000:0016", "0A")),
            None,
            "an IPv6 address"
        );
        assert_eq!(tcp(&line("0100007F:0050", "01")), None, "a connection");
        assert_eq!(tcp("garbage"), None);
    }

    #[test]
    fn any_address_competes_with_each() {
        let listener = Listener {
            transport: Transport::Tcp,
            address: None,
            port: 80,
        };
        for (ports, expected) in [
            ("127.0.0.1:80:1", true),
            ("80:1/udp", false),
            ("81:1", false),
            ("70-80:1-11", true),
            ("70-79:1-10", false),
        ] {
            assert_eq!(listener.holds(&PortSpec::parse(ports).unwrap()), expected, "{ports}");
        }
    }
}
