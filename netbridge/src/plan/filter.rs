//! Plans that put a filter in force and remove it, and what the names in a filter stand for.

use netbridge_common::abi::ZONE_UPLINK;

use super::{Compiled, Plan, Step, check_loaded};
use crate::facts::HostFacts;
use crate::filter::syntax::{Note, Parsed};
use crate::filter::tables::{self, KnownEndpoint, KnownInterface, Tables, Uses, World};
use crate::filter::{self, Buckets, FilterErrors, Tally, bounds, buckets};
use crate::model::{Fault, Faults};
use crate::netlink::LinkInfo;
use crate::state::{Endpoint, FilterSource, Network, State};

/// Plans that a filter takes force, in place of the one before; its counters are those of its text, or zero.
pub fn filter_load(state: &State, host: &HostFacts, source: &FilterSource, counters: bool) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    if state.is_empty() {
        faults.push(no_network(host));
    }
    let world = world(state, &host.links);
    let ready = ready(state, host, source, counters, &world);
    let names = ready
        .as_ref()
        .map(|ready| tables::unknown(&ready.compiled.rules, &world));
    for (line, name) in names.unwrap_or_default() {
        let what = format!("{}:{line}: `{name}`", source.file);
        faults.push(Fault::not_found(what, UNKNOWN, "correct the name, or create it first"));
    }
    match ready {
        Ok(ready) if faults.is_empty() => Ok(Plan {
            steps: vec![Step::LoadFilter(Some(Box::new(ready.compiled)))],
            state: State {
                filter: Some(ready.source),
                ..state.clone()
            },
            warnings: ready.notes,
        }),
        Ok(_) => Err(faults),
        Err(errors) => {
            filter_faults(errors).into_iter().for_each(|fault| faults.push(fault));
            Err(faults)
        }
    }
}

/// A filter that could take force.
struct Ready {
    source: FilterSource,
    compiled: Compiled,
    notes: Vec<String>,
}

fn ready(
    state: &State,
    host: &HostFacts,
    source: &FilterSource,
    counters: bool,
    world: &World,
) -> Result<Ready, FilterErrors> {
    let parsed = source.parse()?;
    let notes = notes(source, &parsed);
    let mut rules = parsed.ruleset;
    let before = state.filter.as_ref().filter(|_| buckets::are_shared(&rules));
    let before = before.map(FilterSource::in_force).transpose()?;
    let before = before.map(|before| before.ruleset);
    buckets::draw(&mut rules, before.as_ref(), host.kernel.serial);
    let tally = if counters {
        Tally::of(&rules, 0)
    } else {
        Tally::default()
    };
    let source = FilterSource {
        uses: Uses::of(&rules),
        buckets: Buckets::of(&rules),
        tally,
        ..source.clone()
    };
    let compiled = Compiled::new(&source, rules, world, host.kernel.hz)?;
    Ok(Ready {
        source,
        compiled,
        notes,
    })
}

/// Why a name in a rule is refused, or told.
pub(crate) const UNKNOWN: &str = "is neither a network, nor an endpoint, nor an interface of the host";

/// Reads a filter, and compiles it for a clock of one tick in a second.
pub fn check(source: &FilterSource, world: &World) -> Result<(Parsed, Tables), FilterErrors> {
    let parsed = source.parse()?;
    // How fast the kernel's clock ticks says nothing about what fits.
    match tables::compile(&parsed.ruleset, world, 1) {
        Ok(tables) => Ok((parsed, tables)),
        Err(error) => Err(bounds::beyond(&source.file, &parsed.ruleset, &error)),
    }
}

/// What of a filter's files is left alone, each with its place.
pub fn notes(source: &FilterSource, parsed: &Parsed) -> Vec<String> {
    let file = |note: &Note| note.file.clone().unwrap_or_else(|| source.file.clone());
    parsed
        .notes
        .iter()
        .map(|note| format!("{}:{note}", file(note)))
        .collect()
}

/// Plans that everything is accepted.
pub fn filter_flush(state: &State, host: &HostFacts) -> Result<Plan, Faults> {
    check_loaded(state, host.loaded, &host.instance)?;
    let steps = if state.filter.is_some() {
        vec![Step::LoadFilter(None)]
    } else {
        Vec::new()
    };
    Ok(Plan {
        steps,
        state: State {
            filter: None,
            ..state.clone()
        },
        warnings: Vec::new(),
    })
}

/// What names in rules stand for: a network, by its name or its bridge's; an endpoint, by its name or its interface's; else
/// an interface of the host. The first that fits.
pub fn world(state: &State, links: &[LinkInfo]) -> World {
    let ids = || state.networks.iter().map(|network| network.id);
    let others = ids().chain([ZONE_UPLINK]).map(|network| KnownInterface {
        ifindex: 0,
        network,
        names: Vec::new(),
    });
    let network = |endpoint: &Endpoint| {
        state
            .network(endpoint.network.as_str())
            .map_or(ZONE_UPLINK, |network| network.id)
    };
    let endpoints = state.endpoints.iter().map(|endpoint| KnownInterface {
        ifindex: endpoint.ifindex,
        network: network(endpoint),
        names: vec![endpoint.name.to_string(), endpoint.host_if.clone()],
    });
    let ours = |index: u32| {
        state.endpoints.iter().any(|endpoint| endpoint.ifindex == index)
            || state.networks.iter().any(|network| network.ifindex == index)
    };
    let known = |endpoint: &Endpoint| {
        let address = endpoint
            .address()
            .filter(|_| !endpoint.trunk && endpoint.addresses.len() == 1)?;
        Some(KnownEndpoint {
            slot: endpoint.slot,
            ifindex: endpoint.ifindex,
            network: network(endpoint),
            address,
        })
    };
    let hosts = links
        .iter()
        .filter(|link| !ours(link.index))
        .map(|link| KnownInterface {
            ifindex: link.index,
            network: ZONE_UPLINK,
            // An endpoint's name hides an interface's.
            names: Some(link.name.clone())
                .filter(|name| state.endpoint(name).is_none())
                .into_iter()
                .collect(),
        });
    let mut interfaces: Vec<KnownInterface> = others.chain(endpoints).chain(hosts).collect();
    interfaces.sort_by_key(|interface| (interface.network, interface.ifindex));
    let names = |network: &Network| {
        [
            (network.name.to_string(), network.id),
            (network.bridge.clone(), network.id),
        ]
    };
    World {
        interfaces,
        networks: state.networks.iter().flat_map(names).collect(),
        endpoints: state.endpoints.iter().filter_map(known).collect(),
        local: state.local.iter().copied().collect(),
        broadcast: state
            .networks
            .iter()
            .map(|network| network.subnet.broadcast())
            .collect(),
    }
}

/// The faults of a rule file, in the controller's form.
pub fn filter_faults(errors: FilterErrors) -> Faults {
    let file = errors.file;
    let fault = |fault: filter::Fault| {
        let file = fault.file.as_ref().unwrap_or(&file);
        let place = format!("{file}:{}: `{}`", fault.line, fault.token);
        Fault::usage(place, fault.reason, fault.advice)
    };
    errors.faults.into_iter().map(fault).collect()
}

pub(super) fn no_network(host: &HostFacts) -> Fault {
    let what = format!("instance {}", host.instance);
    Fault::not_found(
        what,
        "has no network to filter",
        "create one first: `netbridge net create NAME`",
    )
}
