//! The controller of netbridge: a container host's bridge network whose packet path is eBPF.

pub mod datapath;
pub mod doctor;
