//! The eBPF object built into this binary, and the names in it.

use aya::programs::SchedClassifier;

use super::{DatapathError, Pins};

/// The object, made by `cargo xtask build-ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETBRIDGE_EBPF_OBJECT"));

/// Program that returns the low 32 bits of the kernel's jiffies.
pub(super) const TICKS: &str = "ticks";
/// Program that ends the flows it is told.
pub(super) const END: &str = "end";
/// Program that removes the flows that have expired.
pub(super) const REAP: &str = "reap";

/// The programs that run for the controller and on no packet.
pub(super) const TOOLS: [&str; 3] = [TICKS, END, REAP];

/// Names of the maps that userspace opens.
pub(super) mod maps {
    pub(crate) const CONFIG: &str = "CONFIG";
    pub(crate) const LINKS: &str = "LINKS";
    pub(crate) const NETWORKS: &str = "NETWORKS";
    pub(crate) const SUBNETS: &str = "SUBNETS";
    pub(crate) const ADDRESSES: &str = "ADDRESSES";
    pub(crate) const FDB: &str = "FDB";
    pub(crate) const FLOWS: &str = "FLOWS";
    pub(crate) const LOADS: &str = "LOADS";
    pub(crate) const HALF_OPEN: &str = "HALF_OPEN";
    pub(crate) const BINDINGS: &str = "BINDINGS";
    pub(crate) const PUBLISHED: &str = "PUBLISHED";
    pub(crate) const SOURCES: &str = "SOURCES";
    pub(crate) const PEERS: &str = "PEERS";
    pub(crate) const FILTER: &str = "FILTER";
    pub(crate) const FILTER_WORDS: &str = "FILTER_WORDS";
    pub(crate) const FILTER_BOXES: &str = "FILTER_BOXES";
    pub(crate) const FILTER_LIMITS: &str = "FILTER_LIMITS";
    pub(crate) const PATHS: &str = "PATHS";
    pub(crate) const PASSED: &str = "PASSED";
    pub(crate) const DROPS: &str = "DROPS";
    pub(crate) const TRAFFIC: &str = "TRAFFIC";
    pub(crate) const LEARNED: &str = "LEARNED";
    pub(crate) const EVENTS: &str = "EVENTS";

    /// All of them.
    pub(crate) const ALL: [&str; 23] = [
        CONFIG,
        LINKS,
        NETWORKS,
        SUBNETS,
        ADDRESSES,
        FDB,
        FLOWS,
        LOADS,
        HALF_OPEN,
        BINDINGS,
        PUBLISHED,
        SOURCES,
        PEERS,
        FILTER,
        FILTER_WORDS,
        FILTER_BOXES,
        FILTER_LIMITS,
        PATHS,
        PASSED,
        DROPS,
        TRAFFIC,
        LEARNED,
        EVENTS,
    ];
}

/// Opens a program by its pin.
pub(super) fn pinned_program(pins: &Pins, name: &'static str) -> Result<SchedClassifier, DatapathError> {
    SchedClassifier::from_pin(pins.program(name)).map_err(DatapathError::program("open", name))
}
