//! netbridge: a container host's bridge network whose packet path is eBPF.

pub mod model;
pub mod ops;
pub mod state;
pub mod store;
pub mod netlink;
pub mod netns;
