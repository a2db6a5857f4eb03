//! Plans of every operation, and the faults each finds.

mod endpoint;
mod filter;
mod net;
mod patch;
mod port;

use super::fixtures::{host, state, target};
use super::*;
use crate::model::{Attach, Ports};
use crate::state::FilterSource;

/// The steps in short.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    let first = |step: &Step| {
        format!("{step:?}")
            .split(['(', ' '])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    plan.steps.iter().map(first).collect()
}

/// What is said of each fault, one a line.
pub(super) fn whys<T: std::fmt::Debug>(result: Result<T, Faults>) -> String {
    result.unwrap_err().to_string()
}

pub(super) fn ports(endpoint: &str, specs: &[&str]) -> Ports {
    Ports {
        endpoint: endpoint.to_owned(),
        specs: specs.iter().map(ToString::to_string).collect(),
        from: Vec::new(),
    }
}

pub(super) fn request(netns: &str, ips: &[&str]) -> Attach {
    Attach {
        ips: ips.iter().map(ToString::to_string).collect(),
        ..Attach::new(netns, "front")
    }
}

pub(super) fn attach_app(state: &State, request: &Attach) -> Result<Plan, Faults> {
    attach(state, &host(), Some(&target()), request, Faults::default())
}

pub(super) fn filtered() -> State {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i web -j ACCEPT\nCOMMIT\n".to_owned();
    State {
        filter: Some(FilterSource::new("f", text)),
        ..state()
    }
}
