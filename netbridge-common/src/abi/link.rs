//! The interfaces that netbridge programs run on, by ifindex.

use bytemuck::{Pod, Zeroable};

use super::{MacKey, record};

/// Addresses that one endpoint can hold: the source guard compares them all, without a loop the
/// verifier would have to walk more than eight times.
pub const LINK_ADDRS: usize = 8;

/// What kind of interface, see [`LinkHead::kind`].
pub mod link_kind {
    /// The host side of one container's veth: one MAC, its assigned addresses.
    pub const ENDPOINT: u8 = 1;
    /// The host side of a veth with a bridge of its own behind it: MACs are learned.
    pub const TRUNK: u8 = 2;
    /// An interface to the outside.
    pub const UPLINK: u8 = 3;
}

/// The part of a link that both families share. The controller writes it; the datapath reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct LinkHead {
    /// One of [`link_kind`].
    pub kind: u8,
    /// Zero.
    pub pad: u8,
    /// Zero.
    pub pad2: u16,
    /// Index of its [`super::Traffic`].
    pub slot: u32,
    /// An endpoint's assigned MAC, an uplink's own; the network it belongs to, 0 for an uplink.
    pub station: MacKey,
}

/// Its addresses. Places not used repeat the first, so that a comparison needs no count.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct LinkAddrs<A: Pod> {
    /// Assigned addresses of an endpoint, local addresses of an uplink.
    pub addrs: [A; LINK_ADDRS],
}

record! {
    /// An interface that netbridge programs run on.
    LinkV4, LinkV6 = LinkHead + LinkAddrs
}
