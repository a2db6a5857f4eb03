//! ICMP errors: they follow the flow they quote, and the quote is translated with them (RFC 5508).
//!
//! An error travels in the direction of the answers to the packet it quotes, so the half that the
//! answers would hit says where it goes. It neither refreshes nor changes the flow (REQ-6). What is
//! forged or damaged is not carried (REQ-3): a layer-4 checksum in the quote is not looked at, as the
//! quote may end before what it covers.

use crate::abi::{Addr, CtState, Family, FlowKey, Nat, Reason, Record, V4, flow_action, flow_flags, proto};
use crate::wire::checksum::Diff;
use crate::wire::{icmp, ipv4};

use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env};
use super::filter::{self, Subject};
use super::parse::Packet;
use super::state::{awaits, standing};
use super::verdict::{Action, Verdict, checksum_offset, edits};

/// The packet that an error quotes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Quoted<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port; an ICMP request's identifier.
    pub sport: [u8; 2],
    /// Destination port; an ICMP reply's identifier.
    pub dport: [u8; 2],
    /// Protocol.
    pub proto: u8,
    /// ICMP type, 0 for other protocols.
    pub icmp: u8,
    /// Offset of its IP header.
    pub at: u16,
    /// Offset of its layer-4 header.
    pub l4: u16,
    /// Its IP header checksum.
    pub ip_sum: [u8; 2],
    /// Offset of its layer-4 checksum, 0 if that is not quoted or not used.
    pub l4_sum_at: u16,
    /// Its layer-4 checksum.
    pub l4_sum: [u8; 2],
}

impl<A: Addr> Quoted<A> {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        src: A::UNSPECIFIED,
        dst: A::UNSPECIFIED,
        sport: [0; 2],
        dport: [0; 2],
        proto: 0,
        icmp: 0,
        at: 0,
        l4: 0,
        ip_sum: [0; 2],
        l4_sum_at: 0,
        l4_sum: [0; 2],
    };
}

/// A family whose errors the core can read.
pub trait Quote: Addr {
    /// What the error quotes; `None` if that is too short, a later fragment, not tracked, or was not
    /// sent by whom the error is for (Linux 5.6, commit 1025ce75212b: such an error is forged).
    fn quoted<E: Env>(env: &E, packet: &Packet<Self>) -> Option<Quoted<Self>>;
}

impl Quote for <V4 as Family>::Addr {
    #[inline(always)]
    fn quoted<E: Env>(env: &E, packet: &Packet<Self>) -> Option<Quoted<Self>> {
        let at = packet.l4 + icmp::LEN;
        let header = ipv4::Header::new(bytemuck::cast(env.load::<20>(at)?))?;
        let l4 = at + header.header_len;
        // Eight bytes behind the header are all that RFC 792 promises.
        let [a, b, c, d, e, f, _, _] = env.load::<8>(l4)?;
        let (icmp_type, sport, dport) = match header.proto {
            proto::TCP | proto::UDP => (0, [a, b], [c, d]),
            proto::ICMP if icmp::is_request(a) => (a, [e, f], [0; 2]),
            proto::ICMP if icmp::is_reply(a) => (a, [0; 2], [e, f]),
            other if proto::is_portless(other) => (0, [0; 2], [0; 2]),
            _ => return None,
        };
        if header.offset != 0 || header.src != packet.key.dst || l4 + icmp::LEN > packet.end {
            return None;
        }
        let l4_sum_at = l4 + checksum_offset(header.proto);
        let (l4_sum_at, l4_sum) = match env.load::<2>(l4_sum_at) {
            _ if l4_sum_at + 2 > packet.end || proto::is_portless(header.proto) => (0, [0; 2]),
            Some(sum) if header.proto != proto::UDP || sum != [0; 2] => (l4_sum_at, sum),
            _ => (0, [0; 2]),
        };
        Some(Quoted {
            src: header.src,
            dst: header.dst,
            sport,
            dport,
            proto: header.proto,
            icmp: icmp_type,
            at,
            l4,
            ip_sum: header.checksum,
            l4_sum_at,
            l4_sum,
        })
    }
}

/// True for what a container may send nobody by way of its gateway: redirects and source quench, a first fragment of
/// them too.
pub fn is_refused<A: Addr>(packet: &Packet<A>) -> bool {
    packet.key.proto == proto::ICMP && icmp::is_error(packet.key.icmp) && !icmp::is_carried(packet.key.icmp)
}

/// Reads the quote to `work.quoted` and the half that answers to the quoted packet hit to `work.half`; false if there is
/// none. Like what follows a function of its own in the object: their stacks are the fast path's nowhere, and add up
/// only where they nest.
#[inline(never)]
fn find<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> bool
where
    AddrOf<E>: Quote,
{
    let Some(quoted) = Quote::quoted(cx.env, cx.packet) else {
        return false;
    };
    let key = FlowKey {
        src: quoted.dst,
        dst: quoted.src,
        sport: quoted.dport,
        dport: quoted.sport,
        zone: cx.arrival.zone.to_ne_bytes(),
        proto: quoted.proto,
        icmp: conntrack::reply_type(quoted.proto, quoted.icmp),
    };
    work.quoted = quoted;
    conntrack::find(cx, &key, &mut work.half)
}

/// True if the error's checksum and that of the IP header it quotes are right, as they stand in the frame: nobody
/// leaves the checksum of an ICMP message to a device.
#[inline(never)]
fn is_sound<E: Env>(cx: &Cx<'_, E>, at: u16, l4: u16) -> bool {
    let (message, end) = (cx.packet.l4, cx.packet.end);
    cx.env.sum(message, end.wrapping_sub(message)) == Some(u16::MAX)
        && cx.env.sum(at, l4.wrapping_sub(at)) == Some(u16::MAX)
}

/// The state of an error between two stations of one network.
#[inline(always)]
pub fn state<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> u8
where
    AddrOf<E>: Quote,
{
    if find(cx, work) {
        CtState::RELATED | standing(work.half.head())
    } else {
        CtState::INVALID
    }
}

/// An error that a container sends to the outside.
#[inline(always)]
pub fn outgoing_error<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    if !find(cx, work) || work.half.head().action != flow_action::UPLINK {
        return work.verdict.refuse(Reason::UntrackedIcmp);
    }
    carry_sound(cx, work)
}

/// An error from the outside, or for an address of the host; [`Action::Pass`] if it is about none of our flows.
#[inline(always)]
pub fn incoming_error<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    if find(cx, work) {
        carry_sound(cx, work)
    } else {
        Action::Pass
    }
}

/// Carries an error that is of a kind to be carried, and undamaged.
#[inline(always)]
fn carry_sound<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    if is_refused(cx.packet) {
        work.verdict.refuse(Reason::UnsupportedIcmp)
    } else if awaits(work.half.head()) {
        // It quotes what nobody has sent.
        work.verdict.refuse(Reason::Unsolicited)
    } else if is_sound(cx, work.quoted.at, work.quoted.l4) {
        carry(cx, work)
    } else {
        work.verdict.refuse(Reason::BadChecksum)
    }
}

/// Sends an error along `work.half` and translates it and its quote.
#[inline(never)]
fn carry<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let (head, to) = (work.half.head(), work.half.tail());
    let state = CtState::RELATED | standing(head);
    let mut subject = Subject::of(cx, state).to(head.ifindex, head.peer_zone);
    if head.flags & flow_flags::DST != 0 {
        subject.dst = to.dst;
    }
    let action = filter::ask(cx, subject, work);
    if action as u8 != Action::Pass as u8 {
        return action;
    }
    let Work {
        verdict, half, quoted, ..
    } = work;
    let (head, to) = (half.head(), half.tail());
    let routed = conntrack::is_routed(cx, head);
    if routed && cx.packet.ttl <= 1 {
        // No error about an error (RFC 1122, section 3.2.2).
        return verdict.refuse(Reason::TtlExpired);
    }
    let action = verdict.follow(head, cx.packet, routed);
    verdict.rewrite_ip(cx.packet, head.flags, to);
    if head.flags & (flow_flags::SRC | flow_flags::DST) != 0 {
        translate_quote(verdict, quoted, head.flags, to);
    }
    action
}

/// Undoes in the quote what the flow did to the packet that is quoted.
#[inline(always)]
fn translate_quote<A: Addr>(verdict: &mut Verdict<A>, quoted: &Quoted<A>, flags: u8, to: &Nat<A>) {
    let source = flags & flow_flags::DST != 0;
    let destination = flags & flow_flags::SRC != 0;
    let src = if source { to.dst } else { quoted.src };
    let dst = if destination { to.src } else { quoted.dst };
    let sport = if source { to.dport } else { quoted.sport };
    let dport = if destination { to.sport } else { quoted.dport };

    let addrs = dst.replacing(quoted.dst, src.replacing(quoted.src, Diff::default()));
    let ports = Diff::default()
        .replace2(quoted.sport, sport)
        .replace2(quoted.dport, dport);
    let ip_sum = addrs.apply(quoted.ip_sum);
    let covered = if quoted.proto == proto::ICMP {
        ports
    } else {
        addrs.plus(ports)
    };
    let l4_sum = match covered.apply(quoted.l4_sum) {
        // A UDP checksum of zero would mean "none".
        [0, 0] if quoted.proto == proto::UDP => [0xff; 2],
        sum => sum,
    };

    verdict.edits |= edits::INNER;
    verdict.inner = quoted.at;
    verdict.inner_l4 = quoted.l4;
    verdict.inner_sum = quoted.l4_sum_at;
    verdict.inner_proto = quoted.proto;
    verdict.inner_ip_sum = ip_sum;
    verdict.inner_l4_sum = l4_sum;
    verdict.inner_src = src;
    verdict.inner_dst = dst;
    let ([a, b], [c, d]) = (sport, dport);
    verdict.inner_ports = if quoted.proto != proto::ICMP {
        [a, b, c, d]
    } else if icmp::is_request(quoted.icmp) {
        [a, b, 0, 0]
    } else {
        [c, d, 0, 0]
    };
    let mut error = addrs.plus(ports).replace2(quoted.ip_sum, ip_sum);
    if quoted.l4_sum_at != 0 {
        error = error.replace2(quoted.l4_sum, l4_sum);
    }
    verdict.l4_diff = error.word();
}
