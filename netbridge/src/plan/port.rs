//! Plans that publish ports and stop publishing them.

use super::{Plan, Step, check_loaded, find_endpoint, find_network};
use crate::facts::HostFacts;
use crate::model::{Fault, Faults, MAX_PORTS, PortSpec, Ports};
use crate::state::{Endpoint, Published, State, Uplink};

/// Plans the publication of ports.
pub fn port_add(state: &State, host: &HostFacts, request: &Ports) -> Result<Plan, Faults> {
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
    let mut ports: Vec<Published> = Vec::new();
    for (text, spec) in &specs {
        if let Some((uplink, ip)) = uplink.zip(spec.host_ip)
            && !uplink.addresses.contains(&ip)
        {
            let own = uplink
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let why = format!("{ip} is not an address of uplink {}", uplink.name);
            faults.push(Fault::conflict(
                format!("port {text}"),
                why,
                format!("give {own}, or leave it out for any"),
            ));
        }
        let wanted = of_spec(&request.endpoint, spec, endpoint);
        let taken = |port: &&Published| state.ports.iter().chain(&ports).find(|other| other.collides(port));
        if let Some((port, other)) = wanted.iter().find_map(|port| Some((port, taken(&port)?))) {
            faults.push(collision(port, other));
        }
        let held = |port: &&Published| {
            host.listeners
                .iter()
                .any(|l| l.holds(port.transport, port.host_ip, port.host_port))
        };
        if let Some(port) = wanted.iter().find(held) {
            let what = format!("port {}", port.host_side());
            faults.push(Fault::conflict(
                what,
                "is in use by a socket of the host",
                "choose another, or stop its program",
            ));
        }
        ports.extend(wanted);
    }
    if ports.len() > MAX_PORTS {
        let why = format!("are more than one call publishes, {MAX_PORTS}");
        faults.push(Fault::usage(
            format!("{} ports", ports.len()),
            why,
            "publish them in several calls",
        ));
    }
    faults.check()?;
    let mut next = state.clone();
    next.ports.extend(ports.iter().cloned());
    Ok(Plan {
        steps: vec![Step::Publish(ports)],
        state: next,
        warnings: Vec::new(),
    })
}

/// Plans that ports of an endpoint are published no more; no specification means all of them.
pub fn port_remove(state: &State, request: &Ports) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    let endpoint = faults.keep(find_endpoint(state, &request.endpoint));
    let specs = parse_specs(request, &mut faults);
    let mut ports: Vec<Published> = Vec::new();
    if let Some(endpoint) = endpoint.filter(|_| request.specs.is_empty()) {
        ports.extend(
            state
                .ports
                .iter()
                .filter(|port| port.endpoint == endpoint.name)
                .cloned(),
        );
    }
    for (text, spec) in &specs {
        let wanted = of_spec(&request.endpoint, spec, endpoint);
        if endpoint.is_some() && !wanted.iter().all(|port| state.ports.contains(port)) {
            let why = format!("is not published for endpoint {}", request.endpoint);
            faults.push(Fault::not_found(
                format!("port {text}"),
                why,
                "`netbridge port ls` lists those that are",
            ));
        }
        ports.extend(wanted);
    }
    faults.check()?;
    let mut next = state.clone();
    next.ports.retain(|port| !ports.contains(port));
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

fn of_spec(name: &str, spec: &PortSpec, endpoint: Option<&Endpoint>) -> Vec<Published> {
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.name == *name) else {
        return Vec::new();
    };
    let published = |(host_port, port)| Published {
        endpoint: endpoint.name.clone(),
        transport: spec.transport,
        host_ip: spec.host_ip,
        host_port,
        port,
    };
    spec.pairs().map(published).collect()
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

fn collision(port: &Published, other: &Published) -> Fault {
    let what = format!("port {}", port.host_side());
    let why = format!(
        "is published for endpoint {} already, as {}",
        other.endpoint,
        other.host_side()
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
