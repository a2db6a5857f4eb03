//! Building a checked topology: namespaces, the uplink, direct links, and then the operations that the
//! command line has, played in the lab's host namespace.

use std::fs;
use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, anyhow};
use ipnet::{IpNet, Ipv4Net};

use super::record::Record;
use super::topology::{Link, LinkEnd, Outside, Topology};
use crate::model::MacAddr;
use crate::netlink::{Netlink, Route, VethSpec, in_namespace};
use crate::netns::{Netns, NetnsSpec};
use crate::ops::{self, Failure, Host, Options};

/// The outside's end of the uplink.
pub(super) const OUTSIDE_IFNAME: &str = "eth0";

/// Settings of the lab's host namespace, which is ours: it routes, and bridged packets do not visit
/// netfilter. The second is absent where the kernel has no `br_netfilter`.
const HOST_SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "0"),
];

/// Builds everything; on failure what was built is left for `lab down`.
pub(super) fn build(options: &Options, topology: &Topology, record: &mut Record) -> Result<Vec<String>, Failure> {
    for name in record.namespaces() {
        let namespace = Netns::create_named(&name).map_err(anyhow::Error::from)?;
        in_namespace(&namespace, async |netlink| {
            let lo = netlink.link("lo").await?.context("the namespace has no interface lo")?;
            Ok(netlink.set_up(lo.index).await?)
        })
        .with_context(|| format!("set up lo in {name}"))?;
    }
    let host = open(&record.host())?;
    host.run(|| HOST_SETTINGS.iter().try_for_each(|(path, value)| set(path, value)))
        .map_err(anyhow::Error::from)??;
    if let Some(outside) = &topology.outside {
        uplink(&host, &open(&topology.namespace("outside"))?, outside).context("build the uplink")?;
    }
    for wanted in &topology.links {
        link(topology, wanted).with_context(|| format!("link {} and {}", wanted.a.node, wanted.b.node))?;
    }
    play(options, topology, record, &host)
}

/// Opens a namespace of a lab.
pub(super) fn open(name: &str) -> anyhow::Result<Netns> {
    Ok(Netns::open(&NetnsSpec::Name(name.to_owned()))?)
}

/// The operations, in the host namespace; returns their warnings.
fn play(options: &Options, topology: &Topology, record: &mut Record, host: &Netns) -> Result<Vec<String>, Failure> {
    if topology.networks.is_empty() {
        return Ok(Vec::new());
    }
    let played = in_namespace(host, async |_| {
        // The failure of an operation keeps its exit code, so it travels as a value.
        Ok(operations(options, topology, record).await)
    });
    played.unwrap_or_else(|error| Err(error.into()))
}

async fn operations(options: &Options, topology: &Topology, record: &mut Record) -> Result<Vec<String>, Failure> {
    let host = Host::open(options)?;
    record.instance = Some(host.instance().to_owned());
    record.save()?;
    let mut warnings = Vec::new();
    for network in &topology.networks {
        warnings.extend(ops::net_create(&host, network).await?.warnings);
    }
    for attachment in &topology.attachments {
        warnings.extend(ops::attach(&host, attachment).await?.warnings);
    }
    // After the endpoints, whose names its rules may use, and before anything is reachable from outside.
    if let Some(filter) = &topology.filter {
        warnings.extend(ops::filter_load(&host, filter, false).await?.warnings);
    }
    for ports in &topology.ports {
        warnings.extend(ops::port_add(&host, ports).await?.warnings);
    }
    Ok(warnings)
}

fn set(path: &str, value: &str) -> anyhow::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("set {path} to {value} in the lab's host namespace")),
    }
}

fn uplink(host: &Netns, outside: &Netns, wanted: &Outside) -> anyhow::Result<()> {
    in_namespace(host, async |netlink| {
        let spec = VethSpec {
            name: &wanted.uplink,
            alias: None,
            group: 0,
            mac: None,
            mtu: wanted.mtu,
            peer_name: OUTSIDE_IFNAME,
            peer_mac: MacAddr::from_ipv4(wanted.address.addr()).0,
            peer_netns: outside,
        };
        netlink.create_veth(&spec).await?;
        let index = address(&netlink, &wanted.uplink, wanted.host).await?;
        route(&netlink, index, Ipv4Net::default(), Some(wanted.address.addr().into())).await
    })?;
    in_namespace(outside, async |netlink| {
        let index = address(&netlink, OUTSIDE_IFNAME, wanted.address).await?;
        for subnet in &wanted.routes {
            route(&netlink, index, *subnet, Some(wanted.host.addr().into())).await?;
        }
        Ok(())
    })
}

fn link(topology: &Topology, wanted: &Link) -> anyhow::Result<()> {
    let a = open(&topology.namespace(wanted.a.node.as_str()))?;
    let b = open(&topology.namespace(wanted.b.node.as_str()))?;
    in_namespace(&a, async |netlink| {
        let spec = VethSpec {
            name: &wanted.a.ifname,
            alias: None,
            group: 0,
            mac: None,
            mtu: 1500,
            peer_name: &wanted.b.ifname,
            peer_mac: MacAddr::from_ipv4(wanted.b.address.addr()).0,
            peer_netns: &b,
        };
        netlink.create_veth(&spec).await?;
        link_end(&netlink, &wanted.a, &wanted.b).await
    })?;
    in_namespace(&b, async |netlink| link_end(&netlink, &wanted.b, &wanted.a).await)
}

async fn link_end(netlink: &Netlink, own: &LinkEnd, peer: &LinkEnd) -> anyhow::Result<()> {
    let index = address(netlink, &own.ifname, own.address).await?;
    if own.address.contains(&peer.address.addr()) {
        return Ok(());
    }
    route(netlink, index, peer.address.addr().into(), None).await
}

/// Gives an interface its address and sets it up.
async fn address(netlink: &Netlink, ifname: &str, address: Ipv4Net) -> anyhow::Result<u32> {
    let link = netlink
        .link(ifname)
        .await?
        .ok_or_else(|| anyhow!("interface {ifname} has gone"))?;
    netlink.add_address(link.index, address.into()).await?;
    netlink.set_up(link.index).await?;
    Ok(link.index)
}

async fn route(netlink: &Netlink, index: u32, dst: Ipv4Net, via: Option<IpAddr>) -> anyhow::Result<()> {
    let dst = IpNet::V4(dst);
    Ok(netlink
        .add_route(&Route {
            dst,
            via,
            index,
            onlink: false,
        })
        .await?)
}
