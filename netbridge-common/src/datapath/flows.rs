//! The entries of flows: added, counted against quotas, removed.
//!
//! The table is a plain hash that evicts nothing by itself. A flow is refused, under a reason of its own, when
//! its endpoint's quota or the table is used up; before that, what has expired is collected, and of the
//! endpoint's own flows those go that have been half-open or closed for some seconds, or one of them at least. An
//! established flow never makes room for a new one.

use crate::abi::{
    Addr, Config, FlowHead, FlowKey, FlowState, Load, NO_SLOT, Reason, Record, SAMPLES, flow_flags, proto,
};

use super::binding;
use super::conntrack::{Cx, Work, find, follow, other_half};
use super::env::{Env, FlowKeyOf, FlowOf, Inserted, Renewal};
use super::nat::{self, TRIES};
use super::state::{
    awaits, is_closed, is_collectable, is_done, is_expired, is_half_open, is_mapped, is_over, is_quarantined, outlived,
};
use super::verdict::Action;

/// How long flows of an endpoint at its quota may be half-open or closed, in refreshes, and how often a walk over the table
/// looks for those that were for longer.
const PRESSED: u32 = 5;

/// Opens the flow of the packet, whose halves `work` has, and follows it: within the quota of its owner, and with a source
/// port of its own where its source is replaced. A function of its own in the object, as are those it calls: their stacks
/// add up only where they nest.
#[inline(never)]
pub fn open<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let mut reason = admit(cx, work);
    if reason as u8 == Reason::None as u8 {
        reason = enter(cx, work);
    }
    if reason as u8 == Reason::None as u8 && awaits(work.half.head()) {
        reason = Reason::Unsolicited;
    }
    if reason as u8 == Reason::None as u8 {
        follow(cx, work)
    } else {
        work.verdict.refuse(reason)
    }
}

/// Adds the halves of `work` under the first source port that is free, if it needs one.
#[inline(never)]
fn enter<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Reason {
    let flags = work.half.head().flags;
    let mut reason = Reason::NatExhausted;
    if flags & flow_flags::SRC != 0 {
        nat::begin(cx, work);
    }
    cx.env.repeat(TRIES, |_| {
        if flags & flow_flags::SRC != 0 && !nat::take(cx, work) {
            return true;
        }
        reason = create(cx, work);
        if flags & flow_flags::SRC != 0 {
            nat::settle(cx, work, reason);
            if reason as u8 == Reason::TupleTaken as u8 {
                reason = Reason::NatExhausted;
                return !proto::is_portless(cx.packet.key.proto);
            }
        }
        reason as u8 == Reason::FlowTableFull as u8 && make_room(cx, work)
    });
    // Two stations that open the same connection towards each other at the same moment (RFC 9293, section 3.5,
    // simultaneous open) have one conversation.
    if reason as u8 == Reason::TupleTaken as u8 && flags & flow_flags::DST == 0 {
        Reason::None
    } else {
        reason
    }
}

/// Adds both halves; [`Reason::TupleTaken`] if the answers' tuple belongs to another flow.
///
/// The reply half is inserted first and settles races: two CPUs may do this for the same first packet, and
/// come to the same halves. Each of the two finds its own or the other's. Should a tuple have become free between
/// them, the one that came second goes by the table, and its reply half expires unused. A reply half that
/// lost its forward half gets it back in the same way, from a packet that may open a flow. Where the forward half's tuple
/// is that of another flow's answers, which has been opened the other way at the same moment, or is kept from others still,
/// there is no flow: two reply halves would be on nobody's quota.
#[inline(never)]
fn create<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Reason {
    let key = &cx.packet.key;
    let other_key = other_half(key, work.half.head(), work.half.tail());
    // What goes to where it comes from has no answers.
    if other_key == *key {
        return Reason::TupleTaken;
    }
    let reply = insert(cx, &other_key, &work.other, &mut work.standing);
    let ours = reply as u8 == Inserted::Exists as u8 && answers(cx, &other_key, &mut work.standing);
    if reply as u8 == Inserted::Full as u8 {
        return Reason::FlowTableFull;
    }
    if reply as u8 != Inserted::Yes as u8 && !ours {
        return Reason::TupleTaken;
    }
    match insert(cx, key, &work.half, &mut work.standing) {
        Inserted::Yes => {
            charge(cx, work);
            Reason::None
        }
        Inserted::Exists => {
            if find(cx, key, &mut work.standing) && work.standing.head().flags & flow_flags::REPLY == 0 {
                // Another CPU may have opened the same flow with another port: what the table says holds.
                work.half = work.standing;
                return Reason::None;
            }
            if reply as u8 == Inserted::Yes as u8 {
                cx.env.flow_remove(&other_key);
            }
            Reason::TupleTaken
        }
        Inserted::Full => {
            cx.env.flow_remove(&other_key);
            Reason::FlowTableFull
        }
    }
}

/// Counts a new flow, and keeps its key among those to choose from when one must go, unless an older one is in its place.
#[inline(always)]
fn charge<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) {
    let (owner, state) = (work.half.head().owner, work.half.head().state);
    if owner == NO_SLOT {
        return;
    }
    let key = &cx.packet.key;
    let half_open = i32::from(is_half_open(state));
    let load = Load {
        flows: 1,
        half_open,
        ..Load::default()
    };
    cx.env.charge(owner, load);
    let place = place(key) & (SAMPLES - 1);
    if !cx
        .env
        .sample(owner, place)
        .is_some_and(|kept| may_go(cx, owner, &kept, &mut work.standing))
    {
        cx.env.keep_sample(owner, place, key);
    }
}

/// A place among the samples: one that flows of another client, with another port or another destination do not share.
fn place<A: Addr>(key: &FlowKey<A>) -> u32 {
    let ports = u16::from_ne_bytes(key.sport) ^ u16::from_ne_bytes(key.dport);
    let folded = key.dst.fold() ^ key.src.fold() ^ u32::from(ports);
    folded ^ (folded >> 8) ^ (folded >> 16) ^ (folded >> 24)
}

/// True if this is a flow of `owner` that is not established, is closed, or has expired; it is in `standing` then.
#[inline(never)]
fn may_go<E: Env>(cx: &Cx<'_, E>, owner: u32, key: &FlowKeyOf<E>, standing: &mut FlowOf<E>) -> bool {
    cx.env.flow(key, standing)
        && standing.head().owner == owner
        && standing.head().flags & flow_flags::REPLY == 0
        && (is_half_open(standing.head().state)
            || is_closed(standing.head().state)
            || is_expired(cx.config, key.proto, standing.head(), cx.arrival.now))
}

/// Whether the owner of the flow of `work` may have one more. If not, a flow of its own that is closed or not established
/// goes, and if there is none [`Reason::QuotaExceeded`].
#[inline(always)]
fn admit<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Reason {
    let owner = work.half.head().owner;
    if has_room(cx, owner)
        || (reclaim(cx, owner, PRESSED) && has_room(cx, owner))
        || evict(cx, owner, &mut work.standing)
        || (reclaim(cx, owner, 1) && has_room(cx, owner))
    {
        Reason::None
    } else {
        Reason::QuotaExceeded
    }
}

/// True if the quotas of `owner` are not used up.
#[inline(always)]
fn has_room<E: Env>(cx: &Cx<'_, E>, owner: u32) -> bool {
    let load = cx.env.load_of(owner);
    owner == NO_SLOT || (load.flows < cx.config.quota.cast_signed() && !is_crowded(cx, load))
}

/// True if it is flows which are not established that there are too many of.
const fn is_crowded<E: Env>(cx: &Cx<'_, E>, load: Load) -> bool {
    load.half_open >= cx.config.half_open_quota.cast_signed()
}

/// Makes room in a full table; false if that is not possible.
#[inline(never)]
fn make_room<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> bool {
    reclaim(cx, NO_SLOT, 1) || evict(cx, work.half.head().owner, &mut work.standing)
}

/// Removes a flow of `owner`, and keeps the packet's in its place; false if none is found. A closed one, if there is one,
/// because nobody misses it; one that is not established, if there are too many of these.
#[inline(never)]
fn evict<E: Env>(cx: &Cx<'_, E>, owner: u32, standing: &mut FlowOf<E>) -> bool {
    let (first, crowded) = (place(&cx.packet.key), is_crowded(cx, cx.env.load_of(owner)));
    let mut chosen = SAMPLES;
    cx.env.repeat(SAMPLES, |look| {
        let place = first.wrapping_add(look) & (SAMPLES - 1);
        let Some(key) = cx.env.sample(owner, place) else {
            return true;
        };
        if !may_go(cx, owner, &key, standing) {
            return true;
        }
        let half_open = is_half_open(standing.head().state);
        if half_open == crowded || (half_open && chosen == SAMPLES) {
            chosen = place;
        }
        half_open != crowded
    });
    chosen != SAMPLES && replace(cx, owner, chosen, standing)
}

/// Removes the flow whose key is kept in this place, and keeps the packet's there; false if it may not go any more.
#[inline(never)]
fn replace<E: Env>(cx: &Cx<'_, E>, owner: u32, place: u32, standing: &mut FlowOf<E>) -> bool {
    let Some(key) = cx.env.sample(owner, place) else {
        return false;
    };
    let goes = may_go(cx, owner, &key, standing);
    if goes {
        remove(cx.env, &key, standing);
        cx.env.keep_sample(owner, place, &cx.packet.key);
        give_up(cx, &key, standing);
    }
    goes
}

/// Gives the port up that stands for a flow which made room, if it still does: one that is closed has done so, and the port
/// of one that has expired may be another one's of the same container by now.
#[inline(always)]
fn give_up<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    let head = flow.head();
    let lives = is_half_open(head.state) && !is_expired(cx.config, key.proto, head, cx.arrival.now);
    if lives && head.flags & flow_flags::BOUND != 0 && head.flags & flow_flags::REPLY == 0 {
        binding::give_up(cx, key, flow);
    }
}

/// Inserts a half. An expired one in its place counts as absent, unless it keeps its tuple from others still.
#[inline(always)]
fn insert<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>, standing: &mut FlowOf<E>) -> Inserted {
    let first = cx.env.flow_insert(key, flow);
    if first as u8 == Inserted::Exists as u8 && gives_way(cx, key, flow, standing) {
        cx.env.flow_insert(key, flow)
    } else {
        first
    }
}

/// Removes the half that stands where `flow` is to be inserted, if that has expired. The container that had the tuple may
/// have it again at once. It is known by its interface too: a detached one's address may be another's by now.
#[inline(never)]
fn gives_way<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>, standing: &mut FlowOf<E>) -> bool {
    if !cx.env.flow(key, standing) {
        return true;
    }
    let (head, now) = (standing.head(), cx.arrival.now);
    if !is_expired(cx.config, key.proto, head, now) {
        return false;
    }
    let same = (standing.tail().dst, head.peer_zone, head.ifindex)
        == (flow.tail().dst, flow.head().peer_zone, flow.head().ifindex);
    let free = same || !is_quarantined(cx.config, key.proto, head, now);
    if free {
        remove(cx.env, key, standing);
    }
    free
}

/// True if the half that stands under `other_key` is the reply half of the packet's flow, and not about to end.
#[inline(never)]
fn answers<E: Env>(cx: &Cx<'_, E>, other_key: &FlowKeyOf<E>, standing: &mut FlowOf<E>) -> bool {
    find(cx, other_key, standing)
        && standing.head().flags & flow_flags::REPLY != 0
        && !is_over(standing.head().state)
        && other_half(other_key, standing.head(), standing.tail()) == cx.packet.key
}

/// Removes both halves.
pub fn remove<E: Env>(env: &E, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    let head = flow.head();
    let other_key = other_half(key, head, flow.tail());
    let forward = if head.flags & flow_flags::REPLY != 0 {
        env.flow_remove(key);
        env.flow_remove(&other_key)
    } else {
        env.flow_remove(&other_key);
        env.flow_remove(key)
    };
    discharge(env, forward, head.owner, head.state);
}

/// Removes one half.
pub fn forget<E: Env>(env: &E, key: &FlowKeyOf<E>, head: &FlowHead) {
    let removed = env.flow_remove(key);
    discharge(
        env,
        removed && head.flags & flow_flags::REPLY == 0,
        head.owner,
        head.state,
    );
}

/// Counts a flow less, if its forward half was `removed`: by whoever removed it, and nobody else.
#[inline(always)]
fn discharge<E: Env>(env: &E, removed: bool, owner: u32, state: u8) {
    if removed && owner != NO_SLOT {
        let load = Load {
            flows: -1,
            half_open: -i32::from(is_half_open(state)),
            ..Load::default()
        };
        env.charge(owner, load);
    }
}

/// Removes every expired half, those that keep their tuples from others included, and flows of `pressed` that have been
/// half-open or closed for `patience` refreshes, if nobody has for as long; false if somebody has.
#[inline(never)]
fn reclaim<E: Env>(cx: &Cx<'_, E>, pressed: u32, patience: u32) -> bool {
    let (env, config, now) = (cx.env, cx.config, cx.arrival.now);
    let patience = config.refresh.wrapping_mul(patience);
    if !env.may_reclaim(patience, now) {
        return false;
    }
    env.each_flow(|key, flow| {
        let head = flow.head();
        let spare = is_half_open(head.state) || is_closed(head.state);
        let pressed = pressed != NO_SLOT && head.owner == pressed && spare;
        if is_collectable(config, key.proto, head, now) || (pressed && outlived(now, head.seen, patience)) {
            give_up(cx, key, flow);
            forget(env, key, head);
        }
    });
    true
}

/// Removes every expired half that keeps its tuple from nobody; how many there were.
pub fn reap<E: Env>(env: &E, config: &Config, now: u32) -> u32 {
    let mut reaped = 0_u32;
    env.each_flow(|key, flow| {
        let head = flow.head();
        if is_done(config, key.proto, head, now) {
            forget(env, key, head);
            reaped = reaped.wrapping_add(1);
        }
    });
    reaped
}

/// Ends a half: removes it, or if it stands for a container's port outside leaves it to keep that from others.
/// False if there is none.
pub fn end<E: Env>(env: &E, key: &FlowKeyOf<E>, half: &mut FlowOf<E>, now: u32) -> bool {
    if !env.flow(key, half) {
        return false;
    }
    if is_mapped(half.head()) {
        let over = Renewal {
            // Ended a tick ago, so that no packet finds it in this one.
            now: now.wrapping_sub(1),
            resolved: false,
            ask: false,
            state: FlowState::Ended,
        };
        return env.flow_renew(key, &over).is_some();
    }
    forget(env, key, half.head());
    true
}
