//! The eBPF object built into this binary, and the names in it.

use aya::programs::SchedClassifier;

use super::{DatapathError, Pins};

/// The object, made by `cargo xtask build-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETBRIDGE_EBPF_OBJECT"));

/// Program that returns the low 32 bits of the kernel's jiffies.
pub(super) const TICKS: &str = "ticks";

/// Names of the maps that userspace opens.
pub(super) mod maps {
    pub(in super::super) const CONFIG: &str = "CONFIG";
    pub(in super::super) const LINKS: &str = "LINKS";
    pub(in super::super) const NETWORKS: &str = "NETWORKS";
    pub(in super::super) const SUBNETS: &str = "SUBNETS";
    pub(in super::super) const ADDRESSES: &str = "ADDRESSES";
    pub(in super::super) const FDB: &str = "FDB";
    pub(in super::super) const FLOWS: &str = "FLOWS";
    pub(in super::super) const PUBLISHED: &str = "PUBLISHED";
    pub(in super::super) const POLICY: &str = "POLICY";
    pub(in super::super) const RULES: &str = "RULES";
    pub(in super::super) const DROPS: &str = "DROPS";
    pub(in super::super) const TRAFFIC: &str = "TRAFFIC";
    pub(in super::super) const EVENTS: &str = "EVENTS";
}

/// Opens a program by its pin.
pub(super) fn pinned_program(pins: &Pins, name: &'static str) -> Result<SchedClassifier, DatapathError> {
    SchedClassifier::from_pin(pins.program(name)).map_err(DatapathError::program("open", name))
}
