//! ARP for IPv4 over Ethernet (RFC 826).

use crate::abi::Mac;

/// Packet length, bytes.
pub const LEN: usize = 28;

/// A request or reply.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The sender's hardware address.
    pub mac: Mac,
    /// The sender's protocol address; zero in an address probe (RFC 5227).
    pub sender: [u8; 4],
    /// The protocol address that is asked for, or answered to.
    pub target: [u8; 4],
}

impl Message {
    /// Reads the message; `None` if this is not a request or reply of IPv4 over Ethernet.
    pub const fn new(bytes: [u8; LEN]) -> Option<Self> {
        #[rustfmt::skip]
        let [0, 1, 8, 0, 6, 4, 0, 1 | 2, a, b, c, d, e, f, i, j, k, l, _, _, _, _, _, _, t, u, v, w] = bytes else {
            return None;
        };
        Some(Self {
            mac: [a, b, c, d, e, f],
            sender: [i, j, k, l],
            target: [t, u, v, w],
        })
    }
}
