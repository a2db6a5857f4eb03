//! Source ports for masqueraded flows.

use crate::abi::{Addr, Config, FlowKey, Nat, Reason, Record, flow_flags, proto};

use super::binding::{self, UNBOUND};
use super::conntrack::{Cx, Work};
use super::env::{AddrOf, Env, Inserted};
use super::inbound::published;

/// Ports tried before giving up, as many as Linux' masquerade tries before it begins elsewhere (`NF_NAT_MAX_ATTEMPTS`). Where
/// all ports are other containers', and nine of ten are in use towards the destination, one flow in 57,000 finds none.
pub const TRIES: u32 = 128;

/// After so many a port may be shared with another container, as long as the destinations differ (RFC 7857, section 3).
const OWN_TRIES: u32 = 24;

/// So many are as odd or even as the flow's own.
const EVEN_TRIES: u32 = 16;

/// First port, and number of ports, for source ports below 1024, which stay below (RFC 4787 REQ-3a).
const LOW: (u16, u16) = (512, 512);

/// What a source port is chosen by, and what came of it so far.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Choice {
    /// Hash of the flow's tuple but its source port.
    seed: u32,
    /// The port that stands for the container's whatever the destination, or [`UNBOUND`].
    bound: u32,
    /// Ports that could not be used.
    refused: u32,
    /// The container's port is to have one port outside, and has none yet.
    binds: bool,
    /// The port under trial was claimed for that.
    claimed: bool,
}

impl Choice {
    /// Nothing chosen.
    pub const EMPTY: Self = Self {
        seed: 0,
        bound: UNBOUND,
        refused: 0,
        binds: false,
        claimed: false,
    };
}

/// Begins to choose a source port for the flow of `work`.
#[inline(always)]
pub fn begin<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) {
    let key = &cx.packet.key;
    let independent = work.half.head().flags & flow_flags::BOUND != 0 && !proto::is_portless(key.proto);
    let bound = if independent {
        binding::port(cx, key, work.half.tail().src)
    } else {
        UNBOUND
    };
    work.choice = Choice {
        seed: hash(key, cx.config.secret),
        bound,
        binds: independent && bound == UNBOUND && binding::may_claim(cx, work.half.head().owner),
        ..Choice::EMPTY
    };
}

/// Puts the next port to try into `work`; false if it cannot be used.
///
/// With an independent mapping that is the port of the container's [`binding`]; a new binding takes a port that no other
/// container has, while there are any. Otherwise, and for a destination where that port is taken, ports are
/// shared by flows to different destinations, as Linux's masquerade does.
///
/// A port is kept where that cannot meet the host's own connections, else it is the flow's own plus a number
/// that only this instance can compute from the addresses and the destination's port (RFC 6056, section 3.3.3), within a
/// range disjoint from the host's ephemeral ports. So a client that goes through its ports goes through as many here, as
/// far as the range goes: a port drawn at random would soon meet the server's TIME-WAIT of another of the
/// client's connections, whose sequence numbers and timestamps have nothing to do with this one's.
#[inline(never)]
pub fn take<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> bool {
    let (key, attempt) = (&cx.packet.key, work.choice.refused);
    let keeps = attempt == 0 && work.choice.bound != UNBOUND;
    work.half.tail_mut().sport = if keeps {
        ((work.choice.bound & 0xffff) as u16).to_be_bytes()
    } else if proto::is_portless(key.proto) {
        [0; 2]
    } else {
        candidate(cx.config, key, work.choice.seed, attempt)
    };
    // A binding is older than what may have been published since, or opened by a program of the host's.
    if is_taken(cx, work.half.tail()) || (work.choice.binds && !claims(cx, work) && attempt < OWN_TRIES) {
        work.choice.refused = attempt.wrapping_add(1);
        return false;
    }
    if keeps {
        return true;
    }
    if !work.choice.binds {
        work.half.head_mut().flags &= !flow_flags::BOUND;
        work.other.head_mut().flags &= !flow_flags::BOUND;
    }
    true
}

/// Claims the port for the container; false if another one has it.
#[inline(always)]
fn claims<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>) -> bool {
    let to = *work.half.tail();
    let claim = binding::claim(cx, &cx.packet.key, work.half.head(), to.src, to.sport);
    let choice = &mut work.choice;
    choice.claimed = claim as u8 == Inserted::Yes as u8;
    // In a full table there is no binding to be had: the flow goes without.
    choice.binds = claim as u8 != Inserted::Full as u8;
    choice.claimed || !choice.binds
}

/// What came of the flow with this port: the binding begins, has one more flow, or is given up.
#[inline(never)]
pub fn settle<E: Env>(cx: &Cx<'_, E>, work: &mut Work<E::F>, outcome: Reason) {
    let (key, head, to) = (&cx.packet.key, work.half.head(), *work.half.tail());
    if outcome as u8 == Reason::TupleTaken as u8 {
        work.choice.refused = work.choice.refused.wrapping_add(1);
    }
    let opened = outcome as u8 == Reason::None as u8;
    if opened && work.choice.binds {
        binding::bind(cx, key, head, to.src, to.sport);
    } else if opened && head.flags & flow_flags::BOUND != 0 {
        binding::share(cx, key, head, to.src, to.sport);
    } else if work.choice.claimed {
        binding::release(cx, key, head.owner, to.src, to.sport);
        work.choice.claimed = false;
    }
}

/// The port to try: first the flow's own, unless the host may use it itself, then the range.
fn candidate<A: Addr>(config: &Config, key: &FlowKey<A>, seed: u32, attempt: u32) -> [u8; 2] {
    let own = u16::from_be_bytes(key.sport);
    let ephemeral = own >= config.local_min && own <= config.local_max;
    if attempt == 0 && !ephemeral && own != 0 {
        return key.sport;
    }
    let low = own < 1024 && key.proto != proto::ICMP;
    let (first, count) = if low { LOW } else { (config.snat_min, config.snat_ports) };
    // Further ones lie a golden section apart: the next ones belong to the client's next ports.
    let place = (seed & 0xff_ffff) + u32::from(own) + (attempt.wrapping_mul(0x9e37_79b1) >> 8);
    let offset = (place.checked_rem(u32::from(count)).unwrap_or(0) & 0xffff) as u16;
    // As odd or even as the flow's own (RFC 4787 REQ-4), while that does not cost it a port of its own.
    let odd = if attempt < EVEN_TRIES {
        (first.wrapping_add(offset) ^ own) & 1
    } else {
        0
    };
    let twin = first.wrapping_add(offset) ^ odd;
    let inside = twin.wrapping_sub(first) < count;
    let port = if inside { twin } else { first.wrapping_add(offset) };
    port.to_be_bytes()
}

/// True if the port is published at the address, where a mapping would shadow it (CVE-2021-3773), or a socket of the host
/// has it. A function of its own in the object: its keys are not on the stack below which the flow is created.
#[inline(never)]
fn is_taken<E: Env>(cx: &Cx<'_, E>, to: &Nat<AddrOf<E>>) -> bool {
    let key = &cx.packet.key;
    if key.proto != proto::TCP && key.proto != proto::UDP {
        return false;
    }
    let answers = FlowKey {
        src: to.dst,
        dst: to.src,
        sport: to.dport,
        dport: to.sport,
        ..*key
    };
    published(cx.env, to.src, to.sport, key.proto).is_some() || cx.env.host_socket(&answers)
}

/// A keyed hash of the tuple but its source port (the finaliser of `MurmurHash3` over its words).
fn hash<A: Addr>(key: &FlowKey<A>, secret: u32) -> u32 {
    let words = [
        key.src.fold(),
        key.dst.fold(),
        u32::from(u16::from_ne_bytes(key.dport)),
        u32::from(key.proto),
    ];
    let mut state = secret;
    for word in words {
        state ^= word;
        state = (state ^ (state >> 16)).wrapping_mul(0x85eb_ca6b);
        state = (state ^ (state >> 13)).wrapping_mul(0xc2b2_ae35);
        state ^= state >> 16;
    }
    state
}
