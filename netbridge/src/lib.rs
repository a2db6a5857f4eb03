//! The controller of netbridge: a container host's bridge network whose packet path is eBPF.

pub mod apply;
pub mod cli;
pub mod datapath;
pub mod doctor;
pub mod encode;
pub mod facts;
pub mod filter;
pub mod ipam;
pub mod lab;
pub mod listener;
pub mod model;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod ops;
pub mod plan;
pub mod sock_diag;
pub mod state;
pub mod store;
pub mod sysctl;
