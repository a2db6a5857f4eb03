//! Links, addresses, routes and neighbours of a world, and what an interface is like.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use netbridge::model::MacAddr;
use netbridge::netlink::{LinkInfo, Netlink, Route, VethSpec, in_namespace};
use netbridge::netns::Netns;

use super::super::world::{Host, Layout, Place, Port};
use super::{ETH0, GATEWAY, MTU, OUTSIDE, UPLINK, command, subnet};
use crate::icmp::ping;
use crate::wait::wait_until;

/// How long a world may take to carry its first packet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take; the next question may reach what the last did not.
const BREATH: Duration = Duration::from_millis(100);

/// Connects two namespaces, an address of ours at either end; both interfaces are called `eth0`.
pub(super) fn pair(near: (&Netns, Ipv4Addr), far: (&Netns, Ipv4Addr)) -> Result<()> {
    in_namespace(near.0, async |netlink| {
        let link = veth(&netlink, ETH0, Some(near.1), (far.0, far.1)).await?;
        netlink.add_address(link.index, subnet(near.1).into()).await?;
        Ok(netlink.set_up(link.index).await?)
    })?;
    in_namespace(far.0, async |netlink| address(&netlink, far.1).await.map(drop))
}

/// Connects host and outside; the outside is the way to everywhere.
pub(super) fn uplink(host: &Netns, outside: &Netns) -> Result<()> {
    pair((host, UPLINK), (outside, OUTSIDE))?;
    in_namespace(host, async |netlink| {
        let link = netlink.link(ETH0).await?.context("the uplink has gone")?;
        default_route(&netlink, link.index, OUTSIDE).await
    })
}

/// Connects a container to a bridge of the kernel by a veth whose host end is called `port`.
pub(super) fn plug(host: &Netns, bridge: u32, port: &str, container: &Netns, ip: Ipv4Addr) -> Result<()> {
    in_namespace(host, async |netlink| {
        let link = veth(&netlink, port, None, (container, ip)).await?;
        netlink.set_master(link.index, bridge).await?;
        Ok(netlink.set_up(link.index).await?)
    })?;
    let configured = in_namespace(container, async |netlink| {
        let index = address(&netlink, ip).await?;
        default_route(&netlink, index, GATEWAY).await
    });
    configured.inspect_err(|_| {
        // The first failure is the one to report.
        let _ = unplug(host, port);
    })
}

/// Undoes [`plug`].
pub(super) fn unplug(host: &Netns, port: &str) -> Result<()> {
    in_namespace(host, async |netlink| {
        let link = netlink
            .link(port)
            .await?
            .with_context(|| format!("the host has no interface {port}"))?;
        Ok(netlink.delete_link(link.index).await?)
    })
}

/// A veth whose far end is the `eth0` of `far`, with the MAC of its address.
async fn veth(netlink: &Netlink, name: &str, near: Option<Ipv4Addr>, far: (&Netns, Ipv4Addr)) -> Result<LinkInfo> {
    let spec = VethSpec {
        name,
        alias: None,
        group: 0,
        mac: near.map(|ip| MacAddr::from_ipv4(ip).0),
        mtu: MTU,
        peer_name: ETH0,
        peer_mac: MacAddr::from_ipv4(far.1).0,
        peer_netns: far.0,
    };
    Ok(netlink.create_veth(&spec).await?)
}

/// Gives `eth0` its address and sets it up.
async fn address(netlink: &Netlink, ip: Ipv4Addr) -> Result<u32> {
    let link = netlink.link(ETH0).await?.context("eth0 has gone")?;
    netlink.add_address(link.index, subnet(ip).into()).await?;
    netlink.set_up(link.index).await?;
    Ok(link.index)
}

async fn default_route(netlink: &Netlink, index: u32, via: Ipv4Addr) -> Result<()> {
    let route = Route {
        dst: IpNet::V4(Ipv4Net::default()),
        via: Some(via.into()),
        index,
        onlink: false,
    };
    Ok(netlink.add_route(&route).await?)
}

/// Describes one end of the traffic.
pub(super) fn place(netns: Netns, ifname: &str, ip: Ipv4Addr) -> Result<Place> {
    let port = port(&netns, ifname, ip)?;
    Ok(Place {
        netns,
        ifname: ifname.to_owned(),
        ifindex: port.ifindex,
        mac: port.mac,
        ip,
    })
}

/// Describes an interface.
pub(super) fn port(netns: &Netns, ifname: &str, ip: Ipv4Addr) -> Result<Port> {
    let link = in_namespace(netns, async |netlink| Ok(netlink.link(ifname).await?))?
        .with_context(|| format!("{netns} has no interface {ifname}"))?;
    Ok(Port {
        ifindex: link.index,
        mac: link.mac.with_context(|| format!("{ifname} has no MAC"))?,
        ip,
    })
}

/// Makes all that A, B, host and outside know of each other permanent.
pub(super) fn introduce(layout: &Layout, bridge: &str) -> Result<()> {
    let Layout { a, b, outside, host } = layout;
    let (to_a, to_b) = ((a.ip, a.mac), (b.ip, b.mac));
    let Some(Host {
        netns, uplink, gateway, ..
    }) = host
    else {
        neighbours(&a.netns, &[(&a.ifname, to_b)])?;
        return neighbours(&b.netns, &[(&b.ifname, to_a)]);
    };
    let to_gateway = (gateway.ip, gateway.mac);
    neighbours(&a.netns, &[(&a.ifname, to_b), (&a.ifname, to_gateway)])?;
    neighbours(&b.netns, &[(&b.ifname, to_a), (&b.ifname, to_gateway)])?;
    neighbours(&outside.netns, &[(&outside.ifname, (uplink.ip, uplink.mac))])?;
    let to_outside = (outside.ip, outside.mac);
    neighbours(netns, &[(bridge, to_a), (bridge, to_b), (ETH0, to_outside)])
}

/// Waits until A reaches B, and the outside the host: the kernel lets a new link carry packets some time after it was
/// set up, up to a second later.
pub(super) fn settle(layout: &Layout) -> Result<()> {
    let Layout { a, b, outside, host } = layout;
    let uplink = host.as_ref().map(|host| (outside, host.uplink.ip));
    for (from, to) in [(a, b.ip)].into_iter().chain(uplink) {
        wait_until(&format!("an answer of {to}"), PATIENCE, || {
            Ok(ping(&from.netns, to, 0, BREATH).is_ok())
        })?;
    }
    Ok(())
}

fn neighbours(netns: &Netns, entries: &[(&str, (Ipv4Addr, [u8; 6]))]) -> Result<()> {
    let mut batch = String::new();
    for (ifname, (ip, mac)) in entries {
        writeln!(
            batch,
            "neighbour replace {ip} lladdr {} dev {ifname} nud permanent",
            MacAddr(*mac)
        )?;
    }
    netns.run(|| command::feed("ip", &["-batch", "-"], &batch))??;
    Ok(())
}
