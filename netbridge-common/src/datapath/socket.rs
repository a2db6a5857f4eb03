//! Sockets of the host that mean a published port: they are led to the container when they connect or send, once per
//! connection, so that their packets need no translation.
//!
//! A packet of the host to its own address never leaves the loopback interface and meets no other program. What a socket
//! asked for is remembered, so that its program sees the address it knows: a UDP client may drop an answer from another.

use crate::abi::{Addr, Config, Family, Peer, PeerKey, PortKey, Record, SUBNET_LOCAL, port_scope};

/// Addresses of an environment's family.
pub type AddrOf<E> = <<E as SocketEnv>::F as Family>::Addr;

/// The world as the core sees it from a socket.
///
/// Implemented in `netbridge-ebpf` over the contexts of the cgroup hooks, and in [`crate::host`] over hash maps.
pub trait SocketEnv {
    /// The address family of the tables.
    type F: Family;

    /// Cookie of the socket's network namespace.
    fn namespace(&self) -> u64;
    /// Cookie of the socket, unique as long as the machine runs.
    fn socket(&self) -> u64;
    /// The socket's IP protocol.
    fn proto(&self) -> u8;

    /// The configuration.
    fn config(&self) -> Option<&Config>;
    /// Whose address this is, by longest prefix: [`SUBNET_LOCAL`] or a network's id.
    fn subnet(&self, addr: AddrOf<Self>) -> Option<u32>;
    /// Where a published port leads, by the longest prefix that holds the key.
    fn published(&self, key: &PortKey<AddrOf<Self>>) -> Option<&<Self::F as Family>::Published>;
    /// What a socket asked for when it was led to a container.
    fn asked(&self, key: &PeerKey<AddrOf<Self>>) -> Option<Peer<AddrOf<Self>>>;
    /// Remembers what a socket asked for. The oldest may be forgotten for it: the program then sees the container's
    /// address, and nothing else is lost.
    fn remember(&self, key: &PeerKey<AddrOf<Self>>, asked: Peer<AddrOf<Self>>);
}

/// Whom a socket is to connect or send to that asks for `peer`: a container if that is a published port.
#[inline(always)]
pub fn destination<E: SocketEnv>(env: &E, peer: Peer<AddrOf<E>>) -> Peer<AddrOf<E>> {
    if !is_ours(env) || !is_local(env, peer.addr) {
        return peer;
    }
    let Some(published) = published(env, peer) else {
        return peer;
    };
    let target = published.tail();
    let container = Peer::new(target.addr, target.port(peer.port));
    let key = PeerKey {
        socket: env.socket(),
        container,
    };
    // A program that sends datagrams names the same port again and again.
    if env.asked(&key) != Some(peer) {
        env.remember(&key, peer);
    }
    container
}

/// Whom a program sees that asks who `peer`, the far end of its socket, is: the published port that it asked for.
#[inline(always)]
pub fn source<E: SocketEnv>(env: &E, peer: Peer<AddrOf<E>>) -> Peer<AddrOf<E>> {
    if !is_ours(env) {
        return peer;
    }
    let key = PeerKey {
        socket: env.socket(),
        container: peer,
    };
    env.asked(&key).unwrap_or(peer)
}

/// Whether a socket may hold a port of an address of the host, unspecified for all: a published one is taken.
#[inline(always)]
pub fn may_bind<E: SocketEnv>(env: &E, local: Peer<AddrOf<E>>) -> bool {
    if !is_ours(env) {
        return true;
    }
    let (addr, exact) = (local.addr, key(env, local));
    if addr == Addr::UNSPECIFIED && env.published(&exact.somewhere()).is_some() {
        return false;
    }
    // Nothing that is published takes the packets of a group.
    addr.is_multicast() || (env.published(&exact).is_none() && env.published(&exact.anywhere()).is_none())
}

/// The IPv4 address that an IPv6 socket means, given in words of network order: `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
#[inline(always)]
pub fn mapped(addr: [u32; 4]) -> Option<[u8; 4]> {
    let [a, b, c, d] = addr;
    (a | b == 0 && c == 0xffff_u32.to_be()).then_some(d.to_ne_bytes())
}

/// The IPv4 address whose packets an IPv6 socket takes that is bound here: `::` means all, of either family.
#[inline(always)]
pub fn mapped_or_any(addr: [u32; 4]) -> Option<[u8; 4]> {
    let [a, b, c, d] = addr;
    if a | b | c | d == 0 { Some([0; 4]) } else { mapped(addr) }
}

/// True if the socket's namespace is the one that plays the host.
#[inline(always)]
fn is_ours<E: SocketEnv>(env: &E) -> bool {
    env.config().is_some_and(|config| config.host == env.namespace())
}

/// True if the host itself answers at an address. The unspecified one means the host too (Linux, as RFC 1122, 3.2.1.3 does
/// not forbid).
#[inline(always)]
fn is_local<E: SocketEnv>(env: &E, addr: AddrOf<E>) -> bool {
    addr.is_loopback() || addr == Addr::UNSPECIFIED || env.subnet(addr) == Some(SUBNET_LOCAL)
}

/// The target of a port at this very address, else at any.
#[inline(always)]
fn published<E: SocketEnv>(env: &E, peer: Peer<AddrOf<E>>) -> Option<&<E::F as Family>::Published> {
    let exact = key(env, peer);
    env.published(&exact).or_else(|| env.published(&exact.anywhere()))
}

#[inline(always)]
fn key<E: SocketEnv>(env: &E, peer: Peer<AddrOf<E>>) -> PortKey<AddrOf<E>> {
    PortKey {
        addr: peer.addr,
        proto: env.proto(),
        scope: port_scope::HERE,
        port: peer.port,
    }
}
