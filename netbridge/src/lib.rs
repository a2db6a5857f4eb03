//! netbridge: a container host's bridge network whose packet path is eBPF.

pub mod netlink;
pub mod netns;
