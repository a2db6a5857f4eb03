//! What there is, as text for people.

use crate::doctor::{Check, Status};
use crate::model::Profile;
use crate::ops::{EndpointDetails, FlowView, Half, NamedTraffic, NetworkDetails, SettingsView, StationView, Stats};
use crate::state::{Endpoint, Network, Published};

use super::reply::{list, or_dash, table};

/// A network in one line.
pub(super) fn network_line(network: &Network) -> String {
    let Network {
        name,
        subnet,
        gateway,
        bridge,
        ..
    } = network;
    format!("network {name}: {subnet}, gateway {gateway}, bridge {bridge}")
}

/// An endpoint in one line.
pub(super) fn endpoint_line(endpoint: &Endpoint) -> String {
    let Endpoint {
        name,
        network,
        netns,
        ifname,
        mac,
        ..
    } = endpoint;
    format!(
        "endpoint {name}: {} {mac} on {network}, {ifname} in {netns}",
        list(&endpoint.addresses)
    )
}

pub(super) fn networks(networks: &[NetworkDetails]) -> String {
    let row = |details: &NetworkDetails| {
        let network = &details.network;
        [
            network.name.to_string(),
            network.subnet.to_string(),
            network.gateway.to_string(),
            network.bridge.clone(),
            or_dash(network.uplink.as_ref()),
            details.endpoints.len().to_string(),
        ]
    };
    let rows: Vec<_> = networks.iter().map(row).collect();
    table(["NAME", "SUBNET", "GATEWAY", "BRIDGE", "UPLINK", "ENDPOINTS"], &rows)
}

pub(super) fn endpoints(endpoints: &[EndpointDetails]) -> String {
    let row = |details: &EndpointDetails| {
        let endpoint = &details.endpoint;
        [
            endpoint.name.to_string(),
            endpoint.network.to_string(),
            list(&endpoint.addresses),
            endpoint.mac.to_string(),
            endpoint.netns.clone(),
            endpoint.ifname.clone(),
            endpoint.host_if.clone(),
        ]
    };
    let rows: Vec<_> = endpoints.iter().map(row).collect();
    table(["NAME", "NETWORK", "ADDRESS", "MAC", "NETNS", "IFNAME", "HOST"], &rows)
}

/// The settings, each with what it is for.
pub(super) fn settings(view: &SettingsView) -> String {
    let limit = |value: u32| {
        if value == 0 {
            "no limit".to_owned()
        } else {
            value.to_string()
        }
    };
    let profile = match view.profile {
        Profile::Rfc => "rfc",
        Profile::Netfilter => "netfilter",
    };
    let mut rows = vec![
        ["profile".to_owned(), profile.to_owned()],
        ["flows".to_owned(), view.flows.to_string()],
        ["quota of an endpoint".to_owned(), view.quota.to_string()],
        ["  not established".to_owned(), view.half_open.to_string()],
        ["quarantine of a port".to_owned(), format!("{} s", view.quarantine_s)],
        ["MACs behind a trunk".to_owned(), limit(view.macs)],
        ["floods a second and CPU".to_owned(), limit(view.floods)],
        [
            "silent to strangers".to_owned(),
            if view.silent { "yes" } else { "no" }.to_owned(),
        ],
    ];
    rows.extend(view.timeouts_s.iter().map(|(timer, seconds)| {
        let set = if view.set.contains(timer) { ", set" } else { "" };
        [format!("timeout {}", timer.name()), format!("{seconds} s{set}")]
    }));
    if !view.memory.is_empty() {
        let total: u64 = view.memory.values().sum();
        rows.push(["memory".to_owned(), format!("{} KiB", total >> 10)]);
        let mut maps: Vec<_> = view.memory.iter().collect();
        maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
        rows.extend(
            maps.into_iter()
                .map(|(name, bytes)| [format!("  {name}"), format!("{} KiB", bytes >> 10)]),
        );
    }
    table(["SETTING", "VALUE"], &rows)
}

pub(super) fn ports(ports: &[Published]) -> String {
    let row = |port: &Published| {
        let ports = port.ports();
        let from = if port.from.is_empty() {
            "anywhere".to_owned()
        } else {
            list(&port.from)
        };
        [
            ports.host_side(),
            port.endpoint.to_string(),
            ports.container_side(),
            from,
        ]
    };
    let rows: Vec<_> = ports.iter().map(row).collect();
    table(["HOST", "ENDPOINT", "PORT", "FROM"], &rows)
}

pub(super) fn flows(flows: &[FlowView]) -> String {
    let row = |flow: &FlowView| {
        let nat = |half: Option<Half>, what: &str| half.map(|half| format!("{what} {}", end(half)));
        let nat: Vec<_> = nat(flow.src_nat, "src")
            .into_iter()
            .chain(nat(flow.dst_nat, "dst"))
            .collect();
        [
            flow.proto.clone(),
            flow.state.to_owned(),
            flow.network
                .as_ref()
                .map_or_else(|| "outside".to_owned(), ToString::to_string),
            end(flow.src),
            end(flow.dst),
            if nat.is_empty() { "-".to_owned() } else { nat.join(" ") },
            format!("{} s", flow.expires_s),
            list(&flow.endpoints),
        ]
    };
    let rows: Vec<_> = flows.iter().map(row).collect();
    table(
        [
            "PROTO",
            "STATE",
            "FROM",
            "SOURCE",
            "DESTINATION",
            "TRANSLATED",
            "EXPIRES",
            "ENDPOINT",
        ],
        &rows,
    )
}

fn end(half: Half) -> String {
    format!("{}:{}", half.address, half.port)
}

pub(super) fn stations(stations: &[StationView]) -> String {
    let row = |station: &StationView| {
        [
            or_dash(station.network.as_ref()),
            station.mac.to_string(),
            or_dash(station.endpoint.as_ref()),
            if station.fixed { "static" } else { "learned" }.to_owned(),
            or_dash(station.age_s.map(|age| format!("{age} s"))),
        ]
    };
    let rows: Vec<_> = stations.iter().map(row).collect();
    table(["NETWORK", "MAC", "ENDPOINT", "KIND", "AGE"], &rows)
}

pub(super) fn stats(stats: &Stats) -> String {
    let row = |kind: &str, named: &NamedTraffic| {
        let traffic = &named.traffic;
        let counters = [
            traffic.tx_packets,
            traffic.tx_bytes,
            traffic.rx_packets,
            traffic.rx_bytes,
            traffic.drops,
        ];
        let [tx_packets, tx_bytes, rx_packets, rx_bytes, drops] = counters.map(|number| number.to_string());
        [
            named.name.clone(),
            kind.to_owned(),
            tx_packets,
            tx_bytes,
            rx_packets,
            rx_bytes,
            drops,
        ]
    };
    let endpoints = stats.endpoints.iter().map(|named| row("endpoint", named));
    let rows: Vec<_> = endpoints
        .chain(stats.uplinks.iter().map(|named| row("uplink", named)))
        .collect();
    let traffic = table(["NAME", "KIND", "SENT", "BYTES", "RECEIVED", "BYTES", "DROPPED"], &rows);
    if stats.drops.is_empty() {
        return format!("{traffic}\n\nno drops");
    }
    let rows: Vec<_> = stats
        .drops
        .iter()
        .map(|drop| [drop.reason.to_owned(), drop.packets.to_string()])
        .collect();
    format!("{traffic}\n\n{}", table(["DROPPED FOR", "PACKETS"], &rows))
}

pub(super) fn checks(checks: &[Check]) -> String {
    let line = |check: &Check| {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        let remedy = check
            .remedy
            .as_ref()
            .map(|remedy| format!("\n      {remedy}"))
            .unwrap_or_default();
        format!("{status:4}  {}: {}{remedy}", check.name, check.detail)
    };
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}
