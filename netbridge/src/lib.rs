//! netbridge: a container host's bridge network whose packet path is eBPF.

pub mod lab;
pub mod model;
pub mod netlink;
pub mod netns;
pub mod ops;
pub mod state;
pub mod store;
