//! Datagrams in fragments (RFC 791; RFC 4787 REQ-14): judged one by one, and never put together.
//!
//! The first fragment has the ports. It is a packet of its flow like any other, and what it said is noted. A later one
//! takes the ports from there and is a packet of the flow too, but for its layer-4 header. One that comes before its first
//! waits as a frame; when the first has been judged, the frame is received anew by the interface it came in by,
//! and then meets everything that a frame meets, the source guard included.
//!
//! What waits is bounded by places for each datagram, by a share for each sender, and by time. The table of first
//! fragments may lose its oldest entries: those of a datagram come within microseconds of each other, and what a lost
//! entry costs is one datagram. Frames longer than the room for one do not wait, nor does anything for them.
//!
//! What overlaps in the payload is for the receiver to refuse (RFC 5722 for IPv6, and Linux for both), what would overlap
//! with the layer-4 header is refused here.

use crate::abi::{
    Addr, COMPLETE, Config, Family, FirstFragment, FragmentKey, HELD_BYTES, HELD_PLACES, HeldHead, Hook, Reason,
    Record as _, SUBNET_LOCAL, V4, ZONE_UPLINK, proto,
};
use crate::wire::{ethernet, ipv4};

use super::conntrack::{Cx, Work};
use super::env::{AddrOf, Env, FragmentKeyOf, Inserted, Released};
use super::filter;
use super::parse::{Fragment, Packet};
use super::state::outlived;
use super::verdict::Action;

/// Which part of which datagram.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Identification; that of IPv4 in the first two bytes.
    id: [u8; 4],
    /// Where its payload begins in the datagram's, bytes.
    offset: u16,
    /// No fragment follows.
    last: bool,
}

/// A family whose fragments the core can read.
pub trait Fragmented: Addr {
    /// Which part of which datagram the frame is, whose IP header is there.
    fn piece<E: Env>(env: &E) -> Piece;
}

impl Fragmented for <V4 as Family>::Addr {
    #[inline(always)]
    fn piece<E: Env>(env: &E) -> Piece {
        let [id_0, id_1, flags, offset] = env.load(ethernet::LEN + ipv4::ID).unwrap_or_default();
        Piece {
            id: [id_0, id_1, 0, 0],
            offset: ipv4::fragment_offset([flags, offset]),
            last: !ipv4::has_more([flags, offset]),
        }
    }
}

/// Room for what is known of a fragment's datagram.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Datagram<A: Addr> {
    /// The datagram, or a place among the fragments that wait for it.
    key: FragmentKey<A>,
    /// What its first fragment said.
    first: FirstFragment,
    /// A frame that waits.
    held: HeldHead,
}

impl<A: Addr> Datagram<A> {
    /// Nothing known yet.
    pub const EMPTY: Self = Self {
        key: FragmentKey {
            src: A::UNSPECIFIED,
            dst: A::UNSPECIFIED,
            id: [0; 4],
            zone: [0; 2],
            proto: 0,
            place: 0,
        },
        first: FirstFragment {
            seen: 0,
            sport: [0; 2],
            dport: [0; 2],
            next: 0,
            header: 0,
            icmp: 0,
            reason: 0,
            passed: 0,
            pad: 0,
        },
        held: HeldHead {
            seen: 0,
            ifindex: 0,
            slot: 0,
            len: 0,
        },
    };
}

/// In a key's place: the datagram's fragments pass each for itself.
const UNFOLLOWED: u8 = u8::MAX;

/// What `judge` says of a packet, with the ports of its datagram if it is a later fragment. `hook` is that of its arrival: in a
/// register the verifier sees which one it is, and leaves out what is not for it.
#[inline(always)]
pub fn judged<E: Env>(
    cx: &mut Cx<'_, E>,
    hook: Hook,
    work: &mut Work<E::F>,
    judge: impl FnOnce(&Cx<'_, E>, &mut Work<E::F>) -> Action,
) -> Action
where
    AddrOf<E>: Fragmented,
{
    if !cx.packet.is_whole() && !enter(cx, hook, work) {
        return work.verdict.action;
    }
    let action = judge(cx, work);
    // Asked anew: the verifier would follow the answer of before all the way.
    if !cx.packet.is_whole() {
        leave(cx, hook, action, work);
    }
    action
}

/// True if the fragments of the datagram share one verdict: it is about to be translated, or to be filtered by ports. Else
/// each passes for itself.
#[inline(always)]
fn is_followed<E: Env>(cx: &Cx<'_, E>, hook: Hook) -> bool {
    let protocol = cx.packet.key.proto;
    let tracked = matches!(protocol, proto::TCP | proto::UDP | proto::ICMP) || proto::is_portless(protocol);
    tracked
        && match hook {
            Hook::FromContainer => !is_bridged(cx) || filter::is_active(cx),
            // What the host forwards between others is not netbridge's.
            Hook::FromUplink => cx.env.subnet(cx.packet.key.dst).is_some(),
            Hook::ToUplink => true,
            Hook::ToContainer => false,
        }
}

/// True if a container's packet is for another station of its network, and not for the gateway.
#[inline(always)]
fn is_bridged<E: Env>(cx: &Cx<'_, E>) -> bool {
    cx.env
        .network(cx.arrival.zone)
        .is_none_or(|network| !cx.packet.to.is(network.head().gateway))
}

/// Gives a later fragment its ports; false if it is not to be judged: `work.verdict` says what becomes of it. A function of
/// its own in the object, as [`leave`] is: few packets are fragments.
#[inline(never)]
fn enter<E: Env>(cx: &mut Cx<'_, E>, hook: Hook, work: &mut Work<E::F>) -> bool
where
    AddrOf<E>: Fragmented,
{
    work.datagram.key.place = UNFOLLOWED;
    if !is_followed(cx, hook) {
        return true;
    }
    let piece = <AddrOf<E> as Fragmented>::piece(cx.env);
    work.datagram.key = FragmentKey {
        src: cx.packet.key.src,
        dst: cx.packet.key.dst,
        id: piece.id,
        zone: cx.packet.key.zone,
        proto: cx.packet.key.proto,
        place: 0,
    };
    if cx.packet.fragment as u8 != Fragment::First as u8 {
        return follows(cx, hook, &piece, work);
    }
    if is_known(cx, &mut work.datagram) && is_another(cx.packet, &work.datagram.first) {
        // The rest would go another way than it was meant to.
        work.verdict.action = work.verdict.refuse(Reason::Fragment);
        return false;
    }
    true
}

/// True if a first fragment is not the one that is known, and that is still needed. Identifications are used again
/// (RFC 6864): a datagram that is complete makes way.
#[inline(always)]
fn is_another<A: Addr>(packet: &Packet<A>, first: &FirstFragment) -> bool {
    first.reason == Reason::None as u8
        && first.next != COMPLETE
        && (first.sport, first.dport, first.icmp) != (packet.key.sport, packet.key.dport, packet.key.icmp)
}

/// True if the first fragment of the datagram is known, and not from too long ago.
#[inline(always)]
fn is_known<E: Env>(cx: &Cx<'_, E>, datagram: &mut Datagram<AddrOf<E>>) -> bool {
    cx.env.first_fragment(&datagram.key, &mut datagram.first) && !is_over(cx, datagram.first.seen)
}

/// True if what came at `seen` is too old to be put together with what comes now.
const fn is_over<E: Env>(cx: &Cx<'_, E>, seen: u32) -> bool {
    outlived(cx.arrival.now, seen, cx.config.fragment_timeout)
}

/// [`enter`] of a later fragment.
#[inline(always)]
fn follows<E: Env>(cx: &mut Cx<'_, E>, hook: Hook, piece: &Piece, work: &mut Work<E::F>) -> bool {
    if !is_known(cx, &mut work.datagram) {
        let reason = if hook as u8 == Hook::ToUplink as u8 {
            // The stack sends them in order.
            Reason::Fragment
        } else {
            wait(cx, &mut work.datagram)
        };
        if reason as u8 != Reason::None as u8 {
            work.verdict.action = work.verdict.refuse(reason);
            // The host's own datagrams are not to suffer from a want of room; of a container's, its stack can make nothing.
            let host = cx.arrival.zone == ZONE_UPLINK && cx.env.subnet(cx.packet.key.dst) == Some(SUBNET_LOCAL);
            if host && reason as u8 == Reason::Fragment as u8 {
                work.verdict.action = work.verdict.refuse(Reason::None);
            }
            return false;
        }
    }
    let first = &work.datagram.first;
    if first.reason != Reason::None as u8 || piece.offset < first.header {
        // The filter's word is about the whole datagram.
        let reason = if first.reason == Reason::Filtered as u8 {
            Reason::Filtered
        } else if first.reason == Reason::Rejected as u8 {
            Reason::Rejected
        } else {
            Reason::Fragment
        };
        work.verdict.action = work.verdict.refuse(reason);
        return false;
    }
    if piece.offset == first.next {
        let len = cx.packet.end.wrapping_sub(cx.packet.l4);
        let next = piece.offset.wrapping_add(len);
        cx.env
            .advance(&work.datagram.key, if piece.last { COMPLETE } else { next });
    }
    let leaves = hook as u8 == Hook::ToUplink as u8;
    if first.passed != 0 && !leaves && (hook as u8 == Hook::FromUplink as u8 || !is_bridged(cx)) {
        work.verdict.action = Action::Pass;
        return false;
    }
    cx.packet.key.sport = first.sport;
    cx.packet.key.dport = first.dport;
    cx.packet.key.icmp = first.icmp;
    cx.packet.fragment = Fragment::Rest;
    true
}

/// Lets a later fragment wait for its first: [`Reason::FragmentWaits`], or [`Reason::Fragment`] if there is no room. What is
/// too old makes room, looked for about once a second. [`Reason::None`] if the first has come meanwhile.
#[inline(never)]
fn wait<E: Env>(cx: &Cx<'_, E>, datagram: &mut Datagram<AddrOf<E>>) -> Reason {
    if !fits(cx) {
        return Reason::Fragment;
    }
    if cx.env.may_reclaim_held(cx.config.refresh, cx.arrival.now) {
        reap(cx.env, cx.config, cx.arrival.now);
    }
    if cx.env.held_by(cx.arrival.slot) >= cx.config.held_quota.cast_signed() {
        return Reason::Fragment;
    }
    datagram.held = HeldHead {
        seen: cx.arrival.now,
        ifindex: cx.arrival.ifindex,
        slot: cx.arrival.slot,
        len: cx.env.frame_len(),
    };
    let mut held = Inserted::Exists;
    cx.env.repeat(HELD_PLACES, |place| {
        datagram.key.place = (place & 0xff) as u8;
        held = cx.env.hold(&datagram.key, &datagram.held);
        held as u8 == Inserted::Exists as u8
    });
    let place = datagram.key;
    datagram.key.place = 0;
    if held as u8 != Inserted::Yes as u8 {
        return Reason::Fragment;
    }
    cx.env.count_held(cx.arrival.slot, 1);
    // The CPU that has the first looks for what waits once that is known. Either it finds this one, or this one finds the
    // first known: one of the two takes it out.
    if is_known(cx, datagram) && cx.env.held_remove(&place) {
        cx.env.count_held(cx.arrival.slot, -1);
        return Reason::None;
    }
    Reason::FragmentWaits
}

/// Removes what has waited for too long.
pub fn reap<E: Env>(env: &E, config: &Config, now: u32) {
    env.each_held(|place, held| {
        if outlived(now, held.seen, config.fragment_timeout) {
            forget(env, place, held);
        }
    });
}

/// True if there is room for a frame as long as this, to wait in or to be set aside in.
#[inline(always)]
fn fits<E: Env>(cx: &Cx<'_, E>) -> bool {
    cx.env.frame_len() <= HELD_BYTES && cx.env.gso_size() == 0
}

/// Takes a frame out that has waited in vain; it stays counted as dropped.
#[inline(always)]
fn forget<E: Env>(env: &E, place: &FragmentKeyOf<E>, held: &HeldHead) {
    if env.held_remove(place) {
        env.count_held(held.slot, -1);
    }
}

/// Notes what a first fragment says and what became of it, and lets those go that wait for it.
#[inline(never)]
fn leave<E: Env>(cx: &Cx<'_, E>, hook: Hook, action: Action, work: &mut Work<E::F>) {
    let datagram = &mut work.datagram;
    if cx.packet.fragment as u8 != Fragment::First as u8 || datagram.key.place == UNFOLLOWED {
        return;
    }
    let answered = action as u8 == Action::Answer as u8;
    let rejected = work.verdict.reason as u8 == Reason::Rejected as u8;
    let dropped = action as u8 == Action::Drop as u8 || (answered && rejected);
    // What is too big for the way out is answered or left to the kernel, and so is the rest.
    let passed = action as u8 == Action::Pass as u8 || answered;
    datagram.first = FirstFragment {
        seen: cx.arrival.now,
        sport: cx.packet.key.sport,
        dport: cx.packet.key.dport,
        next: cx.packet.end.wrapping_sub(cx.packet.l4),
        header: cx.packet.l4_len,
        icmp: cx.packet.key.icmp,
        reason: if dropped { work.verdict.reason as u8 } else { 0 },
        passed: u8::from(passed),
        pad: 0,
    };
    cx.env.note_first(&datagram.key, &datagram.first);
    if hook as u8 != Hook::ToUplink as u8 && fits(cx) {
        cx.env.repeat(HELD_PLACES, |place| {
            datagram.key.place = (place & 0xff) as u8;
            release(cx, datagram);
            true
        });
    }
}

/// Has the fragment that waits in this place received anew, if there is one, unless its first was dropped. An empty place
/// says nothing of the next: one that waited for too long may have gone from it.
#[inline(always)]
fn release<E: Env>(cx: &Cx<'_, E>, datagram: &mut Datagram<AddrOf<E>>) {
    let (place, held) = (&datagram.key, &mut datagram.held);
    if !cx.env.held(place, held) {
        return;
    }
    if datagram.first.reason != Reason::None as u8 || is_over(cx, held.seen) {
        forget(cx.env, place, held);
        return;
    }
    let released = cx.env.release(place, held);
    if released as u8 != Released::Kept as u8 {
        cx.env.count_held(held.slot, -1);
    }
    if released as u8 == Released::Received as u8 {
        cx.env.uncount(held.slot, held.len, Reason::FragmentWaits);
    }
}
