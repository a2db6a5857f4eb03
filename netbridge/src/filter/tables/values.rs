//! What matches ask for, as values on the axes.

use netbridge_common::abi::{CtState, axis};

use super::spans::{Span, union};
use crate::filter::syntax::{AddressRange, Direction, IcmpType, Match, Ports, Prefix, States, TcpFlags};

/// Every port.
pub(super) const PORTS: Span = (0, 0xffff);

/// ICMP types and codes on the axis of destination ports.
pub(super) const ICMP: Span = (axis::ICMP, axis::ICMP + 0xffff);

/// Every protocol.
pub(super) const PROTOCOLS: Span = (0, 255);

/// Most ranges of addresses that a mask leaves.
pub(super) const MOST_HOLES: u32 = 4096;

/// A mask that leaves more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holes;

/// The addresses of a network whose mask is of ones first, as one span.
pub(super) fn prefix_span(prefix: Prefix) -> Option<Span> {
    let (first, mask) = (prefix.addr().to_bits(), prefix.mask().to_bits());
    (mask.leading_ones() + mask.trailing_zeros() >= u32::BITS).then_some((first, first | !mask))
}

/// The addresses of a network, whose mask need not be of ones first.
pub(super) fn prefix_spans(prefix: Prefix) -> Result<Vec<Span>, Holes> {
    if let Some(span) = prefix_span(prefix) {
        return Ok(vec![span]);
    }
    let (first, mask) = (prefix.addr().to_bits(), prefix.mask().to_bits());
    let low = mask.trailing_zeros();
    let size = (1 << low) - 1;
    // Every way to fill in the bits that the mask leaves open above its lowest one.
    let open = !mask >> low << low;
    if open.count_ones() > MOST_HOLES.ilog2() {
        return Err(Holes);
    }
    let mut filled = 0_u32;
    let mut spans = Vec::with_capacity(1 << open.count_ones());
    loop {
        let start = first | filled;
        spans.push((start, start + size));
        filled = filled.wrapping_sub(open) & open;
        if filled == 0 {
            return Ok(union(spans));
        }
    }
}

pub(super) fn range_span(range: AddressRange) -> Span {
    (range.first.to_bits(), range.last.to_bits())
}

pub(super) fn port_span(ports: Ports) -> Span {
    (ports.first.into(), ports.last.into())
}

pub(super) fn icmp_span(icmp: IcmpType) -> Span {
    let IcmpType { kind, code } = icmp;
    let Some(kind) = kind else { return ICMP };
    let first = axis::ICMP | u32::from(kind) << 8;
    match code {
        None => (first, first | 0xff),
        Some(code) => (first | u32::from(code), first | u32::from(code)),
    }
}

/// The combinations of the six flags that a rule asks for, as bits of their numbers.
pub(super) fn flag_bits(Match { value, negated }: &Match<TcpFlags>) -> u64 {
    let TcpFlags { mask, set } = *value;
    let matching = (0..64_u8).filter(|flags| (flags & mask == set) != *negated);
    matching.fold(0, |bits, flags| bits | 1_u64 << flags)
}

/// The states that fulfil something, as bits of their numbers.
pub(super) fn state_bits(matches: impl Fn(u8) -> bool) -> u32 {
    let matching = (0..32).filter(|number| matches(state(*number)));
    matching.fold(0, |bits, number| bits | 1 << number)
}

/// The bits of a state by its number, see [`CtState::number`].
const fn state(number: u32) -> u8 {
    let base = match number & 3 {
        0 => CtState::INVALID,
        1 => CtState::ESTABLISHED,
        2 => CtState::RELATED,
        _ => CtState::NEW,
    };
    let [beside, ..] = (number << 2).to_le_bytes();
    base | beside & (CtState::REPLY | CtState::SNAT | CtState::DNAT)
}

/// `conntrack_mt` (`net/netfilter/xt_conntrack.c`): SNAT and DNAT count as states, and what belongs to no flow has neither
/// these nor a direction.
pub(super) fn conntrack_matches(state: u8, states: Option<&Match<States>>, direction: Option<Direction>) -> bool {
    if state & CtState::INVALID != 0 {
        return states.is_some_and(|asks| (asks.value.bits() & CtState::INVALID != 0) != asks.negated);
    }
    let asked = states.is_none_or(|asks| (asks.value.bits() & state & !CtState::REPLY != 0) != asks.negated);
    let reply = state & CtState::REPLY != 0;
    asked && direction.is_none_or(|wanted| (wanted == Direction::Reply) == reply)
}

/// `state_mt` (`net/netfilter/xt_state.c`), which knows four states.
pub(super) fn state_matches(state: u8, asks: &Match<States>) -> bool {
    (asks.value.bits() & state & CtState::ANY != 0) != asks.negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(address: [u8; 4], mask: [u8; 4]) -> Result<Vec<Span>, Holes> {
        prefix_spans(Prefix::new(address.into(), mask.into()))
    }

    #[test]
    fn prefixes_are_spans() {
        assert_eq!(
            spans([10, 0, 0, 0], [255, 0, 0, 0]),
            Ok(vec![(0x0a00_0000, 0x0aff_ffff)])
        );
        assert_eq!(spans([1, 2, 3, 4], [255; 4]), Ok(vec![(0x0102_0304, 0x0102_0304)]));
        assert_eq!(spans([0; 4], [0; 4]), Ok(vec![(0, u32::MAX)]));
        assert_eq!(spans([128, 0, 0, 0], [128, 0, 0, 0]), Ok(vec![(0x8000_0000, u32::MAX)]));
    }

    #[test]
    fn masks_with_holes_are_many_spans_up_to_a_bound() {
        let odd: Vec<Span> = (0..4).map(|high| (high << 30 | 1, high << 30 | 1)).collect();
        assert_eq!(spans([0, 0, 0, 1], [0x3f, 255, 255, 255]), Ok(odd));
        let holes = spans([10, 0, 7, 0], [255, 0, 255, 0]).unwrap();
        assert_eq!(holes.len(), 256);
        assert_eq!(
            (holes[0], holes[255]),
            ((0x0a00_0700, 0x0a00_07ff), (0x0aff_0700, 0x0aff_07ff))
        );
        assert_eq!(
            spans([0, 0, 0, 1], [0xff, 0xf0, 0, 0xff]).map(|spans| spans.len()),
            Ok(4096)
        );
        assert_eq!(spans([0, 0, 0, 1], [0xff, 0xe0, 0, 0xff]), Err(Holes));
        assert_eq!(spans([0, 0, 0, 1], [0, 0, 0, 1]), Err(Holes));
    }

    #[test]
    fn flags_and_types() {
        let syn = |negated| Match {
            value: TcpFlags { mask: 0x17, set: 2 },
            negated,
        };
        let bits = flag_bits(&syn(false));
        assert_eq!((bits >> 2 & 1, bits >> 0x12 & 1, bits >> 0x0a & 1), (1, 0, 1));
        assert_eq!(bits.count_ones(), 4);
        assert_eq!(flag_bits(&syn(true)), !bits);
        let icmp = |kind, code| icmp_span(IcmpType { kind, code });
        assert_eq!(icmp(None, None), ICMP);
        assert_eq!(icmp(Some(3), None), (0x1_0300, 0x1_03ff));
        assert_eq!(icmp(Some(255), Some(255)), (0x1_ffff, 0x1_ffff));
    }

    #[test]
    fn an_invalid_packet_has_no_direction() {
        let states = |bits, negated| States::from_bits(bits).map(|value| Match { value, negated });
        let bits = |states: Option<Match<States>>, direction| {
            state_bits(|state| conntrack_matches(state, states.as_ref(), direction))
        };
        let invalid = 0x1111_1111;
        assert_eq!(bits(None, Some(Direction::Original)) & invalid, 0);
        assert_eq!(
            bits(states(CtState::NEW, true), Some(Direction::Reply)) & invalid,
            invalid
        );
        assert_eq!(bits(states(CtState::INVALID, false), None), invalid);
        assert_eq!(bits(states(CtState::INVALID, true), None), !invalid);
        // Untracked is no state of a packet, and the bit of its name is that of a direction.
        assert_eq!(bits(states(States::UNTRACKED, false), None), 0);
        assert_eq!(bits(states(States::SNAT, false), None), 0xff00_ff00_u32 & 0xeeee_eeee);
    }
}
