//! Steps on interfaces, through rtnetlink.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::{IpNet, Ipv4Net};

use super::Run;
use crate::names;
use crate::netlink::{BridgeSpec, Route, VethSpec, in_namespace};
use crate::netns::{Netns, NetnsSpec};
use crate::state::{Endpoint, Network};
use crate::sysctl;

impl Run<'_> {
    pub(super) async fn create_bridge(&mut self, network: &Network) -> Result<()> {
        let netlink = self.with.netlink;
        let spec = BridgeSpec {
            name: network.bridge.clone(),
            mac: network.mac.0,
            mtu: network.mtu,
            alias: Some(names::alias(self.with.instance, &network.name)),
            group: names::group(self.with.instance),
        };
        let bridge = netlink.create_bridge(&spec).await?;
        self.indices.insert(bridge.name, bridge.index);
        if let Some(record) = self.new.networks.iter_mut().find(|record| record.name == network.name) {
            record.ifindex = bridge.index;
        }
        sysctl::harden(&network.bridge)?;
        sysctl::route(&network.bridge)?;
        let address = Ipv4Net::new(network.gateway, network.subnet.prefix_len())?;
        Ok(netlink.add_address(bridge.index, address.into()).await?)
    }

    pub(super) async fn create_veth(&mut self, endpoint: &Endpoint) -> Result<()> {
        let network = self
            .new
            .network(endpoint.network.as_str())
            .context("its network is not known")?;
        let veth = VethSpec {
            name: &endpoint.host_if,
            alias: Some(&names::alias(self.with.instance, &endpoint.name)),
            group: names::group(self.with.instance),
            // The host routes what is sent to a port's own address: there must be none but the gateway's, whose
            // packets the programs route.
            mac: Some(network.mac.0),
            mtu: network.mtu,
            peer_name: &endpoint.ifname,
            peer_mac: endpoint.mac.0,
            peer_netns: &open(endpoint)?,
        };
        let made = self.with.netlink.create_veth(&veth).await?;
        if let Err(error) = sysctl::harden(&endpoint.host_if) {
            // The step leaves all or nothing; the first failure is the one to report.
            let _ = self.with.netlink.delete_link(made.index).await;
            return Err(error.into());
        }
        self.indices.insert(made.name, made.index);
        if let Some(record) = self
            .new
            .endpoints
            .iter_mut()
            .find(|record| record.name == endpoint.name)
        {
            record.ifindex = made.index;
        }
        Ok(())
    }

    /// The bridge knows the endpoint's MAC and learns no other; behind a trunk it has to learn.
    pub(super) async fn join_bridge(&self, endpoint: &Endpoint, bridge: &str) -> Result<()> {
        let netlink = self.with.netlink;
        let port = self.index(&endpoint.host_if)?;
        netlink.set_master(port, self.index(bridge)?).await?;
        if !endpoint.trunk {
            netlink.set_learning(port, false).await?;
            netlink.add_static_fdb(port, endpoint.mac.0).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_link(&self, name: &str, alias: &str) -> Result<()> {
        let netlink = self.with.netlink;
        match netlink.link(name).await? {
            Some(link) if link.alias.as_deref() == Some(alias) => {
                netlink.delete_link(link.index).await?;
                self.detach(link.index)
            }
            _ => Ok(()),
        }
    }
}

/// Addresses and routes inside the endpoint's namespace.
pub(super) fn configure(endpoint: &Endpoint) -> Result<()> {
    in_namespace(&open(endpoint)?, async |netlink| {
        let find = async |name: &str| match netlink.link(name).await? {
            Some(link) => Ok(link.index),
            None => bail!("interface {name} is not in namespace {}", endpoint.netns),
        };
        netlink.set_up(find("lo").await?).await?;
        let index = find(&endpoint.ifname).await?;
        sysctl::disable_ipv6(&endpoint.ifname)?;
        for address in &endpoint.addresses {
            netlink.add_address(index, (*address).into()).await?;
        }
        netlink.set_up(index).await?;
        if let Some(gateway) = endpoint.gateway {
            let onlink = !endpoint.addresses.iter().any(|net| net.contains(&gateway));
            let dst = IpNet::V4(Ipv4Net::default());
            netlink
                .add_route(&Route {
                    dst,
                    via: Some(IpAddr::V4(gateway)),
                    index,
                    onlink,
                })
                .await?;
        }
        Ok(())
    })
}

/// The endpoint's namespace, if it still is the one that was looked at.
fn open(endpoint: &Endpoint) -> Result<Netns> {
    let netns = Netns::open(&endpoint.netns.parse::<NetnsSpec>()?)?;
    ensure!(
        netns.inode() == endpoint.netns_inode,
        "namespace {} was replaced meanwhile; try again",
        endpoint.netns
    );
    Ok(netns)
}
