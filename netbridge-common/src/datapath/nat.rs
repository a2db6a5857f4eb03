//! Source ports for masqueraded flows.

use crate::abi::{Addr, Config, FlowKey, Nat, Reason, Record, proto};

use super::conntrack::{self, Cx, Work};
use super::env::{AddrOf, Env, FlowKeyOf, Inserted};
use super::inbound::published;

/// Ports tried before giving up: with more than 25 the chance of success is next to nothing.
const TRIES: u32 = 32;

/// Creates the flow of `work`, whose packets take the source `snat`.
///
/// The source port is kept where that cannot meet the host's own connections, else it is the flow's
/// own plus a number that only this instance can compute from the addresses and the destination's
/// port (RFC 6056, section 3.3.3), within a range disjoint from the host's ephemeral ports. So a
/// client that goes through its ports goes through as many here, as far as the range goes: a port
/// drawn at random would soon meet the server's TIME-WAIT of another of the client's connections,
/// whose sequence numbers and timestamps have nothing to do with this one's. Inserting the reply
/// half decides whether a port is free: the mapping is per destination, as Linux's masquerade is.
pub fn masquerade<E: Env>(cx: &Cx<'_, E>, key: &FlowKeyOf<E>, snat: AddrOf<E>, work: &mut Work<E::F>) -> Reason {
    let seed = hash(key, cx.config.secret);
    let mut reason = Reason::NatExhausted;
    cx.env.repeat(TRIES, |attempt| {
        let port = candidate(cx.config, key.sport, seed, attempt);
        if is_published(cx.env, key, snat, port) {
            return true;
        }
        *work.half.tail_mut() = Nat {
            src: snat,
            dst: key.dst,
            sport: port,
            dport: key.dport,
        };
        let inserted = conntrack::create(cx, key, work);
        if inserted as u8 == Inserted::Exists as u8 {
            return true;
        }
        reason = if inserted as u8 == Inserted::Yes as u8 {
            Reason::None
        } else {
            Reason::FlowTableFull
        };
        false
    });
    reason
}

/// The port to try: first the flow's own, unless the host may use it itself, then the range.
fn candidate(config: &Config, sport: [u8; 2], seed: u32, attempt: u32) -> [u8; 2] {
    let own = u16::from_be_bytes(sport);
    let ephemeral = own >= config.local_min && own <= config.local_max;
    if attempt == 0 && !ephemeral && own >= 1024 {
        return sport;
    }
    // Further ones lie a golden section apart: the next ones belong to the client's next ports.
    let place = (seed & 0xff_ffff) + u32::from(own) + (attempt.wrapping_mul(0x9e37_79b1) >> 8);
    let offset = place.checked_rem(u32::from(config.snat_ports)).unwrap_or(0);
    config.snat_min.wrapping_add((offset & 0xffff) as u16).to_be_bytes()
}

/// True if the port is published at the address, where a mapping would shadow it (CVE-2021-3773). A function of its own in
/// the object: its keys are not on the stack below which the flow is created.
#[inline(never)]
fn is_published<E: Env>(env: &E, key: &FlowKeyOf<E>, snat: AddrOf<E>, port: [u8; 2]) -> bool {
    key.proto != proto::ICMP && published(env, snat, port, key.proto).is_some()
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
