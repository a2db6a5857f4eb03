//! What the host changed since a state was kept: its addresses, and its uplinks.

use super::net::{local_addresses, uplink_addresses};
use crate::facts::HostFacts;
use crate::model::MacAddr;
use crate::state::{Network, State, Uplink};

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
    let uplinks: Vec<Uplink> = uplinks.collect();
    warnings.extend(lost_addresses(state, &uplinks));
    let fresh = State {
        uplinks,
        local: local_addresses(host, &state.networks),
        ..state.clone()
    };
    (fresh, warnings)
}

/// What to say of networks whose packets are to take an address that their uplink does not have any more: no answer comes.
fn lost_addresses(state: &State, uplinks: &[Uplink]) -> Vec<String> {
    let lost = |network: &Network| {
        let (snat, name) = (network.snat?, network.uplink.as_ref()?);
        let uplink = uplinks.iter().find(|uplink| uplink.name == *name)?;
        (!uplink.addresses.contains(&snat)).then(|| {
            format!(
                "network {}: its --snat address {snat} is no address of {name} any more, and its containers get no answers from \
                 outside: `ip address add {snat}/32 dev {name}`",
                network.name
            )
        })
    };
    state.networks.iter().filter_map(lost).collect()
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
