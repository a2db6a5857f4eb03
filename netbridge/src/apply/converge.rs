//! Brings the maps, the uplinks' programs and the settings of netbridge's interfaces to what a state says, whatever an
//! interrupted call or a change of the host left there.

use std::collections::HashMap;
use std::hash::Hash;

use anyhow::Result;
use bytemuck::Zeroable;
use ipnet::Ipv4Net;
use netbridge_common::abi::{
    AddrKey, FlowKey, FlowV4, LinkV4, MacKey, NetworkV4, PortBlock, PublishedV4, SUBNET_LOCAL, Station, ZONE_UPLINK,
    flow_flags, station_flags,
};
use netbridge_common::datapath::state::outlived;

use super::{Apply, UPLINK_HOOKS, filter, tables};
use crate::datapath::{Datapath, DatapathError, Ipv4};
use crate::encode;
use crate::facts::HostFacts;
use crate::filter::FilterErrors;
use crate::model::Name;
use crate::names;
use crate::netlink::LinkInfo;
use crate::state::{Endpoint, State};
use crate::sysctl;

/// What stands for a source that is on a list.
const LISTED: u32 = 1;

/// Makes what is loaded agree with `state` and with the `host`; what the caller should know is returned. Programs and maps
/// without a state are removed. Where the filter is put in force again, the state goes on with what its rules have counted.
pub fn converge(with: &mut Apply<'_>, state: &mut State, host: &HostFacts) -> Result<Vec<String>> {
    if state.is_empty() {
        with.datapath = None;
        if with.pins.root().exists() {
            Datapath::unload(with.pins)?;
        }
        return Ok(Vec::new());
    }
    let Some(datapath) = &with.datapath else {
        return Ok(Vec::new());
    };
    datapath.configure(&state.settings, host.ports.as_ref())?;
    let wanted = Entries::of(state);
    if wanted.settle(datapath)? {
        datapath
            .tables()
            .flush_flows(|key, flow| wanted.outdate(state, key, flow))?;
    }
    for uplink in &state.uplinks {
        if host
            .links
            .iter()
            .any(|link| (link.index, &link.name) == (uplink.ifindex, &uplink.name))
        {
            for hook in UPLINK_HOOKS {
                datapath.attach(hook, &uplink.name, uplink.ifindex, with.attach_mode)?;
            }
        }
    }
    let mut warnings = Vec::new();
    match filter::settle(state, &host.links, datapath) {
        Ok(Some(in_force)) => state.filter = Some(in_force.source),
        Ok(None) => {}
        // Whatever is to be done about it goes on.
        Err(error) if error.is::<FilterErrors>() => warnings.push(filter::stays(&error)),
        Err(error) => return Err(error),
    }
    warnings.extend(restore_settings(state, host));
    Ok(warnings)
}

/// Sets what the kernel should do with netbridge's own interfaces, and says what cannot be set.
fn restore_settings(state: &State, host: &HostFacts) -> Vec<String> {
    let there: HashMap<u32, &LinkInfo> = host.links.iter().map(|link| (link.index, link)).collect();
    let networks = state.networks.iter();
    let bridges = networks.map(|network| (network.ifindex, &network.bridge, &network.name, true));
    let endpoints = state.endpoints.iter();
    let veths = endpoints.map(|endpoint| (endpoint.ifindex, &endpoint.host_if, &endpoint.name, false));
    let ours = |(index, ifname, object, routes): (u32, &String, &Name, bool)| {
        let alias = names::alias(&host.instance, object);
        let link = *there.get(&index)?;
        (link.name == *ifname && link.alias.as_ref() == Some(&alias)).then_some((link, routes))
    };
    bridges
        .chain(veths)
        .filter_map(ours)
        .filter_map(|(link, routes)| sysctl::restore(link, routes).err())
        .map(|error| format!("{:#}", anyhow::Error::from(error)))
        .collect()
}

/// All that the controller keeps in the maps for a state, but for the filter.
struct Entries {
    links: HashMap<u32, LinkV4>,
    networks: HashMap<u16, NetworkV4>,
    subnets: HashMap<Ipv4Net, u32>,
    addresses: HashMap<AddrKey<Ipv4>, Station>,
    stations: HashMap<MacKey, Station>,
    ports: HashMap<PortBlock<Ipv4>, PublishedV4>,
    sources: HashMap<(u32, Ipv4Net), u32>,
}

impl Entries {
    fn of(state: &State) -> Self {
        let mut entries = Self {
            links: state
                .uplinks
                .iter()
                .map(|uplink| (uplink.ifindex, encode::uplink(uplink)))
                .collect(),
            networks: HashMap::new(),
            subnets: state
                .local
                .iter()
                .map(|address| ((*address).into(), SUBNET_LOCAL))
                .collect(),
            addresses: HashMap::new(),
            stations: HashMap::new(),
            ports: HashMap::new(),
            sources: HashMap::new(),
        };
        let mut owners: HashMap<&Name, (&Endpoint, u16)> = HashMap::new();
        for network in &state.networks {
            let uplink = network.uplink.as_deref().and_then(|name| state.uplink(name));
            entries
                .networks
                .insert(network.id, encode::network(network, network.ifindex, uplink));
            entries.subnets.insert(network.subnet, network.id.into());
            for endpoint in state.members(&network.name) {
                let station = encode::station(endpoint, endpoint.ifindex);
                entries
                    .links
                    .insert(endpoint.ifindex, encode::endpoint(endpoint, network.id));
                entries.stations.insert(encode::mac_key(endpoint, network.id), station);
                for address in &endpoint.addresses {
                    let key = encode::address_key(address.addr(), network.id);
                    entries.addresses.insert(key, station);
                }
                owners.insert(&endpoint.name, (endpoint, network.id));
            }
        }
        for port in &state.ports {
            if let Some((endpoint, net)) = owners.get(&port.endpoint) {
                let target = encode::port_target(port, endpoint, *net);
                entries
                    .ports
                    .extend(encode::port_blocks(port).map(|block| (block, target)));
                let somewhere = encode::somewhere_blocks(port).map(|block| (block, PublishedV4::zeroed()));
                entries.ports.extend(somewhere);
                entries
                    .sources
                    .extend(port.from.iter().map(|source| ((port.list, *source), LISTED)));
            }
        }
        entries
    }

    /// Writes and removes what differs; whether anything did.
    fn settle(&self, datapath: &Datapath) -> Result<bool> {
        let tables = datapath.tables();
        let unknown = |ifindex: &u32| !self.links.contains_key(ifindex);
        let gone: Vec<u32> = tables
            .links()?
            .into_iter()
            .map(|(ifindex, _)| ifindex)
            .filter(unknown)
            .collect();
        for ifindex in &gone {
            datapath.detach(*ifindex)?;
            tables::forget(datapath, *ifindex)?;
        }
        let (fixed, learned): (Vec<_>, Vec<_>) = tables
            .stations()?
            .into_iter()
            .partition(|(_, station)| station.flags & station_flags::STATIC != 0);
        // Nobody else collects the stations that were not heard for long: full of them, the table takes no endpoint's.
        let (now, ageing) = (datapath.clock().now_ticks()?, tables.config()?.fdb_ageing);
        for (key, _) in learned
            .iter()
            .filter(|(_, station)| outlived(now, station.seen, ageing))
        {
            tables.remove_station(key)?;
        }
        let differed = [
            settle(
                tables.networks()?,
                &self.networks,
                |id, network| tables.put_network(*id, network),
                |id| tables.remove_network(*id),
            )?,
            settle(
                tables.subnets()?,
                &self.subnets,
                |net, id| tables.put_subnet(*net, *id),
                |net| tables.remove_subnet(*net),
            )?,
            settle(
                tables.links()?,
                &self.links,
                |ifindex, link| tables.put_link(*ifindex, link),
                |ifindex| tables.remove_link(*ifindex),
            )?,
            settle(
                tables.addresses()?,
                &self.addresses,
                |key, station| tables.put_address(key, station),
                |key| tables.remove_address(key),
            )?,
            settle(
                fixed,
                &self.stations,
                |key, station| tables.put_station(key, station),
                |key| tables.remove_station(key),
            )?,
            settle(
                tables.sources()?.into_iter().map(|source| (source, LISTED)).collect(),
                &self.sources,
                |(list, source), _| tables.put_source(*list, *source),
                |(list, source)| tables.remove_source(*list, *source),
            )?,
            settle(
                tables.published()?,
                &self.ports,
                |ports, target| tables.put_published(ports, target),
                |ports| tables.remove_published(ports),
            )?,
        ];
        Ok(!gone.is_empty() || differed.contains(&true))
    }

    /// Whether half a flow leads to what is no more: an interface, a network, or an address that the host had.
    fn outdate(&self, state: &State, key: &FlowKey<Ipv4>, flow: &FlowV4) -> bool {
        let head = &flow.head;
        let zone = u16::from_ne_bytes(key.zone);
        let no_network = |zone: u16| zone != ZONE_UPLINK && !self.networks.contains_key(&zone);
        // Any of the host's: which of them packets take outside is a matter of its routes. An uplink that is gone keeps its own.
        let foreign = |address: Ipv4| {
            let uplinks = &mut state.uplinks.iter();
            !state.local.contains(&address.into()) && uplinks.all(|uplink| !uplink.addresses.contains(&address.into()))
        };
        let came_by = zone == ZONE_UPLINK && head.flags & flow_flags::DST != 0 && foreign(key.dst);
        let leaves_by = head.peer_zone == ZONE_UPLINK && head.flags & flow_flags::SRC != 0 && foreign(flow.tail.src);
        !self.links.contains_key(&head.ifindex)
            || no_network(zone)
            || no_network(head.peer_zone)
            || came_by
            || leaves_by
    }
}

/// Makes a map hold what is wanted and nothing else; whether there was anything to do.
fn settle<K: Eq + Hash, V: PartialEq>(
    found: Vec<(K, V)>,
    wanted: &HashMap<K, V>,
    put: impl Fn(&K, &V) -> Result<(), DatapathError>,
    remove: impl Fn(&K) -> Result<(), DatapathError>,
) -> Result<bool, DatapathError> {
    let found: HashMap<K, V> = found.into_iter().collect();
    let mut differed = false;
    for key in found.keys().filter(|key| !wanted.contains_key(key)) {
        remove(key)?;
        differed = true;
    }
    for (key, value) in wanted.iter().filter(|(key, value)| found.get(key) != Some(value)) {
        put(key, value)?;
        differed = true;
    }
    Ok(differed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn a_flow_lives_while_the_host_has_its_address_wherever_that_is() {
        let mut state = fixtures::state();
        state.local.insert([203, 0, 113, 1].into());
        let entries = Entries::of(&state);
        for (address, gone) in [
            ([192, 0, 2, 1], false),
            ([203, 0, 113, 1], false),
            ([192, 0, 2, 9], true),
        ] {
            let (mut out, mut flow) = (FlowKey::zeroed(), FlowV4::zeroed());
            out.zone = 1_u16.to_ne_bytes();
            (flow.head.ifindex, flow.head.peer_zone, flow.head.flags) = (2, ZONE_UPLINK, flow_flags::SRC);
            flow.tail.src = address;
            assert_eq!(entries.outdate(&state, &out, &flow), gone, "out as {address:?}");
            let (mut back, mut inward) = (FlowKey::zeroed(), FlowV4::zeroed());
            (back.zone, back.dst) = (ZONE_UPLINK.to_ne_bytes(), address);
            (inward.head.ifindex, inward.head.peer_zone, inward.head.flags) = (11, 1, flow_flags::DST);
            assert_eq!(entries.outdate(&state, &back, &inward), gone, "back to {address:?}");
        }
    }
}
