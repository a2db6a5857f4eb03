//! What the controller tells the datapath about the whole instance.

use bytemuck::{Pod, Zeroable};

/// The single element of the configuration map. Written by the controller, read by every packet.
///
/// A tick is 64 jiffies: the datapath reads the kernel's tick counter, which costs a load, and
/// never a clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Config {
    /// Version of the filter, never 0: see [`super::generation`]. A flow whose epoch differs asks the filter again.
    pub generation: u32,
    /// Ticks after which a record of use is renewed: one second.
    pub refresh: u32,
    /// How long flows live without a packet.
    pub timeouts: Timeouts,
    /// Ticks for which the port of a masqueraded flow that ended without closing is kept from other
    /// containers (RFC 6888 REQ-8: 120 s).
    pub quarantine: u32,
    /// TCP segments that open nothing may open a flow before this tick: the table was lost, or was not kept before.
    /// 0 for never.
    pub pickup_until: u32,
    /// Flows that one endpoint may have, as many halves again.
    pub quota: u32,
    /// Of these, flows that are not answered or not established yet.
    pub half_open_quota: u32,
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
    /// ICMP errors that one CPU may make per tick (RFC 1812, section 4.3.2.8).
    pub answers_per_tick: u32,
    /// MACs that may be learned behind one trunk; 0 for as many as there is room.
    pub learned_per_port: u32,
    /// Broadcast, multicast and unknown unicast frames that one port may send on one CPU in `refresh` ticks; 0 for no limit.
    pub floods_per_second: u32,
    /// Ticks for which a datagram is put together: the ports of its first fragment are known, and later ones wait for it
    /// (RFC 791, section 3.2; Linux: 30 s).
    pub fragment_timeout: u32,
    /// Fragments that came in by one interface and may wait for the first of their datagram.
    pub held_quota: u32,
    /// [`super::VERSION`] of the controller that wrote this.
    pub version: u32,
    /// Not 0 if a SYN from outside to a port that masquerading may use, and nobody holds, is dropped (RFC 5382 REQ-4); the host
    /// resets it otherwise.
    pub silent: u32,
    /// Cookie of the network namespace that plays the host: sockets of others are none of the socket hooks' business.
    pub host: u64,
}

/// Lifetimes of idle flows, ticks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Timeouts {
    /// TCP: a SYN without an answer (RFC 5382 REQ-5, transitory: 4 min).
    pub tcp_opening: u32,
    /// TCP: answered, the handshake is not finished.
    pub tcp_answered: u32,
    /// TCP: established (RFC 5382 REQ-5: 2 h 4 min).
    pub tcp_established: u32,
    /// TCP: one side has closed (RFC 6146, section 3.5.2: as established).
    pub tcp_half_closed: u32,
    /// TCP: both sides have closed.
    pub tcp_closing: u32,
    /// TCP: an RST was seen, and nothing since (RFC 7857, section 2.3: 4 min).
    pub tcp_reset: u32,
    /// UDP without an answer (RFC 4787 REQ-5: 5 min).
    pub udp_opening: u32,
    /// UDP with an answer.
    pub udp_established: u32,
    /// An ICMP query (RFC 5508 REQ-2: 60 s).
    pub icmp: u32,
    /// Protocols known by their addresses alone.
    pub other: u32,
}
