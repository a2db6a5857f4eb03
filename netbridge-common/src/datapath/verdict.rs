//! What becomes of a packet, complete: the programs carry it out and decide nothing.

use crate::abi::{Addr, FlowHead, Mac, NO_PATH, NO_SLOT, Nat, Reason, flow_action, flow_flags, proto};
use crate::wire::checksum::Diff;
use crate::wire::{icmp, tcp, udp};

use super::answer::Headers;
use super::parse::{Fragment, Packet};

/// Where the packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// On to the next program and the kernel (`TCX_NEXT`).
    Pass = 0,
    /// Nowhere.
    Drop = 1,
    /// Into the container behind `ifindex` (`bpf_redirect_peer`).
    Peer = 2,
    /// Out of `ifindex` as it is (`bpf_redirect`).
    Redirect = 3,
    /// Out of `ifindex`, the kernel resolves the next hop (`bpf_redirect_neigh`).
    Neigh = 4,
    /// Dropped; its sender gets an answer in its place, from where it came.
    Answer = 5,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::Drop,
        Self::Peer,
        Self::Redirect,
        Self::Neigh,
        Self::Answer,
    ];
}

/// Bits of [`Verdict::edits`].
pub mod edits {
    /// Write `dmac` and `smac`. [`IP`] is then set too: what is routed has another TTL.
    pub const MACS: u8 = 1;
    /// Write TTL, header checksum and both addresses.
    pub const IP: u8 = 2;
    /// Write `ports` (a query's identifier in the first two bytes) and mend the checksum.
    pub const L4: u8 = 4;
    /// Write the quoted packet of an ICMP error and mend the error's checksum.
    pub const INNER: u8 = 8;
}

/// Of one layout everywhere, so that a test can read what a program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Verdict<A> {
    /// Where the packet goes.
    pub action: Action,
    /// Why, if it goes nowhere.
    pub reason: Reason,
    /// Bits of [`edits`].
    pub edits: u8,
    /// IP protocol.
    pub proto: u8,
    /// The interface of a redirect.
    pub ifindex: u32,
    /// Traffic slot of the receiver, or [`NO_SLOT`].
    pub slot: u32,
    /// New destination MAC.
    pub dmac: Mac,
    /// New source MAC.
    pub smac: Mac,
    /// New source address.
    pub src: A,
    /// New destination address.
    pub dst: A,
    /// New ports; a query's new identifier in the first two bytes.
    pub ports: [u8; 4],
    /// Change to the layer-4 checksum through the pseudo-header, [`Diff::word`].
    pub pseudo_diff: u32,
    /// Change to the layer-4 checksum through bytes it covers itself.
    pub l4_diff: u32,
    /// Offset of the layer-4 header.
    pub l4: u16,
    /// Offset of the quoted IP header.
    pub inner: u16,
    /// Offset of the quoted layer-4 header.
    pub inner_l4: u16,
    /// Offset of the quoted layer-4 checksum, 0 if it is not quoted or not used.
    pub inner_sum: u16,
    /// New TTL.
    pub ttl: u8,
    /// Protocol of the quoted packet.
    pub inner_proto: u8,
    /// New IP header checksum.
    pub ip_sum: [u8; 2],
    /// New checksum of the quoted IP header.
    pub inner_ip_sum: [u8; 2],
    /// New quoted layer-4 checksum.
    pub inner_l4_sum: [u8; 2],
    /// New quoted source address.
    pub inner_src: A,
    /// New quoted destination address.
    pub inner_dst: A,
    /// New quoted ports; a quoted query's identifier in the first two bytes.
    pub inner_ports: [u8; 4],
    /// What stands before the quote of an answer, or all of it.
    pub answer: Headers,
    /// Bytes of the frame, from its IP header on, that an answer quotes; none if it is a TCP segment of its own.
    pub quote: u16,
    /// The MTU that an answer tells, bytes; 0 for none.
    pub mtu: u16,
    /// Which rules of the filter have matched the packet, or [`NO_PATH`].
    pub path: u32,
    /// Of an answer that is a TCP segment, its checksum as it stands where a device is still to complete it: the
    /// pseudo-header's sum.
    pub partial: [u8; 2],
    /// What the sender of a rejected packet is told, one of [`crate::abi::reject`].
    pub reject: u8,
}

impl<A: Addr> Verdict<A> {
    /// True if a layer-4 checksum that becomes zero is written as 0xffff, which verifies as zero does. In UDP zero means "none"
    /// (RFC 768). An echo may be all zeros, having no pseudo-header, and zero is no checksum of that; an error has a type.
    pub const fn never_zero(&self) -> bool {
        self.proto != proto::TCP && self.edits & edits::INNER == 0
    }

    /// On to the kernel, untouched.
    pub const fn pass() -> Self {
        Self {
            action: Action::Pass,
            reason: Reason::None,
            edits: 0,
            proto: 0,
            ifindex: 0,
            slot: NO_SLOT,
            dmac: [0; 6],
            smac: [0; 6],
            src: A::UNSPECIFIED,
            dst: A::UNSPECIFIED,
            ports: [0; 4],
            pseudo_diff: 0,
            l4_diff: 0,
            l4: 0,
            inner: 0,
            inner_l4: 0,
            inner_sum: 0,
            ttl: 0,
            inner_proto: 0,
            ip_sum: [0; 2],
            inner_ip_sum: [0; 2],
            inner_l4_sum: [0; 2],
            inner_src: A::UNSPECIFIED,
            inner_dst: A::UNSPECIFIED,
            inner_ports: [0; 4],
            answer: Headers::EMPTY,
            quote: 0,
            mtu: 0,
            path: NO_PATH,
            partial: [0; 2],
            reject: 0,
        }
    }

    /// Begins anew. What the edits do not name may be left over from another packet.
    pub const fn reset(&mut self) {
        self.action = Action::Pass;
        self.reason = Reason::None;
        self.edits = 0;
        self.ifindex = 0;
        self.slot = NO_SLOT;
        self.pseudo_diff = 0;
        self.l4_diff = 0;
        self.path = NO_PATH;
    }

    /// Dropped for `reason`; passed on if that is [`Reason::None`].
    #[must_use]
    pub const fn refuse(&mut self, reason: Reason) -> Action {
        self.reason = reason;
        if reason as u8 == Reason::None as u8 {
            Action::Pass
        } else {
            Action::Drop
        }
    }

    /// Dropped for `reason`, and the sender is told, with the MTU that it must keep to. [`super::answer`] has the last
    /// word, once nothing else can become of the packet.
    #[must_use]
    pub const fn answer(&mut self, reason: Reason, mtu: u16) -> Action {
        self.reason = reason;
        self.mtu = mtu;
        Action::Answer
    }

    /// Dropped because a rule rejects it, and the sender is told so as `with` says, one of [`crate::abi::reject`], as with
    /// [`Self::answer`].
    #[must_use]
    pub const fn reject(&mut self, with: u8) -> Action {
        self.reject = with;
        self.answer(Reason::Rejected, 0)
    }

    /// Into the container behind `ifindex`.
    pub const fn deliver(&mut self, ifindex: u32, slot: u32) -> Action {
        self.ifindex = ifindex;
        self.slot = slot;
        Action::Peer
    }

    /// Where a tracked flow's packets go; if `routed`, with MACs and TTL; addresses and ports are left to
    /// [`Self::translate`] or, for an ICMP error, to [`super::icmp`].
    pub fn follow(&mut self, head: &FlowHead, packet: &Packet<A>, routed: bool) -> Action {
        self.ifindex = head.ifindex;
        self.slot = head.slot;
        self.proto = packet.key.proto;
        self.l4 = packet.l4;
        self.src = packet.key.src;
        self.dst = packet.key.dst;
        self.ttl = packet.ttl;
        if routed {
            self.edits |= edits::MACS;
            self.dmac = head.dmac;
            self.smac = head.smac;
            self.ttl = packet.ttl.wrapping_sub(1);
        }
        if head.action != flow_action::UPLINK {
            Action::Peer
        } else if head.dmac != [0; 6] {
            Action::Redirect
        } else {
            self.edits &= !edits::MACS;
            Action::Neigh
        }
    }

    /// Rewrites the addresses of the IP header as `flags` say and, with them or with the TTL, its
    /// checksum. Returns what that does to a pseudo-header.
    pub fn rewrite_ip(&mut self, packet: &Packet<A>, flags: u8, to: &Nat<A>) -> Diff {
        if flags & flow_flags::SRC != 0 {
            self.src = to.src;
        }
        if flags & flow_flags::DST != 0 {
            self.dst = to.dst;
        }
        let addrs = self
            .dst
            .replacing(packet.key.dst, self.src.replacing(packet.key.src, Diff::default()));
        let ttl = Diff::default().replace2([packet.ttl, packet.key.proto], [self.ttl, packet.key.proto]);
        self.ip_sum = addrs.plus(ttl).apply(packet.ip_sum);
        if self.ttl != packet.ttl || flags & (flow_flags::SRC | flow_flags::DST) != 0 {
            self.edits |= edits::IP;
        }
        addrs
    }

    /// Rewrites addresses and ports of a packet of the flow itself. A later fragment has addresses only, and the first
    /// one's checksum covers it.
    pub fn translate(&mut self, packet: &Packet<A>, flags: u8, to: &Nat<A>) {
        let addrs = self.rewrite_ip(packet, flags, to);
        if flags & (flow_flags::SRC | flow_flags::DST) == 0
            || proto::is_portless(packet.key.proto)
            || packet.fragment as u8 == Fragment::Rest as u8
        {
            return;
        }
        self.edits |= edits::L4;
        if packet.key.proto == proto::ICMP {
            // The identifier is the request's source port and the reply's destination port.
            let (old, new) = if icmp::is_request(packet.key.icmp) {
                (packet.key.sport, to.sport)
            } else {
                (packet.key.dport, to.dport)
            };
            let [a, b] = new;
            self.ports = [a, b, 0, 0];
            self.l4_diff = Diff::default().replace2(old, new).word();
        } else {
            let sport = if flags & flow_flags::SRC != 0 {
                to.sport
            } else {
                packet.key.sport
            };
            let dport = if flags & flow_flags::DST != 0 {
                to.dport
            } else {
                packet.key.dport
            };
            let ([a, b], [c, d]) = (sport, dport);
            self.ports = [a, b, c, d];
            self.pseudo_diff = addrs.word();
            let ([e, f], [g, h]) = (packet.key.sport, packet.key.dport);
            // The words differ by nothing where the ports stay, and the kernel is spared a call.
            self.l4_diff = if [e, f, g, h] == self.ports {
                0
            } else {
                Diff::default().replace4([e, f, g, h], self.ports).word()
            };
        }
    }
}

/// Offset of the checksum within the header of `proto`.
pub const fn checksum_offset(proto: u8) -> u16 {
    match proto {
        proto::TCP => tcp::CHECKSUM,
        proto::UDP => udp::CHECKSUM,
        _ => icmp::CHECKSUM,
    }
}
