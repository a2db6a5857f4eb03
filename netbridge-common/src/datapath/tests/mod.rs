//! The decisions, on the lab of [`crate::host::lab`].

mod answer;
mod binding;
mod bridge;
mod conntrack;
mod filter;
mod flows;
mod forbidden;
mod fragments;
mod guard;
mod hairpin;
mod icmp;
mod limits;
mod nat;
mod parse;
mod published;
mod query;
mod quote;
mod reject;
mod route;
mod socket;
mod soundness;
mod state;

use crate::abi::{FlowKey, FlowV4, Hook, Reason, proto};
use crate::datapath::verdict::{Action, Verdict, checksum_offset, edits};
use crate::host::lab::{at, ifindex};
use crate::host::rewrite::{add, apply, fault};
use crate::host::{Frame, HostEnv, Ip};

/// What became of a frame.
struct Result {
    verdict: Verdict<Ip>,
    bytes: Vec<u8>,
}

impl Result {
    fn action(&self) -> Action {
        self.verdict.action
    }

    fn reason(&self) -> Reason {
        self.verdict.reason
    }

    /// Where it goes, in one value.
    fn to(&self) -> (Action, u32) {
        (self.verdict.action, self.verdict.ifindex)
    }
}

fn run(env: &HostEnv, hook: Hook, frame: &Frame) -> Result {
    carried_out(env.run(hook, frame), frame)
}

/// What a verdict makes of its frame, whose checksums are as sound afterwards as they were.
fn carried_out(verdict: Verdict<Ip>, frame: &Frame) -> Result {
    let mut bytes = frame.bytes.clone();
    apply(&verdict, &mut bytes);
    if fault(&frame.bytes).is_none() {
        assert_eq!(fault(&bytes), None, "{verdict:x?}");
    }
    assert_same_checksums(&verdict, &frame.bytes, &bytes);
    Result { verdict, bytes }
}

/// The checksums that the verdict reached by differences are those computed in full.
fn assert_same_checksums(verdict: &Verdict<Ip>, before: &[u8], after: &[u8]) {
    let sum_at = |bytes: &[u8], at: u16| u16::from_ne_bytes([bytes[usize::from(at)], bytes[usize::from(at) + 1]]);
    if verdict.action == Action::Answer {
        let headers = if verdict.quote == 0 { 54 } else { 42 };
        assert_eq!(
            after[..headers],
            bytemuck::bytes_of(&verdict.answer)[..headers],
            "{verdict:x?}"
        );
        return;
    }
    let fold = |word: u32| add((word & 0xffff) as u16, (word >> 16) as u16);
    if verdict.edits & edits::IP != 0 {
        assert_eq!(u16::from_ne_bytes(verdict.ip_sum), sum_at(after, 24), "{verdict:x?}");
    }
    if verdict.edits & edits::INNER != 0 {
        let ip_sum = u16::from_ne_bytes(verdict.inner_ip_sum);
        assert_eq!(ip_sum, sum_at(after, verdict.inner + 10), "{verdict:x?}");
        if verdict.inner_sum != 0 {
            let l4_sum = u16::from_ne_bytes(verdict.inner_l4_sum);
            assert_eq!(l4_sum, sum_at(after, verdict.inner_sum), "{verdict:x?}");
        }
    }
    if verdict.edits & (edits::L4 | edits::INNER) != 0 {
        let at = verdict.l4 + checksum_offset(verdict.proto);
        let diff = add(fold(verdict.pseudo_diff), fold(verdict.l4_diff));
        let expected = match (verdict.proto, sum_at(before, at)) {
            (proto::UDP, 0) => 0,
            (_, old) => match !add(!old, diff) {
                0 if verdict.never_zero() => u16::MAX,
                new => new,
            },
        };
        assert_eq!(expected, sum_at(after, at), "{verdict:x?}");
    }
}

/// The container behind an interface sends a frame.
fn sends(env: &HostEnv, ifindex: u32, bytes: Vec<u8>) -> Result {
    run(env, Hook::FromContainer, &at(ifindex, bytes))
}

/// A frame arrives from the outside.
fn arrives(env: &HostEnv, bytes: Vec<u8>) -> Result {
    run(env, Hook::FromUplink, &at(ifindex::UPLINK, bytes))
}

/// The answer to a UDP or TCP frame, whose checksum does not mind the order; TCP flags may be replaced.
fn answer_to(frame: &[u8], flags: Option<u8>) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let l4 = 14 + usize::from(bytes[14] & 0x0f) * 4;
    for (a, b, length) in [(0, 6, 6), (26, 30, 4), (l4, l4 + 2, 2)] {
        for place in 0..length {
            bytes.swap(a + place, b + place);
        }
    }
    if let Some(flags) = flags {
        let sum = u16::from_be_bytes([bytes[l4 + 16], bytes[l4 + 17]]);
        let word = |flags| u16::from_be_bytes([bytes[l4 + 12], flags]);
        let changed = add(add(!sum, !word(bytes[l4 + 13])), word(flags));
        bytes[l4 + 16..l4 + 18].copy_from_slice(&(!changed).to_be_bytes());
        bytes[l4 + 13] = flags;
    }
    bytes
}

/// The flow halves of a zone, the smallest key first.
fn halves(env: &HostEnv, zone: u16) -> Vec<(FlowKey<Ip>, FlowV4)> {
    let flows = env.flows.borrow();
    let mut halves: Vec<_> = flows
        .iter()
        .filter(|(key, _)| key.zone == zone.to_ne_bytes())
        .map(|(key, flow)| (*key, *flow))
        .collect();
    halves.sort_by_key(|(key, _)| bytemuck::bytes_of(key).to_vec());
    halves
}
