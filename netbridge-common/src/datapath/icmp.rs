//! ICMP errors: they follow the flow they quote, and the quote is translated with them (RFC 5508).
//!
//! An error travels in the direction of the answers to the packet it quotes, so the half that the
//! answers would hit says where it goes. It neither refreshes nor changes the flow (REQ-6).

use crate::abi::{Addr, CtState, Family, FlowKey, Nat, Reason, Record, V4, flow_action, flow_flags, proto};
use crate::wire::checksum::Diff;
use crate::wire::{icmp, ipv4};

use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env};
use super::filter::{self, Subject};
use super::parse::Packet;
use super::verdict::{Action, Verdict, checksum_offset, edits};

/// The packet that an error quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port; an echo request's identifier.
    pub sport: [u8; 2],
    /// Destination port; an echo reply's identifier.
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
            proto::ICMP if a == icmp::ECHO_REQUEST => (a, [e, f], [0; 2]),
            proto::ICMP if a == icmp::ECHO_REPLY => (a, [0; 2], [e, f]),
            _ => return None,
        };
        if header.later_fragment || header.src != packet.key.dst || l4 + icmp::LEN > packet.end {
            return None;
        }
        let l4_sum_at = l4 + checksum_offset(header.proto);
        let (l4_sum_at, l4_sum) = match env.load::<2>(l4_sum_at) {
            _ if l4_sum_at + 2 > packet.end => (0, [0; 2]),
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

/// Finds the half that answers to the quoted packet hit, for `work.half`.
#[inline(always)]
fn half_of<E: Env>(cx: &Cx<'_, E>, quoted: &Quoted<AddrOf<E>>, work: &mut Work<E::F>) -> bool {
    let key = FlowKey {
        src: quoted.dst,
        dst: quoted.src,
        sport: quoted.dport,
        dport: quoted.sport,
        zone: cx.arrival.zone.to_ne_bytes(),
        proto: quoted.proto,
        icmp: conntrack::reply_type(quoted.proto, quoted.icmp),
    };
    conntrack::find(cx, &key, &mut work.half)
}

/// The state of an error between two stations of one network.
#[inline(always)]
pub fn state<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> u8
where
    AddrOf<E>: Quote,
{
    let related = Quote::quoted(cx.env, cx.packet).is_some_and(|quoted| half_of(cx, &quoted, work));
    if related { CtState::RELATED } else { CtState::INVALID }
}

/// An error that a container sends to the outside.
#[inline(always)]
pub fn outgoing_error<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let Some(quoted) = Quote::quoted(cx.env, cx.packet) else {
        return work.verdict.refuse(Reason::UntrackedIcmp);
    };
    if !half_of(cx, &quoted, work) || work.half.head().action != flow_action::UPLINK {
        return work.verdict.refuse(Reason::UntrackedIcmp);
    }
    carry(cx, &quoted, work)
}

/// An error from the outside; [`Action::Pass`] if it is about none of our flows. A function of its own
/// in the object: its stack is not the fast path's.
#[inline(never)]
pub fn incoming_error<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Quote,
{
    let Some(quoted) = Quote::quoted(cx.env, cx.packet) else {
        return Action::Pass;
    };
    if !half_of(cx, &quoted, work) {
        return Action::Pass;
    }
    carry(cx, &quoted, work)
}

/// Sends an error along `work.half` and translates it and its quote.
#[inline(always)]
fn carry<E: Env>(cx: &Cx<'_, E>, quoted: &Quoted<AddrOf<E>>, work: &mut Work<E::F>) -> Action {
    let Work { verdict, half, .. } = work;
    let (head, to) = (half.head(), half.tail());
    let mut subject = Subject::of(cx, CtState::RELATED).to(head.ifindex, head.peer_zone);
    if head.flags & flow_flags::DST != 0 {
        subject.dst = to.dst;
    }
    let reason = filter::evaluate(cx, &subject);
    if reason as u8 != Reason::None as u8 {
        return verdict.refuse(reason);
    }
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
    } else if quoted.icmp == icmp::ECHO_REQUEST {
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
