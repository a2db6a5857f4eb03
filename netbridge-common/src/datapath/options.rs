//! IPv4 options (RFC 791): whether they are sound, and choose no way.

use crate::abi::Reason;
use crate::wire::ipv4::{self, option};

use super::env::Env;

/// The most options that a header has: as many as it has bytes for them.
const MOST: u32 = 40;

/// What is wrong with the options of a header that ends at `end`. A function of its own in the object: few frames have
/// options.
#[inline(never)]
pub(super) fn fault<E: Env>(env: &E, end: u16) -> Reason {
    let mut at = ipv4::PLAIN_END;
    let mut fault = Reason::None;
    env.repeat(MOST, |_| {
        if at >= end {
            return false;
        }
        let Some([kind]) = env.load::<1>(at) else {
            fault = Reason::Malformed;
            return false;
        };
        if kind == option::END {
            return false;
        }
        if kind == option::NOTHING {
            at = at.wrapping_add(1);
            return true;
        }
        // Behind the header lies what is no option: the sum is compared below.
        let length = env
            .load::<1>(at.wrapping_add(1))
            .map_or(0, |[length]| u16::from(length));
        let next = at.wrapping_add(length);
        if length < option::MIN_LEN || next > end {
            fault = Reason::Malformed;
            return false;
        }
        if kind == option::LOOSE_ROUTE || kind == option::STRICT_ROUTE {
            fault = Reason::SourceRouted;
            return false;
        }
        at = next;
        true
    });
    fault
}

/// The one's complement sum of the options of a header that ends at `end`.
#[inline(never)]
pub(super) fn sum<E: Env>(env: &E, end: u16) -> u16 {
    env.sum(ipv4::PLAIN_END, end.wrapping_sub(ipv4::PLAIN_END)).unwrap_or(0)
}
