//! What the sender of a packet that ends here is told: the ICMP errors that a router owes it (RFC 1812, section 4.3.2), time
//! exceeded, and fragmentation needed with the next hop's MTU (RFC 1191); and what a rule to reject says, destination
//! unreachable or a TCP reset.
//!
//! The host's stack would make them only where it forwards itself, and takes a packet from the outside for its own. Who
//! decides that a packet ends says so by [`Verdict::answer`] or [`Verdict::reject`]; when nothing else can become of it,
//! [`make`] writes the headers of the answer, and the programs put them before the packet, cut it off behind the quote and
//! send it back; of a reset they are all. An answer is about a packet as its sender sent it: what translates it has not been
//! carried out yet, so that the quote is what the sender knows, and a reset comes from the address that it wrote to. No error
//! is made about an error, about a fragment but the first, or where not one host sent to one (RFC 1122, section 3.2.2).

use bytemuck::{Pod, Zeroable};

use crate::abi::{Addr, Family, Hook, Mac, Reason, Record, SUBNET_LOCAL, V4, proto, reject};
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

/// How long an error may be: as much of the packet as fits is quoted (RFC 1812, section 4.3.2.3), bytes.
const LONGEST: u16 = 576;

/// TTL of an answer (RFC 1812, section 4.2.2.9, and IANA's default).
const TTL: u8 = 64;

/// A TCP header without options, in the byte that says how long it is.
const PLAIN_TCP: u8 = 0x50;

/// What stands before the quote: headers of Ethernet, IPv4 and ICMP; or all of an answer that quotes nothing, with a header
/// of TCP. Checksums are complete.
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
    /// TCP header, by words; an ICMP header in the first two, the others mean nothing then.
    pub l4: [[u8; 4]; 5],
}

impl Headers {
    /// Length behind the Ethernet header, bytes: what an error adds to what it quotes.
    pub const GROWTH: u16 = ipv4::MIN_LEN + icmp::LEN;

    /// The same of a TCP segment that quotes nothing.
    pub const SEGMENT: u16 = ipv4::MIN_LEN + tcp::MIN_LEN;

    /// Nothing written yet.
    pub const EMPTY: Self = Self {
        dmac: [0; 6],
        smac: [0; 6],
        ethertype: [0; 2],
        ip: [[0; 4]; 5],
        l4: [[0; 4]; 5],
    };
}

/// A family whose answers the core can make.
pub trait Answer: Addr {
    /// True if routers may fragment the packet: its sender need not know what is too long.
    fn may_be_fragmented<E: Env>(env: &E) -> bool;

    /// True if the address can be one host's: an answer to another would be to many, or to nobody.
    fn is_unicast(self) -> bool;

    /// Writes headers and length of the quote of an error of this type and code that `from` sends; false if the frame is
    /// shorter than it says.
    fn write_error<E: Env>(
        env: &E,
        packet: &Packet<Self>,
        from: (Mac, Self),
        kind: (u8, u8),
        verdict: &mut Verdict<Self>,
    ) -> bool;

    /// Writes the reset of a TCP segment's connection; false if the frame ends within its header.
    fn write_reset<E: Env>(env: &E, packet: &Packet<Self>, verdict: &mut Verdict<Self>) -> bool;
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
    let is_rejected = verdict.reason as u8 == Reason::Rejected as u8;
    let made = is_between_hosts(cx.packet)
        && if is_rejected && verdict.reject == reject::TCP_RESET {
            reset(cx, verdict)
        } else {
            error(cx, verdict)
        };
    if made { Action::Answer } else { Action::Drop }
}

/// True if the packet is the first of its datagram, and goes from one host to one, on the link too.
#[inline(always)]
fn is_between_hosts<A: Answer>(packet: &Packet<A>) -> bool {
    matches!(packet.fragment, Fragment::Whole | Fragment::First)
        && packet.key.src.is_unicast()
        && packet.key.dst.is_unicast()
        && !ethernet::is_group(packet.from.mac)
        && !ethernet::is_group(packet.to.mac)
}

/// Writes an ICMP error; false if there is none to send.
#[inline(always)]
fn error<E: Env>(cx: &Cx<'_, E>, verdict: &mut Verdict<AddrOf<E>>) -> bool
where
    AddrOf<E>: Answer,
{
    let packet = &*cx.packet;
    let is_mtu = verdict.reason as u8 == Reason::TooBig as u8;
    let (icmp_type, code) = if is_mtu {
        (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED)
    } else if verdict.reason as u8 == Reason::Rejected as u8 {
        (icmp::UNREACHABLE, verdict.reject.wrapping_sub(reject::UNREACHABLE))
    } else {
        (icmp::TIME_EXCEEDED, 0)
    };
    let from = sender(cx);
    let (_, address) = from;
    code < reject::CODES
        && address.is_unicast()
        && (packet.key.proto != proto::ICMP || icmp::is_query_or_reply(packet.key.icmp))
        // Path MTU discovery is not limited (as in Linux, `icmpv4_mask_allow`): who provokes other answers must not silence it.
        && (is_mtu || cx.env.may_answer(cx.arrival.now, cx.config.answers_per_tick))
        && Answer::write_error(cx.env, packet, from, (icmp_type, code), verdict)
}

/// Writes a TCP reset; false if none is due. As Linux does (`nf_send_reset`), it is not limited: each takes the place of a
/// packet at least as long, where an error is up to ten times as long as what it is about.
#[inline(always)]
fn reset<E: Env>(cx: &Cx<'_, E>, verdict: &mut Verdict<AddrOf<E>>) -> bool
where
    AddrOf<E>: Answer,
{
    let packet = &*cx.packet;
    // Of a first fragment nobody knows how long its segment is.
    packet.key.proto == proto::TCP
        && packet.is_whole()
        && packet.tcp & tcp::RST == 0
        && Answer::write_reset(cx.env, packet, verdict)
}

/// Who sends an error: to a container its gateway; to the outside the address it wrote to if that is the host's, else the
/// uplink's first. The packet may be for a neighbour, and the MAC then not the gateway's.
#[inline(always)]
fn sender<E: Env>(cx: &Cx<'_, E>) -> (Mac, AddrOf<E>) {
    let (mac, dst) = (cx.packet.to.mac, cx.packet.key.dst);
    if cx.arrival.hook as u8 == Hook::FromContainer as u8 {
        return cx.env.network(cx.arrival.zone).map_or((mac, dst), |network| {
            (network.head().gateway.mac, network.tail().gateway)
        });
    }
    if cx.env.subnet(dst) == Some(SUBNET_LOCAL) {
        return (mac, dst);
    }
    cx.env.link(cx.arrival.ifindex).map_or((mac, dst), |link| {
        let [first, ..] = link.tail().addrs;
        (mac, first)
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
    fn write_error<E: Env>(
        env: &E,
        packet: &Packet<Self>,
        (mac, from): (Mac, Self),
        (icmp_type, code): (u8, u8),
        verdict: &mut Verdict<Self>,
    ) -> bool {
        // So the frame's checksum, where a device is still to write it, is within the quote: of the longest headers too.
        let quote = packet.end.wrapping_sub(ethernet::LEN).min(LONGEST - Headers::GROWTH);
        let Some(quoted) = env.sum(ethernet::LEN, quote) else {
            return false;
        };
        let [mtu_high, mtu_low] = verdict.mtu.to_be_bytes();
        let message = [[icmp_type, code, 0, 0], [0, 0, mtu_high, mtu_low]];
        let [sum_0, sum_1] = sum(&message).replace2([0; 2], quoted.to_ne_bytes()).apply([0; 2]);
        let [_, rest] = message;
        verdict.answer = Headers {
            dmac: packet.from.mac,
            smac: mac,
            ethertype: ethernet::IPV4,
            ip: header(
                CONTROL,
                proto::ICMP,
                quote.wrapping_add(Headers::GROWTH),
                from,
                packet.key.src,
            ),
            l4: [[icmp_type, code, sum_0, sum_1], rest, [0; 4], [0; 4], [0; 4]],
        };
        verdict.quote = quote;
        verdict.proto = packet.key.proto;
        verdict.l4 = packet.l4;
        true
    }

    #[inline(always)]
    fn write_reset<E: Env>(env: &E, packet: &Packet<Self>, verdict: &mut Verdict<Self>) -> bool {
        let Some(
            [
                s0,
                s1,
                d0,
                d1,
                seq_0,
                seq_1,
                seq_2,
                seq_3,
                ack_0,
                ack_1,
                ack_2,
                ack_3,
                ..,
            ],
        ) = env.load::<{ tcp::MIN_LEN as usize }>(packet.l4)
        else {
            return false;
        };
        // What is longer than `end` can say is all of the frame.
        let end = if packet.end == u16::MAX {
            env.frame_len()
        } else {
            u32::from(packet.end)
        };
        let payload = end.wrapping_sub(u32::from(packet.l4.wrapping_add(packet.l4_len)));
        let numbers = (
            u32::from_be_bytes([seq_0, seq_1, seq_2, seq_3]),
            u32::from_be_bytes([ack_0, ack_1, ack_2, ack_3]),
        );
        let (seq, ack, flags) = tcp::reset(packet.tcp, numbers, payload);
        let (src, dst) = (packet.key.dst, packet.key.src);
        let [len_high, len_low] = tcp::MIN_LEN.to_be_bytes();
        let pseudo = sum(&[src, dst, [0, proto::TCP, len_high, len_low]]);
        let segment = [
            [d0, d1, s0, s1],
            seq.to_be_bytes(),
            ack.to_be_bytes(),
            [PLAIN_TCP, flags, 0, 0],
        ];
        let [sum_0, sum_1] = sum(&segment).plus(pseudo).apply([0; 2]);
        let [partial_0, partial_1] = pseudo.apply([0; 2]);
        let [ports, seq, ack, control] = segment;
        verdict.answer = Headers {
            dmac: packet.from.mac,
            smac: packet.to.mac,
            ethertype: ethernet::IPV4,
            ip: header(0, proto::TCP, Headers::SEGMENT, src, dst),
            l4: [ports, seq, ack, control, [sum_0, sum_1, 0, 0]],
        };
        verdict.quote = 0;
        verdict.partial = [!partial_0, !partial_1];
        verdict.proto = packet.key.proto;
        verdict.l4 = packet.l4;
        true
    }
}

/// The IPv4 header of an answer so long.
#[inline(always)]
fn header(service: u8, protocol: u8, len: u16, src: [u8; 4], dst: [u8; 4]) -> [[u8; 4]; 5] {
    let [len_high, len_low] = len.to_be_bytes();
    let version = [0x45, service, len_high, len_low];
    // Not to be fragmented, so the identification may be any (RFC 6864).
    let id = [0, 0, DONT_FRAGMENT, 0];
    let [sum_0, sum_1] = sum(&[version, id, [TTL, protocol, 0, 0], src, dst]).apply([0; 2]);
    [version, id, [TTL, protocol, sum_0, sum_1], src, dst]
}

/// The sum of words that hold no checksum yet.
#[inline(always)]
fn sum<const N: usize>(words: &[[u8; 4]; N]) -> Diff {
    words
        .iter()
        .fold(Diff::default(), |sum, word| sum.replace4([0; 4], *word))
}
