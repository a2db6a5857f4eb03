//! Plans that attach and detach endpoints.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netbridge_common::abi;

use super::net::free_slot;
use super::{Plan, Step, check_loaded, find_all, find_endpoint, find_network};
use crate::facts::{HostFacts, TargetFacts};
use crate::ipam;
use crate::model::{AddressSpec, Attach, Fault, Faults, MacAddr, Name};
use crate::names;
use crate::netns::{Netns, NetnsError, NetnsSpec};
use crate::state::{Endpoint, Network, State};

/// Opens the namespace that a request names.
pub fn resolve_target(netns: &str) -> Result<Netns, Fault> {
    let open = || Netns::open(&netns.parse::<NetnsSpec>()?);
    open().map_err(|error| {
        let what = format!("namespace {netns}");
        let text = error.to_string();
        let (why, remedy) = text
            .split_once("; ")
            .unwrap_or((&text, "give a name that `ip netns` lists, a path, or pid:N"));
        match error {
            NetnsError::NotFound { path, .. } => {
                Fault::not_found(what, format!("{} does not exist", path.display()), remedy)
            }
            NetnsError::BadName { .. } => Fault::usage(what, why, remedy),
            _ => Fault::conflict(what, why, remedy),
        }
    })
}

/// Plans the connection of a namespace to a network. `target` is `None` if the namespace could not
/// be opened, which is then a fault already noted in `faults`.
pub fn attach(
    state: &State,
    host: &HostFacts,
    target: Option<&TargetFacts>,
    request: &Attach,
    mut faults: Faults,
) -> Result<Plan, Faults> {
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    let network = faults.keep(find_network(state, &request.net));
    network.and_then(|network| faults.keep(check_bridge(host, network)));
    let name = choose_name(state, request, &mut faults);
    let not_a_container = target.and_then(|target| match target.inode {
        inode if inode == host.inode => Some("is the host's own network namespace"),
        inode if Some(inode) == host.machine => Some("is the machine's own network namespace"),
        _ => None,
    });
    if let Some(why) = not_a_container {
        let what = format!("namespace {}", request.netns);
        faults.push(Fault::conflict(what, why, "give a container's"));
    }
    let specs: Vec<_> = request
        .ips
        .iter()
        .filter_map(|text| faults.keep(AddressSpec::parse("--ip", text)))
        .collect();
    let addresses = network
        .map(|net| choose_addresses(state, net, request, &specs, &mut faults))
        .unwrap_or_default();
    let mac = choose_mac(
        state,
        host,
        network,
        request,
        (name.as_ref(), addresses.first()),
        &mut faults,
    );
    let ifname = target.and_then(|target| choose_ifname(target, request, &mut faults));
    let slot = faults.keep(free_slot(state));
    name.as_ref().and_then(|name| faults.keep(check_veth(host, name)));
    faults.check()?;
    // What is missing here has left a fault above.
    let (Some(network), Some(name), Some(target), Some(mac), Some(ifname), Some(slot)) =
        (network, name, target, mac, ifname, slot)
    else {
        return Err(Faults::default());
    };

    let asked = specs.iter().find_map(|spec| spec.gateway);
    let usual = (!network.internal && !addresses.is_empty()).then_some(network.gateway);
    let wanted = asked.or(usual).filter(|_| request.default_route);
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    if target.default_route && asked.is_some() && request.default_route {
        plan.warnings
            .push(format!("{} has a default route, which stays as it is", request.netns));
    }
    let endpoint = Endpoint {
        network: network.name.clone(),
        netns: request.netns.clone(),
        netns_inode: target.inode,
        ifname,
        host_if: names::host_interface(&host.instance, &name),
        ifindex: 0,
        slot,
        mac,
        addresses,
        gateway: wanted.filter(|_| !target.default_route),
        trunk: request.trunk,
        name,
    };
    attach_steps(&mut plan, network, endpoint);
    Ok(plan)
}

/// The order matters: the endpoint comes up only when its programs and its policy are in place.
fn attach_steps(plan: &mut Plan, network: &Network, endpoint: Endpoint) {
    let boxed = || Box::new(endpoint.clone());
    plan.steps.extend([
        Step::CreateVeth(boxed()),
        Step::AddEndpoint(boxed()),
        Step::AttachPrograms(boxed()),
        Step::JoinBridge {
            endpoint: boxed(),
            bridge: network.bridge.clone(),
        },
        Step::Configure(boxed()),
    ]);
    if plan.state.filter.is_some() {
        plan.steps.push(Step::SwapFilter);
    }
    plan.steps.push(Step::SetUp(endpoint.host_if.clone()));
    plan.state.endpoints.push(endpoint);
}

/// Plans the disconnection of endpoints.
pub fn detach(state: &State, host: &HostFacts, names: &[String]) -> Result<Plan, Faults> {
    let endpoints = find_all(names, |name| find_endpoint(state, name))?;
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    for endpoint in endpoints {
        detach_steps(&mut plan, host, endpoint);
    }
    if plan.state.filter.is_some() {
        plan.steps.push(Step::SwapFilter);
    }
    Ok(plan)
}

/// The veth goes before its programs: without them its packets would reach the bridge unguarded.
pub(super) fn detach_steps(plan: &mut Plan, host: &HostFacts, endpoint: &Endpoint) {
    let (own, others) = plan
        .state
        .ports
        .drain(..)
        .partition(|port| port.endpoint == endpoint.name);
    plan.state.ports = others;
    if !Vec::is_empty(&own) {
        plan.steps.push(Step::Unpublish(own));
    }
    let alias = names::alias(&host.instance, &endpoint.name);
    plan.steps.extend([
        Step::DeleteLink {
            name: endpoint.host_if.clone(),
            alias,
        },
        Step::DetachPrograms(Box::new(endpoint.clone())),
        Step::RemoveEndpoint(Box::new(endpoint.clone())),
        Step::EndFlows(Box::new(endpoint.clone())),
    ]);
    plan.state.endpoints.retain(|other| other.name != endpoint.name);
}

/// The name asked for, or the namespace's; it must be free.
fn choose_name(state: &State, request: &Attach, faults: &mut Faults) -> Option<Name> {
    let derived = request.name.is_none();
    let text = request.name.clone().unwrap_or_else(|| {
        let last = request.netns.rsplit('/').next().unwrap_or_default();
        last.replace(':', "-")
    });
    let parsed = Name::parse("endpoint name", &text).map_err(|fault| {
        if derived {
            Fault {
                remedy: "give one with --name".to_owned(),
                ..fault
            }
        } else {
            fault
        }
    });
    let name = faults.keep(parsed)?;
    if state.endpoint(name.as_str()).is_some() {
        let remedy = if derived {
            "give another with --name"
        } else {
            "choose another, or detach it first"
        };
        faults.push(Fault::exists(format!("endpoint {name}"), "exists", remedy));
        return None;
    }
    Some(name)
}

/// The addresses asked for, or a free one, with their prefix lengths. A trunk that asks for none has
/// none: the stations behind it have theirs.
fn choose_addresses(
    state: &State,
    network: &Network,
    request: &Attach,
    specs: &[AddressSpec],
    faults: &mut Faults,
) -> Vec<Ipv4Net> {
    let with_prefix = |address: Ipv4Addr, prefix| Ipv4Net::new(address, prefix).ok();
    if request.ips.is_empty() && request.trunk {
        return Vec::new();
    }
    if request.ips.is_empty() {
        let exhausted = || {
            let why = format!("has no free address left in {}", network.subnet);
            Fault::conflict(
                format!("network {}", network.name),
                why,
                "detach an endpoint, or create a larger network",
            )
        };
        let free = faults.keep(ipam::free_address(state, network, &[]).ok_or_else(exhausted));
        return free
            .and_then(|address| with_prefix(address, network.subnet.prefix_len()))
            .into_iter()
            .collect();
    }
    if specs.len() > abi::LINK_ADDRS {
        let why = format!("are more than an endpoint can have, {}", abi::LINK_ADDRS);
        faults.push(Fault::usage(
            format!("{} addresses", specs.len()),
            why,
            "leave some out",
        ));
    }
    let mut seen = Vec::new();
    for spec in specs {
        faults.keep(ipam::check_address("--ip", state, network, spec.address));
        if seen.contains(&spec.address) {
            faults.push(Fault::usage(
                format!("--ip {}", spec.address),
                "is given twice",
                "leave one out",
            ));
        }
        seen.push(spec.address);
        if let Some(gateway) = spec.gateway
            && (!network.subnet.contains(&gateway) || gateway == spec.address)
        {
            let why = format!(
                "the gateway cannot be reached in network {} ({})",
                network.name, network.subnet
            );
            let remedy = format!("give one of the subnet, such as {}", network.gateway);
            faults.push(Fault::usage(format!("--ip {}@{gateway}", spec.address), why, remedy));
        }
    }
    let prefix = |spec: &AddressSpec| spec.prefix.unwrap_or(network.subnet.prefix_len());
    specs
        .iter()
        .filter_map(|spec| with_prefix(spec.address, prefix(spec)))
        .collect()
}

/// The MAC asked for, or one made of the first address, or of the name; no other station of the
/// network may have it.
fn choose_mac(
    state: &State,
    host: &HostFacts,
    network: Option<&Network>,
    request: &Attach,
    (name, first): (Option<&Name>, Option<&Ipv4Net>),
    faults: &mut Faults,
) -> Option<MacAddr> {
    let mac = match (request.mac.as_deref(), first) {
        (Some(text), _) => faults.keep(MacAddr::parse("--mac", text))?,
        (None, Some(first)) => MacAddr::from_ipv4(first.addr()),
        (None, None) => names::endpoint_mac(&host.instance, name?),
    };
    let network = network?;
    let remedy = "give another with --mac";
    if mac == network.mac {
        faults.push(Fault::conflict(format!("MAC {mac}"), "is the gateway's", remedy));
    }
    // A MAC made of an address is taken when the address is, which has been said.
    let said = |other: &Endpoint| request.mac.is_none() && first.is_some_and(|first| other.has_address(first.addr()));
    if let Some(other) = state
        .members(&network.name)
        .find(|other| other.mac == mac && !said(other))
    {
        faults.push(Fault::conflict(
            format!("MAC {mac}"),
            format!("is that of endpoint {}", other.name),
            remedy,
        ));
    }
    Some(mac)
}

/// The interface name asked for, or the first free of `eth0`, `eth1`, …
fn choose_ifname(target: &TargetFacts, request: &Attach, faults: &mut Faults) -> Option<String> {
    let taken = |name: &str| target.links.iter().any(|link| link == name);
    let Some(name) = request.ifname.as_deref() else {
        return (0..=target.links.len())
            .map(|number| format!("eth{number}"))
            .find(|name| !taken(name));
    };
    if !names::is_ifname(name) {
        let remedy = "give 1 to 15 bytes without blanks, /, : or %";
        faults.push(Fault::usage(
            format!("--ifname {name:?}"),
            "is not an interface name",
            remedy,
        ));
    } else if taken(name) {
        let why = format!("exists in namespace {}", request.netns);
        faults.push(Fault::exists(
            format!("--ifname {name}"),
            why,
            "choose another, or leave it out",
        ));
    }
    Some(name.to_owned())
}

/// The network's bridge must be there still; one that is yet to be made has no index. Where nothing is loaded, all of the
/// instance is gone, which is said once.
fn check_bridge(host: &HostFacts, network: &Network) -> Result<(), Fault> {
    if !host.loaded || network.ifindex == 0 || host.links.iter().any(|link| link.index == network.ifindex) {
        return Ok(());
    }
    let name = &network.name;
    let why = format!("its bridge {} was removed", network.bridge);
    let remedy = format!("`netbridge net rm --force {name}`, then create it again");
    Err(Fault::conflict(format!("network {name}"), why, remedy))
}

/// The name of the endpoint's veth must be free.
fn check_veth(host: &HostFacts, endpoint: &Name) -> Result<(), Fault> {
    let name = names::host_interface(&host.instance, endpoint);
    if host.link(&name).is_none() {
        return Ok(());
    }
    let remedy = "rename or remove it, or choose another name for the endpoint";
    Err(Fault::conflict(
        format!("interface {name}"),
        "exists and belongs to something else",
        remedy,
    ))
}
