//! From a state and a request to the steps that carry it out: pure, so that `--dry-run` prints what
//! would happen and a test can ask for anything.
//!
//! Every fault of a request is found before the first step is taken.

mod compiled;
mod edit;
mod endpoint;
mod ephemeral;
mod filter;
#[cfg(test)]
pub(crate) mod fixtures;
mod net;
pub(crate) mod patch;
mod port;
mod refresh;
mod settings;
mod step;
#[cfg(test)]
mod tests;

pub use compiled::{Compiled, Edited, digest};
pub use edit::{filter_edit, written};
pub use endpoint::{attach, detach, resolve_target};
pub(crate) use filter::UNKNOWN;
pub use filter::{check, filter_faults, filter_flush, filter_load, notes, world};
pub use net::{MTUS, net_create, net_remove};
pub use patch::Patched;
pub(crate) use port::vacant;
pub use port::{port_add, port_remove};
pub use refresh::refresh;
pub use settings::tune;
pub use step::Step;

use std::collections::BTreeSet;

use crate::model::{Fault, Faults};
use crate::state::{Endpoint, Network, State};

/// What a request comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// The state afterwards, but for the indices of interfaces that the steps make.
    pub state: State,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// The network called `name`.
pub(crate) fn find_network<'a>(state: &'a State, name: &str) -> Result<&'a Network, Fault> {
    let missing = || {
        Fault::not_found(
            format!("network {name}"),
            "does not exist",
            "`netbridge net ls` lists those that do",
        )
    };
    state.network(name).ok_or_else(missing)
}

/// The endpoint called `name`.
pub(crate) fn find_endpoint<'a>(state: &'a State, name: &str) -> Result<&'a Endpoint, Fault> {
    let missing = || {
        Fault::not_found(
            format!("endpoint {name}"),
            "does not exist",
            "`netbridge ep ls` lists those that do",
        )
    };
    state.endpoint(name).ok_or_else(missing)
}

/// The objects that `names` ask for, each once, in the order asked for.
fn find_all<'a, T>(names: &[String], find: impl Fn(&str) -> Result<&'a T, Fault>) -> Result<Vec<&'a T>, Faults> {
    let mut faults = Faults::default();
    let mut seen = BTreeSet::new();
    let once = names.iter().filter(|name| seen.insert(*name));
    let found = once.filter_map(|name| faults.keep(find(name))).collect();
    faults.check()?;
    Ok(found)
}

/// A state that describes programs and maps which are not there: after a reboot, or because someone
/// removed their pins.
pub(crate) fn check_loaded(state: &State, loaded: bool, instance: &str) -> Result<(), Fault> {
    if state.is_empty() || loaded {
        return Ok(());
    }
    Err(Fault::conflict(
        format!("instance {instance}"),
        "its programs and maps are gone: the machine was restarted, or their pins were removed",
        format!(
            "{} clears what is left, then create the networks again",
            remove_all(state)
        ),
    ))
}

/// The command that removes everything.
pub(crate) fn remove_all(state: &State) -> String {
    let names: Vec<_> = state.networks.iter().map(|network| network.name.as_str()).collect();
    format!("`netbridge net rm --force {}`", names.join(" "))
}
