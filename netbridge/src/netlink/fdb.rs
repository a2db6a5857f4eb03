//! Bridge ports: forwarding entries and what a port learns.

use netlink_packet_route::link::{InfoBridgePort, InfoPortData};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::LinkBridgePort;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use super::{Netlink, NetlinkError};

impl Netlink {
    /// Ties a MAC address to a bridge port for good, as `bridge fdb replace MAC dev PORT master static` does: it does
    /// not age, and an entry that was learned elsewhere gives way.
    pub async fn add_static_fdb(&self, index: u32, mac: [u8; 6]) -> Result<(), NetlinkError> {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = index;
        // A bridge reads NOARP as "static"; PERMANENT would make the MAC one of its own.
        entry.header.state = NeighbourState::Noarp;
        entry.header.flags = NeighbourFlags::Controller;
        entry
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let operation = format!("add bridge entry {mac} for interface {index}");
        self.change(
            &operation,
            RouteNetlinkMessage::NewNeighbour(entry),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .await
    }

    /// Whether the bridge learns MAC addresses from what a port receives.
    pub async fn set_learning(&self, index: u32, on: bool) -> Result<(), NetlinkError> {
        let port = LinkBridgePort::new(index)
            .set_port_data(InfoPortData::BridgePort(vec![InfoBridgePort::Learning(on)]))
            .build();
        let operation = format!(
            "switch learning {} on bridge port {index}",
            if on { "on" } else { "off" }
        );
        self.change(&operation, RouteNetlinkMessage::NewLink(port), 0).await
    }
}
