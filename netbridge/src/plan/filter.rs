//! Plans that put a filter in force and remove it, and what the names in a filter stand for.

use super::{Plan, Step, check_loaded};
use crate::facts::HostFacts;
use crate::filter::{self, FilterErrors, Interface};
use crate::model::{Fault, Faults};
use crate::netlink::LinkInfo;
use crate::state::{FilterSource, State};

/// Plans that the filter in `text` takes force; `file` names it in messages.
pub fn filter_load(state: &State, host: &HostFacts, file: &str, text: &str) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    if state.is_empty() {
        faults.push(no_network(host));
    }
    match filter::parse(file, text) {
        Err(errors) => filter_faults(errors).into_iter().for_each(|fault| faults.push(fault)),
        Ok(ruleset) => {
            for gone in filter::unresolved(&ruleset, &interface_names(state, &host.links)) {
                let what = format!("{file}:{}: `{}`", gone.line, gone.name);
                let why = "is neither a network, nor an endpoint, nor an interface of the host";
                faults.push(Fault::not_found(what, why, "correct the name, or create it first"));
            }
        }
    }
    faults.check()?;
    let filter = Some(FilterSource {
        file: file.to_owned(),
        text: text.to_owned(),
    });
    Ok(Plan {
        steps: vec![Step::SwapFilter],
        state: State {
            filter,
            ..state.clone()
        },
        warnings: Vec::new(),
    })
}

/// Plans that everything is accepted.
pub fn filter_flush(state: &State, host: &HostFacts) -> Result<Plan, Faults> {
    check_loaded(state, host.loaded, &host.instance)?;
    let steps = if state.filter.is_some() {
        vec![Step::SwapFilter]
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

/// What a name after `-i` or `-o` stands for: a network, by its name or its bridge's; an endpoint,
/// by its name; else an interface of the host. The first that fits.
pub fn interface_names(state: &State, links: &[LinkInfo]) -> impl Fn(&str) -> Interface {
    move |name| {
        if let Some(network) = state
            .networks
            .iter()
            .find(|network| network.name == *name || network.bridge == name)
        {
            return Interface::Network(network.id);
        }
        if let Some(endpoint) = state.endpoint(name) {
            return Interface::Device(endpoint.ifindex);
        }
        links
            .iter()
            .find(|link| link.name == name)
            .map_or(Interface::Gone, |link| Interface::Device(link.index))
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

fn no_network(host: &HostFacts) -> Fault {
    let what = format!("instance {}", host.instance);
    Fault::not_found(
        what,
        "has no network to filter",
        "create one first: `netbridge net create NAME`",
    )
}
