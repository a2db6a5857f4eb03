//! Where a station is: by MAC (the FDB) and by address.

use bytemuck::{Pod, Zeroable};

use super::Mac;

/// Stations that the FDB has room for.
pub const STATIONS: u32 = 16_384;

/// Key of the FDB. Aligned, so that the programs compare and copy it as one word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct MacKey {
    /// The station's MAC.
    pub mac: Mac,
    /// The network's id.
    pub net: u16,
}

impl MacKey {
    /// True if both are the same.
    pub fn is(self, other: Self) -> bool {
        bytemuck::cast::<Self, u64>(self) == bytemuck::cast::<Self, u64>(other)
    }
}

/// Key of the address table.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct AddrKey<A: Pod> {
    /// The station's address.
    pub addr: A,
    /// The network's id, native order.
    pub net: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
}

/// Bits of [`Station::flags`].
pub mod station_flags {
    /// Written by the controller: never moves, never ages.
    pub const STATIC: u16 = 1;
}

/// How many MACs are learned behind one port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Learned {
    /// MACs. One that two CPUs learn at the same moment counts twice, until a walk over the FDB counts anew.
    pub count: i64,
    /// Ticks at which the FDB was last walked for it.
    pub walked: u32,
    /// Zero.
    pub pad: u32,
}

/// A station: in the FDB written by the controller (static) or by the datapath (learned behind a
/// trunk, renewed at most once a second); in the address table by the controller alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Station {
    /// The interface it is behind.
    pub ifindex: u32,
    /// That interface's traffic slot.
    pub slot: u32,
    /// Ticks at which it was last heard; 0 for a static entry.
    pub seen: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Bits of [`station_flags`].
    pub flags: u16,
}
