//! Flows: found, kept alive, re-judged, followed.
//!
//! A flow is two entries, one per direction, each keyed by the tuple as it arrives and holding the
//! finished action. [`super::flows`] adds and removes them, [`super::state`] says how long they live.
//!
//! Longer than other files: the way of a tracked packet is cut into functions by the stack they need, and is read as one.

use crate::abi::{
    Addr, Config, CtState, Family, FlowHead, FlowKey, FlowState, Hook, Load, MacKey, NO_SLOT, Nat, Reason, Record,
    ZONE_UPLINK, flow_action, flow_flags, network_flags, proto,
};
use crate::wire::{icmp, tcp};

use super::binding;
use super::env::{AddrOf, Env, FlowKeyOf, FlowOf, HopKind, Renewal};
use super::filter::{self, Subject};
use super::flows;
use super::fragments::Datagram;
use super::icmp::Quoted;
use super::inbound::Entry;
use super::nat::Choice;
use super::parse::{Fragment, Packet};
use super::search::Search;
use super::state::{self, is_expired};
use super::verdict::{Action, Verdict};

/// Where and when a packet arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The program that saw it.
    pub hook: Hook,
    /// The network it comes from, [`crate::abi::ZONE_UPLINK`] from the outside.
    pub zone: u16,
    /// The interface it came in by, 0 if unknown.
    pub ifindex: u32,
    /// The sender's traffic slot, or [`NO_SLOT`].
    pub slot: u32,
    /// Ticks.
    pub now: u32,
    /// [`Config::generation`], read once: the controller may raise it at any moment, and a verdict of the old
    /// filter that is kept as one of the new would hold for good.
    pub generation: u32,
}

/// A packet where it arrived, and the world to judge it by.
pub struct Cx<'a, E: Env> {
    /// The environment.
    pub env: &'a E,
    /// The configuration.
    pub config: &'a Config,
    /// The packet.
    pub packet: &'a mut Packet<AddrOf<E>>,
    /// Where and when it arrived.
    pub arrival: Arrival,
}

impl<E: Env> Cx<'_, E> {
    /// Tells the zone that the packet comes from.
    pub fn enter(&mut self, zone: u16) {
        self.arrival.zone = zone;
        self.packet.key.zone = zone.to_ne_bytes();
        self.packet.to.net = zone;
        self.packet.from.net = zone;
    }
}

/// Room for what a decision produces; a BPF stack is too small for it.
#[repr(C)]
pub struct Work<F: Family> {
    /// What becomes of the packet.
    pub verdict: Verdict<F::Addr>,
    /// The half that the packet hit, or the one it opens.
    pub half: F::Flow,
    /// The half of the answers.
    pub other: F::Flow,
    /// What stands where a half was to be inserted.
    pub standing: F::Flow,
    /// What an ICMP error quotes.
    pub quoted: Quoted<F::Addr>,
    /// The source port under trial.
    pub choice: Choice,
    /// The datagram of a fragment.
    pub datagram: Datagram<F::Addr>,
    /// By what a packet comes to a container's port.
    pub entry: Entry,
    /// What the filter is asked about.
    pub subject: Subject<F::Addr>,
    /// The search for the filter's word, and what it has come to.
    pub search: Search,
    /// What the times of `half` say, as bits; zero before they are looked at.
    pub age: u32,
}

/// Copies the live flow of a key to `into`. An expired entry is none, whether or not anything
/// collects it.
#[inline(always)]
pub fn find<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, into: &mut FlowOf<E>) -> bool {
    cx.env.flow(key, into) && !is_expired(cx.config, key.proto, into.head(), cx.arrival.now)
}

/// True if the packet opens a connection where one that is over still stands, in the same direction, or between neighbours one
/// that was taken up in the middle on a segment's word alone: it is a new flow, and the filter must see it as one. Else the
/// answering side cannot end a flow this way.
const fn restarts<A: Addr>(packet: &Packet<A>, head: &FlowHead) -> bool {
    let over = state::is_over(head.state) && head.flags & flow_flags::REPLY == 0;
    is_opening(packet) && (over || head.flags & flow_flags::MIDST != 0)
}

/// True if the packet may open a flow: any but an ICMP message that is no query, a later fragment and a TCP segment of a
/// connection that is not known, unless the flow table was lost a short while ago and such segments are taken up again.
pub const fn may_open<E: Env>(cx: &Cx<'_, E>) -> bool {
    match cx.packet.key.proto {
        _ if cx.packet.fragment as u8 == Fragment::Rest as u8 => false,
        proto::TCP => is_opening(cx.packet) || picks_up(cx.config, cx.packet.tcp, cx.arrival.now),
        _ => !cx.packet.is_icmp() || icmp::is_query(cx.packet.key.icmp),
    }
}

/// The state of a packet between neighbours that has no flow. What is taken up in the middle was established before:
/// without a filter such connections are not tracked, and the first filter must not cut them.
pub const fn opening_state<E: Env>(cx: &Cx<'_, E>) -> u8 {
    if !may_open(cx) {
        CtState::INVALID
    } else if cx.packet.key.proto == proto::TCP && !is_opening(cx.packet) {
        CtState::ESTABLISHED
    } else {
        CtState::NEW
    }
}

/// True if a segment in the middle of a connection opens a flow now.
const fn picks_up(config: &Config, segment: u8, now: u32) -> bool {
    config.pickup_until != 0
        && segment & (tcp::SYN | tcp::RST | tcp::FIN) == 0
        && config.pickup_until.wrapping_sub(now).cast_signed() > 0
}

/// True for a TCP segment that opens a connection.
pub const fn is_opening<A: Addr>(packet: &Packet<A>) -> bool {
    packet.key.proto == proto::TCP && packet.tcp & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
}

/// The ICMP type of the other direction; 0 for other protocols.
pub const fn reply_type(protocol: u8, icmp_type: u8) -> u8 {
    if protocol == proto::ICMP {
        icmp::counterpart(icmp_type)
    } else {
        0
    }
}

/// The key of the other half: the tuple as it leaves, reversed.
pub fn other_half<A: Addr>(key: &FlowKey<A>, head: &FlowHead, to: &Nat<A>) -> FlowKey<A> {
    FlowKey {
        src: to.dst,
        dst: to.src,
        sport: to.dport,
        dport: to.sport,
        zone: head.peer_zone.to_ne_bytes(),
        proto: key.proto,
        icmp: reply_type(key.proto, key.icmp),
    }
}

/// The tuple of a key, unchanged.
pub fn untranslated<A: Addr>(key: &FlowKey<A>) -> Nat<A> {
    Nat {
        src: key.src,
        dst: key.dst,
        sport: key.sport,
        dport: key.dport,
    }
}

/// The tuple of the packets that answer a key's, unchanged.
pub fn answer<A: Addr>(key: &FlowKey<A>) -> Nat<A> {
    Nat {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
    }
}

/// A half's head before anything is known but the packet that opens its flow, which is on the quota of `owner`, and what
/// the filter has said of it.
pub fn new_head<E: Env>(cx: &Cx<'_, E>, owner: u32, search: &Search) -> FlowHead {
    // What is taken up in the middle was established before.
    let midst = cx.packet.key.proto == proto::TCP && !is_opening(cx.packet);
    FlowHead {
        epoch: search.epoch(cx.arrival.generation),
        seen: cx.arrival.now,
        resolved: cx.arrival.now,
        ifindex: 0,
        slot: NO_SLOT,
        dmac: [0; 6],
        smac: [0; 6],
        action: flow_action::DELIVER,
        flags: 0,
        state: if midst {
            FlowState::Established as u8
        } else {
            FlowState::Opening as u8
        },
        reason: Reason::None as u8,
        peer_zone: 0,
        mtu: 0,
        owner,
        path: search.path,
    }
}

/// The same for the half of the answers. They are asked about when they come, if there is anybody to ask.
pub fn new_reply<E: Env>(cx: &Cx<'_, E>, owner: u32) -> FlowHead {
    let mut head = new_head(cx, owner, &Search::EMPTY);
    head.flags = flow_flags::ROUTED | flow_flags::REPLY;
    if filter::is_active(cx) {
        head.epoch = 0;
    }
    head
}

/// The state of a tracked packet, whose flow is only looked at.
#[inline(always)]
pub fn state_of<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> u8 {
    if find(cx, &cx.packet.key, &mut work.half) && !restarts(cx.packet, work.half.head()) {
        state::named(work.half.head())
    } else {
        opening_state(cx)
    }
}

/// Fills in what the filter sees of a packet of `work.half`: after DNAT, before SNAT.
#[inline(always)]
fn subject<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) {
    let Work { half, subject, .. } = work;
    let (head, to) = (half.head(), half.tail());
    *subject = Subject::of(cx, state::named(head)).to(head.ifindex, head.peer_zone);
    subject.dst = to.dst;
    if cx.packet.has_ports() {
        subject.dport = u16::from_be_bytes(to.dport).into();
    }
}

/// What becomes of a tracked packet whose flow exists; none if there is none, or if the packet opens another in its
/// place.
#[inline(always)]
pub fn known<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Option<Action> {
    let key = &cx.packet.key;
    if !find(cx, key, &mut work.half) {
        return None;
    }
    let head = work.half.head();
    if restarts(cx.packet, head) || state::awaits(head) {
        return anew(cx, work);
    }
    Some(established(cx, key, work))
}

/// Removes the flow of `work.half`, so that the packet opens another, unless it waits and was looked at a moment ago: later the
/// port may be open to everybody, or a program's of the host's.
#[inline(never)]
fn anew<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Option<Action> {
    let head = work.half.head();
    if state::awaits(head) && cx.arrival.now.wrapping_sub(head.seen) < cx.config.refresh {
        return Some(work.verdict.refuse(Reason::Unsolicited));
    }
    flows::remove(cx.env, &cx.packet.key, &work.half);
    None
}

/// A packet of a flow that exists: state, refresh, filter where the cached answer is stale, action.
#[inline(always)]
fn established<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Action {
    let head = work.half.head();
    let now = cx.arrival.now;
    if head.reason != Reason::None as u8 && head.epoch == cx.arrival.generation {
        // Its record goes stale, and is not written for every packet.
        work.verdict.path = head.path;
        return work.verdict.refuse(Reason::Filtered);
    }
    // Without connections the first answer changes something, and what the side that asked sends next.
    let answers = head.flags & flow_flags::REPLY != 0;
    let unsettled = head.state != FlowState::Established as u8
        && (cx.packet.tcp != 0 || answers == (head.state == FlowState::Opening as u8));
    let due = unsettled
        || cx.packet.tcp & (tcp::FIN | tcp::RST) != 0
        || now.wrapping_sub(head.seen) >= cx.config.refresh
        || head.epoch != cx.arrival.generation
        || (head.flags & flow_flags::ROUTED != 0 && now.wrapping_sub(head.resolved) >= cx.config.refresh);
    if due {
        return renewed(cx, key, work);
    }
    work.verdict.path = head.path;
    follow(cx, work)
}

/// [`established`] where the flow's record may change: about once a second. A function of its own in
/// the object, as are those it calls: its stack is not the fast path's.
#[inline(never)]
fn renewed<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Action {
    let now = cx.arrival.now;
    let head = work.half.head();
    let (old, flags, asks) = (head.state, head.flags, head.epoch != cx.arrival.generation);
    work.age = age(cx, head);
    let way = if work.age & STALE == 0 {
        Way::Same
    } else {
        resolve(cx, key, work)
    };
    if way as u8 == Way::Gone as u8 {
        flows::remove(cx.env, key, &work.half);
        return work.verdict.refuse(Reason::AddressGone);
    }
    let mut rewritten = way as u8 == Way::Moved as u8;
    if asks {
        let before = answered(work.half.head());
        let action = judge(cx, work);
        // What must be asked every time is not written every time.
        rewritten |= answered(work.half.head()) != before;
        if action as u8 != Action::Pass as u8 {
            // A dropped packet keeps nothing alive, and is no answer.
            if rewritten {
                cx.env.flow_update(key, &work.half);
            }
            return action;
        }
    } else {
        work.verdict.path = work.half.head().path;
    }
    let state = advanced(cx, state::of(old), flags, work.age);
    // An RST that says nothing new keeps nothing alive, nor does somebody outside whom nobody answers (RFC 7857, section 7),
    // and what was kept alive a moment ago need not be again.
    let idle = state as u8 == old
        && (cx.packet.tcp & tcp::RST != 0
            || work.age & FRESH != 0
            || (cx.arrival.zone == ZONE_UPLINK && flags & flow_flags::REPLY == 0 && old == FlowState::Opening as u8));
    let mut alive = true;
    if !idle {
        let head = work.half.head_mut();
        head.seen = now;
        head.state = state as u8;
        alive = renew_both(cx, key, work, old);
    }
    if rewritten && alive {
        cx.env.flow_update(key, &work.half);
    }
    follow(cx, work)
}

/// The filter's answer that a half keeps, and for which of its rules that is.
const fn answered(head: &FlowHead) -> (u32, u32, u8) {
    (head.epoch, head.path, head.reason)
}

/// Its way was looked up, or its sender closed, not just now.
const LATE: u32 = 1;
/// Its way is to be looked up.
const STALE: u32 = 2;
/// It was used just now, by either side, and is not stale.
const FRESH: u32 = 4;
/// `resolved` is to be now.
const STAMPED: u32 = 8;

/// What the times of a half say, as bits: one word, and in [`Work`], where the verifier forgets which way it came to be.
#[inline(never)]
fn age<E: Env>(cx: &Cx<'_, E>, head: &FlowHead) -> u32 {
    let since = |then: u32| cx.arrival.now.wrapping_sub(then);
    let late = since(head.resolved) >= cx.config.refresh;
    let recent = since(head.seen) < cx.config.refresh;
    // Of who has closed, `resolved` says when; the way is then looked up as often as the record is renewed.
    let closed = state::has_closed(head.state, head.flags & flow_flags::REPLY != 0);
    let stale = late && head.flags & flow_flags::ROUTED != 0 && !(closed && recent);
    let stamped = cx.packet.tcp & tcp::FIN != 0 || (stale && !closed);
    let bit = |set: bool, bit: u32| if set { bit } else { 0 };
    bit(late, LATE) | bit(stale, STALE) | bit(recent && !stale, FRESH) | bit(stamped, STAMPED)
}

/// Asks the filter about a packet of `work.half`, and keeps its answer; [`Action::Pass`] if it may pass.
#[inline(never)]
pub(super) fn judge<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    subject(cx, work);
    let action = filter::asked(cx, work);
    let head = work.half.head_mut();
    head.reason = work.verdict.reason as u8;
    head.epoch = work.search.epoch(cx.arrival.generation);
    head.path = work.search.path;
    action
}

/// The state after this packet of a flow that was in `state`, and whose half is of that [`age`]. Later fragments change none.
#[inline(never)]
fn advanced<E: Env>(cx: &Cx<'_, E>, state: FlowState, flags: u8, age: u32) -> FlowState {
    let packet = &*cx.packet;
    if packet.fragment as u8 == Fragment::Rest as u8 {
        return state;
    }
    // What comes at once after a FIN may be what was lost before it, and was sent again.
    let payload = age & LATE != 0 && packet.l4.wrapping_add(packet.l4_len) < packet.end;
    let (reply, outside) = (flags & flow_flags::REPLY != 0, cx.arrival.zone == ZONE_UPLINK);
    state::next(state, reply, outside, packet.tcp, payload)
}

/// Carries use and state over to both entries of a flow that was in state `old`, so that they expire together, and what
/// `work.age` says of its way. False if the flow is gone.
#[inline(never)]
fn renew_both<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>, old: u8) -> bool {
    let head = work.half.head();
    let (flags, owner) = (head.flags, head.owner);
    let other_key = other_half(key, head, work.half.tail());
    let first_answer = old == FlowState::Opening as u8 && flags & flow_flags::REPLY != 0;
    let mut renewal = Renewal {
        now: cx.arrival.now,
        resolved: false,
        // The side that asked is part of an established flow now.
        ask: first_answer && filter::is_active(cx),
        state: state::of(head.state),
    };
    let Some(before) = cx.env.flow_renew(&other_key, &renewal) else {
        flows::forget(cx.env, key, head);
        return false;
    };
    if before != old {
        // Another CPU was here between: what it saw counts too.
        renewal.state = advanced(cx, state::of(before), flags, 0);
        work.half.head_mut().state = renewal.state as u8;
        let _same = cx.env.flow_renew(&other_key, &renewal);
    }
    if renewal.state as u8 == FlowState::Ended as u8 {
        // It is counted as what it was.
        work.half.head_mut().state = old;
        flows::remove(cx.env, key, &work.half);
        return false;
    }
    // By the one that found it half-open, of those that come at the same moment.
    if state::is_half_open(before) && !state::is_half_open(renewal.state as u8) {
        let settled = Load {
            half_open: -1,
            ..Load::default()
        };
        cx.env.charge(owner, settled);
    }
    renewal.ask = false;
    renewal.resolved = work.age & STAMPED != 0;
    let alive = cx.env.flow_renew(key, &renewal).is_some();
    // A connection that was over has given its port up, which may be another one's of the same container by now.
    let over = state::is_over(old) && state::is_over(renewal.state as u8);
    if flags & flow_flags::BOUND != 0 && !over {
        binding::extend(cx, key, &work.half);
        binding::extend_own(cx, key, &work.half);
    }
    alive
}

/// What became of a flow's way.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Way {
    /// It is as it was.
    Same = 0,
    /// It is another.
    Moved = 1,
    /// There is none: the host has lost the address that the flow goes by.
    Gone = 2,
}

/// Looks again for the next hop, or for the station behind a trunk, once a second.
#[inline(never)]
fn resolve<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, work: &mut Work<E::F>) -> Way {
    let to = *work.half.tail();
    let head = work.half.head_mut();
    let (ifindex, slot, dmac, smac) = (head.ifindex, head.slot, head.dmac, head.smac);
    head.resolved = cx.arrival.now;
    if head.action == flow_action::UPLINK {
        let (bridge, flags) = cx
            .env
            .network(cx.arrival.zone)
            .map_or((0, 0), |network| (network.head().bridge, network.head().flags));
        let hop = cx.env.next_hop(key.src, key.dst, bridge);
        let usable = hop.kind as u8 == HopKind::Resolved as u8 && hop.ifindex == head.ifindex;
        head.dmac = if usable { hop.dmac } else { [0; 6] };
        head.smac = if usable { hop.smac } else { [0; 6] };
        let src = to.src;
        let other = hop.src != Addr::UNSPECIFIED
            && hop.src != src
            && head.flags & flow_flags::SRC != 0
            && flags & network_flags::FIXED_SNAT == 0;
        if other && cx.env.next_hop(key.src, src, bridge).kind as u8 != HopKind::Local as u8 {
            return Way::Gone;
        }
    } else if let Some(station) = cx.env.station(&MacKey {
        mac: head.dmac,
        net: head.peer_zone,
    }) {
        head.ifindex = station.ifindex;
        head.slot = station.slot;
    }
    if (ifindex, slot) != (head.ifindex, head.slot) || dmac != head.dmac || smac != head.smac {
        Way::Moved
    } else {
        Way::Same
    }
}

/// True if the packet came by way of the gateway, and not straight to the receiver's MAC. What the
/// stack has routed already has its MACs and TTL.
#[inline(always)]
pub fn is_routed<E: Env>(cx: &Cx<'_, E>, head: &FlowHead) -> bool {
    head.flags & flow_flags::ROUTED != 0
        && cx.arrival.hook as u8 != Hook::ToUplink as u8
        && cx.packet.to.mac != head.dmac
}

/// The action of `work.half` on the packet.
#[inline(always)]
pub fn follow<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> Action {
    let Work { verdict, half, .. } = work;
    let head = half.head();
    let routed = is_routed(cx, head);
    if routed && cx.packet.ttl <= 1 {
        return verdict.answer(Reason::TtlExpired, 0);
    }
    if routed && head.mtu != 0 && !cx.packet.fits(cx.env, u32::from(head.mtu)) {
        return verdict.answer(Reason::TooBig, head.mtu);
    }
    let action = verdict.follow(head, cx.packet, routed);
    if routed || head.flags & (flow_flags::SRC | flow_flags::DST) != 0 {
        verdict.translate(cx.packet, head.flags, half.tail());
    }
    action
}
