//! Steps on the maps.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use bytemuck::Zeroable;
use netbridge_common::abi::{FlowKey, FlowV4, PublishedV4, SUBNET_LOCAL, flow_flags};
use netbridge_common::datapath::conntrack::other_half;

use super::{Run, sockets};
use crate::datapath::{Datapath, Ipv4};
use crate::encode;
use crate::listener::rivals;
use crate::model::{Claims, PortSpec, Transport};
use crate::plan::vacant;
use crate::state::{Endpoint, Network, Published, Uplink};

impl Run<'_> {
    pub(super) fn add_network(&self, network: &Network) -> Result<()> {
        let tables = self.loaded()?.tables();
        let uplink = network.uplink.as_deref().and_then(|name| self.new.uplink(name));
        tables.put_network(
            network.id,
            &encode::network(network, self.index(&network.bridge)?, uplink),
        )?;
        Ok(tables.put_subnet(network.subnet, network.id.into())?)
    }

    pub(super) fn remove_network(&self, network: &Network) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        let tables = datapath.tables();
        tables.remove_subnet(network.subnet)?;
        tables.remove_network(network.id)?;
        let zone = network.id.to_ne_bytes();
        tables.flush_flows(|key, flow| key.zone == zone || flow.head.peer_zone == network.id)?;
        Ok(())
    }

    pub(super) fn add_local(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let tables = self.loaded()?.tables();
        addresses
            .iter()
            .try_for_each(|address| Ok(tables.put_subnet((*address).into(), SUBNET_LOCAL)?))
    }

    pub(super) fn remove_local(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        addresses
            .iter()
            .try_for_each(|address| Ok(datapath.tables().remove_subnet((*address).into())?))
    }

    pub(super) fn add_uplink(&self, uplink: &Uplink) -> Result<()> {
        let tables = self.loaded()?.tables();
        tables.reset_slot(uplink.slot)?;
        Ok(tables.put_link(uplink.ifindex, &encode::uplink(uplink))?)
    }

    pub(super) fn remove_uplink(&self, uplink: &Uplink) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        Ok(datapath.tables().remove_link(uplink.ifindex)?)
    }

    pub(super) fn add_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let tables = self.loaded()?.tables();
        let (net, ifindex) = (self.network_id(endpoint)?, self.index(&endpoint.host_if)?);
        let station = encode::station(endpoint, ifindex);
        tables.reset_slot(endpoint.slot)?;
        tables.put_link(ifindex, &encode::endpoint(endpoint, net))?;
        for address in &endpoint.addresses {
            tables.put_address(&encode::address_key(address.addr(), net), &station)?;
        }
        Ok(tables.put_station(&encode::mac_key(endpoint, net), &station)?)
    }

    pub(super) fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        forget(datapath, self.index(&endpoint.host_if)?)
    }

    pub(super) fn publish(&self, ports: &[Published]) -> Result<()> {
        let tables = self.loaded()?.tables();
        let owners: HashMap<_, _> = self.new.endpoints.iter().map(|owner| (&owner.name, owner)).collect();
        for port in ports {
            port.from
                .iter()
                .try_for_each(|source| tables.put_source(port.list, *source))?;
            encode::somewhere_blocks(port)
                .try_for_each(|block| tables.put_published(&block, &PublishedV4::zeroed()))?;
            let owner = owners.get(&port.endpoint);
            let owner = owner.with_context(|| format!("endpoint {} is not known", port.endpoint))?;
            let target = encode::port_target(port, owner, self.network_id(owner)?);
            encode::port_blocks(port).try_for_each(|block| tables.put_published(&block, &target))?;
        }
        // From here on the programs on sockets keep them: who bound one since the sockets were looked at holds it now.
        let specs: Vec<PortSpec> = ports.iter().map(Published::ports).collect();
        let rivals = rivals(&specs)?;
        Ok(specs.iter().try_for_each(|spec| vacant(spec, &rivals))?)
    }

    pub(super) fn unpublish(&mut self, ports: &[Published]) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        let tables = datapath.tables();
        let gone: HashSet<&Published> = ports.iter().collect();
        // An undone publication is in the new state, a withdrawn one in the old.
        let known = self.old.ports.iter().chain(&self.new.ports);
        let (mut lists, mut somewhere) = (HashSet::new(), HashSet::new());
        for port in known.filter(|port| !gone.contains(port)) {
            lists.insert(port.list);
            somewhere.extend(encode::somewhere_blocks(port));
        }
        for port in ports {
            let unshared = encode::somewhere_blocks(port).filter(|block| !somewhere.contains(block));
            encode::port_blocks(port)
                .chain(unshared)
                .try_for_each(|block| tables.remove_published(&block))?;
            if !lists.contains(&port.list) {
                port.from
                    .iter()
                    .try_for_each(|source| tables.remove_source(port.list, *source))?;
            }
        }
        let owners = self.new.endpoints.iter().chain(&self.old.endpoints);
        let addresses: HashMap<_, _> = owners
            .filter_map(|owner| Some((&owner.name, owner.address()?)))
            .collect();
        let gone: Claims<Ipv4Addr> = ports
            .iter()
            .filter_map(|port| Some((port.ports(), *addresses.get(&port.endpoint)?)))
            .collect();
        tables.flush_flows(|key, flow| came_through(key, flow, &gone))?;
        // The ports lead nobody there any more.
        let told = sockets::end_led(tables, &gone)?;
        self.tell(told);
        Ok(())
    }

    pub(super) fn end_flows(&mut self, endpoint: &Endpoint) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        let (tables, ifindex) = (datapath.tables(), self.index(&endpoint.host_if)?);
        // The stations behind a trunk have addresses of their own: their flows are known by the half that leads there.
        let mut other_halves = HashSet::new();
        tables.flush_flows(|key, flow| {
            let ends = flow.head.ifindex == ifindex || concerns(key, flow, endpoint);
            if ends {
                other_halves.insert(other_half(key, &flow.head, &flow.tail));
            }
            ends
        })?;
        if !other_halves.is_empty() {
            tables.flush_flows(|key, _| other_halves.contains(key))?;
        }
        let net = self.network_id(endpoint)?.to_ne_bytes();
        datapath.end_bindings(|key, binding| {
            let inner = if key.zone == net { key.addr } else { binding.tail.addr };
            (key.zone == net || binding.tail.zone == net) && endpoint.has_address(inner.into())
        })?;
        self.tell(sockets::end_connected(endpoint));
        Ok(())
    }
}

/// Removes whatever the maps say of an interface: the entry itself, and the addresses and stations
/// behind it.
pub(super) fn forget(datapath: &Datapath, ifindex: u32) -> Result<()> {
    let tables = datapath.tables();
    for (key, _) in tables
        .addresses()?
        .into_iter()
        .filter(|(_, station)| station.ifindex == ifindex)
    {
        tables.remove_address(&key)?;
    }
    for (key, _) in tables
        .stations()?
        .into_iter()
        .filter(|(_, station)| station.ifindex == ifindex)
    {
        tables.remove_station(&key)?;
    }
    Ok(tables.remove_link(ifindex)?)
}

/// Whether half a flow came through one of these published ports, held by the addresses that they lead to.
fn came_through(key: &FlowKey<Ipv4>, flow: &FlowV4, ports: &Claims<Ipv4Addr>) -> bool {
    let Some(transport) = Transport::of(key.proto) else {
        return false;
    };
    let through = |(host, host_port): (Ipv4, [u8; 2]), (inside, port): (Ipv4, [u8; 2])| {
        let host_port = u16::from_be_bytes(host_port);
        let found = ports.at(transport, host.into(), host_port);
        found.is_some_and(|(ports, address)| {
            address.octets() == inside && ports.behind(host_port) == Some(u16::from_be_bytes(port))
        })
    };
    let nat = flow.tail;
    let has = |flag| flow.head.flags & flag != 0;
    (has(flow_flags::DST) && through((key.dst, key.dport), (nat.dst, nat.dport)))
        || (has(flow_flags::SRC) && through((nat.src, nat.sport), (key.src, key.sport)))
}

/// Whether either half of a flow has the endpoint at an end.
pub fn concerns(key: &FlowKey<[u8; 4]>, flow: &FlowV4, endpoint: &Endpoint) -> bool {
    let nat = flow.tail;
    let ends = [key.src, key.dst, nat.src, nat.dst];
    endpoint.addresses.iter().any(|net| ends.contains(&net.addr().octets()))
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use netbridge_common::abi::{FlowKey, FlowV4, flow_flags};

    use super::came_through;
    use crate::plan::fixtures;

    #[test]
    fn a_port_at_one_address_leaves_the_flows_of_the_port_at_another() {
        let mut port = fixtures::state().ports[0].clone();
        let (client, container) = ([203, 0, 113, 9], [10, 88, 0, 2]);
        let (inner, outer) = (port.port.to_be_bytes(), port.host_port.to_be_bytes());
        let halves = |host: [u8; 4]| {
            let (mut to, mut back) = (FlowKey::zeroed(), FlowKey::zeroed());
            let (mut inward, mut outward) = (FlowV4::zeroed(), FlowV4::zeroed());
            (to.src, to.dst, to.dport, to.proto) = (client, host, outer, port.transport.number());
            (inward.tail.dst, inward.tail.dport, inward.head.flags) = (container, inner, flow_flags::DST);
            (back.src, back.sport, back.dst, back.proto) = (container, inner, client, port.transport.number());
            (outward.tail.src, outward.tail.sport, outward.head.flags) = (host, outer, flow_flags::SRC);
            [(to, inward), (back, outward)]
        };
        let flows = [halves([192, 0, 2, 1]), halves([192, 0, 2, 2])];
        for (host_ip, expected) in [
            (None, [true, true]),
            (Some([192, 0, 2, 1].into()), [true, false]),
            (Some([192, 0, 2, 2].into()), [false, true]),
        ] {
            port.host_ip = host_ip;
            for (halves, expected) in flows.iter().zip(expected) {
                for (key, flow) in halves {
                    let ports = [(port.ports(), container.into())].into_iter().collect();
                    assert_eq!(came_through(key, flow, &ports), expected, "{host_ip:?} {key:?}");
                }
            }
        }
    }
}
