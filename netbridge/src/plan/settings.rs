//! Plans that set lifetimes, quotas and table sizes.

use super::{Plan, Step, check_loaded};
use crate::facts::HostFacts;
use crate::model::{Fault, Faults, Tune};
use crate::state::State;

/// Plans that settings take force; at once where programs and maps are loaded, else with the first network.
pub fn tune(state: &State, host: &HostFacts, request: &Tune) -> Result<Plan, Faults> {
    let mut faults = Faults::default();
    faults.keep(check_loaded(state, host.loaded, &host.instance));
    let settings = request.applied_to(&state.settings).unwrap_or_else(|found| {
        found.into_iter().for_each(|fault| faults.push(fault));
        state.settings.clone()
    });
    if !state.is_empty() && settings.flows() != state.settings.flows() {
        faults.push(Fault::conflict(
            format!("--flows {}", settings.flows()),
            format!("the table is loaded, with room for {} flows", state.settings.flows()),
            "remove the networks first, or leave it out",
        ));
    }
    faults.check()?;
    let steps = if state.is_empty() || settings == state.settings {
        Vec::new()
    } else {
        vec![Step::Tune]
    };
    Ok(Plan {
        steps,
        state: State {
            settings,
            ..state.clone()
        },
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    fn flows(flows: u32) -> Tune {
        Tune {
            flows: Some(flows),
            ..Tune::default()
        }
    }

    #[test]
    fn a_loaded_table_is_not_resized_and_everything_else_takes_force_at_once() {
        let (state, host) = (fixtures::state(), fixtures::host());
        let faults = tune(&state, &host, &flows(1024)).unwrap_err().to_string();
        assert!(faults.contains("room for 131072 flows"), "{faults}");
        let quota = Tune {
            quota: Some(20_000),
            ..Tune::default()
        };
        let plan = tune(&state, &host, &quota).unwrap();
        assert_eq!((plan.steps, plan.state.settings.quota()), (vec![Step::Tune], 20_000));
        assert!(tune(&state, &host, &Tune::default()).unwrap().steps.is_empty());
        let unloaded = HostFacts { loaded: false, ..host };
        let faults = tune(&state, &unloaded, &flows(1)).unwrap_err().to_string();
        assert!(faults.contains("are gone") && faults.contains("--flows 1"), "{faults}");
    }

    #[test]
    fn without_a_network_nothing_is_done_but_remembered() {
        let (state, host) = (State::default(), fixtures::host());
        let plan = tune(&state, &host, &flows(1024)).unwrap();
        assert!(plan.steps.is_empty());
        assert_eq!(plan.state.settings.flows(), 1024);
    }
}
