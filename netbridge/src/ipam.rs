//! Which address and which subnet is free.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::Fault;
use crate::state::{Network, State};

/// Subnets are taken from here when none is asked for, one /24 at a time.
const POOL: ([u8; 4], u8) = ([10, 88, 0, 0], 16);

/// The first /24 of the pool that overlaps nothing in `used`.
pub fn free_subnet(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    let pool = Ipv4Net::new(Ipv4Addr::from(POOL.0), POOL.1).ok()?;
    pool.subnets(24)
        .ok()?
        .find(|subnet| !used.iter().any(|other| overlap(*subnet, *other)))
}

/// Whether two subnets share an address.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The lowest address of the network that is free; `reserved` are taken in the same request.
pub fn free_address(state: &State, network: &Network, reserved: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    let mut hosts = network.subnet.hosts();
    hosts.find(|address| *address != network.gateway && !reserved.contains(address) && state.holder(*address).is_none())
}

/// Checks that an endpoint of the network can have `address`; `what` names it in a fault.
pub fn check_address(what: &str, state: &State, network: &Network, address: Ipv4Addr) -> Result<(), Fault> {
    let (name, subnet) = (&network.name, network.subnet);
    let what = format!("{what} {address}");
    let remedy = "choose another, or leave it out to take a free one";
    if !subnet.contains(&address) {
        let remedy = format!("choose one from {subnet}, or leave it out to take a free one");
        return Err(Fault::usage(what, format!("is outside of network {name}"), remedy));
    }
    if address == subnet.network() {
        return Err(Fault::usage(what, format!("is the address of {subnet} itself"), remedy));
    }
    if address == subnet.broadcast() {
        return Err(Fault::usage(
            what,
            format!("is the broadcast address of {subnet}"),
            remedy,
        ));
    }
    if address == network.gateway {
        return Err(Fault::conflict(
            what,
            format!("is the gateway of network {name}"),
            remedy,
        ));
    }
    if let Some(holder) = state.holder(address) {
        return Err(Fault::conflict(
            what,
            format!("is taken by endpoint {}", holder.name),
            remedy,
        ));
    }
    Ok(())
}

/// Checks that the subnet's gateway can be `gateway`.
pub fn check_gateway(subnet: Ipv4Net, gateway: Ipv4Addr) -> Result<(), Fault> {
    let what = format!("--gateway {gateway}");
    let remedy = format!("choose a host address of {subnet}, or leave it out to take the first");
    if !subnet.contains(&gateway) {
        return Err(Fault::usage(what, format!("is outside of {subnet}"), remedy));
    }
    if gateway == subnet.network() || gateway == subnet.broadcast() {
        return Err(Fault::usage(
            what,
            format!("is the network or broadcast address of {subnet}"),
            remedy,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_subnet_is_taken() {
        assert_eq!(free_subnet(&[]), Some(net("10.88.0.0/24")));
        assert_eq!(
            free_subnet(&[net("10.88.0.128/25"), net("10.88.1.7/32")]),
            Some(net("10.88.2.0/24"))
        );
        assert_eq!(free_subnet(&[net("10.0.0.0/8")]), None);
    }

    #[test]
    fn addresses_run_from_the_lowest_to_exhaustion() {
        let mut state = fixtures::state();
        let network = state.networks[0].clone();
        assert_eq!(network.subnet, net("10.88.0.0/29"));
        let mut taken = Vec::new();
        while let Some(address) = free_address(&state, &network, &taken) {
            taken.push(address);
        }
        assert_eq!(
            taken,
            ["10.88.0.3", "10.88.0.4", "10.88.0.5", "10.88.0.6"].map(ip),
            "gateway .1, endpoint .2"
        );
        state.endpoints.clear();
        assert_eq!(free_address(&state, &network, &[]), Some(ip("10.88.0.2")));
    }

    #[test]
    fn addresses_that_cannot_be_are_refused() {
        let state = fixtures::state();
        for (address, why) in [
            ("10.88.0.0", "itself"),
            ("10.88.0.7", "broadcast"),
            ("10.88.0.1", "gateway"),
            ("10.88.0.2", "taken by endpoint web"),
            ("10.88.0.8", "outside"),
        ] {
            let fault = check_address("--ip", &state, &state.networks[0], ip(address)).unwrap_err();
            assert!(fault.why.contains(why), "{fault}");
        }
        assert!(check_address("--ip", &state, &state.networks[0], ip("10.88.0.3")).is_ok());
    }

    #[test]
    fn gateways() {
        assert!(check_gateway(net("10.1.0.0/24"), ip("10.1.0.254")).is_ok());
        for bad in ["10.1.0.0", "10.1.0.255", "10.2.0.1"] {
            assert!(check_gateway(net("10.1.0.0/24"), ip(bad)).is_err(), "{bad}");
        }
    }
}
