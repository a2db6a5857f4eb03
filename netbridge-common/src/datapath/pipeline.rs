//! The four ways a packet meets netbridge, from first byte to verdict, counted.

use bytemuck::Zeroable;

use crate::abi::{
    Addr, AddrKey, DropEvent, Family, Hook, NO_PATH, NO_SLOT, Reason, Record, SUBNET_LOCAL, ZONE_UPLINK, link_kind,
};

use super::answer::{self, Answer};
use super::bridge::{NO_STATION, bridged};
use super::conntrack::{Arrival, Cx, Work};
use super::env::{AddrOf, Env};
use super::filter::{self, Subject};
use super::fragments::{Datagram, Fragmented, judged};
use super::guard::{self, Guard};
use super::icmp::{Quote, Quoted};
use super::inbound::{self, Entry, inbound};
use super::limits;
use super::nat::Choice;
use super::parse::{Head, Kind, Packet, Parse, parse};
use super::route::routed;
use super::search::Search;
use super::verdict::{Action, Verdict};

/// A family that the whole pipeline can carry.
pub trait Internet: Parse + Guard + Quote + Answer + Fragmented {}

impl<A: Parse + Guard + Quote + Answer + Fragmented> Internet for A {}

/// Room for one packet and the work on it: more than a BPF stack holds, so the programs keep it in a
/// per-CPU map. What a run leaves there the next one overwrites.
#[repr(C)]
pub struct Scratch<F: Family> {
    /// The frame's first bytes.
    pub head: Head,
    /// The packet.
    pub packet: Packet<F::Addr>,
    /// What the decision produces.
    pub work: Work<F>,
}

impl<F: Family> Scratch<F> {
    /// Empty.
    pub fn new() -> Self {
        Self {
            head: Head::zeroed(),
            packet: Packet::EMPTY,
            work: Work {
                verdict: Verdict::pass(),
                half: F::Flow::zeroed(),
                other: F::Flow::zeroed(),
                standing: F::Flow::zeroed(),
                quoted: Quoted::EMPTY,
                choice: Choice::EMPTY,
                datagram: Datagram::EMPTY,
                entry: Entry::NONE,
                subject: Subject::EMPTY,
                search: Search::EMPTY,
                age: 0,
            },
        }
    }
}

impl<F: Family> Default for Scratch<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the hook's decision on the environment's frame; the answer is in `scratch.work.verdict`.
#[inline(always)]
pub fn run<E: Env>(env: &E, hook: Hook, scratch: &mut Scratch<E::F>)
where
    AddrOf<E>: Internet,
{
    let Scratch { head, packet, work } = scratch;
    work.verdict.reset();
    let Some(config) = env.config() else {
        // Nothing is known: a container's packets go nowhere, the host's are its own.
        if matches!(hook, Hook::FromContainer | Hook::ToContainer) {
            env.count_drop(NO_SLOT, Reason::UnknownLink);
            work.verdict.action = work.verdict.refuse(Reason::UnknownLink);
        }
        return;
    };
    // Most frames at the uplink need not even be read.
    if hook as u8 == Hook::ToUplink as u8 && is_judged(env) {
        return;
    }
    parse(env, hook, head, packet);
    let mut cx = Cx {
        env,
        config,
        packet,
        arrival: Arrival {
            hook,
            zone: ZONE_UPLINK,
            ifindex: env.ifindex(),
            slot: NO_SLOT,
            now: env.now(),
            generation: config.generation,
        },
    };
    let action = match hook {
        Hook::FromContainer => from_container(&mut cx, work),
        Hook::ToContainer => to_container(&mut cx, work),
        Hook::FromUplink => from_uplink(&mut cx, work),
        Hook::ToUplink => to_uplink(&mut cx, work),
    };
    let action = settle(&cx, hook, action, work);
    // A frame at the uplink is on its way out already.
    let leaves = hook as u8 == Hook::ToUplink as u8 && action as u8 != Action::Drop as u8;
    work.verdict.action = if leaves { Action::Pass } else { action };
}

/// A frame that a container sent.
#[inline(always)]
fn from_container<E: Env>(cx: &mut Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Internet,
{
    let Some(link) = cx.env.link(cx.arrival.ifindex) else {
        return work.verdict.refuse(Reason::UnknownLink);
    };
    let head = link.head();
    cx.enter(head.station.net);
    cx.arrival.slot = head.slot;
    cx.env.count_tx(head.slot, cx.env.frame_len());
    let known = cx
        .env
        .network(head.station.net)
        .filter(|network| network.head().bridge != 0 && head.kind != link_kind::UPLINK);
    let Some(network) = known else {
        return work.verdict.refuse(Reason::UnknownLink);
    };
    let reason = guard::check(cx, head, link.tail(), network.tail());
    if reason as u8 != Reason::None as u8 {
        return work.verdict.refuse(reason);
    }
    if head.kind == link_kind::TRUNK {
        let reason = limits::learn(cx, head);
        if reason as u8 != Reason::None as u8 {
            return work.verdict.refuse(reason);
        }
    }
    judged(cx, Hook::FromContainer, work, |cx, work| {
        if cx.packet.kind as u8 == Kind::Ip as u8 && cx.packet.to.is(network.head().gateway) {
            routed(cx, network.head(), network.tail(), work)
        } else {
            bridged(cx, work)
        }
    })
}

/// A frame that the host's stack or the kernel bridge hands to a container. Frames from its
/// neighbours were judged where they were sent; what the host routed in from elsewhere was not.
#[inline(always)]
fn to_container<E: Env>(cx: &mut Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let Some(link) = cx.env.link(cx.arrival.ifindex) else {
        return work.verdict.refuse(Reason::UnknownLink);
    };
    cx.enter(link.head().station.net);
    if cx.packet.kind as u8 == Kind::Faulty as u8 {
        return work.verdict.refuse(cx.packet.fault);
    }
    let ingress = cx.env.ingress_ifindex();
    // What the host routes bears the gateway's MAC, and comes from a neighbour by way of the bridge alone.
    let around = cx
        .env
        .network(link.head().station.net)
        .is_none_or(|network| cx.packet.from.is(network.head().gateway) && ingress != network.head().bridge);
    // What the host itself sends came in by no interface.
    let foreign = cx.packet.kind as u8 == Kind::Ip as u8
        && ingress != 0
        && (around
            || match cx.env.subnet(cx.packet.key.src) {
                Some(SUBNET_LOCAL) => false,
                Some(net) => net != u32::from(link.head().station.net),
                None => true,
            });
    if foreign {
        return work.verdict.refuse(Reason::DirectAccess);
    }
    cx.env.count_rx(link.head().slot, cx.env.frame_len());
    Action::Pass
}

/// A frame from the outside. What is not netbridge's is the host's: it passes.
#[inline(always)]
fn from_uplink<E: Env>(cx: &mut Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Internet,
{
    let Some(link) = cx.env.link(cx.arrival.ifindex) else {
        return Action::Pass;
    };
    cx.arrival.slot = link.head().slot;
    let action = match cx.packet.kind {
        Kind::Ip if guard::is_martian(cx.packet) => work.verdict.refuse(Reason::Martian),
        Kind::Ip if cx.packet.to.is(link.head().station) => {
            judged(cx, Hook::FromUplink, work, |cx, work| inbound(cx, link.tail(), work))
        }
        Kind::Faulty => inbound::faulty(cx, link.head(), link.tail(), work),
        _ => Action::Pass,
    };
    if action as u8 != Action::Pass as u8 {
        cx.env.count_tx(cx.arrival.slot, cx.env.frame_len());
    }
    action
}

/// Whether a frame that leaves by the uplink was judged before, or is the host's own: what
/// `from_container` redirected comes by with a container's interface as its ingress, what the stack
/// routed with the bridge.
#[inline(always)]
fn is_judged<E: Env>(env: &E) -> bool {
    let ingress = env.ingress_ifindex();
    ingress == 0
        || env
            .link(ingress)
            .is_some_and(|link| link.head().kind != link_kind::UPLINK)
}

/// A frame that the host's stack sends to the outside. Only a container's needs anything: one that
/// took the slow path leaves masqueraded or not at all.
#[inline(always)]
fn to_uplink<E: Env>(cx: &mut Cx<'_, E>, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Internet,
{
    if cx.packet.kind as u8 == Kind::Faulty as u8 {
        return leaves_faulty(cx, work);
    }
    if cx.packet.kind as u8 != Kind::Ip as u8 {
        return Action::Pass;
    }
    let net = cx.env.subnet(cx.packet.key.src).unwrap_or(SUBNET_LOCAL);
    if net == SUBNET_LOCAL {
        return Action::Pass;
    }
    cx.enter((net & 0xffff) as u16);
    let key = AddrKey {
        addr: cx.packet.key.src,
        net: cx.arrival.zone.to_ne_bytes(),
        pad: [0; 2],
    };
    let sender = cx.env.address(&key).unwrap_or(NO_STATION);
    cx.arrival.ifindex = sender.ifindex;
    cx.arrival.slot = sender.slot;
    match cx.env.network(cx.arrival.zone) {
        Some(network) if network.head().uplink != 0 && network.head().uplink != cx.env.ifindex() => {
            work.verdict.refuse(Reason::OffUplink)
        }
        Some(network) if network.head().bridge == cx.env.ingress_ifindex() => {
            judged(cx, Hook::ToUplink, work, |cx, work| {
                routed(cx, network.head(), network.tail(), work)
            })
        }
        Some(network) if network.head().bridge != 0 => work.verdict.refuse(Reason::SpoofedIp),
        _ => work.verdict.refuse(Reason::UnknownLink),
    }
}

/// A frame with a fault on its way out: nothing but a container's source address is netbridge's, and that must not leave
/// as it is. A function of its own in the object: few frames come here.
#[inline(never)]
fn leaves_faulty<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let net = cx.env.subnet(cx.packet.key.src).unwrap_or(SUBNET_LOCAL);
    let ours = cx.packet.is_ip() && net != SUBNET_LOCAL;
    work.verdict.refuse(if ours { cx.packet.fault } else { Reason::None })
}

/// Counts what became of the packet, reports a drop, and makes the answer to it if there is to be one. `hook` is that of its
/// arrival, as for [`judged`].
#[inline(always)]
pub(crate) fn settle<E: Env>(cx: &Cx<'_, E>, hook: Hook, action: Action, work: &mut Work<E::F>) -> Action
where
    AddrOf<E>: Answer,
{
    if work.verdict.path != NO_PATH {
        cx.env
            .count_path(filter::bank(cx), work.verdict.path, filter::length(cx));
    }
    let dropped = match action {
        Action::Pass => return action,
        Action::Answer if hook.is_entry() => answer::make(cx, &mut work.verdict),
        // What the stack has routed is not what its sender sent, and who that is the frame does not tell any more.
        Action::Drop | Action::Answer => Action::Drop,
        Action::Peer | Action::Redirect | Action::Neigh => {
            if work.verdict.slot != NO_SLOT {
                cx.env.count_rx(work.verdict.slot, cx.env.frame_len());
            }
            return action;
        }
    };
    if dropped as u8 != Action::Pass as u8 {
        count_dropped(cx, work.verdict.reason, work.verdict.path);
    }
    dropped
}

/// Counts and reports a drop. A function of its own in the object: its stack is not the fast path's.
#[inline(never)]
fn count_dropped<E: Env>(cx: &Cx<'_, E>, reason: Reason, path: u32) {
    cx.env.count_drop(cx.arrival.slot, reason);
    // What is dropped for another reason may have passed the rules before.
    let by_rules = reason as u8 == Reason::Filtered as u8 || reason as u8 == Reason::Rejected as u8;
    report(cx, reason, if by_rules { path } else { NO_PATH });
}

/// Reports a packet for the rules that ask for it. A function of its own in the object.
#[inline(never)]
pub(super) fn report_logged<E: Env>(cx: &Cx<'_, E>, search: &Search) {
    for (place, _) in search.logged.iter().zip(0..search.logs) {
        report(cx, Reason::None, *place);
    }
}

/// Reports a packet that was dropped for a reason, by a path of the rules if these did it, or that a place of them asks to be
/// told about.
#[inline(never)]
fn report<E: Env>(cx: &Cx<'_, E>, reason: Reason, path: u32) {
    if !cx.env.may_report(cx.arrival.now, cx.config.events_per_tick) {
        return;
    }
    let packet = &*cx.packet;
    cx.env.report(&DropEvent {
        seen: cx.arrival.now,
        ifindex: cx.env.ifindex(),
        len: cx.env.frame_len(),
        reason: reason as u8,
        hook: cx.arrival.hook as u8,
        proto: packet.key.proto,
        family: if packet.is_ip() { <E::F as Family>::VERSION } else { 0 },
        src: packet.key.src.widen(),
        dst: packet.key.dst.widen(),
        sport: packet.key.sport,
        dport: packet.key.dport,
        smac: packet.from.mac,
        ethertype: packet.ethertype,
        path,
        generation: cx.arrival.generation,
    });
}
