//! Published ports: a trie of blocks of host ports, where each leads, and who may come in by it.

use core::iter::successors;

use bytemuck::{Pod, Zeroable};

use super::{Addr, record};

/// Bits of a port.
const PORT_BITS: u32 = 16;

/// A port on the host. What may differ within a [`PortBlock`], the port, comes last.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PortKey<A: Pod> {
    /// The host's address; unspecified for any.
    pub addr: A,
    /// TCP or UDP.
    pub proto: u8,
    /// One of [`port_scope`].
    pub scope: u8,
    /// The port, network order.
    pub port: [u8; 2],
}

/// Values of [`PortKey::scope`].
pub mod port_scope {
    /// The port leads somewhere: at the key's address, or at any.
    pub const HERE: u8 = 0;
    /// The port is published at some address, and the key's is unspecified: a socket bound to all addresses would compete
    /// for it.
    pub const SOMEWHERE: u8 = 1;
}

impl<A: Pod> PortKey<A> {
    /// All bits of a key: the prefix length of a single port.
    #[expect(clippy::cast_possible_truncation, reason = "at most 20 bytes")]
    pub const BITS: u32 = 8 * size_of::<Self>() as u32;
}

impl<A: Addr> PortKey<A> {
    /// The key of the port at any address of the host.
    #[must_use]
    pub fn anywhere(self) -> Self {
        Self {
            addr: A::UNSPECIFIED,
            ..self
        }
    }

    /// The key that says that the port is published at some address.
    #[must_use]
    pub fn somewhere(self) -> Self {
        Self {
            addr: A::UNSPECIFIED,
            scope: port_scope::SOMEWHERE,
            ..self
        }
    }
}

/// Ports on the host that lead to one container: those that share the first bits of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortBlock<A: Pod> {
    /// Its first port.
    pub first: PortKey<A>,
    /// Bits of the key that they share, from `PortKey::BITS` - 16 to [`PortKey::BITS`].
    pub prefix: u32,
}

impl<A: Pod> PortBlock<A> {
    /// The fewest blocks that hold the ports from that of `first` to `last` and no other; none if that comes before it.
    pub fn cover(first: PortKey<A>, last: u16) -> impl Iterator<Item = Self> {
        let last = u32::from(last);
        // The largest block that begins at a port, and the port after it.
        let block = move |port: u32| {
            let aligned = port.trailing_zeros().min(PORT_BITS);
            let fitting = (last.checked_sub(port)? + 1).ilog2();
            Some((port, aligned.min(fitting)))
        };
        let begin = block(u32::from(u16::from_be_bytes(first.port)));
        successors(begin, move |(port, free)| block(port + (1 << free))).map(move |(port, free)| Self {
            first: PortKey {
                port: ((port & 0xffff) as u16).to_be_bytes(),
                ..first
            },
            prefix: PortKey::<A>::BITS - free,
        })
    }
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
    /// The list of sources that may open connections from elsewhere than the host; 0 for anybody.
    pub sources: u32,
}

/// An address on a list of sources. What may differ within a prefix, the address, comes last.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SourceKey<A: Pod> {
    /// The list, from [`PublishedHead::sources`].
    pub list: u32,
    /// The address.
    pub addr: A,
}

impl<A: Pod> SourceKey<A> {
    /// All bits of a key: the prefix length of a single address.
    #[expect(clippy::cast_possible_truncation, reason = "at most 20 bytes")]
    pub const BITS: u32 = 8 * size_of::<Self>() as u32;

    /// Bits of the list's number, which every prefix holds whole.
    pub const LIST_BITS: u32 = u32::BITS;
}

/// Where a block of published ports leads.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PortTarget<A: Pod> {
    /// The endpoint's address.
    pub addr: A,
    /// What is added to a port on the host to come to that in the container, wrapping; network order.
    pub shift: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
}

impl<A: Pod> PortTarget<A> {
    /// The [`shift`](Self::shift) from a port on the host to one in the container.
    pub fn shift(host: u16, container: u16) -> [u8; 2] {
        container.wrapping_sub(host).to_be_bytes()
    }

    /// The port in the container behind a port on the host, both in network order.
    #[inline(always)]
    pub fn port(&self, host: [u8; 2]) -> [u8; 2] {
        let shift = u16::from_be_bytes(self.shift);
        u16::from_be_bytes(host).wrapping_add(shift).to_be_bytes()
    }
}

record! {
    /// Where a block of published ports leads.
    PublishedV4, PublishedV6 = PublishedHead + PortTarget
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn cover(first: u16, last: u16) -> Vec<(u16, u32)> {
        let first = PortKey {
            addr: [192, 0, 2, 1],
            proto: 6,
            scope: port_scope::HERE,
            port: first.to_be_bytes(),
        };
        let block = |block: PortBlock<[u8; 4]>| {
            assert_eq!(
                PortKey {
                    port: first.port,
                    ..block.first
                },
                first
            );
            (u16::from_be_bytes(block.first.port), block.prefix)
        };
        PortBlock::cover(first, last).map(block).collect()
    }

    #[test]
    fn ranges_of_every_kind_are_covered() {
        assert_eq!(PortKey::<[u8; 4]>::BITS, 64);
        assert_eq!(PortKey::<[u8; 16]>::BITS, 160);
        assert_eq!(cover(80, 80), [(80, 64)]);
        assert_eq!(cover(80, 81), [(80, 63)]);
        assert_eq!(cover(81, 82), [(81, 64), (82, 64)]);
        assert_eq!(cover(0, u16::MAX), [(0, 48)]);
        assert_eq!(cover(u16::MAX, u16::MAX), [(u16::MAX, 64)]);
        assert_eq!(cover(82, 81), []);
        assert!(cover(1, 65_534).len() == 30, "the worst there is");
        assert!(cover(8000, 17_999).len() <= 26);
    }

    proptest! {
        #[test]
        fn blocks_follow_each_other_from_the_first_port_to_the_last(ends in any::<[u16; 2]>()) {
            let (first, last) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            let mut next = u32::from(first);
            for (port, prefix) in cover(first, last) {
                prop_assert_eq!(u32::from(port), next);
                let ports = 1_u32 << (64 - prefix);
                prop_assert_eq!(next & (ports - 1), 0);
                next += ports;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
        }

        #[test]
        fn a_shift_leads_from_any_port_to_any(host in any::<u16>(), container in any::<u16>()) {
            let shift = PortTarget::<[u8; 4]>::shift(host, container);
            let target = PortTarget { addr: [0; 4], shift, pad: [0; 2] };
            prop_assert_eq!(target.port(host.to_be_bytes()), container.to_be_bytes());
        }
    }
}
