//! The differences that are meant, a line each.

use netbridge_common::abi::proto;

use super::super::packet::kind;
use super::actor::{ODD, Seen, digest};
use super::event::{Event, Odd};

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
        fits: |it| matches!(it.event, Event::Forged(..)) && it.theirs.through && it.is_silent(),
    },
    Explanation {
        what: "a hairpinned packet comes from the external address",
        source: "RFC 4787 REQ-9a",
        fits: |it| match (it.event, &it.theirs.arrivals[..]) {
            (Event::Hairpin((station, port), _), [theirs]) => {
                let own = format!(": {station:?}:{port} >");
                let hairpinned = theirs.replacen(&own, &format!(": R[{station:?}:{port}] >"), 1);
                theirs.contains(&own) && it.ours.arrivals == [hairpinned]
            }
            _ => false,
        },
    },
    Explanation {
        what: "a wrong checksum stays wrong, and is the receiver's to see",
        source: "RFC 1624 section 2",
        fits: |it| match it.event {
            Event::Odd(Odd::BadSum, (client, sport), (server, dport)) => {
                let translated = format!("{server:?}: R[{client:?}:{sport}] > {server:?}:{dport}");
                let rest = format!("ttl 63 length {} {}, wrong sum", 8 + ODD.len(), digest(ODD));
                it.theirs.arrivals.is_empty() && it.ours.arrivals == [format!("{translated} {rest}")]
            }
            _ => false,
        },
    },
    Explanation {
        what: "a stranger is not told that a container's port is nobody's",
        source: "RFC 4787 REQ-8",
        fits: |it| {
            matches!(it.event, Event::Stranger(flow, _) if flow.proto == proto::UDP)
                && it.theirs.is_one(" icmp 3/3 ")
                && it.is_silent()
        },
    },
    Explanation {
        what: "a segment in the middle of a connection that is not known opens none",
        source: "RFC 9293 section 3.5",
        fits: |it| matches!(it.event, Event::Odd(Odd::MidStream, ..)) && it.theirs.through && it.is_silent(),
    },
    Explanation {
        what: "the filter is asked before the TTL: what is not forwarded is dropped, and not answered",
        source: "RFC 1812 section 5.3.9",
        fits: |it| {
            matches!(it.event, Event::Odd(Odd::LastHop, _, to) if it.denied.contains(&to.1))
                && it.theirs.is_one(" icmp 11/0 ")
                && it.is_silent()
        },
    },
    Explanation {
        what: "source quench is dropped",
        source: "RFC 6633 section 3",
        fits: |it| {
            matches!(it.event, Event::Error(_, (kind::SOURCE_QUENCH, _), _)) && it.theirs.through && it.is_silent()
        },
    },
];

impl Difference<'_> {
    /// True if nothing arrived at netbridge.
    fn is_silent(&self) -> bool {
        self.ours.arrivals.is_empty()
    }
}

impl Seen {
    /// True if one packet arrived, and has these words.
    fn is_one(&self, words: &str) -> bool {
        matches!(&self.arrivals[..], [one] if one.contains(words))
    }
}

/// The explanation of a difference, by its index.
pub(super) fn explain(difference: &Difference<'_>) -> Option<usize> {
    EXPLAINED.iter().position(|explanation| (explanation.fits)(difference))
}

#[cfg(test)]
mod tests {
    use super::super::super::stage::Station::{C1, S1};
    use super::*;

    fn is_explained(event: &Event, theirs: &[&str], ours: &[&str]) -> bool {
        let seen = |arrivals: &[&str]| Seen {
            arrivals: arrivals.iter().map(|words| (*words).to_owned()).collect(),
            through: !arrivals.is_empty(),
        };
        let (theirs, ours) = (seen(theirs), seen(ours));
        let difference = Difference {
            event,
            theirs: &theirs,
            ours: &ours,
            denied: &[],
        };
        explain(&difference).is_some()
    }

    #[test]
    fn a_hairpinned_packet_is_explained_by_its_source_alone() {
        let event = Event::Hairpin((C1, 5000), 8053);
        let explained = |ours| is_explained(&event, &["C2: C1:5000 > C2:53 ttl 63, right sum"], &[ours]);
        assert!(explained("C2: R[C1:5000] > C2:53 ttl 63, right sum"));
        for wrong in [
            "C1: R[C1:5000] > C2:53 ttl 63, right sum",
            "C2: R[C1:5000] > C2:54 ttl 63, right sum",
            "C2: R[another's] > C2:53 ttl 63, right sum",
            "C2: R[C1:5000] > C2:53 ttl 63, wrong sum",
        ] {
            assert!(!explained(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_explained_in_a_packet_that_is_right_otherwise() {
        let event = Event::Odd(Odd::BadSum, (C1, 5100), (S1, 7000));
        let explained = |source: &str, sum: &str| {
            let rest = format!("ttl 63 length 11 {}", digest(ODD));
            is_explained(&event, &[], &[&format!("S1: {source} > S1:7000 {rest}, {sum}")])
        };
        assert!(explained("R[C1:5100]", "wrong sum"));
        assert!(!explained("C1:5100", "wrong sum"));
        assert!(!explained("R[C1:5100]", "right sum"));
    }
}
