//! A container host's bridge network whose packet path is eBPF.

pub mod filter;
