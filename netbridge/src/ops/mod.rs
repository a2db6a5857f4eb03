//! What netbridge can be asked to do: the operations behind the command line and the lab.
//!
//! An operation plays on the host namespace that its [`Host`] was opened in. Those that change
//! something are transactions: they take the lock, read the state, plan, apply, and undo what they
//! did if a step fails. Those that only look take no lock.

mod change;
mod failure;
mod filter;
mod filter_causes;
mod filter_import;
mod filter_packet;
mod filter_test;
mod host;
mod inspect;
mod settings;
mod traffic;

pub use change::{attach, detach, net_create, net_remove, port_add, port_remove, tune};
pub use failure::Failure;
pub use filter::{
    ChainView, Checked, EditKind, FilterView, Loaded, RuleView, SetView, edit_of, filter_check, filter_edit,
    filter_flush, filter_load, filter_show,
};
pub use filter_causes::{Cause, Causes, filter_causes};
pub use filter_import::{Backend, Imported, filter_import};
pub use filter_test::{FilterTest, Met, Tested, filter_test};
pub use host::{CGROUP_VARIABLE, Done, Host, Options};
pub use inspect::{
    EndpointBrief, EndpointDetails, NetworkDetails, StationView, endpoint_inspect, endpoints, net_inspect, networks,
    ports, stations,
};
pub use settings::SettingsView;
pub use traffic::{
    DropView, FlowView, Half, NamedTraffic, Stats, TrafficView, flows, flows_flush, flows_pick_up, flows_reap, stats,
};
