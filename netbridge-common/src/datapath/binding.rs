//! Endpoint-independent mappings: which port stands for a container's, whatever it talks to (RFC 4787, section 4.1).
//!
//! The table is a set of leases. A new one is claimed on its outer side first, with `BPF_NOEXIST`, which settles races. The
//! flows of a binding extend it while they live. A flow that closes gives it up if it has been the only one; another one may
//! live, and its container count on that port (RFC 5382 REQ-1: a hole is punched from the port of a connection that stands).

use crate::abi::{Addr, Binding, BindingHead, BindingKey, FlowKey, FlowState, Record, ZONE_UPLINK, flow_flags};

use super::conntrack::Cx;
use super::env::{AddrOf, BindingKeyOf, BindingOf, Env, FlowKeyOf, FlowOf, Inserted};
use super::state::{is_closed, is_over, lifetime};

/// No port.
pub const UNBOUND: u32 = u32::MAX;

/// The side of a container.
fn inner_key<A: Addr>(key: &FlowKey<A>) -> BindingKey<A> {
    BindingKey {
        addr: key.src,
        port: key.sport,
        zone: key.zone,
        proto: key.proto,
        pad: [0],
        pad2: [0; 2],
    }
}

/// The side outside.
pub const fn outer_key<A: Addr>(addr: A, port: [u8; 2], proto: u8) -> BindingKey<A> {
    BindingKey {
        addr,
        port,
        zone: ZONE_UPLINK.to_ne_bytes(),
        proto,
        pad: [0],
        pad2: [0; 2],
    }
}

/// A side that is known by its key, as the other one names it.
fn named<A: Addr>(key: &BindingKey<A>) -> Binding<A> {
    Binding {
        addr: key.addr,
        port: key.port,
        zone: key.zone,
    }
}

/// True until `extra` ticks after the binding's end.
fn lasts<E: Env>(cx: &Cx<'_, E>, binding: &BindingOf<E>, extra: u32) -> bool {
    binding
        .head()
        .until
        .wrapping_add(extra)
        .wrapping_sub(cx.arrival.now)
        .cast_signed()
        >= 0
}

/// The port at `snat` that stands for the source of `key`, host order; or [`UNBOUND`].
#[inline(never)]
pub fn port<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>) -> u32 {
    match cx.env.binding(&inner_key(key)) {
        Some(binding) if lasts(cx, &binding, 0) && { binding.tail().addr } == snat => {
            u32::from(u16::from_be_bytes(binding.tail().port))
        }
        _ => UNBOUND,
    }
}

/// The address outside at which a port stands for the source of `key`; `none` if none does.
#[inline(never)]
pub fn address<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, none: AddrOf<E>) -> AddrOf<E> {
    match cx.env.binding(&inner_key(key)) {
        Some(binding) if lasts(cx, &binding, 0) => binding.tail().addr,
        _ => none,
    }
}

/// Claims a port at `snat` for the source of `key`; [`Inserted::Exists`] if it is another container's, or was until recently.
#[inline(never)]
pub fn claim<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>, port: [u8; 2]) -> Inserted {
    let outer = outer_key(snat, port, key.proto);
    let inner = named(&inner_key(key));
    let binding = Record::new(opening(cx, key), inner);
    let first = cx.env.binding_insert(&outer, &binding);
    if first as u8 == Inserted::Yes as u8 || (first as u8 == Inserted::Full as u8 && !reclaim(cx)) {
        return first;
    }
    if let Some(standing) = cx.env.binding(&outer) {
        if *standing.tail() != inner && lasts(cx, &standing, cx.config.quarantine) {
            return Inserted::Exists;
        }
        cx.env.binding_remove(&outer);
    }
    cx.env.binding_insert(&outer, &binding)
}

/// Writes the container's side of a binding whose first flow has been created.
#[inline(never)]
pub fn bind<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>, port: [u8; 2]) {
    let inner = inner_key(key);
    let binding = Record::new(opening(cx, key), named(&outer_key(snat, port, key.proto)));
    cx.env.binding_remove(&inner);
    // A full table costs the flow's successors their port, and nothing else.
    let _full = cx.env.binding_insert(&inner, &binding);
}

/// Notes that the source of `key` has another flow through its binding, which lasts as long as that at least. Flows that follow
/// each other within a second write nothing.
#[inline(never)]
pub fn share<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>, port: [u8; 2]) {
    let inner = inner_key(key);
    let Some(binding) = cx.env.binding(&inner) else {
        return;
    };
    let (head, wanted) = (*binding.head(), opening(cx, key).until);
    let suffices = wanted.wrapping_sub(head.until).cast_signed() <= cx.config.refresh.cast_signed();
    if suffices && head.shared != 0 {
        return;
    }
    let until = if suffices { head.until } else { wanted };
    cx.env.binding_renew(&inner, BindingHead { until, shared: 1 });
    prolong(cx, &outer_key(snat, port, key.proto), &inner, until, false);
}

/// Gives a port up that was claimed in vain.
#[inline(always)]
pub fn release<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>, port: [u8; 2]) {
    cx.env.binding_remove(&outer_key(snat, port, key.proto));
}

/// Until when a binding lasts whose flow is used now and in this state: a second longer than that, see [`share`].
fn lasting<E: Env>(cx: &Cx<'_, E>, protocol: u8, state: u8) -> u32 {
    let life = lifetime(&cx.config.timeouts, protocol, state);
    cx.arrival.now.wrapping_add(life).wrapping_add(cx.config.refresh)
}

/// A binding of a flow that is being opened, and no other.
fn opening<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>) -> BindingHead {
    BindingHead {
        until: lasting(cx, key.proto, FlowState::Opening as u8),
        shared: 0,
    }
}

/// Makes a binding last as long as this flow of its, or ends it with its only flow, if that has closed.
#[inline(never)]
pub fn extend<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    let (head, to) = (flow.head(), flow.tail());
    let (inner, outer) = if head.flags & flow_flags::REPLY == 0 {
        (inner_key(key), outer_key(to.src, to.sport, key.proto))
    } else {
        let source = FlowKey {
            src: to.dst,
            sport: to.dport,
            zone: head.peer_zone.to_ne_bytes(),
            ..*key
        };
        (inner_key(&source), outer_key(key.dst, key.dport, key.proto))
    };
    let (over, now) = (is_over(head.state), cx.arrival.now);
    if over && cx.env.binding(&inner).is_some_and(|binding| binding.head().shared != 0) {
        return;
    }
    let until = if is_closed(head.state) {
        // Nothing of a closed connection is on its way any more: its port need not be kept from others. One that was reset
        // may go on, if the RST was forged.
        now.wrapping_sub(cx.config.quarantine).wrapping_sub(1)
    } else {
        lasting(cx, key.proto, head.state)
    };
    prolong(cx, &inner, &outer, until, over);
    prolong(cx, &outer, &inner, until, over);
}

/// [`extend`] of the binding by which a container answers another one's, both at the host's address.
#[inline(never)]
pub fn extend_own<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    const ANSWERS: u8 = flow_flags::REPLY | flow_flags::SRC;
    let (head, to) = (flow.head(), flow.tail());
    if head.flags & ANSWERS != ANSWERS || is_over(head.state) {
        return;
    }
    let until = lasting(cx, key.proto, head.state);
    let (inner, outer) = (inner_key(key), outer_key(to.src, to.sport, key.proto));
    prolong(cx, &inner, &outer, until, false);
    prolong(cx, &outer, &inner, until, false);
}

/// Says until when one side of a binding lives, if the other is `of`.
#[inline(always)]
fn prolong<E: Env>(cx: &Cx<'_, E>, side: &BindingKeyOf<E>, of: &BindingKeyOf<E>, until: u32, over: bool) {
    if let Some(binding) = cx.env.binding(side)
        && *binding.tail() == named(of)
        && (over || until.wrapping_sub(binding.head().until).cast_signed() > 0)
    {
        let shared = binding.head().shared;
        cx.env.binding_renew(side, BindingHead { until, shared });
    }
}

/// Removes bindings that ended, and whose ports are kept from nobody; false if somebody did a moment ago.
#[inline(always)]
fn reclaim<E: Env>(cx: &Cx<'_, E>) -> bool {
    let due = cx.env.may_reclaim_bindings(cx.config.refresh, cx.arrival.now);
    if due {
        reap(cx.env, cx.config.quarantine, cx.arrival.now);
    }
    due
}

/// Removes bindings that ended more than `quarantine` ticks ago.
pub fn reap<E: Env>(env: &E, quarantine: u32, now: u32) {
    env.each_binding(|key, binding| {
        let until = binding.head().until.wrapping_add(quarantine);
        if until.wrapping_sub(now).cast_signed() < 0 {
            env.binding_remove(key);
        }
    });
}

/// The container behind a port outside, if anybody's packet may come to it: its side of a binding that lives.
#[inline(always)]
pub fn behind<E: Env>(cx: &Cx<'_, E>, addr: AddrOf<E>, port: [u8; 2], proto: u8) -> Option<BindingOf<E>> {
    let binding = cx.env.binding(&outer_key(addr, port, proto))?;
    lasts(cx, &binding, 0).then_some(binding)
}
