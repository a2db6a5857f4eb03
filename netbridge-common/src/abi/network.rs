//! Networks by id, and which addresses belong to which.

use bytemuck::{Pod, Zeroable};

use super::{MacKey, record};

/// Networks of one instance, id 0 ([`super::ZONE_UPLINK`]) not counted as one.
pub const MAX_NETWORKS: u32 = 256;

/// Value in the subnet trie: the address is the host's own. Any other value is a network's id.
pub const SUBNET_LOCAL: u32 = 0;

/// Bits of [`NetworkHead::flags`].
pub mod network_flags {
    /// Packets that leave by the uplink take the uplink's address.
    pub const MASQUERADE: u32 = 1;
    /// The address they take is [`super::NetworkAddrs::snat`], and not the one that the host would use itself.
    pub const FIXED_SNAT: u32 = 2;
    /// A container's port has one port outside, whatever the destination (RFC 4787, endpoint-independent mapping).
    pub const INDEPENDENT_MAPPING: u32 = 4;
    /// Anybody outside may use that port (RFC 4787, endpoint-independent filtering).
    pub const INDEPENDENT_FILTERING: u32 = 8;
    /// The containers' own addresses can be reached from outside.
    pub const ROUTED: u32 = 16;
    /// Protocols that have no ports are masqueraded too, by their addresses alone ([`crate::abi::proto::is_portless`]).
    pub const TUNNELS: u32 = 32;
}

/// The part of a network that both families share. The controller writes it; the datapath reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NetworkHead {
    /// Bits of [`network_flags`].
    pub flags: u32,
    /// The bridge device.
    pub bridge: u32,
    /// The uplink, 0 for an internal network.
    pub uplink: u32,
    /// IP packets longer than this do not fit the uplink, bytes.
    pub mtu: u32,
    /// The bridge's MAC, which is the gateway's, in this network.
    pub gateway: MacKey,
    /// The uplink's traffic slot.
    pub uplink_slot: u32,
    /// Zero.
    pub pad: u32,
}

/// Addresses of a network.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NetworkAddrs<A: Pod> {
    /// The gateway, on the bridge.
    pub gateway: A,
    /// The source that masqueraded packets take.
    pub snat: A,
}

record! {
    /// A network.
    NetworkV4, NetworkV6 = NetworkHead + NetworkAddrs
}
