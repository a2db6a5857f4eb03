//! The operations of a lab played on paper, so that what they would refuse is refused before anything is touched.

use crate::facts::{HostFacts, KernelFacts, TargetFacts};
use crate::model::{Fault, Faults};
use crate::netlink::LinkInfo;
use crate::plan::{self, Plan};
use crate::state::State;

use super::topology::{Outside, Topology};

/// Inode number of the host's namespace on paper; that of nodes is any other.
const HOST_INODE: u64 = 1;

/// Ifindex of the uplink on paper.
const UPLINK_INDEX: u32 = 2;

/// Refuses what an operation would refuse; `file` names the topology in messages.
pub(super) fn rehearse(file: &str, topology: &Topology) -> Result<(), Faults> {
    if topology.networks.is_empty() {
        return match &topology.filter {
            None => Ok(()),
            Some(filter) => {
                let fault = Fault::usage(
                    format!("{file}: filter {}", filter.file),
                    "there is no network to filter",
                    "add one of [[networks]], or leave the filter out",
                );
                Err(fault.into())
            }
        };
    }
    let host = host_on_paper(topology);
    let mut rehearsal = Rehearsal {
        file,
        state: State::default(),
        faults: Faults::default(),
    };
    for network in &topology.networks {
        rehearsal.play(|state| plan::net_create(state, &host, network));
    }
    for attachment in &topology.attachments {
        let target = target_on_paper(topology, &rehearsal.state, &attachment.netns);
        rehearsal.play(|state| plan::attach(state, &host, Some(&target), attachment, Faults::default()));
    }
    // Names of endpoints that were refused would look wrong here.
    if rehearsal.faults.is_empty()
        && let Some(filter) = &topology.filter
    {
        rehearsal.play(|state| plan::filter_load(state, &host, filter, false));
    }
    if rehearsal.faults.is_empty() {
        for ports in &topology.ports {
            rehearsal.play(|state| plan::port_add(state, &host, &[], ports));
        }
    }
    rehearsal.faults.check()
}

/// A rehearsal under way.
struct Rehearsal<'a> {
    file: &'a str,
    state: State,
    faults: Faults,
}

impl Rehearsal<'_> {
    fn play(&mut self, act: impl FnOnce(&State) -> Result<Plan, Faults>) {
        match act(&self.state) {
            Ok(plan) => self.state = plan.state,
            Err(faults) => {
                for fault in faults.iter() {
                    let what = format!("{}: {}", self.file, fault.what);
                    self.faults.push(Fault { what, ..fault.clone() });
                }
            }
        }
    }
}

fn host_on_paper(topology: &Topology) -> HostFacts {
    let outside = topology.outside.as_ref();
    let uplink = |outside: &Outside| LinkInfo {
        index: UPLINK_INDEX,
        name: outside.uplink.clone(),
        kind: Some("veth".to_owned()),
        mac: Some([2, 0, 0, 0, 0, 2]),
        ethernet: true,
        mtu: outside.mtu,
        up: true,
        master: None,
        alias: None,
        group: 0,
        ipv4: None,
        ipv6: None,
    };
    HostFacts {
        instance: topology.name.to_string(),
        loaded: true,
        inode: HOST_INODE,
        machine: None,
        links: outside.map(uplink).into_iter().collect(),
        addresses: outside
            .map(|outside| (UPLINK_INDEX, outside.host))
            .into_iter()
            .collect(),
        routes: outside
            .map(|outside| (UPLINK_INDEX, outside.host.trunc()))
            .into_iter()
            .collect(),
        ports: None,
        reserved: Vec::new(),
        unhooked: None,
        kernel: KernelFacts::default(),
    }
}

/// A node as its links and the endpoints so far have left it.
fn target_on_paper(topology: &Topology, state: &State, netns: &str) -> TargetFacts {
    let ends = topology.links.iter().flat_map(|link| [&link.a, &link.b]);
    let own_ends = ends.filter(|end| topology.namespace(end.node.as_str()) == netns);
    let earlier: Vec<_> = state
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.netns == netns)
        .collect();
    TargetFacts {
        inode: HOST_INODE + 1,
        links: ["lo"]
            .into_iter()
            .chain(own_ends.map(|end| end.ifname.as_str()))
            .chain(earlier.iter().map(|endpoint| endpoint.ifname.as_str()))
            .map(str::to_owned)
            .collect(),
        default_route: earlier.iter().any(|endpoint| endpoint.gateway.is_some()),
    }
}
