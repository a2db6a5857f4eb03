//! Bindings: a container's port and the one port that stands for it outside (RFC 4787, section 4.1).
//!
//! Each has two entries, one to be found from either side. A binding is a lease that the flows through it
//! extend; the flows themselves are in the flow table and need it no more once they are open. So
//! the worst that a lease lost too early does is that the next flow gets another port.

use bytemuck::{Pod, Zeroable};

use super::record;

/// One side of a binding.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct BindingKey<A: Pod> {
    /// The container's address, or the one it has outside.
    pub addr: A,
    /// The port there, or the identifier of ICMP queries; network order.
    pub port: [u8; 2],
    /// The container's network (native order), or [`super::ZONE_UPLINK`] for the side outside.
    pub zone: [u8; 2],
    /// IP protocol.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 1],
    /// Zero.
    pub pad2: [u8; 2],
}

/// The part of a binding that both families share.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct BindingHead {
    /// Tick at which it ends.
    pub until: u32,
    /// 1 if more than one flow has gone through it, else 0: the first to close is then not the last. On the container's side
    /// alone.
    pub shared: u16,
    /// Slot of the endpoint on whose quota the port is; nobody's, if that is none. On the side outside alone.
    pub owner: u16,
}

/// The other side of a binding.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Binding<A: Pod> {
    /// Its address.
    pub addr: A,
    /// Its port, network order.
    pub port: [u8; 2],
    /// Its zone, native order.
    pub zone: [u8; 2],
}

record! {
    /// One side of a binding.
    BindingV4, BindingV6 = BindingHead + Binding
}
