//! The steps a plan is made of, and what undoes each.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Compiled, Edited, Patched};
use crate::filter::Change;
use crate::filter::tables::Bank;
use crate::state::{Endpoint, Network, Published, Uplink};

/// One step. Interfaces that a plan makes have no ifindex yet: steps name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load the programs and maps.
    LoadDatapath,
    /// Remove the programs and maps.
    UnloadDatapath,
    /// Make a network's bridge, down, with its gateway address.
    CreateBridge(Box<Network>),
    /// Describe a network and its subnet in the maps.
    AddNetwork(Box<Network>),
    /// Remove a network, its subnet and its flows from the maps.
    RemoveNetwork(Box<Network>),
    /// Mark addresses as the host's own.
    AddLocal(Vec<Ipv4Addr>),
    /// Forget that addresses are the host's own.
    RemoveLocal(Vec<Ipv4Addr>),
    /// Describe an uplink in the maps and attach its programs.
    AddUplink(Uplink),
    /// Detach the programs of an uplink and remove it from the maps.
    RemoveUplink(Uplink),
    /// Make an endpoint's veth, down at both ends.
    CreateVeth(Box<Endpoint>),
    /// Describe an endpoint in the maps.
    AddEndpoint(Box<Endpoint>),
    /// Remove an endpoint from the maps, and with it what was learned behind it.
    RemoveEndpoint(Box<Endpoint>),
    /// Attach the programs of an endpoint.
    AttachPrograms(Box<Endpoint>),
    /// Detach the programs of an endpoint.
    DetachPrograms(Box<Endpoint>),
    /// Make the host side of an endpoint a port of its bridge.
    JoinBridge {
        /// The endpoint.
        endpoint: Box<Endpoint>,
        /// The bridge.
        bridge: String,
    },
    /// Give an endpoint its addresses and routes, inside its namespace.
    Configure(Box<Endpoint>),
    /// Set an interface up.
    SetUp(String),
    /// Delete an interface, if its alias shows it to be ours.
    DeleteLink {
        /// Its name.
        name: String,
        /// The alias it must have.
        alias: String,
    },
    /// Publish ports.
    Publish(Vec<Published>),
    /// Stop publishing ports, and end the connections through them.
    Unpublish(Vec<Published>),
    /// End the connections of an endpoint.
    EndFlows(Box<Endpoint>),
    /// Compile the filter, which is the old one, for what its names stand for now, and put it in force.
    SwapFilter,
    /// Put the new state's filter in force, with the counters that the state says; without one, everything is accepted.
    LoadFilter(Option<Box<Compiled>>),
    /// Put the new state's filter in force, which is the old one with a change; the counters go on.
    EditFilter(Box<Edited>),
    /// The same, for the packets alone that the change concerns.
    PatchFilter(Box<Patched>),
    /// Take a patch back: this was in force before.
    UnpatchFilter(Bank),
    /// Put the filter of the old state in force again.
    RestoreFilter,
    /// Put the settings of the new state in force.
    Tune,
    /// Put those of the old state in force again.
    Untune,
}

impl Step {
    /// What undoes it; `None` if nothing has to.
    pub fn inverse(&self, instance: &str) -> Option<Self> {
        let delete = |name: &str, object| Self::DeleteLink {
            name: name.to_owned(),
            alias: crate::names::alias(instance, object),
        };
        Some(match self {
            Self::LoadDatapath => Self::UnloadDatapath,
            Self::CreateBridge(network) => delete(&network.bridge, &network.name),
            Self::AddNetwork(network) => Self::RemoveNetwork(network.clone()),
            Self::AddLocal(addresses) => Self::RemoveLocal(addresses.clone()),
            Self::AddUplink(uplink) => Self::RemoveUplink(uplink.clone()),
            Self::CreateVeth(endpoint) => delete(&endpoint.host_if, &endpoint.name),
            Self::AddEndpoint(endpoint) => Self::RemoveEndpoint(endpoint.clone()),
            Self::AttachPrograms(endpoint) => Self::DetachPrograms(endpoint.clone()),
            Self::Publish(ports) => Self::Unpublish(ports.clone()),
            Self::SwapFilter | Self::LoadFilter(_) | Self::EditFilter(_) => Self::RestoreFilter,
            Self::PatchFilter(patched) => Self::UnpatchFilter(patched.before),
            Self::Tune => Self::Untune,
            // The first three go with their interface; a removal that fails is repeated, not undone.
            Self::JoinBridge { .. }
            | Self::Configure(_)
            | Self::SetUp(_)
            | Self::UnloadDatapath
            | Self::RemoveNetwork(_)
            | Self::RemoveLocal(_)
            | Self::RemoveUplink(_)
            | Self::RemoveEndpoint(_)
            | Self::DetachPrograms(_)
            | Self::DeleteLink { .. }
            | Self::Unpublish(_)
            | Self::EndFlows(_)
            | Self::UnpatchFilter(_)
            | Self::RestoreFilter
            | Self::Untune => return None,
        })
    }

    /// Whether its failure leaves nothing of it behind, so that it must not be undone: what is
    /// there then was there before.
    pub fn is_atomic(&self) -> bool {
        matches!(self, Self::LoadDatapath | Self::CreateVeth(_))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadDatapath => f.write_str("load the programs and maps"),
            Self::UnloadDatapath => f.write_str("remove the programs and maps"),
            Self::CreateBridge(network) => {
                let address = Ipv4Net::new(network.gateway, network.subnet.prefix_len()).unwrap_or(network.subnet);
                write!(f, "create bridge {} with address {address}", network.bridge)
            }
            Self::AddNetwork(network) => write!(f, "add network {} ({})", network.name, network.subnet),
            Self::RemoveNetwork(network) => write!(f, "remove network {} ({})", network.name, network.subnet),
            Self::AddLocal(addresses) => write!(f, "know {} as the host's own", list(addresses)),
            Self::RemoveLocal(addresses) => write!(f, "forget {} as the host's own", list(addresses)),
            Self::AddUplink(uplink) => write!(f, "attach the uplink programs to {}", uplink.name),
            Self::RemoveUplink(uplink) => write!(f, "detach the uplink programs from {}", uplink.name),
            Self::CreateVeth(endpoint) => {
                write!(
                    f,
                    "create veth {} with {} in {}",
                    endpoint.host_if, endpoint.ifname, endpoint.netns
                )
            }
            Self::AddEndpoint(endpoint) => {
                write!(
                    f,
                    "add endpoint {} ({}, {})",
                    endpoint.name,
                    endpoint.mac,
                    list(&endpoint.addresses)
                )
            }
            Self::RemoveEndpoint(endpoint) => write!(f, "remove endpoint {}", endpoint.name),
            Self::AttachPrograms(endpoint) => write!(f, "attach the container programs to {}", endpoint.host_if),
            Self::DetachPrograms(endpoint) => write!(f, "detach the container programs from {}", endpoint.host_if),
            Self::JoinBridge { endpoint, bridge } => write!(f, "make {} a port of {bridge}", endpoint.host_if),
            Self::Configure(endpoint) => {
                write!(
                    f,
                    "configure {} in {}: {}",
                    endpoint.ifname,
                    endpoint.netns,
                    list(&endpoint.addresses)
                )?;
                endpoint
                    .gateway
                    .map_or(Ok(()), |gateway| write!(f, ", default via {gateway}"))
            }
            Self::SetUp(name) => write!(f, "set {name} up"),
            Self::DeleteLink { name, .. } => write!(f, "delete interface {name}"),
            Self::Publish(ports) => write!(f, "publish {}", list(ports)),
            Self::Unpublish(ports) => write!(f, "stop publishing {}", list(ports)),
            Self::EndFlows(endpoint) => write!(f, "end the connections of {}", endpoint.name),
            Self::SwapFilter => f.write_str("compile the filter and put it in force"),
            Self::LoadFilter(Some(_)) => f.write_str("put the new filter in force"),
            Self::LoadFilter(None) => f.write_str("remove the filter"),
            Self::EditFilter(edited) => match edited.edit.change {
                Change::Zero(_) => f.write_str("put the filter in force again, with counters of zero"),
                _ => write!(
                    f,
                    "change chain {} of the filter and put it in force",
                    edited.edit.chain()
                ),
            },
            Self::PatchFilter(patched) => write!(
                f,
                "change chain {} of the filter and put it in force",
                patched.edit.chain()
            ),
            Self::UnpatchFilter(_) | Self::RestoreFilter => f.write_str("put the old filter in force"),
            Self::Tune => f.write_str("put the settings in force"),
            Self::Untune => f.write_str("put the old settings in force"),
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
