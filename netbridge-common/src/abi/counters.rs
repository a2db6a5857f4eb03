//! What the datapath counts and reports.

use bytemuck::{Pod, Zeroable};

/// Traffic slots: endpoints and uplinks of one instance.
pub const SLOTS: u32 = 1024;

/// Elements of the drop counters, indexed by [`super::Reason`].
pub const REASON_SLOTS: u32 = 64;

/// Size of the ring buffer of drop events, bytes.
pub const EVENT_BYTES: u32 = 64 * 1024;

/// Traffic of one endpoint or uplink on one CPU, as netbridge's programs saw it.
///
/// "Sent" is what the endpoint sent; what was then dropped is counted in both `tx` and `drops`. A fragment that has waited for the
/// first of its datagram is sent once: when it is received anew, what was counted of it before is taken back, by whichever
/// CPU does so, so that only the sum over all CPUs means something.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Traffic {
    /// Packets it sent; a GSO frame counts once.
    pub tx_packets: u64,
    /// Bytes it sent, Ethernet header included.
    pub tx_bytes: u64,
    /// Packets handed to it.
    pub rx_packets: u64,
    /// Bytes handed to it.
    pub rx_bytes: u64,
    /// Packets dropped that it sent.
    pub drops: u64,
}

/// Flows of one endpoint that are on its quota. Counted up when one is created, down when its entry is
/// removed; one that expired counts until something removes it.
///
/// The datapath adds to the counts of flows at once, as one eight-byte word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Load {
    /// All of them. Signed: two CPUs that remove the same flow may count it down twice.
    pub flows: i32,
    /// Those not established yet.
    pub half_open: i32,
    /// Ports that stand for a port of its own, those included that have ended and are still kept from others.
    pub ports: i64,
}

/// Of each endpoint's flows that are not established yet, so many keys are kept to choose from when one must go.
pub const SAMPLES: u32 = 64;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// It left a container.
    FromContainer = 1,
    /// The host's stack or the kernel bridge hands it to a container.
    ToContainer = 2,
    /// It came from the outside.
    FromUplink = 3,
    /// The host's stack sends it to the outside.
    ToUplink = 4,
}

impl Hook {
    /// True where frames come in, as their senders sent them: an answer can go back from there.
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::FromContainer | Self::FromUplink)
    }

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromContainer => "from_container",
            Self::ToContainer => "to_container",
            Self::FromUplink => "from_uplink",
            Self::ToUplink => "to_uplink",
        }
    }

    /// The hook with this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::FromContainer,
            2 => Self::ToContainer,
            3 => Self::FromUplink,
            4 => Self::ToUplink,
            _ => return None,
        })
    }
}

/// One packet that was dropped, or that a rule of the filter reports.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct DropEvent {
    /// Ticks.
    pub seen: u32,
    /// The interface whose program dropped it.
    pub ifindex: u32,
    /// Frame length, bytes.
    pub len: u32,
    /// A [`super::Reason`]; 0 for what a rule reports.
    pub reason: u8,
    /// A [`Hook`].
    pub hook: u8,
    /// IP protocol, 0 if there was none.
    pub proto: u8,
    /// 4, 6, or 0 if the packet is not IP.
    pub family: u8,
    /// Source address, an IPv4 address in the first four bytes.
    pub src: [u8; 16],
    /// Destination address, likewise.
    pub dst: [u8; 16],
    /// Source port, network order.
    pub sport: [u8; 2],
    /// Destination port, network order.
    pub dport: [u8; 2],
    /// Source MAC.
    pub smac: [u8; 6],
    /// EtherType, network order.
    pub ethertype: [u8; 2],
    /// For a report the place of the compiled rules that asks for it; for a drop by rules the path to the one that says so;
    /// [`super::NO_PATH`] for all others.
    pub path: u32,
    /// [`super::Config::generation`] of these rules.
    pub generation: u32,
}
