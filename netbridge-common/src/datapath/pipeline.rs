//! The four ways a packet meets netbridge, from first byte to verdict, counted.

use bytemuck::Zeroable;

use crate::abi::{
    Addr, AddrKey, Config, DropEvent, Family, Hook, NO_SLOT, Reason, Record, SUBNET_LOCAL, ZONE_UPLINK, link_kind,
};

use super::bridge::{NO_STATION, bridged};
use super::conntrack::{Arrival, Cx, Work};
use super::env::{AddrOf, Env};
use super::guard::{self, Guard};
use super::icmp::Quote;
use super::inbound::inbound;
use super::parse::{Kind, Packet, Parse, parse};
use super::route::routed;
use super::verdict::{Action, Verdict};

/// A family that the whole pipeline can carry.
pub trait Internet: Parse + Guard + Quote {}

impl<A: Parse + Guard + Quote> Internet for A {}

/// Room for one packet and the work on it: more than a BPF stack holds, so the programs keep it in a
/// per-CPU map. What a run leaves there the next one overwrites.
#[repr(C)]
pub struct Scratch<F: Family> {
    /// The packet.
    pub packet: Packet<F::Addr>,
    /// What the decision produces.
    pub work: Work<F>,
}

impl<F: Family> Scratch<F> {
    /// Empty.
    pub fn new() -> Self {
        Self {
            packet: Packet::EMPTY,
            work: Work {
                verdict: Verdict::pass(),
                half: F::Flow::zeroed(),
                other: F::Flow::zeroed(),
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
    let Scratch { packet, work } = scratch;
    work.verdict = Verdict::pass();
    let arrival = Arrival {
        hook,
        zone: ZONE_UPLINK,
        ifindex: env.ifindex(),
        slot: NO_SLOT,
        now: env.now(),
    };
    let action = match (env.config(), hook) {
        (Some(config), Hook::FromContainer) => from_container(env, config, arrival, packet, work),
        (Some(config), Hook::ToContainer) => to_container(env, config, arrival, packet, work),
        (Some(config), Hook::FromUplink) => from_uplink(env, config, arrival, packet, work),
        (Some(config), Hook::ToUplink) => to_uplink(env, config, arrival, packet, work),
        // Nothing is known: a container's packets go nowhere, the host's are its own.
        (None, Hook::FromContainer | Hook::ToContainer) => {
            env.count_drop(NO_SLOT, Reason::UnknownLink);
            work.verdict.refuse(Reason::UnknownLink)
        }
        (None, Hook::FromUplink | Hook::ToUplink) => Action::Pass,
    };
    work.verdict.action = action;
}

/// A frame that a container sent.
#[inline(always)]
fn from_container<E: Env>(
    env: &E,
    config: &Config,
    mut arrival: Arrival,
    packet: &mut Packet<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action
where
    AddrOf<E>: Internet,
{
    parse(env, packet);
    let Some(link) = env.link(arrival.ifindex) else {
        return settle(
            &Cx {
                env,
                config,
                packet,
                arrival,
            },
            Action::Drop,
            Reason::UnknownLink,
            work,
        );
    };
    let head = link.head();
    arrival.zone = head.net;
    arrival.slot = head.slot;
    env.count_tx(head.slot, env.frame_len());
    let cx = Cx {
        env,
        config,
        packet,
        arrival,
    };
    let known = env
        .network(head.net)
        .filter(|network| network.head().bridge != 0 && head.kind != link_kind::UPLINK);
    let Some(network) = known else {
        return settle(&cx, Action::Drop, Reason::UnknownLink, work);
    };
    let reason = guard::check(&cx, head, link.tail(), network.tail());
    if reason as u8 != Reason::None as u8 {
        return settle(&cx, Action::Drop, reason, work);
    }
    if head.kind == link_kind::TRUNK {
        guard::learn(&cx, head);
    }
    let action = if packet.kind as u8 == Kind::Ip as u8 && packet.dmac == network.head().mac {
        routed(&cx, network.head(), network.tail(), work)
    } else {
        bridged(&cx, work)
    };
    let reason = work.verdict.reason;
    settle(&cx, action, reason, work)
}

/// A frame that the host's stack or the kernel bridge hands to a container. Frames from its
/// neighbours were judged where they were sent; what the host routed in from elsewhere was not.
#[inline(always)]
fn to_container<E: Env>(
    env: &E,
    config: &Config,
    mut arrival: Arrival,
    packet: &mut Packet<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action
where
    AddrOf<E>: Internet,
{
    parse(env, packet);
    let Some(link) = env.link(arrival.ifindex) else {
        return settle(
            &Cx {
                env,
                config,
                packet,
                arrival,
            },
            Action::Drop,
            Reason::UnknownLink,
            work,
        );
    };
    arrival.zone = link.head().net;
    if packet.kind as u8 == Kind::Malformed as u8 {
        // Whose it is cannot be told.
        return settle(
            &Cx {
                env,
                config,
                packet,
                arrival,
            },
            Action::Drop,
            Reason::Malformed,
            work,
        );
    }
    // What the host itself sends came in by no interface.
    let foreign = packet.kind as u8 == Kind::Ip as u8
        && env.ingress_ifindex() != 0
        && match env.subnet(packet.src) {
            Some(SUBNET_LOCAL) => false,
            Some(net) => net != u32::from(link.head().net),
            None => true,
        };
    if foreign {
        return settle(
            &Cx {
                env,
                config,
                packet,
                arrival,
            },
            Action::Drop,
            Reason::DirectAccess,
            work,
        );
    }
    env.count_rx(link.head().slot, env.frame_len());
    Action::Pass
}

/// A frame from the outside. What is not netbridge's is the host's: it passes.
#[inline(always)]
fn from_uplink<E: Env>(
    env: &E,
    config: &Config,
    mut arrival: Arrival,
    packet: &mut Packet<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action
where
    AddrOf<E>: Internet,
{
    parse(env, packet);
    let Some(link) = env.link(arrival.ifindex) else {
        return Action::Pass;
    };
    if packet.kind as u8 != Kind::Ip as u8 || packet.dmac != link.head().mac {
        return Action::Pass;
    }
    arrival.slot = link.head().slot;
    let cx = Cx {
        env,
        config,
        packet,
        arrival,
    };
    let action = inbound(&cx, link.head(), link.tail(), work);
    if action as u8 == Action::Pass as u8 {
        return action;
    }
    env.count_tx(arrival.slot, env.frame_len());
    let reason = work.verdict.reason;
    settle(&cx, action, reason, work)
}

/// A frame that the host's stack sends to the outside. Only a container's needs anything: one that
/// took the slow path leaves masqueraded or not at all.
#[inline(always)]
fn to_uplink<E: Env>(
    env: &E,
    config: &Config,
    mut arrival: Arrival,
    packet: &mut Packet<AddrOf<E>>,
    work: &mut Work<E::F>,
) -> Action
where
    AddrOf<E>: Internet,
{
    // What `from_container` redirected comes by here once more; its ingress interface is a
    // container's, that of a packet routed by the stack is the bridge.
    let ingress = env.ingress_ifindex();
    if ingress == 0
        || env
            .link(ingress)
            .is_some_and(|link| link.head().kind != link_kind::UPLINK)
    {
        return Action::Pass;
    }
    parse(env, packet);
    if packet.kind as u8 != Kind::Ip as u8 {
        return Action::Pass;
    }
    let net = env.subnet(packet.src).unwrap_or(SUBNET_LOCAL);
    if net == SUBNET_LOCAL {
        return Action::Pass;
    }
    arrival.zone = (net & 0xffff) as u16;
    let key = AddrKey {
        addr: packet.src,
        net: arrival.zone.to_ne_bytes(),
        pad: [0; 2],
    };
    let sender = env.address(&key).unwrap_or(NO_STATION);
    arrival.ifindex = sender.ifindex;
    arrival.slot = sender.slot;
    let cx = Cx {
        env,
        config,
        packet,
        arrival,
    };
    let action = match env.network(arrival.zone) {
        Some(network) if network.head().uplink != 0 && network.head().uplink != env.ifindex() => {
            work.verdict.refuse(Reason::OffUplink)
        }
        Some(network) if network.head().bridge != 0 => routed(&cx, network.head(), network.tail(), work),
        _ => work.verdict.refuse(Reason::UnknownLink),
    };
    let reason = work.verdict.reason;
    let action = settle(&cx, action, reason, work);
    // The frame is on its way out already.
    if action as u8 == Action::Drop as u8 {
        action
    } else {
        Action::Pass
    }
}

/// Counts what became of the packet, and reports a drop.
#[inline(always)]
fn settle<E: Env>(cx: &Cx<'_, E>, action: Action, reason: Reason, work: &mut Work<E::F>) -> Action {
    if action as u8 == Action::Drop as u8 {
        work.verdict.reason = reason;
        dropped(cx, reason);
    } else if action as u8 != Action::Pass as u8 && work.verdict.slot != NO_SLOT {
        cx.env.count_rx(work.verdict.slot, cx.env.frame_len());
    }
    action
}

/// Counts and reports a drop. A function of its own in the object: its stack is not the fast path's.
#[inline(never)]
fn dropped<E: Env>(cx: &Cx<'_, E>, reason: Reason) {
    cx.env.count_drop(cx.arrival.slot, reason);
    if !cx.env.may_report(cx.arrival.now, cx.config.events_per_tick) {
        return;
    }
    let packet = cx.packet;
    let ip = packet.kind as u8 == Kind::Ip as u8;
    cx.env.report(&DropEvent {
        seen: cx.arrival.now,
        ifindex: cx.env.ifindex(),
        len: cx.env.frame_len(),
        reason: reason as u8,
        hook: cx.arrival.hook as u8,
        proto: packet.proto,
        family: if ip { <E::F as Family>::VERSION } else { 0 },
        src: packet.src.widen(),
        dst: packet.dst.widen(),
        sport: packet.sport,
        dport: packet.dport,
        smac: packet.smac,
        ethertype: packet.ethertype,
    });
}
