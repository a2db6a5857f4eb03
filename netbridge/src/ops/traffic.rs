//! The operations on what passes: flows, counters, drops.

use std::net::Ipv4Addr;

use netbridge_common::abi::{FlowKey, FlowV4, Traffic, ZONE_UPLINK, flow_flags, proto};
use netbridge_common::datapath::state;
use serde::Serialize;

use super::{Done, Failure, Host};
use crate::apply::concerns;
use crate::datapath::Datapath;
use crate::model::Name;
use crate::plan::find_endpoint;
use crate::state::State;

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Half {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its port; of an ICMP query its identifier or 0.
    pub port: u16,
}

/// A flow, in the direction of its first packet.
#[derive(Clone, Debug, Serialize)]
pub struct FlowView {
    /// `tcp`, `udp`, `icmp` or a number.
    pub proto: String,
    /// The name of its [`netbridge_common::abi::FlowState`].
    pub state: &'static str,
    /// The network it began in; `None` for the outside.
    pub network: Option<Name>,
    /// Who began it, as seen there.
    pub src: Half,
    /// To whom, as seen there.
    pub dst: Half,
    /// Source after translation, where it differs.
    pub src_nat: Option<Half>,
    /// Destination after translation, where it differs.
    pub dst_nat: Option<Half>,
    /// The endpoints at its ends.
    pub endpoints: Vec<Name>,
    /// Seconds until it expires if no packet comes.
    pub expires_s: u64,
}

/// What passed through one endpoint or uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    /// Packets it sent.
    pub tx_packets: u64,
    /// Bytes it sent, Ethernet headers included.
    pub tx_bytes: u64,
    /// Packets handed to it.
    pub rx_packets: u64,
    /// Bytes handed to it.
    pub rx_bytes: u64,
    /// Packets dropped that it sent.
    pub drops: u64,
}

/// Traffic by name.
#[derive(Clone, Debug, Serialize)]
pub struct NamedTraffic {
    /// The endpoint or uplink.
    pub name: String,
    /// Its traffic.
    #[serde(flatten)]
    pub traffic: TrafficView,
}

/// Drops for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct DropView {
    /// The reason's name.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
}

/// All counters.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Every endpoint.
    pub endpoints: Vec<NamedTraffic>,
    /// Every uplink; "sent" is what came in from the outside.
    pub uplinks: Vec<NamedTraffic>,
    /// Every reason that dropped something.
    pub drops: Vec<DropView>,
}

/// Every live flow, once; with `endpoint`, those at one of whose ends it is.
pub fn flows(host: &Host, endpoint: Option<&str>) -> Result<Vec<FlowView>, Failure> {
    let (state, datapath) = (host.state()?, host.datapath()?);
    let only = endpoint.map(|name| find_endpoint(&state, name)).transpose()?;
    let list = || -> anyhow::Result<Vec<FlowView>> {
        let (tables, clock) = (datapath.tables(), datapath.clock());
        let (config, now) = (tables.config()?, clock.now_ticks()?);
        let mut flows = Vec::new();
        for (key, flow) in tables.flows()? {
            let age = now.wrapping_sub(flow.head.seen);
            // Another CPU may have stamped it a moment after `now`.
            let age = if age.cast_signed() < 0 { 0 } else { age };
            let forward = flow.head.flags & flow_flags::REPLY == 0;
            let left = state::lifetime(&config.timeouts, key.proto, flow.head.state).checked_sub(age);
            if let Some(left) = left.filter(|_| forward && only.is_none_or(|ep| concerns(&key, &flow, ep))) {
                flows.push(flow_view(&state, &key, &flow, clock.ticks_to_duration(left).as_secs()));
            }
        }
        flows.sort_by_key(|flow| (flow.src.address, flow.dst.address, flow.dst.port, flow.src.port));
        Ok(flows)
    };
    Ok(list()?)
}

/// Ends every flow; with `endpoint`, those at one of whose ends it is. The outcome is how many there were.
pub fn flows_flush(host: &Host, endpoint: Option<&str>) -> Result<Done<usize>, Failure> {
    let (state, datapath) = (host.state()?, host.datapath()?);
    let only = endpoint.map(|name| find_endpoint(&state, name)).transpose()?;
    let mut flows = 0;
    let pred = |key: &FlowKey<[u8; 4]>, flow: &FlowV4| {
        let chosen = only.is_none_or(|endpoint| concerns(key, flow, endpoint));
        flows += usize::from(chosen && flow.head.flags & flow_flags::REPLY == 0);
        chosen && !host.dry_run()
    };
    datapath.tables().flush_flows(pred).map_err(anyhow::Error::from)?;
    Ok(Done {
        value: flows,
        steps: vec![format!("end flows: {flows}")],
        warnings: Vec::new(),
    })
}

/// Removes expired flows. The outcome is how many halves there were.
pub fn flows_reap(host: &Host) -> Result<Done<usize>, Failure> {
    let datapath = host.datapath()?;
    let reap = || -> anyhow::Result<usize> {
        if !host.dry_run() {
            return Ok(datapath.reap()?);
        }
        let (config, now) = (datapath.tables().config()?, datapath.clock().now_ticks()?);
        let gone = |(key, flow): &(FlowKey<[u8; 4]>, FlowV4)| state::is_done(&config, key.proto, &flow.head, now);
        Ok(datapath.tables().flows()?.iter().filter(|half| gone(half)).count())
    };
    let halves = reap()?;
    Ok(Done {
        value: halves,
        steps: vec![format!("remove halves of flows: {halves}")],
        warnings: Vec::new(),
    })
}

/// Takes up TCP connections in the middle for so many seconds, which are the outcome.
pub async fn flows_pick_up(host: &Host, seconds: u32) -> Result<Done<u32>, Failure> {
    let datapath = host.datapath()?;
    if !host.dry_run() {
        let _lock = host.lock().await?;
        datapath.pick_up(seconds).map_err(anyhow::Error::from)?;
    }
    Ok(Done {
        value: seconds,
        steps: vec![format!("take up TCP connections in the middle for {seconds} s")],
        warnings: Vec::new(),
    })
}

/// All counters since the endpoints and uplinks came.
pub fn stats(host: &Host) -> Result<Stats, Failure> {
    let (state, datapath) = (host.state()?, host.datapath()?);
    let named = |name: String, slot| {
        Ok(NamedTraffic {
            name,
            traffic: traffic_of(&datapath, slot)?,
        })
    };
    let endpoints = state
        .endpoints
        .iter()
        .map(|endpoint| named(endpoint.name.to_string(), endpoint.slot));
    let uplinks = state
        .uplinks
        .iter()
        .map(|uplink| named(uplink.name.clone(), uplink.slot));
    let drops = datapath.tables().drops().map_err(anyhow::Error::from)?;
    let drops = drops.into_iter().filter(|(_, packets)| *packets > 0);
    Ok(Stats {
        endpoints: endpoints.collect::<Result<_, Failure>>()?,
        uplinks: uplinks.collect::<Result<_, Failure>>()?,
        drops: drops
            .map(|(reason, packets)| DropView {
                reason: reason.name(),
                packets,
            })
            .collect(),
    })
}

/// The traffic of a slot.
pub(super) fn traffic_of(datapath: &Datapath, slot: u32) -> Result<TrafficView, Failure> {
    let Traffic {
        tx_packets,
        tx_bytes,
        rx_packets,
        rx_bytes,
        drops,
    } = datapath.tables().traffic(slot).map_err(anyhow::Error::from)?;
    Ok(TrafficView {
        tx_packets,
        tx_bytes,
        rx_packets,
        rx_bytes,
        drops,
    })
}

fn flow_view(state: &State, key: &FlowKey<[u8; 4]>, flow: &FlowV4, expires_s: u64) -> FlowView {
    let half = |address: [u8; 4], port| Half {
        address: address.into(),
        port: u16::from_be_bytes(port),
    };
    let nat = flow.tail;
    let (src, dst) = (half(key.src, key.sport), half(key.dst, key.dport));
    let (src_nat, dst_nat) = (half(nat.src, nat.sport), half(nat.dst, nat.dport));
    let zone = u16::from_ne_bytes(key.zone);
    let network = state
        .networks
        .iter()
        .find(|network| zone != ZONE_UPLINK && network.id == zone);
    let at_an_end = state.endpoints.iter().filter(|endpoint| concerns(key, flow, endpoint));
    FlowView {
        proto: match key.proto {
            proto::TCP => "tcp".to_owned(),
            proto::UDP => "udp".to_owned(),
            proto::ICMP => "icmp".to_owned(),
            number => number.to_string(),
        },
        state: state::of(flow.head.state).name(),
        network: network.map(|network| network.name.clone()),
        src,
        dst,
        src_nat: (src_nat != src).then_some(src_nat),
        dst_nat: (dst_nat != dst).then_some(dst_nat),
        endpoints: at_an_end.map(|endpoint| endpoint.name.clone()).collect(),
        expires_s,
    }
}

#[cfg(test)]
mod tests {
    use netbridge_common::abi::{FlowHead, FlowState, Nat, Record, flow_action};

    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn a_published_flow_shows_both_addresses_and_its_endpoint() {
        let key = FlowKey {
            src: [198, 51, 100, 7],
            dst: [192, 0, 2, 1],
            sport: 4000_u16.to_be_bytes(),
            dport: 80_u16.to_be_bytes(),
            zone: ZONE_UPLINK.to_ne_bytes(),
            proto: proto::TCP,
            icmp: 0,
        };
        let mut head: FlowHead = bytemuck::Zeroable::zeroed();
        head.action = flow_action::DELIVER;
        head.flags = flow_flags::DST | flow_flags::ROUTED;
        head.state = FlowState::Established as u8;
        let nat = Nat {
            src: key.src,
            dst: [10, 88, 0, 2],
            sport: key.sport,
            dport: 8080_u16.to_be_bytes(),
        };
        let view = flow_view(&fixtures::state(), &key, &FlowV4::new(head, nat), 7);
        assert_eq!(
            (view.proto.as_str(), view.state, view.network),
            ("tcp", "established", None)
        );
        assert_eq!(view.src_nat, None);
        assert_eq!(
            view.dst_nat,
            Some(Half {
                address: Ipv4Addr::new(10, 88, 0, 2),
                port: 8080
            })
        );
        assert_eq!(view.endpoints.iter().map(Name::as_str).collect::<Vec<_>>(), ["web"]);
    }
}
