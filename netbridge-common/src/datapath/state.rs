//! How far a flow has come, how long it lives, and when it is over.
//!
//! The states of TCP are those of RFC 6146, section 3.5.2, which RFC 7857, section 2.1 asks of every NAT. Sequence numbers
//! are not tracked: that would cost a write for every packet. Instead nothing that one segment says is final. An RST
//! shortens the flow's life and the next other segment of either side restores it; a FIN is forgotten if its sender
//! goes on sending data a second later. The endpoints check sequence numbers themselves and ignore a forged RST or FIN; if
//! they have nothing to send, the flow ends some minutes later.

use crate::abi::{Config, CtState, FlowHead, FlowState, Timeouts, flow_flags, proto};
use crate::wire::tcp;

/// The state of a flow in `state` after a packet; `reply` if it is of the answering side, `outside` if it came from there, where
/// anybody may write any address; `segment` the TCP flags, 0 for other protocols, `payload` if it carries new data.
/// [`FlowState::Ended`] if the flow is over with it.
pub const fn next(state: FlowState, reply: bool, outside: bool, segment: u8, payload: bool) -> FlowState {
    use FlowState::{Answered, Closing, Ended, Established, ForwardClosed, Opening, ReplyClosed, Reset};
    if segment & tcp::RST != 0 {
        return match state {
            // Nobody listens there: 20,000 attempts must not leave 20,000 flows.
            Opening if reply => Ended,
            // Of a handshake that nobody has finished it says nothing: it may be a stranger's, or the answer to his forged
            // ACK, and must not take the flow from those that make room for others.
            Opening | Answered | Closing | Ended => state,
            _ => Reset,
        };
    }
    if segment & tcp::FIN != 0 {
        return match (state, reply) {
            (Opening | Closing | Ended, _) => state,
            (Answered, false) if outside => state,
            (ForwardClosed, true) | (ReplyClosed, false) => Closing,
            (_, true) => ReplyClosed,
            (_, false) => ForwardClosed,
        };
    }
    match state {
        // A SYN here is that of a simultaneous open, an ACK alone challenges a connection of the past (RFC 5961).
        Opening if reply => Answered,
        _ if segment & tcp::SYN != 0 => state,
        Answered if segment == 0 && !reply => Established,
        // A stranger's ACK may be forged; that the container goes on shows that it was not.
        Answered if segment != 0 && !outside => Established,
        Reset => Established,
        ForwardClosed if payload && !reply => Established,
        ReplyClosed if payload && reply => Established,
        Closing if payload => {
            if reply {
                ForwardClosed
            } else {
                ReplyClosed
            }
        }
        _ => state,
    }
}

/// The state with this number; one that is none counts as ended.
pub const fn of(number: u8) -> FlowState {
    match FlowState::from_u8(number) {
        Some(state) => state,
        None => FlowState::Ended,
    }
}

/// True while a flow may be one that nobody ever answers, or without connections a question that was answered: it makes room
/// for others where there is none.
pub const fn is_half_open(state: u8) -> bool {
    state <= FlowState::Answered as u8
}

/// True if both sides have closed: of all flows this is the one that is missed least. A reset one may go on, if the RST was
/// forged.
pub const fn is_closed(state: u8) -> bool {
    state == FlowState::Closing as u8
}

/// True if a TCP connection has ended as far as can be seen: a SYN opens another in its place.
pub const fn is_over(state: u8) -> bool {
    is_closed(state) || state == FlowState::Reset as u8
}

/// True if the side whose half this is has closed: the answering one, if `reply`.
pub const fn has_closed(state: u8, reply: bool) -> bool {
    let alone = if reply {
        FlowState::ReplyClosed
    } else {
        FlowState::ForwardClosed
    };
    state == alone as u8 || is_closed(state)
}

/// True while the packets of a half wait for one the other way ([`flow_flags::AWAITS`]).
pub const fn awaits(head: &FlowHead) -> bool {
    head.flags & flow_flags::AWAITS != 0 && head.state == FlowState::Opening as u8
}

/// Ticks that a flow lives without a packet.
#[inline(always)]
pub const fn lifetime(timeouts: &Timeouts, protocol: u8, state: u8) -> u32 {
    if state == FlowState::Established as u8 {
        return match protocol {
            proto::TCP => timeouts.tcp_established,
            proto::UDP => timeouts.udp_established,
            proto::ICMP => timeouts.icmp,
            _ => timeouts.other,
        };
    }
    transitory(timeouts, protocol, state)
}

/// [`lifetime`] of a flow that is not established.
#[inline(always)]
const fn transitory(timeouts: &Timeouts, protocol: u8, state: u8) -> u32 {
    if state == FlowState::Ended as u8 {
        return 0;
    }
    match protocol {
        proto::TCP => match FlowState::from_u8(state) {
            Some(FlowState::Opening) => timeouts.tcp_opening,
            Some(FlowState::Answered) => timeouts.tcp_answered,
            Some(FlowState::ForwardClosed | FlowState::ReplyClosed) => timeouts.tcp_half_closed,
            Some(FlowState::Reset) => timeouts.tcp_reset,
            _ => timeouts.tcp_closing,
        },
        proto::UDP if state == FlowState::Answered as u8 => timeouts.udp_established,
        proto::UDP => timeouts.udp_opening,
        proto::ICMP => timeouts.icmp,
        _ => timeouts.other,
    }
}

/// True if the flow has outlived its lifetime.
#[inline(always)]
pub const fn is_expired(config: &Config, protocol: u8, head: &FlowHead, now: u32) -> bool {
    outlived(now, head.seen, lifetime(&config.timeouts, protocol, head.state))
}

/// True if more than `lifetime` ticks, fewer than 2³¹, lie between `seen` and `now`. Another CPU may
/// have written `seen` a moment after `now`: then none do.
pub const fn outlived(now: u32, seen: u32, lifetime: u32) -> bool {
    now.wrapping_sub(seen).cast_signed() > lifetime.cast_signed()
}

/// True if the entry of an expired half can go. Both halves are renewed together, within a second: by
/// then the other one has expired too, and no packet can still be renewing this one.
pub const fn is_collectable(config: &Config, protocol: u8, head: &FlowHead, now: u32) -> bool {
    let life = lifetime(&config.timeouts, protocol, head.state);
    outlived(now, head.seen, life.wrapping_add(config.refresh << 1))
}

/// True for the answers to a port that stands for a container's.
pub const fn is_mapped(head: &FlowHead) -> bool {
    const MAPPED: u8 = flow_flags::REPLY | flow_flags::DST;
    head.flags & MAPPED == MAPPED
}

/// True if the tuple of an expired half is still kept from others: it is that of the answers to a port that stood for a
/// container, and its flow did not end by closing (RFC 6888 REQ-8). A late packet must not reach somebody else.
pub const fn is_quarantined(config: &Config, protocol: u8, head: &FlowHead, now: u32) -> bool {
    let life = lifetime(&config.timeouts, protocol, head.state);
    is_mapped(head) && !is_over(head.state) && !outlived(now, head.seen, life.wrapping_add(config.quarantine))
}

/// True if the entry can go and keeps its tuple from nobody.
pub const fn is_done(config: &Config, protocol: u8, head: &FlowHead, now: u32) -> bool {
    is_collectable(config, protocol, head, now) && !is_quarantined(config, protocol, head, now)
}

/// The state of a packet that hits this half, as `-m conntrack --ctstate` names it.
pub const fn named(head: &FlowHead) -> u8 {
    if head.flags & flow_flags::REPLY != 0 || head.state != FlowState::Opening as u8 {
        CtState::ESTABLISHED | standing(head)
    } else {
        CtState::NEW | standing(head)
    }
}

/// Direction and translation of a packet that hits this half, as bits of [`CtState`].
pub const fn standing(head: &FlowHead) -> u8 {
    let reply = head.flags & flow_flags::REPLY != 0;
    let (source, destination) = (head.flags & flow_flags::SRC != 0, head.flags & flow_flags::DST != 0);
    // Of the answers to what had its source replaced it is the destination.
    let (snat, dnat) = if reply {
        (destination, source)
    } else {
        (source, destination)
    };
    (CtState::REPLY * reply as u8) | (CtState::SNAT * snat as u8) | (CtState::DNAT * dnat as u8)
}
