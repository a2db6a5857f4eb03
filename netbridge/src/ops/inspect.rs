//! The operations that look at what there is.

use ipnet::Ipv4Net;
use netbridge_common::abi::{MacKey, Station, station_flags};
use serde::Serialize;

use super::traffic::{TrafficView, traffic_of};
use super::{Failure, Host};
use crate::datapath::Datapath;
use crate::model::{MacAddr, Name};
use crate::plan::{find_endpoint, find_network};
use crate::state::{Endpoint, Network, Published, State, Uplink};

/// A network and what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkDetails {
    /// The network.
    #[serde(flatten)]
    pub network: Network,
    /// Its uplink.
    pub uplink_details: Option<Uplink>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointBrief>,
}

/// An endpoint in few words.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointBrief {
    /// Its name.
    pub name: Name,
    /// Its addresses.
    pub addresses: Vec<Ipv4Net>,
    /// Its MAC.
    pub mac: MacAddr,
}

/// An endpoint, its ports and its traffic.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointDetails {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// Its published ports.
    pub ports: Vec<Published>,
    /// What it sent and received; `None` if the programs are not loaded.
    pub traffic: Option<TrafficView>,
}

/// A station that the datapath knows by its MAC.
#[derive(Clone, Debug, Serialize)]
pub struct StationView {
    /// Its network.
    pub network: Option<Name>,
    /// Its MAC.
    pub mac: MacAddr,
    /// The endpoint that it is, or is behind.
    pub endpoint: Option<Name>,
    /// The interface it is behind.
    pub ifindex: u32,
    /// Written by the controller; else learned.
    #[serde(rename = "static")]
    pub fixed: bool,
    /// Seconds since it was last heard; `None` if it does not age.
    pub age_s: Option<u64>,
}

/// Every network.
pub fn networks(host: &Host) -> Result<Vec<NetworkDetails>, Failure> {
    let state = host.state()?;
    Ok(state
        .networks
        .iter()
        .map(|network| network_details(&state, network))
        .collect())
}

/// One network.
pub fn net_inspect(host: &Host, name: &str) -> Result<NetworkDetails, Failure> {
    let state = host.state()?;
    Ok(network_details(&state, find_network(&state, name)?))
}

/// Every endpoint.
pub fn endpoints(host: &Host) -> Result<Vec<EndpointDetails>, Failure> {
    let state = host.state()?;
    let datapath = host.datapath().ok();
    state
        .endpoints
        .iter()
        .map(|endpoint| endpoint_details(&state, datapath.as_ref(), endpoint))
        .collect()
}

/// One endpoint.
pub fn endpoint_inspect(host: &Host, name: &str) -> Result<EndpointDetails, Failure> {
    let state = host.state()?;
    endpoint_details(&state, host.datapath().ok().as_ref(), find_endpoint(&state, name)?)
}

/// Every published port; with `endpoint`, that endpoint's.
pub fn ports(host: &Host, endpoint: Option<&str>) -> Result<Vec<Published>, Failure> {
    let mut state = host.state()?;
    if let Some(name) = endpoint {
        let name = find_endpoint(&state, name)?.name.clone();
        state.ports.retain(|port| port.endpoint == name);
    }
    state.ports.sort();
    Ok(state.ports)
}

/// Every station that the datapath knows, those past their lifetime left out.
pub fn stations(host: &Host) -> Result<Vec<StationView>, Failure> {
    let (state, datapath) = (host.state()?, host.datapath()?);
    let look = || -> anyhow::Result<Vec<StationView>> {
        let (tables, clock) = (datapath.tables(), datapath.clock());
        let (now, lifetime) = (clock.now_ticks()?, clock.ticks_to_duration(tables.config()?.fdb_ageing));
        let view = |(key, station): (MacKey, Station)| {
            let fixed = station.flags & station_flags::STATIC != 0;
            let age = clock.age(now, station.seen);
            let endpoint = state
                .endpoints
                .iter()
                .find(|endpoint| endpoint.ifindex == station.ifindex);
            let network = state.networks.iter().find(|network| network.id == key.net);
            (fixed || age <= lifetime).then(|| StationView {
                network: network.map(|network| network.name.clone()),
                mac: MacAddr(key.mac),
                endpoint: endpoint.map(|endpoint| endpoint.name.clone()),
                ifindex: station.ifindex,
                fixed,
                age_s: (!fixed).then_some(age.as_secs()),
            })
        };
        let mut stations: Vec<_> = tables.stations()?.into_iter().filter_map(view).collect();
        stations.sort_by(|a, b| (&a.network, a.mac.0).cmp(&(&b.network, b.mac.0)));
        Ok(stations)
    };
    Ok(look()?)
}

fn network_details(state: &State, network: &Network) -> NetworkDetails {
    let brief = |endpoint: &Endpoint| EndpointBrief {
        name: endpoint.name.clone(),
        addresses: endpoint.addresses.clone(),
        mac: endpoint.mac,
    };
    NetworkDetails {
        network: network.clone(),
        uplink_details: network.uplink.as_deref().and_then(|name| state.uplink(name)).cloned(),
        endpoints: state.members(&network.name).map(brief).collect(),
    }
}

fn endpoint_details(
    state: &State,
    datapath: Option<&Datapath>,
    endpoint: &Endpoint,
) -> Result<EndpointDetails, Failure> {
    let traffic = datapath
        .map(|datapath| traffic_of(datapath, endpoint.slot))
        .transpose()?;
    let own = |port: &&Published| port.endpoint == endpoint.name;
    Ok(EndpointDetails {
        endpoint: endpoint.clone(),
        ports: state.ports.iter().filter(own).cloned().collect(),
        traffic,
    })
}
