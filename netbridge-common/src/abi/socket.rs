//! What the socket hooks remember: which published port a socket asked for.

use bytemuck::{Pod, Zeroable};

/// The far end of a socket.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Peer<A: Pod> {
    /// Its address.
    pub addr: A,
    /// Its port, network order.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
}

impl<A: Pod> Peer<A> {
    /// An address and a port, both in network order.
    pub const fn new(addr: A, port: [u8; 2]) -> Self {
        Self {
            addr,
            port,
            pad: [0; 2],
        }
    }
}

/// A socket of the host and the container that it talks to. The value is the [`Peer`] that its program asked for.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PeerKey<A: Pod> {
    /// The socket's cookie, unique as long as the machine runs.
    pub socket: u64,
    /// The container's address and port.
    pub container: Peer<A>,
}
