//! A router under test, whatever its packet path.

use std::time::Duration;

use anyhow::Result;
use netbridge::model::Transport;

use super::stage::{Stage, Station};

/// A column of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The kernel: a bridge, masquerade, a stateful `FORWARD` chain, DNAT.
    Netfilter,
    /// netbridge.
    Netbridge,
}

/// A published port.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// On the router's external address.
    pub host: u16,
    /// Whose.
    pub station: Station,
    /// In the container.
    pub container: u16,
}

/// What an operator may want of a router beside its defaults. One of these is in force until [`Router::reset`].
#[derive(Debug, Clone, Copy)]
pub enum Setting {
    /// Packets from anyone pass a mapping (RFC 4787, section 5: endpoint-independent filtering).
    AcceptFromAnyone,
    /// The uplink's MTU, bytes.
    UplinkMtu(u32),
    /// Masquerading uses these ports and no other.
    Ports(u16, u16),
    /// A container may have so many connections.
    Limit(u32),
    /// SYN segments are made to promise no larger segments than fit the uplink.
    ClampSegments,
    /// A port of the bridge reaches no other isolated one.
    Isolate(Station),
    /// The first station's MAC never moves.
    Pin(Station),
    /// A SYN from outside that means nobody gets no answer.
    Silent,
    /// Connections live as long as the kernel's do.
    KernelTimers,
    /// Half-open and half-closed connections live so many seconds.
    Transitory {
        /// Half open.
        opening: u32,
        /// Half closed.
        closing: u32,
    },
}

/// A router between the stations of a [`Stage`].
pub trait Router {
    /// Which one.
    fn column(&self) -> Column;

    /// Its stations.
    fn stage(&self) -> &Stage;

    /// Forgets connections, learned stations, published ports and settings.
    fn reset(&mut self) -> Result<()>;

    /// Publishes a port.
    fn publish(&mut self, port: Port) -> Result<()>;

    /// Withdraws one.
    fn withdraw(&mut self, port: Port) -> Result<()>;

    /// Forwards nothing to these TCP and UDP ports any more, and to all others.
    fn deny(&mut self, ports: &[u16]) -> Result<()>;

    /// Applies a setting; false if the router has none like it.
    fn set(&mut self, setting: Setting) -> Result<bool>;

    /// Tries to give containers a second network that overlaps the external one; true if the router takes it.
    fn overlap(&mut self) -> Result<bool>;

    /// Connections it knows, each counted once.
    fn connections(&self) -> Result<usize>;

    /// Its connections, for a reader.
    fn show(&self) -> Result<String>;

    /// Packets it refused for want of ports or of room, if it counts those.
    fn refusals(&self) -> Result<Option<u64>>;

    /// The only connection's state as the kernel calls it; none if there is none, or the router has no such names.
    fn state(&self) -> Result<Option<String>>;

    /// Seconds that are left to the only connection, just used; none if the router does not tell, and time may pass
    /// instead.
    fn told_lifetime(&self) -> Result<Option<u32>>;

    /// Seconds that a learned station lives; none as for [`told_lifetime`](Self::told_lifetime).
    fn told_ageing(&self) -> Result<Option<u32>>;

    /// Lets time pass for connections and learned stations: in its tables, or, little of it, in truth.
    fn pass(&mut self, time: Duration) -> Result<()>;

    /// Ends every connection as if its time, `lifetime` seconds, were just over.
    fn expire(&mut self, lifetime: u32) -> Result<()>;
}
