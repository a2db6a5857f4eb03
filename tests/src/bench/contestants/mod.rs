//! The contestants, each set up in namespaces of its own.
//!
//! What is the same in every world: one namespace a container, one for the outside, one for the host; MTU 1500 and
//! offloads as the kernel makes them; addresses and MACs; no IPv6 and no multicast reports, which would add packets of
//! their own; and permanent neighbour entries among A, B, host and outside, because a generator without sockets answers
//! no ARP and a stale entry would add packets too. Containers attached later have none of those: they resolve
//! their neighbours as any container does.
//!
//! What differs is what is measured: who carries a packet from one veth to the next. Where a contestant's own tool
//! would be slower than it must be, it is spared that: containers come to a bridge of the kernel by netlink from
//! this process, and Docker's proxies and daemon do not exist.

mod bridged;
mod docker;
mod foreign;
mod ground;
mod ipset;
mod limit;
mod netbridge;
mod nftables;
mod sets;
mod syntax;
mod wiring;

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;

use self::bridged::Bridged;
use self::docker::{Docker, Tool};
use self::ground::BRIDGE_NETFILTER;
use self::ipset::Ipset;
use self::limit::Limit;
use self::netbridge::Netbridge;
use self::nftables::Nftables;
pub use self::syntax::forward;
use super::contestant::Contestant;
use super::machine::find;
use super::world::World;
use crate::sandbox::Sandbox;
use crate::{command, conntrack};

/// Prefix length of the containers' network.
const CONTAINERS: u8 = 16;
/// The containers' gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Container A.
const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Container B.
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// Container number 0 of those attached later.
const MORE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 0);
/// Prefix length of the network between host and outside.
const OUTER: u8 = 24;
/// The host on its uplink.
const UPLINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The outside.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// MTU of every interface, bytes.
const MTU: u32 = 1500;
/// The interface of a container, of the outside, and of the host towards it.
const ETH0: &str = "eth0";

/// Sets a contestant up; all of it goes when the world is dropped, and on failure nothing is left.
pub fn build(contestant: Contestant, sandbox: &Sandbox) -> Result<Box<dyn World>> {
    let build = || -> Result<Box<dyn World>> {
        Ok(match contestant {
            Contestant::Loopback => Box::new(Limit::loopback()?),
            Contestant::RawPair => Box::new(Limit::raw_pair()?),
            Contestant::Bridge => Box::new(Bridged::build(contestant, None)?),
            Contestant::IptablesNft => Box::new(Bridged::build(contestant, Some(Box::new(Docker::new(Tool::Nft))))?),
            Contestant::IptablesLegacy => {
                Box::new(Bridged::build(contestant, Some(Box::new(Docker::new(Tool::Legacy))))?)
            }
            Contestant::Ipset => Box::new(Bridged::build(contestant, Some(Box::new(Ipset::new())))?),
            Contestant::Nftables => Box::new(Bridged::build(contestant, Some(Box::new(Nftables::default())))?),
            Contestant::Netbridge => Box::new(Netbridge::build(sandbox)?),
        })
    };
    build().with_context(|| format!("cannot set up {contestant}"))
}

/// What this machine lacks for a contestant to take part: `iptables-legacy is not installed`.
pub fn absent(contestant: Contestant) -> Option<String> {
    let netfilter = matches!(
        contestant,
        Contestant::IptablesNft | Contestant::IptablesLegacy | Contestant::Ipset | Contestant::Nftables
    );
    let programs: &[&str] = match contestant {
        Contestant::IptablesNft => &Tool::Nft.programs(),
        Contestant::IptablesLegacy => &Tool::Legacy.programs(),
        Contestant::Ipset => &ipset::PROGRAMS,
        Contestant::Nftables => &["nft"],
        _ => &[],
    };
    ["ip"]
        .iter()
        .chain(programs)
        .find(|program| find(program).is_none())
        .map(|program| format!("{program} is not installed"))
        .or_else(|| {
            (netfilter && !Path::new(BRIDGE_NETFILTER).exists())
                .then(|| "the kernel has no br_netfilter: `modprobe br_netfilter`".to_owned())
        })
}

/// The subnet of an address of ours: the containers', or the one of host and outside.
fn subnet(address: Ipv4Addr) -> Ipv4Net {
    let length = if address == UPLINK || address == OUTSIDE {
        OUTER
    } else {
        CONTAINERS
    };
    Ipv4Net::new_assert(address, length)
}

/// The address of container number `index` of those attached later.
fn more(index: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(MORE) + u32::from(index))
}
