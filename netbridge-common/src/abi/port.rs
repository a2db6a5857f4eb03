//! Published ports.

use bytemuck::{Pod, Zeroable};

use super::record;

/// A port on the host.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PortKey<A: Pod> {
    /// The host's address; unspecified for any address of the uplink.
    pub addr: A,
    /// The port, network order.
    pub port: [u8; 2],
    /// TCP or UDP.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

/// The part of a published port's target that both families share.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PublishedHead {
    /// The endpoint's interface.
    pub ifindex: u32,
    /// The endpoint's traffic slot.
    pub slot: u32,
    /// The endpoint's MAC.
    pub mac: [u8; 6],
    /// The endpoint's network.
    pub net: u16,
}

/// Where a published port leads.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PortTarget<A: Pod> {
    /// The endpoint's address.
    pub addr: A,
    /// The port in the container, network order.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
}

record! {
    /// Where a published port leads.
    PublishedV4, PublishedV6 = PublishedHead + PortTarget
}
