//! Plans that make and remove networks.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use netbridge_common::abi;

use super::endpoint::detach_steps;
use super::{Plan, Step, check_loaded, find_all, find_network};
use crate::facts::HostFacts;
use crate::ipam;
use crate::model::{Fault, Faults, MacAddr, Name, NetCreate, parse_ipv4, parse_subnet};
use crate::names;
use crate::state::{Dependence, Network, State, Uplink};

/// MTU of a network whose uplink does not say, bytes.
const DEFAULT_MTU: u32 = 1500;

/// The MTUs that a link may have, bytes: from what IPv4 asks of every link in practice (RFC 1122, 3.3.3) to the most a
/// bridge takes.
pub const MTUS: RangeInclusive<u32> = 576..=65535;

/// Plans a new network.
pub fn net_create(state: &State, host: &HostFacts, request: &NetCreate) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    let name = faults.keep(Name::parse("network name", &request.name)).filter(|name| {
        let free = state.network(name.as_str()).is_none();
        if !free {
            faults.push(Fault::exists(
                format!("network {name}"),
                "exists",
                "choose another name, or remove it first",
            ));
        }
        free
    });
    name.as_ref().and_then(|name| faults.keep(check_bridge(host, name)));
    let subnet = choose_subnet(state, host, request, &mut faults);
    let gateway = faults.keep_given(request.gateway.as_deref(), |text| {
        let gateway = parse_ipv4("--gateway", text)?;
        subnet.map_or(Ok(()), |subnet| ipam::check_gateway(subnet, gateway))?;
        Ok(gateway)
    });
    let uplink = choose_uplink(state, host, request, &mut faults);
    if let Some(mtu) = request.mtu
        && !MTUS.contains(&mtu)
    {
        faults.push(Fault::usage(
            format!("--mtu {mtu}"),
            "is out of range",
            format!(
                "give {} to {}, or leave it out to take the uplink's",
                MTUS.start(),
                MTUS.end()
            ),
        ));
    }
    let snat = faults.keep_given(request.snat.as_deref(), |text| {
        let snat = parse_ipv4("--snat", text)?;
        match &uplink {
            Some(uplink) => check_snat(host, snat, uplink)?,
            None if request.uplink.is_none() => {
                let what = format!("--snat {snat}");
                return Err(Fault::usage(what, "the network has no uplink", "add --uplink"));
            }
            // What is wrong with the uplink is told already.
            None => {}
        }
        Ok(snat)
    });
    check_translation(request, &mut faults);
    let id = faults.keep(state.free_network_id().ok_or_else(|| {
        let most = abi::MAX_NETWORKS - 1;
        Fault::conflict(
            format!("network {}", request.name),
            format!("would be one more than {most}"),
            "remove another first",
        )
    }));
    faults.check()?;
    // What is missing here has left a fault above.
    let (Some(name), Some(subnet), Some(id)) = (name, subnet, id) else {
        return Err(Faults::default());
    };

    let network = Network {
        id,
        subnet,
        gateway: gateway.or_else(|| subnet.hosts().next()).unwrap_or(subnet.addr()),
        bridge: names::bridge(&host.instance, &name),
        ifindex: 0,
        mac: names::bridge_mac(&host.instance, &name),
        mtu: request
            .mtu
            .or(uplink.as_ref().map(|uplink| uplink.mtu))
            .unwrap_or(DEFAULT_MTU),
        uplink: uplink.as_ref().map(|uplink| uplink.name.clone()),
        internal: request.internal,
        masquerade: request.masquerade && !request.routed,
        snat,
        mapping: request.mapping,
        filtering: request.filtering,
        routed: request.routed,
        tunnels: request.tunnels,
        name,
    };
    Ok(create_steps(state, host, network, uplink))
}

fn create_steps(state: &State, host: &HostFacts, network: Network, uplink: Option<Uplink>) -> Plan {
    let mut next = state.clone();
    let mut steps = Vec::new();
    if state.is_empty() {
        steps.push(Step::LoadDatapath);
    }
    steps.push(Step::CreateBridge(Box::new(network.clone())));
    if let Some(uplink) = uplink
        && state.uplink(&uplink.name).is_none()
    {
        steps.push(Step::AddUplink(uplink.clone()));
        next.uplinks.push(uplink);
    }
    next.networks.push(network.clone());
    next.local = local_addresses(host, &next.networks);
    let new: Vec<_> = next.local.difference(&state.local).copied().collect();
    if !new.is_empty() {
        steps.push(Step::AddLocal(new));
    }
    let bridge = network.bridge.clone();
    steps.push(Step::AddNetwork(Box::new(network)));
    if next.filter.is_some() {
        steps.push(Step::SwapFilter);
    }
    steps.push(Step::SetUp(bridge));
    Plan {
        steps,
        state: next,
        warnings: Vec::new(),
    }
}

/// Plans the removal of networks; with `force`, their endpoints go first.
pub fn net_remove(state: &State, host: &HostFacts, names: &[String], force: bool) -> Result<Plan, Faults> {
    let networks = find_all(names, |name| find_network(state, name))?;
    let mut faults = Faults::default();
    for network in networks.iter().filter(|_| !force) {
        let members: Vec<_> = state
            .members(&network.name)
            .map(|endpoint| endpoint.name.as_str())
            .collect();
        if !members.is_empty() {
            faults.push(Fault::conflict(
                format!("network {}", network.name),
                format!("has endpoints: {}", members.join(", ")),
                format!(
                    "detach them first (`netbridge detach {}`), or add --force",
                    members.join(" ")
                ),
            ));
        }
    }
    faults.check()?;

    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    for network in networks {
        for endpoint in state.members(&network.name) {
            detach_steps(&mut plan, host, endpoint);
        }
        plan.state.networks.retain(|other| other.name != network.name);
        plan.steps.push(Step::RemoveNetwork(Box::new(network.clone())));
        plan.state.local.remove(&network.gateway);
        plan.steps.push(Step::RemoveLocal(vec![network.gateway]));
        if let Some(uplink) = network.uplink.as_deref().and_then(|name| state.uplink(name))
            && !plan.state.networks.iter().any(|other| other.uplink == network.uplink)
        {
            plan.steps.push(Step::RemoveUplink(uplink.clone()));
            plan.state.uplinks.retain(|other| other.name != uplink.name);
        }
        let alias = names::alias(&host.instance, &network.name);
        plan.steps.push(Step::DeleteLink {
            name: network.bridge.clone(),
            alias,
        });
    }
    if plan.state.is_empty() {
        plan.state = plan.state.emptied();
        plan.steps.push(Step::UnloadDatapath);
    } else if plan.state.filter.is_some() {
        plan.steps.push(Step::SwapFilter);
    }
    Ok(plan)
}

/// The address that packets to the outside take must be the uplink's, or no answer would find it.
fn check_snat(host: &HostFacts, snat: Ipv4Addr, uplink: &Uplink) -> Result<(), Fault> {
    let (what, name) = (format!("--snat {snat}"), &uplink.name);
    if uplink.addresses.contains(&snat) {
        return Ok(());
    }
    if host.addresses_of(uplink.ifindex).any(|address| address == snat) {
        let why = format!("is not among the first {} addresses of {name}", abi::LINK_ADDRS);
        return Err(Fault::conflict(what, why, "choose one of these, or remove some"));
    }
    let remedy = format!("`ip address add {snat}/32 dev {name}`, or choose another");
    Err(Fault::conflict(what, format!("is no address of {name}"), remedy))
}

/// What a request says of translation must have something to say it of.
fn check_translation(request: &NetCreate, faults: &mut Faults) {
    let masquerades = request.masquerade && !request.routed;
    if request.snat.is_some() && !masquerades {
        faults.push(Fault::usage(
            "--snat",
            "the network does not masquerade",
            "leave out --snat, or --routed and --no-masquerade",
        ));
    }
    if request.filtering == Dependence::Independent && !(masquerades && request.mapping == Dependence::Independent) {
        faults.push(Fault::usage(
            "--filtering independent",
            "there is no port outside that is a container's whatever the destination",
            "it goes with --mapping independent and masquerading",
        ));
    }
    if request.tunnels && !masquerades {
        faults.push(Fault::usage(
            "--tunnels",
            "the network does not masquerade",
            "leave it out: packets without ports keep their addresses as all do",
        ));
    }
    if request.routed && request.uplink.is_none() {
        faults.push(Fault::usage(
            "--routed",
            "the network has no uplink to be reached by",
            "add --uplink",
        ));
    }
}

/// The name of the network's bridge must be free.
fn check_bridge(host: &HostFacts, network: &Name) -> Result<(), Fault> {
    let bridge = names::bridge(&host.instance, network);
    if host.link(&bridge).is_none() {
        return Ok(());
    }
    let remedy = "rename or remove it, or choose another name for the network";
    Err(Fault::conflict(
        format!("interface {bridge}"),
        "exists and belongs to something else",
        remedy,
    ))
}

/// The subnet asked for, or a free one.
fn choose_subnet(state: &State, host: &HostFacts, request: &NetCreate, faults: &mut Faults) -> Option<Ipv4Net> {
    let used = used_subnets(state, host);
    if let Some(text) = request.subnet.as_deref() {
        let subnet = faults.keep(parse_subnet("--subnet", text))?;
        if let Some((_, holder)) = used.iter().find(|(other, _)| ipam::overlap(subnet, *other)) {
            let remedy = "choose another, or leave it out to take a free one";
            faults.push(Fault::conflict(
                format!("--subnet {subnet}"),
                format!("overlaps {holder}"),
                remedy,
            ));
        }
        return Some(subnet);
    }
    let subnets: Vec<_> = used.into_iter().map(|(subnet, _)| subnet).collect();
    let exhausted = || Fault::conflict("--subnet", "no /24 of 10.88.0.0/16 is free", "give one");
    faults.keep(ipam::free_subnet(&subnets).ok_or_else(exhausted))
}

/// Every subnet in use on the host, with words for what uses it.
fn used_subnets(state: &State, host: &HostFacts) -> Vec<(Ipv4Net, String)> {
    let device = |index: u32| {
        host.links
            .iter()
            .find(|link| link.index == index)
            .map_or("?", |link| &link.name)
    };
    let networks = state
        .networks
        .iter()
        .map(|network| (network.subnet, format!("network {} ({})", network.name, network.subnet)));
    let addresses = host
        .addresses
        .iter()
        .map(|(index, net)| (net.trunc(), format!("the address {net} of {}", device(*index))));
    let routes = host.routes.iter().filter(|(_, net)| net.prefix_len() > 0);
    let routes = routes.map(|(index, net)| (*net, format!("the route to {net} through {}", device(*index))));
    networks.chain(addresses).chain(routes).collect()
}

/// The uplink asked for: the one in use already, or a new one.
fn choose_uplink(state: &State, host: &HostFacts, request: &NetCreate, faults: &mut Faults) -> Option<Uplink> {
    let name = request.uplink.as_deref()?;
    let what = format!("--uplink {name}");
    if request.internal {
        faults.push(Fault::usage(
            what.as_str(),
            "contradicts --internal",
            "leave one of them out",
        ));
    }
    let Some(link) = host.link(name) else {
        faults.push(Fault::not_found(
            what,
            "no such interface on the host",
            "`ip link` lists those there are",
        ));
        return None;
    };
    if let Some(uplink) = state.uplink(name) {
        return Some(uplink.clone());
    }
    let ours = |alias: &String| alias.starts_with(names::ALIAS);
    if link.alias.as_ref().is_some_and(ours) {
        faults.push(Fault::conflict(
            what,
            "is an interface of netbridge itself",
            "give one that leads outside",
        ));
        return None;
    }
    let Some(mac) = link.mac.filter(|_| link.ethernet && name != "lo") else {
        faults.push(Fault::conflict(
            what,
            "is not an Ethernet interface",
            "give one that is",
        ));
        return None;
    };
    let addresses = uplink_addresses(host, link.index);
    if addresses.is_empty() {
        faults.push(Fault::conflict(
            what,
            "has no IPv4 address",
            format!("give it one: `ip addr add … dev {name}`"),
        ));
        return None;
    }
    let slot = faults.keep(free_slot(state))?;
    Some(Uplink {
        name: name.to_owned(),
        ifindex: link.index,
        slot,
        mac: MacAddr(mac),
        mtu: link.mtu,
        addresses,
    })
}

/// The addresses that an uplink on an interface has.
pub(super) fn uplink_addresses(host: &HostFacts, ifindex: u32) -> Vec<Ipv4Addr> {
    host.addresses_of(ifindex).take(abi::LINK_ADDRS).collect()
}

/// A traffic slot for one more endpoint or uplink.
pub(super) fn free_slot(state: &State) -> Result<u32, Fault> {
    state.free_slot().ok_or_else(|| {
        let why = format!("has {} endpoints and uplinks, and no room for another", abi::SLOTS);
        Fault::conflict("the instance", why, "detach some, or use another --instance")
    })
}

/// The addresses of the host itself: of its interfaces, and the gateways.
pub(super) fn local_addresses(host: &HostFacts, networks: &[Network]) -> BTreeSet<Ipv4Addr> {
    let own = host
        .addresses
        .iter()
        .map(|(_, net)| net.addr())
        .filter(|address| !address.is_loopback());
    own.chain(networks.iter().map(|network| network.gateway)).collect()
}
