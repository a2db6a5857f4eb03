//! Plans that publish ports and stop publishing them.

use std::collections::BTreeSet;

use super::{Plan, Step, check_loaded, find_endpoint, find_network};
use crate::facts::HostFacts;
use crate::listener::Listener;
use crate::model::{Claims, Fault, Faults, PortSpec, Ports};
use crate::state::{Endpoint, Published, State, Uplink};

/// Plans the publication of ports; `listeners` are the sockets of the host.
pub fn port_add(state: &State, host: &HostFacts, listeners: &[Listener], request: &Ports) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    let endpoint = faults.keep(find_endpoint(state, &request.endpoint));
    let uplink = endpoint.and_then(|endpoint| faults.keep(uplink_of(state, endpoint)));
    if let Some(trunk) = endpoint.filter(|endpoint| endpoint.addresses.is_empty()) {
        let remedy = "attach it with --ip";
        faults.push(Fault::conflict(
            format!("endpoint {}", trunk.name),
            "has no address to publish ports of",
            remedy,
        ));
    }
    let specs = parse_specs(request, &mut faults);
    let mut claims = state.claims();
    let wanted: Vec<Published> = endpoint.map_or_else(Vec::new, |endpoint| {
        let published = |(_, spec): &(_, PortSpec)| Published::new(endpoint.name.clone(), spec);
        specs.iter().map(published).collect()
    });
    for ((text, spec), port) in specs.iter().zip(&wanted) {
        if let Some(fault) = uplink.and_then(|uplink| stranger(text, spec, uplink)) {
            faults.push(fault);
        } else if let Some((_, other)) = claims.overlapping(spec) {
            faults.push(collision(port, other));
        } else {
            claims.insert(*spec, port);
        }
        if let Some(listener) = listeners.iter().find(|listener| listener.holds(spec)) {
            let why = if spec.count == 1 {
                "is in use by a socket of the host".to_owned()
            } else {
                format!("port {} is in use by a socket of the host", listener.port)
            };
            let what = format!("port {}", spec.host_side());
            faults.push(Fault::conflict(what, why, "choose another, or stop its program"));
        }
    }
    faults.check()?;
    let mut next = state.clone();
    next.ports.extend(wanted.iter().cloned());
    Ok(Plan {
        steps: vec![Step::Publish(wanted)],
        state: next,
        warnings: Vec::new(),
    })
}

/// Plans that ports of an endpoint are published no more; no specification means all of them.
pub fn port_remove(state: &State, request: &Ports) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    let endpoint = faults.keep(find_endpoint(state, &request.endpoint));
    let specs = parse_specs(request, &mut faults);
    let own = || {
        let own = |port: &&Published| endpoint.is_some_and(|endpoint| port.endpoint == endpoint.name);
        state.ports.iter().filter(own)
    };
    let mut ports: BTreeSet<&Published> = BTreeSet::new();
    if request.specs.is_empty() {
        ports.extend(own());
    }
    let claims: Claims<&Published> = own().map(|port| (port.ports(), port)).collect();
    for (text, spec) in &specs {
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

fn uplink_of<'a>(state: &'a State, endpoint: &Endpoint) -> Result<&'a Uplink, Fault> {
    let network = find_network(state, endpoint.network.as_str())?;
    let uplink = network.uplink.as_deref().and_then(|name| state.uplink(name));
    uplink.ok_or_else(|| {
        let why = format!(
            "is in network {}, which has no uplink to publish ports on",
            network.name
        );
        Fault::conflict(
            format!("endpoint {}", endpoint.name),
            why,
            "attach it to a network created with --uplink",
        )
    })
}

/// The fault of ports at an address that is not the uplink's.
fn stranger(text: &str, spec: &PortSpec, uplink: &Uplink) -> Option<Fault> {
    let ip = spec.host_ip.filter(|ip| !uplink.addresses.contains(ip))?;
    let own = uplink
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let why = format!("{ip} is not an address of uplink {}", uplink.name);
    let remedy = format!("give {own}, or leave it out for any");
    Some(Fault::conflict(format!("port {text}"), why, remedy))
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
