//! What the controller tells the datapath about the whole instance.

use bytemuck::{Pod, Zeroable};

/// The single element of the configuration map. Written by the controller, read by every packet.
///
/// A tick is 64 jiffies: the datapath reads the kernel's tick counter, which costs a load, and
/// never a clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Config {
    /// Version of the filter, never 0; a flow whose epoch differs asks the filter again. Its low
    /// bit is the bank in force. Four aligned bytes, and compared for equality only, so a
    /// reader that meets a half-written value asks the filter once too often and no worse.
    pub generation: u32,
    /// Ticks after which a record of use is renewed: one second.
    pub refresh: u32,
    /// Lifetime of an unanswered or closing TCP connection, ticks (RFC 5382 REQ-5: 4 min).
    pub tcp_transitory: u32,
    /// Lifetime of an established TCP connection, ticks (RFC 5382 REQ-5: 2 h 4 min).
    pub tcp_established: u32,
    /// Lifetime of a UDP flow, ticks (RFC 4787 REQ-5: 5 min).
    pub udp: u32,
    /// Lifetime of an ICMP query, ticks (RFC 5508 REQ-2: 60 s).
    pub icmp: u32,
    /// Lifetime of a learned MAC, ticks (802.1D: 300 s).
    pub fdb_ageing: u32,
    /// First port of the SNAT range, host order.
    pub snat_min: u16,
    /// Ports in the SNAT range.
    pub snat_ports: u16,
    /// First port of the host's own ephemeral range, never kept for a container.
    pub local_min: u16,
    /// Last port of the host's own ephemeral range.
    pub local_max: u16,
    /// Secret of this instance: makes the choice of SNAT ports unguessable (RFC 6056).
    pub secret: u32,
    /// Drop events that one CPU may send per tick.
    pub events_per_tick: u32,
    /// [`super::VERSION`] of the controller that wrote this.
    pub version: u32,
    /// Cookie of the network namespace that plays the host: sockets of others are none of the socket hooks' business.
    pub host: u64,
}
