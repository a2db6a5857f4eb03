//! What the host changed since a state was kept: its addresses, and its uplinks.

use super::net::{local_addresses, uplink_addresses};
use crate::facts::HostFacts;
use crate::model::MacAddr;
use crate::state::{State, Uplink};

/// The state with what the host says now, and what the caller should know of it.
///
/// An uplink that is gone, or that lost its addresses, is remembered as it was: it may come back.
pub fn refresh(state: &State, host: &HostFacts) -> (State, Vec<String>) {
    if state.is_empty() {
        return (state.emptied(), Vec::new());
    }
    let mut warnings = Vec::new();
    let uplinks = state.uplinks.iter().map(|uplink| {
        refresh_uplink(uplink, host).unwrap_or_else(|why| {
            let name = &uplink.name;
            warnings.push(format!(
                "uplink {name} {why}: its networks go on with what it was, and may not reach the outside until it is back"
            ));
            uplink.clone()
        })
    });
    let fresh = State {
        uplinks: uplinks.collect(),
        local: local_addresses(host, &state.networks),
        ..state.clone()
    };
    (fresh, warnings)
}

/// The uplink as it is now, or why it cannot be used.
fn refresh_uplink(uplink: &Uplink, host: &HostFacts) -> Result<Uplink, &'static str> {
    let link = host.link(&uplink.name).ok_or("does not exist")?;
    let mac = link.mac.ok_or("is no Ethernet interface")?;
    let addresses = uplink_addresses(host, link.index);
    if addresses.is_empty() {
        return Err("has no IPv4 address");
    }
    Ok(Uplink {
        name: uplink.name.clone(),
        ifindex: link.index,
        slot: uplink.slot,
        mac: MacAddr(mac),
        mtu: link.mtu,
        addresses,
    })
}
