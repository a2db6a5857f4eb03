//! What is set for an instance, as it is shown.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Failure, Host};
use crate::model::{Profile, Timer};
use crate::state::State;

/// The settings in force, those that follow from others included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingsView {
    /// The profile of the lifetimes.
    pub profile: Profile,
    /// Every lifetime, seconds.
    pub timeouts_s: BTreeMap<Timer, u32>,
    /// Those that are set one by one.
    pub set: Vec<Timer>,
    /// Flows that the table holds.
    pub flows: u32,
    /// Flows that one endpoint may have.
    pub quota: u32,
    /// Of these, flows that are not established.
    pub half_open: u32,
    /// Seconds for which a port that stood for a container's is kept from others.
    pub quarantine_s: u32,
    /// MACs that may be learned behind one trunk; 0 for no limit.
    pub macs: u32,
    /// Broadcast, multicast and unknown unicast frames of one port a second on each CPU; 0 for no limit.
    pub floods: u32,
    /// SYNs from outside that mean nobody get no answer.
    pub silent: bool,
    /// Kernel memory of each map, bytes; nothing is loaded while there is no network.
    pub memory: BTreeMap<String, u64>,
}

pub(super) fn settings_view(host: &Host, state: &State) -> Result<SettingsView, Failure> {
    let settings = &state.settings;
    let memory = if state.is_empty() {
        Vec::new()
    } else {
        host.datapath()?.memory().map_err(anyhow::Error::from)?
    };
    Ok(SettingsView {
        profile: settings.profile,
        timeouts_s: Timer::ALL
            .into_iter()
            .map(|timer| (timer, settings.timeout(timer)))
            .collect(),
        set: settings.timeouts.keys().copied().collect(),
        flows: settings.flows(),
        quota: settings.quota(),
        half_open: settings.half_open(),
        quarantine_s: settings.quarantine(),
        macs: settings.macs(),
        floods: settings.floods(),
        silent: settings.silent,
        memory: memory.into_iter().collect(),
    })
}
