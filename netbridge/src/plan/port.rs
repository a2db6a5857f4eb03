//! Plans that publish ports and stop publishing them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netbridge_common::abi::LINK_ADDRS;

use super::ephemeral::choose;
use super::{Plan, Step, check_loaded, find_endpoint};
use crate::datapath::MIN_SNAT_PORTS;
use crate::facts::HostFacts;
use crate::listener::Listener;
use crate::model::{Claims, Fault, Faults, PortSpec, Ports, Transport, parse_sources};
use crate::state::{Endpoint, Published, State, Uplink};

/// Plans the publication of ports; `listeners` are the sockets of the host.
pub fn port_add(state: &State, host: &HostFacts, listeners: &[Listener], request: &Ports) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    let endpoint = faults.keep(find_endpoint(state, &request.endpoint));
    if let Some(trunk) = endpoint.filter(|endpoint| endpoint.addresses.is_empty()) {
        let remedy = "attach it with --ip";
        faults.push(Fault::conflict(
            format!("endpoint {}", trunk.name),
            "has no address to publish ports of",
            remedy,
        ));
    }
    let from = parse_sources("--from", &request.from).unwrap_or_else(|found| {
        found.iter().for_each(|fault| faults.push(fault.clone()));
        Vec::new()
    });
    let list = state.list_of(&from);
    let mut claims: Claims<Published> = state.ports.iter().map(|port| (port.ports(), port.clone())).collect();
    let mut wanted = Vec::new();
    // Ports that are asked for by number come before those that can be chosen.
    let (open, numbered): (Vec<_>, Vec<_>) = parse_specs(request, &mut faults)
        .into_iter()
        .partition(|(_, spec)| spec.is_open());
    for (text, spec) in numbered.into_iter().chain(open) {
        if let Some(fault) = stranger(text, &spec, host) {
            faults.push(fault);
            continue;
        }
        let Some(spec) = faults.keep(choose(text, spec, &claims, listeners, host)) else {
            continue;
        };
        faults.keep(vacant(&spec, listeners));
        let Some(endpoint) = endpoint else { continue };
        let port = Published {
            from: from.clone(),
            list,
            ..Published::new(endpoint.name.clone(), &spec)
        };
        if let Some((_, other)) = claims.overlapping(&spec) {
            faults.push(if wanted.contains(other) {
                twice(&port, other)
            } else {
                collision(&port, other)
            });
        } else {
            claims.insert(spec, port.clone());
            wanted.push(port);
        }
    }
    faults.check()?;
    let mut next = state.clone();
    next.ports.extend(wanted.iter().cloned());
    let mut warnings = endpoint.map_or_else(Vec::new, |endpoint| warnings(state, host, endpoint, &wanted));
    warnings.extend(starving(state, host, &claims, &wanted));
    Ok(Plan {
        steps: vec![Step::Publish(wanted)],
        state: next,
        warnings,
    })
}

/// Plans that ports of an endpoint are published no more; no specification means all of them.
pub fn port_remove(state: &State, request: &Ports) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    let endpoint = faults.keep(find_endpoint(state, &request.endpoint));
    let specs = parse_specs(request, &mut faults);
    for (text, _) in specs.iter().filter(|(_, spec)| spec.is_open()) {
        let remedy = "name the port on the host that was chosen: `netbridge port ls` lists it";
        faults.push(Fault::usage(
            format!("port {text:?}"),
            "does not say which to remove",
            remedy,
        ));
    }
    let own = || {
        let own = |port: &&Published| endpoint.is_some_and(|endpoint| port.endpoint == endpoint.name);
        state.ports.iter().filter(own)
    };
    let mut ports: BTreeSet<&Published> = BTreeSet::new();
    if request.specs.is_empty() {
        ports.extend(own());
    }
    let claims: Claims<&Published> = own().map(|port| (port.ports(), port)).collect();
    for (text, spec) in specs.iter().filter(|(_, spec)| !spec.is_open()) {
        match claims.overlapping(spec) {
            Some((published, port)) if published == spec => {
                ports.insert(port);
            }
            other if endpoint.is_some() => faults.push(not_published(text, &request.endpoint, other)),
            _ => {}
        }
    }
    faults.check()?;
    let mut next = state.clone();
    next.ports.retain(|port| !ports.contains(port));
    let ports: Vec<Published> = ports.into_iter().cloned().collect();
    let steps = if ports.is_empty() {
        Vec::new()
    } else {
        vec![Step::Unpublish(ports)]
    };
    Ok(Plan {
        steps,
        state: next,
        warnings: Vec::new(),
    })
}

fn parse_specs<'a>(request: &'a Ports, faults: &mut Faults) -> Vec<(&'a str, PortSpec)> {
    let parse = |text: &'a String| Some((text.as_str(), faults.keep(PortSpec::parse(text))?));
    request.specs.iter().filter_map(parse).collect()
}

/// The fault of ports at an address that is not the host's: whoever could publish there would take what is meant for
/// others (CVE-2020-8554).
fn stranger(text: &str, spec: &PortSpec, host: &HostFacts) -> Option<Fault> {
    let ip = spec.host_ip.filter(|ip| !host.owns(*ip))?;
    let own = host.addresses.iter().map(|(_, net)| net.addr());
    let own: BTreeSet<Ipv4Addr> = own.filter(|address| !address.is_loopback()).collect();
    let why = format!("{ip} is not an address of the host");
    let remedy = format!("give {}, 127.0.0.1 for the host alone, or none for all", list(&own));
    Some(Fault::conflict(format!("port {text}"), why, remedy))
}

/// Refuses ports that a socket of the host holds.
pub(crate) fn vacant(spec: &PortSpec, listeners: &[Listener]) -> Result<(), Fault> {
    let Some(listener) = listeners.iter().find(|listener| listener.holds(spec)) else {
        return Ok(());
    };
    let port = if spec.count == 1 {
        String::new()
    } else {
        format!("port {} ", listener.port)
    };
    let (why, remedy) = match &listener.holder {
        Some(holder) => (format!("{port}is in use by {holder}"), "stop that"),
        None => (format!("{port}is in use by a socket of the host"), "stop its program"),
    };
    let what = format!("port {}", spec.host_side());
    Err(Fault::conflict(what, why, format!("choose another, or {remedy}")))
}

/// What the caller should know of ports that are published.
fn warnings(state: &State, host: &HostFacts, endpoint: &Endpoint, ports: &[Published]) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &host.unhooked {
        warnings.push(format!(
            "published ports are reachable from outside and from containers, not from the host itself, and its programs \
             can take them: {why}; from the host, use the container's address"
        ));
    }
    let network = state.network(endpoint.network.as_str());
    let uplink = network.and_then(|network| network.uplink.as_deref());
    match uplink.and_then(|name| state.uplink(name)) {
        None => warnings.push(format!(
            "network {} has no uplink: the ports are not reachable from outside",
            endpoint.network
        )),
        Some(uplink) => {
            let addresses: Vec<Ipv4Addr> = host.addresses_of(uplink.ifindex).collect();
            let (_, beyond) = addresses.split_at(addresses.len().min(LINK_ADDRS));
            warnings.extend(not_outside(uplink, beyond, ports));
            warnings.extend(not_everywhere(uplink, beyond, ports));
        }
    }
    warnings.extend(ports.iter().filter_map(|port| may_be_given_away(host, port)));
    warnings
}

/// What to say of ports at addresses of the host that are not the uplink's.
fn not_outside(uplink: &Uplink, beyond: &[Ipv4Addr], ports: &[Published]) -> Option<String> {
    let known = |address: &Ipv4Addr| uplink.addresses.contains(address) || beyond.contains(address);
    let inner = |address: &Ipv4Addr| !address.is_loopback() && !known(address);
    let inner: BTreeSet<Ipv4Addr> = ports.iter().filter_map(|port| port.host_ip).filter(inner).collect();
    (!inner.is_empty()).then(|| {
        format!(
            "not an address of uplink {}: {}; the ports there are not reachable by it",
            uplink.name,
            list(&inner)
        )
    })
}

/// What to say of ports at addresses of the uplink that are more than the programs know of one.
fn not_everywhere(uplink: &Uplink, beyond: &[Ipv4Addr], ports: &[Published]) -> Option<String> {
    let at = |address: &&Ipv4Addr| {
        let mut places = ports.iter().map(|port| port.host_ip);
        places.any(|place| place.is_none_or(|place| place == **address))
    };
    let lost: BTreeSet<Ipv4Addr> = beyond.iter().filter(at).copied().collect();
    (!lost.is_empty()).then(|| {
        format!(
            "only the first {LINK_ADDRS} addresses of uplink {} lead in: the ports are not reachable from outside by {}; \
             remove addresses that nobody uses",
            uplink.name,
            list(&lost)
        )
    })
}

/// What to say if hardly a port is left for masquerading, which takes none that is published at the address it uses.
fn starving(state: &State, host: &HostFacts, claims: &Claims<Published>, ports: &[Published]) -> Vec<String> {
    let masqueraded = state.networks.iter().filter(|network| network.masquerade);
    let uplinks: BTreeSet<&str> = masqueraded.filter_map(|network| network.uplink.as_deref()).collect();
    let uplinks = uplinks.into_iter().filter_map(|name| state.uplink(name));
    let addresses: BTreeSet<Ipv4Addr> = uplinks.flat_map(|uplink| uplink.addresses.iter().copied()).collect();
    let Some(range) = host.ports.as_ref().map(|ports| &ports.snat) else {
        return Vec::new();
    };
    let free = |transport, address| {
        let free = |port: &u16| claims.at(transport, address, *port).is_none();
        range.clone().filter(free).count()
    };
    let mut warnings = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let new: usize = ports
            .iter()
            .filter(|port| port.transport == transport)
            .map(|port| usize::from(port.count))
            .sum();
        for address in &addresses {
            if new == 0 {
                continue;
            }
            let left = free(transport, *address);
            if left < usize::from(MIN_SNAT_PORTS) && left + new >= usize::from(MIN_SNAT_PORTS) {
                warnings.push(format!(
                    "of the {transport} ports that masquerading uses at {address} ({}-{}), {left} are not published: \
                     containers' connections to the outside fail when these are used up; publish fewer",
                    range.start(),
                    range.end()
                ));
            }
        }
    }
    warnings
}

/// What to say of ports that the kernel may give to a program of the host that asks for none in particular: one that binds
/// is refused, one that connects or sends is not, and the answers to its datagrams would go to the container.
fn may_be_given_away(host: &HostFacts, port: &Published) -> Option<String> {
    let ports = port.ports();
    let local = &host.ports.as_ref()?.local;
    let reserved = |port: u16| host.reserved.iter().any(|range| range.contains(&port));
    let given = |port: u16| local.contains(&port) && !reserved(port);
    (ports.host..=ports.last()).any(given).then(|| {
        format!(
            "{} is among the ports that the host gives to its own sockets (net.ipv4.ip_local_port_range), which then fail or \
             lose answers; choose another, or reserve it: `sysctl -w net.ipv4.ip_local_reserved_ports={}`, with what is \
             reserved already",
            ports.host_side(),
            ports.host_range()
        )
    })
}

fn list(addresses: &BTreeSet<Ipv4Addr>) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The fault of ports that a request names twice.
fn twice(port: &Published, other: &Published) -> Fault {
    let what = format!("port {}", port.ports().host_side());
    let why = format!("is asked for twice, here and as {}", other.ports().host_side());
    Fault::usage(what, why, "leave one of them out")
}

fn collision(port: &Published, other: &Published) -> Fault {
    let what = format!("port {}", port.ports().host_side());
    let why = format!(
        "is published for endpoint {} already, as {}",
        other.endpoint,
        other.ports().host_side()
    );
    if other == port {
        Fault::exists(what, why, "`netbridge port ls` lists what is published")
    } else {
        Fault::conflict(
            what,
            why,
            "choose another port, or remove that one with `netbridge port rm`",
        )
    }
}

/// The fault of ports to remove that are not published as they are given; `other` has some of them.
fn not_published(text: &str, endpoint: &str, other: Option<(&PortSpec, &&Published)>) -> Fault {
    let (why, remedy) = match other {
        Some((published, _)) if published.count > 1 => (
            format!("is not published as such for endpoint {endpoint}, but {published} is"),
            format!("`netbridge port rm {endpoint} {published}` removes that, which goes as a whole"),
        ),
        _ => (
            format!("is not published for endpoint {endpoint}"),
            "`netbridge port ls` lists those that are".to_owned(),
        ),
    };
    Fault::not_found(format!("port {text}"), why, remedy)
}
