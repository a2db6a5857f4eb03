//! The operations that change something.

use std::collections::BTreeSet;

use super::settings::{SettingsView, settings_view};
use super::{Done, Failure, Host};
use crate::facts::{HostFacts, TargetFacts};
use crate::listener::rivals;
use crate::model::{Attach, Faults, Name, NetCreate, PortSpec, Ports, Tune};
use crate::plan;
use crate::state::{Endpoint, Network, Published, State};

/// Creates a network, and with the first one loads the programs and maps.
pub async fn net_create(host: &Host, request: &NetCreate) -> Result<Done<Network>, Failure> {
    host.change(
        |state, facts| Ok(plan::net_create(state, facts, request)?),
        |_, new| new.network(&request.name).cloned(),
    )
    .await
}

/// Removes networks; with `force`, their endpoints first. With the last one go the programs and maps.
pub async fn net_remove(host: &Host, names: &[String], force: bool) -> Result<Done<Vec<Name>>, Failure> {
    let gone = |old: &State, new: &State| {
        let names = old.networks.iter().map(|network| &network.name);
        Some(
            names
                .filter(|name| new.network(name.as_str()).is_none())
                .cloned()
                .collect(),
        )
    };
    host.change(|state, facts| Ok(plan::net_remove(state, facts, names, force)?), gone)
        .await
}

/// Connects a namespace to a network.
pub async fn attach(host: &Host, request: &Attach) -> Result<Done<Endpoint>, Failure> {
    let plan = |state: &State, facts: &HostFacts| {
        let mut faults = Faults::default();
        let netns = faults.keep(plan::resolve_target(&request.netns));
        let target = netns.as_ref().map(TargetFacts::read).transpose()?;
        Ok(plan::attach(state, facts, target.as_ref(), request, faults)?)
    };
    host.change(plan, |_, new| new.endpoints.last().cloned()).await
}

/// Disconnects endpoints; their namespaces and interfaces may be gone already.
pub async fn detach(host: &Host, names: &[String]) -> Result<Done<Vec<Name>>, Failure> {
    let gone = |old: &State, new: &State| {
        let names = old.endpoints.iter().map(|endpoint| &endpoint.name);
        Some(
            names
                .filter(|name| new.endpoint(name.as_str()).is_none())
                .cloned()
                .collect(),
        )
    };
    host.change(|state, facts| Ok(plan::detach(state, facts, names)?), gone)
        .await
}

/// Publishes ports of an endpoint.
pub async fn port_add(host: &Host, request: &Ports) -> Result<Done<Vec<Published>>, Failure> {
    let added = |old: &State, new: &State| Some(difference(&new.ports, &old.ports));
    let plan = |state: &State, facts: &HostFacts| {
        let specs = request.specs.iter().filter_map(|text| PortSpec::parse(text).ok());
        let rivals = rivals(&specs.collect::<Vec<_>>())?;
        Ok(plan::port_add(state, facts, &rivals, request)?)
    };
    host.change(plan, added).await
}

/// Stops publishing ports of an endpoint, and ends the connections through them; no specification
/// means all of them.
pub async fn port_remove(host: &Host, request: &Ports) -> Result<Done<Vec<Published>>, Failure> {
    let removed = |old: &State, new: &State| Some(difference(&old.ports, &new.ports));
    host.change(|state, _| Ok(plan::port_remove(state, request)?), removed)
        .await
}

/// Sets what is to be set, if anything; the settings in force afterwards.
pub async fn tune(host: &Host, request: &Tune) -> Result<Done<SettingsView>, Failure> {
    if request.is_nothing() {
        let state = host.state()?;
        return Ok(Done {
            value: settings_view(host, &state)?,
            steps: Vec::new(),
            warnings: Vec::new(),
        });
    }
    let settings = |_: &State, new: &State| Some(new.clone());
    let done = host
        .change(|state, facts| Ok(plan::tune(state, facts, request)?), settings)
        .await?;
    let view = settings_view(host, &done.value)?;
    Ok(done.map(|_| view))
}

/// What is in `a` and not in `b`.
fn difference(a: &[Published], b: &[Published]) -> Vec<Published> {
    let b: BTreeSet<_> = b.iter().collect();
    a.iter().filter(|port| !b.contains(port)).cloned().collect()
}
