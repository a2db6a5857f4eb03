//! ARP for IPv4 over Ethernet (RFC 826).

use crate::abi::Mac;

/// Packet length, bytes.
pub const LEN: usize = 28;

/// The sender of a request or reply.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Hardware address.
    pub mac: Mac,
    /// Protocol address; zero in an address probe (RFC 5227).
    pub addr: [u8; 4],
}

impl Sender {
    /// Reads the sender; `None` if this is not IPv4 over Ethernet.
    pub const fn new(bytes: [u8; LEN]) -> Option<Self> {
        let [0, 1, 8, 0, 6, 4, _, _, a, b, c, d, e, f, i, j, k, l, ..] = bytes else {
            return None;
        };
        Some(Self {
            mac: [a, b, c, d, e, f],
            addr: [i, j, k, l],
        })
    }
}
