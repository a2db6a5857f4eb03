//! Ethernet II (IEEE 802.3 clause 3).

use crate::abi::Mac;

/// Header length, bytes.
pub const LEN: u16 = 14;

/// `EtherType` of IPv4.
pub const IPV4: [u8; 2] = [0x08, 0x00];
/// `EtherType` of an 802.1Q tag.
pub const VLAN: [u8; 2] = [0x81, 0x00];
/// `EtherType` of an 802.1ad service tag.
pub const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];
/// `EtherType` of ARP.
pub const ARP: [u8; 2] = [0x08, 0x06];

/// `EtherType` of IPv6.
pub const IPV6: [u8; 2] = [0x86, 0xdd];

/// The header.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// `EtherType`, or a length below 0x0600.
    pub ethertype: [u8; 2],
}

impl Header {
    /// Reads the header from the words it has in memory.
    pub fn new([a, b, c, d, e, f, ethertype]: [u16; 7]) -> Self {
        Self {
            dst: bytemuck::cast([a, b, c]),
            src: bytemuck::cast([d, e, f]),
            ethertype: bytemuck::cast(ethertype),
        }
    }
}

/// True for the group addresses that no bridge forwards: 01:80:c2:00:00:00 to 01:80:c2:00:00:0f (IEEE 802.1D-2004, table 7-10).
pub const fn is_reserved(mac: Mac) -> bool {
    let [a, b, c, d, e, f] = mac;
    a == 0x01 && b == 0x80 && c == 0xc2 && d == 0 && e == 0 && f < 0x10
}

/// True for broadcast and multicast addresses: the I/G bit.
pub const fn is_group(mac: Mac) -> bool {
    let [first, ..] = mac;
    first & 1 != 0
}
