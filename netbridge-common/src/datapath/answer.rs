//! The ICMP errors that a router owes the sender of a packet (RFC 1812, section 4.3.2): time exceeded, and fragmentation
//! needed with the next hop's MTU (RFC 1191).
//!
//! The host's stack would make them only where it forwards itself, and takes a packet from the outside for its own. Who
//! decides that a packet ends says so by [`Verdict::answer`]; when nothing else can become of it, [`make`] writes the
//! headers of the answer, and the programs put them before the packet, cut it off behind the quote and send it back. It
//! is decided for tracked packets alone, so never for an error, and made for none but the first of a datagram's fragments
//! (RFC 1122, section 3.2.2); the rest is the stack's.

use bytemuck::{Pod, Zeroable};

use crate::abi::{Addr, Family, Hook, Mac, Reason, Record, SUBNET_LOCAL, V4, proto};
use crate::wire::checksum::Diff;
use crate::wire::{ethernet, icmp, ipv4, tcp};

use super::conntrack::Cx;
use super::env::{AddrOf, Env};
use super::parse::{Fragment, Packet};
use super::verdict::{Action, Verdict};

/// Type of service: precedence "internetwork control" (RFC 1812, section 4.3.2.5).
const CONTROL: u8 = 0xc0;

/// "Don't fragment", in the byte of the flags.
const DONT_FRAGMENT: u8 = 0x40;

/// How long an answer may be: as much of the packet as fits is quoted (RFC 1812, section 4.3.2.3), bytes.
const LONGEST: u16 = 576;

/// TTL of an answer (RFC 1812, section 4.2.2.9, and IANA's default).
const TTL: u8 = 64;

/// What stands before the quote: headers of Ethernet, IPv4 and ICMP, checksums complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Headers {
    /// Destination MAC.
    pub dmac: Mac,
    /// Source MAC.
    pub smac: Mac,
    /// `EtherType`.
    pub ethertype: [u8; 2],
    /// IPv4 header, by words.
    pub ip: [[u8; 4]; 5],
    /// ICMP header, by words.
    pub icmp: [[u8; 4]; 2],
}

impl Headers {
    /// Length behind the Ethernet header, bytes: what an answer adds to what it quotes.
    pub const GROWTH: u16 = ipv4::MIN_LEN + icmp::LEN;

    /// Nothing written yet.
    pub const EMPTY: Self = Self {
        dmac: [0; 6],
        smac: [0; 6],
        ethertype: [0; 2],
        ip: [[0; 4]; 5],
        icmp: [[0; 4]; 2],
    };
}

/// A family whose errors the core can make.
pub trait Answer: Addr {
    /// True if routers may fragment the packet: its sender need not know what is too long.
    fn may_be_fragmented<E: Env>(env: &E) -> bool;

    /// True if the address can be one host's: an answer to another would be to many, or to nobody.
    fn is_unicast(self) -> bool;

    /// Writes headers and length of the quote of an answer that `from` sends; false if the frame is shorter than it says.
    fn write<E: Env>(env: &E, packet: &Packet<Self>, from: Self, verdict: &mut Verdict<Self>) -> bool;
}

/// The last word on a packet that ends here: [`Action::Answer`] with all of the answer in the verdict, [`Action::Drop`] if
/// none is due or too many were sent, [`Action::Pass`] if the stack shall fragment it. A function of its own in the
/// object: its stack is not the fast path's.
#[inline(never)]
pub fn make<E: Env>(cx: &Cx<'_, E>, verdict: &mut Verdict<AddrOf<E>>) -> Action
where
    AddrOf<E>: Answer,
{
    let is_mtu = verdict.reason as u8 == Reason::TooBig as u8;
    if is_mtu && <AddrOf<E> as Answer>::may_be_fragmented(cx.env) {
        return verdict.refuse(Reason::None);
    }
    let packet = &*cx.packet;
    // Path MTU discovery is not limited (as in Linux, `icmpv4_mask_allow`): who provokes other answers must not silence it.
    let due = packet.fragment as u8 != Fragment::Rest as u8
        && packet.key.src.is_unicast()
        && packet.key.dst.is_unicast()
        && (is_mtu || cx.env.may_answer(cx.arrival.now, cx.config.answers_per_tick))
        && Answer::write(cx.env, packet, sender(cx), verdict);
    if due { Action::Answer } else { Action::Drop }
}

/// Who answers: to a container its gateway; to the outside the address it wrote to if that is the host's, else the
/// uplink's first.
#[inline(always)]
fn sender<E: Env>(cx: &Cx<'_, E>) -> AddrOf<E> {
    let dst = cx.packet.key.dst;
    if cx.arrival.hook as u8 == Hook::FromContainer as u8 {
        return cx
            .env
            .network(cx.arrival.zone)
            .map_or(dst, |network| network.tail().gateway);
    }
    if cx.env.subnet(dst) == Some(SUBNET_LOCAL) {
        return dst;
    }
    cx.env.link(cx.arrival.ifindex).map_or(dst, |link| {
        let [first, ..] = link.tail().addrs;
        first
    })
}

impl Answer for <V4 as Family>::Addr {
    #[inline(always)]
    fn may_be_fragmented<E: Env>(env: &E) -> bool {
        env.load(ethernet::LEN + ipv4::FLAGS)
            .is_none_or(|[flags]| flags & DONT_FRAGMENT == 0)
    }

    #[inline(always)]
    fn is_unicast(self) -> bool {
        let [first, ..] = self;
        // "This network", loopback; multicast, and what was reserved beyond it.
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn write<E: Env>(env: &E, packet: &Packet<Self>, from: Self, verdict: &mut Verdict<Self>) -> bool {
        // Eight bytes behind the header are the least (RFC 792). A TCP header is quoted up to its options at least: the
        // frame's checksum, where a device is still to write it, must be within the quote.
        let behind = if packet.key.proto == proto::TCP {
            tcp::MIN_LEN
        } else {
            icmp::LEN
        };
        let least = packet.l4.wrapping_sub(ethernet::LEN).wrapping_add(behind);
        let datagram = packet.end.wrapping_sub(ethernet::LEN);
        let quote = datagram.min(LONGEST - Headers::GROWTH).max(least);
        let Some(quoted) = env.sum(ethernet::LEN, quote) else {
            return false;
        };
        let [len_high, len_low] = quote.wrapping_add(Headers::GROWTH).to_be_bytes();
        let [mtu_high, mtu_low] = verdict.mtu.to_be_bytes();
        let (icmp_type, code) = if verdict.reason as u8 == Reason::TooBig as u8 {
            (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED)
        } else {
            (icmp::TIME_EXCEEDED, 0)
        };
        let ip = [
            [0x45, CONTROL, len_high, len_low],
            // Not to be fragmented, so the identification may be any (RFC 6864).
            [0, 0, DONT_FRAGMENT, 0],
            [TTL, proto::ICMP, 0, 0],
            from,
            packet.key.src,
        ];
        let message = [[icmp_type, code, 0, 0], [0, 0, mtu_high, mtu_low]];
        let [ip_sum_0, ip_sum_1] = sum(&ip).apply([0; 2]);
        let [sum_0, sum_1] = sum(&message).replace2([0; 2], quoted.to_ne_bytes()).apply([0; 2]);
        let [version, id, _, src, dst] = ip;
        let [_, rest] = message;
        verdict.answer = Headers {
            dmac: packet.from.mac,
            smac: packet.to.mac,
            ethertype: ethernet::IPV4,
            ip: [version, id, [TTL, proto::ICMP, ip_sum_0, ip_sum_1], src, dst],
            icmp: [[icmp_type, code, sum_0, sum_1], rest],
        };
        verdict.quote = quote;
        verdict.proto = packet.key.proto;
        verdict.l4 = packet.l4;
        true
    }
}

/// The sum of words that hold no checksum yet.
#[inline(always)]
fn sum<const N: usize>(words: &[[u8; 4]; N]) -> Diff {
    words
        .iter()
        .fold(Diff::default(), |sum, word| sum.replace4([0; 4], *word))
}
