//! The differences that are meant, a line each.

use super::super::packet::kind;
use super::actor::Seen;
use super::event::{Event, Odd, PORTS};

/// A difference that is meant.
pub(super) struct Explanation {
    /// What netbridge does otherwise, and why.
    pub(super) what: &'static str,
    /// The standard, or what else it goes by.
    pub(super) source: &'static str,
    /// Whether a difference is of this kind.
    fits: fn(&Difference<'_>) -> bool,
}

/// A difference.
pub(super) struct Difference<'a> {
    /// The event.
    pub(super) event: &'a Event,
    /// What arrived at the kernel's router.
    pub(super) theirs: &'a Seen,
    /// What arrived at netbridge.
    pub(super) ours: &'a Seen,
    /// Ports to which nothing is forwarded.
    pub(super) denied: &'a [u16],
}

/// All of them; the first that fits explains.
pub(super) const EXPLAINED: &[Explanation] = &[
    Explanation {
        what: "a source that is not the container's is dropped",
        source: "RFC 2827",
        fits: |it| matches!(it.event, Event::Forged(..)) && it.ours.arrivals.is_empty(),
    },
    Explanation {
        what: "fragments are dropped",
        source: "not met: RFC 4787 REQ-14",
        fits: |it| matches!(it.event, Event::Odd(Odd::Fragments, ..)) && it.ours.arrivals.is_empty(),
    },
    Explanation {
        what: "the host's own address is not translated from inside",
        source: "not met: RFC 4787 REQ-9",
        fits: |it| matches!(it.event, Event::Hairpin(..)),
    },
    Explanation {
        what: "a wrong checksum stays wrong, and is the receiver's to see",
        source: "RFC 1624",
        fits: |it| matches!(it.event, Event::Odd(Odd::BadSum, ..)) && it.ours.through,
    },
    Explanation {
        what: "protocols without ports are dropped",
        source: "RFC 4787 section 3",
        fits: |it| matches!(it.event, Event::Odd(Odd::Protocol(_), ..)) && it.ours.arrivals.is_empty(),
    },
    Explanation {
        what: "queries other than echo are dropped",
        source: "RFC 5508 REQ-10",
        fits: |it| matches!(it.event, Event::Odd(Odd::Message(_), ..)) && it.ours.arrivals.is_empty(),
    },
    Explanation {
        what: "flags that no TCP sends are left to the receiver",
        source: "RFC 9293 section 3.10.7",
        fits: |it| matches!(it.event, Event::Odd(Odd::Flags(_), ..)) && it.ours.through,
    },
    Explanation {
        what: "the filter is asked before the TTL: what is denied is dropped, and not answered",
        source: "RFC 1812 section 5.3.1",
        fits: |it| {
            matches!(it.event, Event::Odd(Odd::LastHop, _, to) if it.denied.contains(&to.1))
                && it.ours.arrivals.is_empty()
        },
    },
    Explanation {
        what: "a port is published to those too who asked for it in vain before; to the kernel they have a flow to the host",
        source: "published ports take effect at once",
        fits: |it| match it.event {
            Event::Knock(_, host) => {
                let denied = PORTS
                    .iter()
                    .any(|port| port.host == *host && it.denied.contains(&port.container));
                !it.theirs.through && (it.ours.through || (denied && it.ours.arrivals.is_empty()))
            }
            _ => false,
        },
    },
    Explanation {
        what: "source quench is dropped",
        source: "RFC 6633 section 3",
        fits: |it| matches!(it.event, Event::Error(_, (kind::SOURCE_QUENCH, _), _)) && it.ours.arrivals.is_empty(),
    },
];

/// The explanation of a difference, by its index.
pub(super) fn explain(difference: &Difference<'_>) -> Option<usize> {
    EXPLAINED.iter().position(|explanation| (explanation.fits)(difference))
}
