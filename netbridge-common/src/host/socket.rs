//! A socket of the host in front of the tables: what its program sees, without a kernel.

use crate::abi::{Config, Peer, PeerKey, PortKey, PublishedV4, V4};
use crate::datapath::socket::{SocketEnv, destination, may_bind, source};

use super::{HostEnv, Ip, longest};

/// A socket.
#[derive(Clone, Copy, Debug)]
pub struct Socket<'a> {
    /// The tables of the instance.
    pub tables: &'a HostEnv,
    /// Cookie of its network namespace.
    pub namespace: u64,
    /// Its own cookie.
    pub cookie: u64,
    /// Its IP protocol.
    pub proto: u8,
}

impl Socket<'_> {
    /// Whom it connects or sends to when its program asks for this peer.
    pub fn destination(&self, addr: Ip, port: u16) -> (Ip, u16) {
        end(destination(self, Peer::new(addr, port.to_be_bytes())))
    }

    /// Whom its program sees as the sender of what comes from this peer, or at the far end of its connection.
    pub fn source(&self, addr: Ip, port: u16) -> (Ip, u16) {
        end(source(self, Peer::new(addr, port.to_be_bytes())))
    }

    /// Whether it may hold a port.
    pub fn may_bind(&self, addr: Ip, port: u16) -> bool {
        may_bind(self, Peer::new(addr, port.to_be_bytes()))
    }
}

fn end(peer: Peer<Ip>) -> (Ip, u16) {
    (peer.addr, u16::from_be_bytes(peer.port))
}

impl SocketEnv for Socket<'_> {
    type F = V4;

    fn namespace(&self) -> u64 {
        self.namespace
    }

    fn socket(&self) -> u64 {
        self.cookie
    }

    fn proto(&self) -> u8 {
        self.proto
    }

    fn config(&self) -> Option<&Config> {
        Some(&self.tables.config).filter(|config| config.generation != 0)
    }

    fn subnet(&self, addr: Ip) -> Option<u32> {
        longest(&self.tables.subnets, addr)
    }

    fn published(&self, key: &PortKey<Ip>) -> Option<&PublishedV4> {
        self.tables.leads(*key)
    }

    fn asked(&self, key: &PeerKey<Ip>) -> Option<Peer<Ip>> {
        self.tables.peers.borrow().get(key).copied()
    }

    fn remember(&self, key: &PeerKey<Ip>, asked: Peer<Ip>) {
        self.tables.peers.borrow_mut().insert(*key, asked);
    }
}
