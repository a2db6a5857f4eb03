//! Address families, and the split of a map value into a head and its addresses.

use core::fmt::Debug;
use core::hash::Hash;

use bytemuck::Pod;

use crate::wire::checksum::Diff;

use super::{
    Binding, BindingHead, BindingV4, BindingV6, FlowHead, FlowV4, FlowV6, LinkAddrs, LinkHead, LinkV4, LinkV6, Nat,
    NetworkAddrs, NetworkHead, NetworkV4, NetworkV6, PortTarget, PublishedHead, PublishedV4, PublishedV6,
};

/// An Ethernet address, in transmission order.
pub type Mac = [u8; 6];

/// An IP address as it stands on the wire.
pub trait Addr: Pod + Eq + Hash + Debug {
    /// The all-zero address: "any" where an address may be left open.
    const UNSPECIFIED: Self;

    /// How many words of 32 bits it has.
    const WORDS: usize;

    /// One of them, the first has the first bits; 0 beyond the last.
    fn word(self, place: usize) -> u32;

    /// Zero if `self` and `other` agree on every bit set in `mask`.
    fn differs(self, other: Self, mask: Self) -> u32;

    /// True for 224.0.0.0/4 and the limited broadcast address, or `ff00::/8`.
    fn is_multicast(self) -> bool;

    /// True for an address that nothing on a wire is sent to: 0/8, 127/8 and 240/4 but the limited broadcast
    /// address, or `::` and `::1`.
    fn is_no_destination(self) -> bool;

    /// True for an address that nothing on a wire comes from: 0/8, 127/8 and everything from 224.0.0.0 on, or `::`,
    /// `::1` and `ff00::/8`.
    fn is_no_source(self) -> bool;

    /// True for an address of the host that looks: 0/8 and 127/8, or `::` and `::1`.
    fn is_own_host(self) -> bool;

    /// True for 127.0.0.0/8, or `::1`.
    fn is_loopback(self) -> bool;

    /// `diff`, and what it adds to a checksum that `old` becomes this address.
    fn replacing(self, old: Self, diff: Diff) -> Diff;

    /// Four bytes that depend on every bit, for hashing.
    fn fold(self) -> u32;

    /// The address in 16 bytes, an IPv4 address in the first four: the form events carry.
    fn widen(self) -> [u8; 16];
}

impl Addr for [u8; 4] {
    const UNSPECIFIED: Self = [0; 4];
    const WORDS: usize = 1;

    fn word(self, place: usize) -> u32 {
        if place == 0 { u32::from_be_bytes(self) } else { 0 }
    }

    fn differs(self, other: Self, mask: Self) -> u32 {
        (u32::from_ne_bytes(self) ^ u32::from_ne_bytes(other)) & u32::from_ne_bytes(mask)
    }

    fn is_multicast(self) -> bool {
        let [first, ..] = self;
        first & 0xf0 == 0xe0 || self == [255; 4]
    }

    fn is_no_destination(self) -> bool {
        let [first, ..] = self;
        // Two comparisons for most: 1 to 126, 128 to 239.
        first.wrapping_sub(1) >= 126 && first.wrapping_sub(128) >= 112 && self != [255; 4]
    }

    fn is_no_source(self) -> bool {
        let [first, ..] = self;
        first.wrapping_sub(1) >= 126 && first.wrapping_sub(128) >= 96
    }

    fn is_own_host(self) -> bool {
        let [first, ..] = self;
        first == 0 || first == 127
    }

    fn is_loopback(self) -> bool {
        let [first, ..] = self;
        first == 127
    }

    fn replacing(self, old: Self, diff: Diff) -> Diff {
        diff.replace4(old, self)
    }

    fn fold(self) -> u32 {
        u32::from_ne_bytes(self)
    }

    fn widen(self) -> [u8; 16] {
        let [a, b, c, d] = self;
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

impl Addr for [u8; 16] {
    const UNSPECIFIED: Self = [0; 16];
    const WORDS: usize = 4;

    fn word(self, place: usize) -> u32 {
        let words: [[u8; 4]; 4] = bytemuck::cast(self);
        words.get(place).map_or(0, |word| u32::from_be_bytes(*word))
    }

    fn differs(self, other: Self, mask: Self) -> u32 {
        let bits = (u128::from_ne_bytes(self) ^ u128::from_ne_bytes(other)) & u128::from_ne_bytes(mask);
        u32::from(bits != 0)
    }

    fn is_multicast(self) -> bool {
        let [first, ..] = self;
        first == 0xff
    }

    fn is_no_destination(self) -> bool {
        self.is_own_host()
    }

    fn is_no_source(self) -> bool {
        self.is_own_host() || self.is_multicast()
    }

    fn is_own_host(self) -> bool {
        u128::from_be_bytes(self) <= 1
    }

    fn is_loopback(self) -> bool {
        u128::from_be_bytes(self) == 1
    }

    fn replacing(self, old: Self, diff: Diff) -> Diff {
        let (old, new): ([[u8; 4]; 4], [[u8; 4]; 4]) = (bytemuck::cast(old), bytemuck::cast(self));
        let ([o0, o1, o2, o3], [n0, n1, n2, n3]) = (old, new);
        diff.replace4(o0, n0).replace4(o1, n1).replace4(o2, n2).replace4(o3, n3)
    }

    fn fold(self) -> u32 {
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(self);
        a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d.rotate_left(24)
    }

    fn widen(self) -> [u8; 16] {
        self
    }
}

/// A map value of one family: an aligned head, the same for both families, then the addresses.
///
/// `bytemuck` proves the absence of padding only for concrete types, so a value with addresses is
/// two concrete structs and the core reaches their parts through this trait.
pub trait Record: Pod {
    /// The part without addresses.
    type Head: Pod;
    /// The addresses, byte-packed.
    type Tail: Pod;

    /// Puts a value together.
    fn new(head: Self::Head, tail: Self::Tail) -> Self;
    /// The part without addresses.
    fn head(&self) -> &Self::Head;
    /// The addresses.
    fn tail(&self) -> &Self::Tail;
    /// The part without addresses, to change.
    fn head_mut(&mut self) -> &mut Self::Head;
    /// The addresses, to change.
    fn tail_mut(&mut self) -> &mut Self::Tail;
}

/// An address family: its addresses and its map values.
pub trait Family: Copy + Debug + 'static {
    /// The IP version.
    const VERSION: u8;

    /// The address.
    type Addr: Addr;
    /// Half of a tracked flow.
    type Flow: Record<Head = FlowHead, Tail = Nat<Self::Addr>>;
    /// A container's port and the one it has outside.
    type Binding: Record<Head = BindingHead, Tail = Binding<Self::Addr>>;
    /// An interface that netbridge programs run on.
    type Link: Record<Head = LinkHead, Tail = LinkAddrs<Self::Addr>>;
    /// A network.
    type Network: Record<Head = NetworkHead, Tail = NetworkAddrs<Self::Addr>>;
    /// Where a block of published ports leads.
    type Published: Record<Head = PublishedHead, Tail = PortTarget<Self::Addr>>;
}

/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4;

impl Family for V4 {
    const VERSION: u8 = 4;

    type Addr = [u8; 4];
    type Flow = FlowV4;
    type Binding = BindingV4;
    type Link = LinkV4;
    type Network = NetworkV4;
    type Published = PublishedV4;
}

/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6;

impl Family for V6 {
    const VERSION: u8 = 6;

    type Addr = [u8; 16];
    type Flow = FlowV6;
    type Binding = BindingV6;
    type Link = LinkV6;
    type Network = NetworkV6;
    type Published = PublishedV6;
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::Addr;

    #[test]
    fn what_no_wire_carries_is_told_by_the_first_byte() {
        for first in 0..=u8::MAX {
            let addr = [first, 1, 2, 3];
            let own = first == 0 || first == 127;
            assert_eq!(addr.is_own_host(), own, "{first}");
            assert_eq!(addr.is_no_destination(), own || first >= 240, "{first}");
            assert_eq!(addr.is_no_source(), own || first >= 224, "{first}");
        }
        let everyone = [255; 4];
        assert!(!everyone.is_no_destination() && everyone.is_no_source());
    }

    #[test]
    fn of_ipv6_the_same_holds() {
        let table = [
            ("::", true, true),
            ("::1", true, true),
            ("::2", false, false),
            ("fe80::1", false, false),
            ("2001:db8::1", false, false),
            ("ff02::1", false, true),
        ];
        for (text, no_destination, no_source) in table {
            let addr = text.parse::<Ipv6Addr>().unwrap().octets();
            assert_eq!(
                (addr.is_no_destination(), addr.is_no_source()),
                (no_destination, no_source),
                "{text}"
            );
        }
    }
}
