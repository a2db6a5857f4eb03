//! Endpoint-independent mappings: which port stands for a container's, whatever it talks to (RFC 4787, section 4.1).
//!
//! The table is a set of leases. A new one is claimed on its outer side first, with `BPF_NOEXIST`, which settles races. The
//! flows of a binding extend it while they live. A flow that closes gives it up if it has been the only one; another one may
//! live, and its container count on that port (RFC 5382 REQ-1: a hole is punched from the port of a connection that stands).

use crate::abi::{
    Addr, Binding, BindingHead, BindingKey, FlowHead, FlowKey, Load, NO_SLOT, Record, ZONE_UPLINK, flow_flags,
};

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

/// True if `owner` may have one more port: no more of them than flows.
#[inline(never)]
pub fn may_claim<E: Env>(cx: &Cx<'_, E>, owner: u32) -> bool {
    let has_room = || owner == NO_SLOT || cx.env.load_of(owner).ports < i64::from(cx.config.quota);
    has_room() || (reclaim(cx) && has_room())
}

/// Claims a port at `snat` for the source of `key` and its flow; [`Inserted::Exists`] if it is another container's, or was
/// until recently.
#[inline(never)]
pub fn claim<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowHead, snat: AddrOf<E>, port: [u8; 2]) -> Inserted {
    let outer = outer_key(snat, port, key.proto);
    let inner = named(&inner_key(key));
    let binding = Record::new(beginning(cx, key, flow), inner);
    let first = insert(cx, &outer, &binding);
    if first as u8 == Inserted::Yes as u8 || (first as u8 == Inserted::Full as u8 && !reclaim(cx)) {
        return first;
    }
    if let Some(standing) = cx.env.binding(&outer) {
        if *standing.tail() != inner && lasts(cx, &standing, cx.config.quarantine) {
            return Inserted::Exists;
        }
        remove(cx.env, &outer, u32::from(standing.head().owner));
    }
    insert(cx, &outer, &binding)
}

/// Adds the side outside, and counts it.
#[inline(always)]
fn insert<E: Env>(cx: &Cx<'_, E>, outer: &BindingKeyOf<E>, binding: &BindingOf<E>) -> Inserted {
    let inserted = cx.env.binding_insert(outer, binding);
    if inserted as u8 == Inserted::Yes as u8 {
        charge(cx.env, u32::from(binding.head().owner), 1);
    }
    inserted
}

/// Removes the side outside, and counts it off: by whoever removed it, and nobody else.
#[inline(always)]
fn remove<E: Env>(env: &E, outer: &BindingKeyOf<E>, owner: u32) {
    if env.binding_remove(outer) {
        charge(env, owner, -1);
    }
}

/// Counts ports of an owner; those of nobody are not.
#[inline(always)]
fn charge<E: Env>(env: &E, owner: u32, ports: i64) {
    let load = Load {
        ports,
        ..Load::default()
    };
    env.charge(owner, load);
}

/// Writes the container's side of a binding whose first flow has been created.
#[inline(never)]
pub fn bind<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowHead, snat: AddrOf<E>, port: [u8; 2]) {
    let inner = inner_key(key);
    let binding = Record::new(beginning(cx, key, flow), named(&outer_key(snat, port, key.proto)));
    cx.env.binding_remove(&inner);
    // A full table costs the flow's successors their port, and nothing else.
    let _full = cx.env.binding_insert(&inner, &binding);
}

/// Notes that the source of `key` has another flow through its binding, which lasts as long as that at least. Flows that follow
/// each other within a second write nothing.
#[inline(never)]
pub fn share<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowHead, snat: AddrOf<E>, port: [u8; 2]) {
    let (inner, outer) = (inner_key(key), outer_key(snat, port, key.proto));
    let Some(binding) = cx.env.binding(&inner) else {
        return;
    };
    let (head, until) = (*binding.head(), lasting(cx, key.proto, flow.state));
    if head.shared == 0 {
        cx.env.binding_share(&inner);
    }
    if until.wrapping_sub(head.until).cast_signed() > cx.config.refresh.cast_signed() {
        prolong(cx, &inner, &outer, until, false);
        prolong(cx, &outer, &inner, until, false);
    }
}

/// Gives a port up that was claimed in vain.
#[inline(always)]
pub fn release<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, owner: u32, snat: AddrOf<E>, port: [u8; 2]) {
    remove(cx.env, &outer_key(snat, port, key.proto), owner);
}

/// Until when a binding lasts whose flow is used now and in this state: a second longer than that, see [`share`].
fn lasting<E: Env>(cx: &Cx<'_, E>, protocol: u8, state: u8) -> u32 {
    let life = lifetime(&cx.config.timeouts, protocol, state);
    cx.arrival.now.wrapping_add(life).wrapping_add(cx.config.refresh)
}

/// A binding of this flow, and no other.
fn beginning<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowHead) -> BindingHead {
    BindingHead {
        until: lasting(cx, key.proto, flow.state),
        shared: 0,
        owner: (flow.owner & 0xffff) as u16,
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
    let over = is_over(head.state);
    if over && is_shared(cx, &inner) {
        return;
    }
    if is_closed(head.state) {
        // Nothing of a closed connection is on its way any more: its port need not be kept from others. One that was reset
        // may go on, if the RST was forged.
        end(cx.env, &inner, &outer);
        return;
    }
    let until = lasting(cx, key.proto, head.state);
    prolong(cx, &inner, &outer, until, over);
    prolong(cx, &outer, &inner, until, over);
}

/// Ends a binding with its only flow, whose forward half this is, and which makes room for another.
#[inline(never)]
pub fn give_up<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, flow: &FlowOf<E>) {
    let to = flow.tail();
    let (inner, outer) = (inner_key(key), outer_key(to.src, to.sport, key.proto));
    if !is_shared(cx, &inner) {
        end(cx.env, &inner, &outer);
    }
}

/// True if more flows than one went through a binding.
#[inline(always)]
fn is_shared<E: Env>(cx: &Cx<'_, E>, inner: &BindingKeyOf<E>) -> bool {
    cx.env.binding(inner).is_some_and(|binding| binding.head().shared != 0)
}

/// Removes both sides, if they still are each other's.
#[inline(always)]
fn end<E: Env>(env: &E, inner: &BindingKeyOf<E>, outer: &BindingKeyOf<E>) {
    if env.binding(inner).is_some_and(|side| *side.tail() == named(outer)) {
        env.binding_remove(inner);
    }
    if let Some(side) = env.binding(outer)
        && *side.tail() == named(inner)
    {
        remove(env, outer, u32::from(side.head().owner));
    }
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
        cx.env.binding_extend(side, until);
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
        if until.wrapping_sub(now).cast_signed() >= 0 {
            return;
        }
        if key.zone == ZONE_UPLINK.to_ne_bytes() {
            remove(env, key, u32::from(binding.head().owner));
        } else {
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
