//! IPv6 frames of containers, which IPv4-only networks do not carry: what they are.

use crate::abi::Reason;
use crate::wire::ethernet;
use crate::wire::ipv6::{self, next};

use super::env::Env;

/// Extension headers that are looked behind.
const MOST: u32 = 8;

/// Why the frame is dropped: [`Reason::RogueRouter`] if it plays a router, behind up to eight extension headers too,
/// [`Reason::Ipv6`] otherwise. A function of its own in the object: few frames come here.
#[inline(never)]
pub(super) fn reason<E: Env>(env: &E) -> Reason {
    let mut at = ethernet::LEN + ipv6::LEN;
    let mut next = env
        .load::<1>(ethernet::LEN + ipv6::NEXT)
        .map_or(next::NONE, |[next]| next);
    let mut reason = Reason::Ipv6;
    env.repeat(MOST + 1, |_| {
        let [first, second] = env.load::<2>(at).unwrap_or_default();
        let words = match next {
            next::HOP_BY_HOP
            | next::ROUTING
            | next::DESTINATION
            | next::MOBILITY
            | next::HOST_IDENTITY
            | next::SHIM6 => (u16::from(second) + 1) << 1,
            next::AUTHENTICATION => u16::from(second) + 2,
            _ => 0,
        };
        if next == next::ICMP && (first == ipv6::ROUTER_ADVERTISEMENT || first == ipv6::REDIRECT) {
            reason = Reason::RogueRouter;
        }
        next = first;
        at = at.wrapping_add(words << 2);
        words != 0
    });
    reason
}
