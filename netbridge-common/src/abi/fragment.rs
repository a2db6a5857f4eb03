//! Datagrams in fragments: what their first fragment said, and later ones that wait for it.

use bytemuck::{Pod, Zeroable};

/// A datagram that comes in fragments, as it is seen where it arrives (RFC 791, section 3.2; RFC 8200, section 4.5).
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey<A: Pod> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Identification; that of IPv4 in the first two bytes.
    pub id: [u8; 4],
    /// The network it comes from (native order), or [`super::ZONE_UPLINK`].
    pub zone: [u8; 2],
    /// IP protocol.
    pub proto: u8,
    /// In the table of fragments that wait: which of the datagram's, below [`HELD_PLACES`]. Else 0.
    pub place: u8,
}

/// [`FirstFragment::next`] of a datagram whose fragments have all come, in order.
pub const COMPLETE: u16 = u16::MAX;

/// What the later fragments of a datagram must know of its first: its ports, and what became of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FirstFragment {
    /// Ticks at which it came.
    pub seen: u32,
    /// Source port as in its [`super::FlowKey`].
    pub sport: [u8; 2],
    /// Destination port as in its [`super::FlowKey`].
    pub dport: [u8; 2],
    /// Where the next fragment in order begins in the datagram's payload, bytes; or [`COMPLETE`]. Written in place: two CPUs
    /// that do so at the same moment lose one of the two, and the datagram is not known to be complete.
    pub next: u16,
    /// Length of its layer-4 header, bytes.
    pub header: u16,
    /// ICMP type, 0 for other protocols.
    pub icmp: u8,
    /// Why it was dropped: a [`super::Reason`], 0 if it was not.
    pub reason: u8,
    /// 1 if it was left to the kernel, else 0.
    pub passed: u8,
    /// Zero.
    pub pad: u8,
}

/// Fragments of one datagram that may wait.
pub const HELD_PLACES: u32 = 16;

/// Longest frame that may wait, bytes.
pub const HELD_BYTES: u32 = 2048;

/// Whose frame waits, and since when.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct HeldHead {
    /// Ticks at which it came.
    pub seen: u32,
    /// The interface it came in by.
    pub ifindex: u32,
    /// That interface's traffic slot.
    pub slot: u32,
    /// Its length, bytes.
    pub len: u32,
}

/// A frame that waits for the first fragment of its datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Held {
    /// Whose it is, and since when.
    pub head: HeldHead,
    /// The frame; what is behind its end means nothing.
    pub bytes: [u8; HELD_BYTES as usize],
}
