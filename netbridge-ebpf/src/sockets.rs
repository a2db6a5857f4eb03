//! The host's own sockets: what they connect and send to, whom their programs see, and which ports they may hold.
//!
//! An IPv6 socket that means IPv4 comes by the hooks of IPv6, but for what it sends: that is IPv4 by then.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use netbridge_common::abi::{Config, Peer, PeerKey, PortKey, PublishedV4, V4};
use netbridge_common::datapath::socket::{SocketEnv, destination, mapped, mapped_or_any, may_bind, source};

use crate::maps::{CONFIG, Ip, PEERS, PUBLISHED, SUBNETS};

/// What a hook of a socket's addresses answers: go on.
const PROCEED: i32 = 1;

/// What a hook answers to refuse.
const REFUSE: i32 = 0;

/// `errno` of a port that is taken.
const EADDRINUSE: i32 = -98;

/// Connects over IPv4.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite(destination)
}

/// Connects over IPv6.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite_mapped(destination)
}

/// Sends a datagram over IPv4 to an address given with it.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite(destination)
}

/// Received a datagram over IPv4, whose sender the program wants to know.
#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite(source)
}

/// Received a datagram by a socket of IPv6, whose sender the program wants to know.
#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite_mapped(source)
}

/// Asks for the far end of a connection over IPv4.
#[cgroup_sock_addr(getpeername4)]
fn getpeername4(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite(source)
}

/// Asks for the far end of a connection of a socket of IPv6.
#[cgroup_sock_addr(getpeername6)]
fn getpeername6(ctx: SockAddrContext) -> i32 {
    Hooked(ctx).rewrite_mapped(source)
}

/// Was given a port over IPv4, asked for or chosen by the kernel.
#[cgroup_sock(post_bind4)]
fn post_bind4(ctx: SockContext) -> i32 {
    let socket = Hooked(ctx);
    let addr = socket.field(|sock| &raw const sock.src_ip4).to_ne_bytes();
    socket.keep(addr)
}

/// Was given a port over IPv6, asked for or chosen by the kernel. Whether it takes IPv6 alone is not told.
#[cgroup_sock(post_bind6)]
fn post_bind6(ctx: SockContext) -> i32 {
    let socket = Hooked(ctx);
    let word = |at: usize| socket.field(|sock| (&raw const sock.src_ip6).cast::<u32>().wrapping_add(at));
    match mapped_or_any([word(0), word(1), word(2), word(3)]) {
        Some(addr) => socket.keep(addr),
        None => PROCEED,
    }
}

/// A socket as a hook meets it.
struct Hooked<C>(C);

/// An address of its far end may be changed.
impl Hooked<SockAddrContext> {
    /// Puts what the core says in place of an IPv4 address.
    #[inline(always)]
    fn rewrite(&self, decide: impl FnOnce(&Self, Peer<Ip>) -> Peer<Ip>) -> i32 {
        let address = self.at(|ctx| &raw mut ctx.user_ip4);
        // SAFETY: a field of the context.
        self.replace(address, unsafe { read(address) }.to_ne_bytes(), decide)
    }

    /// Puts what the core says in place of an IPv6 address that means IPv4.
    #[inline(always)]
    fn rewrite_mapped(&self, decide: impl FnOnce(&Self, Peer<Ip>) -> Peer<Ip>) -> i32 {
        let word = |at: usize| self.at(|ctx| (&raw mut ctx.user_ip6).cast::<u32>().wrapping_add(at));
        let words = [word(0), word(1), word(2), word(3)].map(|word| {
            // SAFETY: a word of a field of the context.
            unsafe { read(word) }
        });
        match mapped(words) {
            Some(addr) => self.replace(word(3), addr, decide),
            None => PROCEED,
        }
    }

    #[inline(always)]
    fn replace(&self, address: *mut u32, addr: Ip, decide: impl FnOnce(&Self, Peer<Ip>) -> Peer<Ip>) -> i32 {
        let port = self.at(|ctx| &raw mut ctx.user_port);
        // SAFETY: a field of the context. The port, in network order, is the word's low half.
        let seen = Peer::new(addr, (unsafe { read(port) } as u16).to_ne_bytes());
        let peer = decide(self, seen);
        if peer != seen {
            // SAFETY: fields of the context that every hook of an address may write, each at once.
            unsafe {
                address.write_volatile(u32::from_ne_bytes(peer.addr));
                port.write_volatile(u16::from_ne_bytes(peer.port).into());
            }
        }
        PROCEED
    }

    /// Where a field of the context is.
    #[inline(always)]
    fn at(&self, place: impl FnOnce(&mut bpf_sock_addr) -> *mut u32) -> *mut u32 {
        // SAFETY: the kernel passes a valid context that outlives the program's run, to it alone.
        place(unsafe { &mut *self.0.sock_addr })
    }
}

/// Reads a word of the context at once: the kernel rewrites accesses to whole fields, and refuses two fields in one access.
///
/// # Safety
///
/// `place` is an aligned field of the running program's context.
#[inline(always)]
unsafe fn read(place: *const u32) -> u32 {
    // SAFETY: as the caller promises.
    unsafe { place.read_volatile() }
}

/// It was just given a port.
impl Hooked<SockContext> {
    /// Lets it have its port at an address, unless the core says that it is taken.
    #[inline(always)]
    fn keep(&self, addr: Ip) -> i32 {
        // In the host's order here, and nowhere else.
        let port = (self.field(|sock| &raw const sock.src_port) as u16).to_be_bytes();
        if may_bind(self, Peer::new(addr, port)) {
            return PROCEED;
        }
        // SAFETY: takes a number.
        unsafe { helper::bpf_set_retval(EADDRINUSE) };
        REFUSE
    }

    /// Reads a field of the context.
    #[inline(always)]
    fn field(&self, place: impl FnOnce(&bpf_sock) -> *const u32) -> u32 {
        // SAFETY: the kernel passes a valid context that outlives the program's run.
        unsafe { read(place(&*self.0.sock)) }
    }
}

/// What every hook's context tells of its socket.
trait Context: EbpfContext {
    /// The socket's IP protocol.
    fn protocol(&self) -> u32;
}

impl Context for SockAddrContext {
    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: as for `Hooked::<SockAddrContext>::at`.
        unsafe { read(&raw const (*self.sock_addr).protocol) }
    }
}

impl Context for SockContext {
    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: as for `Hooked::<SockContext>::field`.
        unsafe { read(&raw const (*self.sock).protocol) }
    }
}

impl<C: Context> SocketEnv for Hooked<C> {
    type F = V4;

    #[inline(always)]
    fn namespace(&self) -> u64 {
        // SAFETY: the helper gets the context of the running program.
        unsafe { helper::bpf_get_netns_cookie(self.0.as_ptr()) }
    }

    #[inline(always)]
    fn socket(&self) -> u64 {
        // SAFETY: as for `namespace`.
        unsafe { helper::bpf_get_socket_cookie(self.0.as_ptr()) }
    }

    #[inline(always)]
    fn proto(&self) -> u8 {
        // MPTCP, which is TCP on the wire and 262 here, is TCP in its low byte.
        self.0.protocol() as u8
    }

    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0).filter(|config| config.generation != 0)
    }

    #[inline(always)]
    fn subnet(&self, addr: Ip) -> Option<u32> {
        SUBNETS.get(&Key::new(32, addr)).copied()
    }

    #[inline(always)]
    fn published(&self, key: &PortKey<Ip>) -> Option<&PublishedV4> {
        PUBLISHED.get(&Key::new(PortKey::<Ip>::BITS, *key))
    }

    #[inline(always)]
    fn asked(&self, key: &PeerKey<Ip>) -> Option<Peer<Ip>> {
        // SAFETY: copied at once. The kernel may give an entry that it evicts to another socket meanwhile: the program then
        // sees another address once.
        unsafe { PEERS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember(&self, key: &PeerKey<Ip>, asked: Peer<Ip>) {
        let _full = PEERS.insert(key, asked, 0);
    }
}
