//! The workloads: who talks to whom, which way is measured, and how many flows there are.

use super::conversation::Relation;

/// Flows of the workloads with many, and the most that a round opens: no table overflows, and no client port comes
/// twice.
pub(super) const MANY: u32 = 16_384;

/// Which way is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// Whether flows are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// So many flows, each answered before.
    Established(u32),
    /// Every packet is the first of its flow.
    New,
}

/// What the operator's rules are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Of all kinds. The packet passes all but the last, which accepts it.
    Mixed,
    /// The same rules, and a packet that none of them matches: the one for which netbridge looks at its tables most often.
    Costliest,
    /// They differ in the port alone, and the last accepts the packet: what a list takes longest to tell apart. 65,536 of them
    /// would name every port there is, one more than netbridge tells apart.
    Ports,
    /// Each names a network of sources, a protocol and a port, so that sets of ipset hold them; the packet is the costliest of
    /// those that none matches.
    Fitting,
    /// Of all kinds, and none but the last is about the two ends: it accepts whatever they send each other.
    Settled,
}

/// One workload, with any number of rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    /// In a case's identifier.
    pub(super) name: &'static str,
    /// In a report.
    pub(super) title: &'static str,
    pub(super) relation: Relation,
    pub(super) direction: Direction,
    pub(super) traffic: Traffic,
    pub(super) filter: Filter,
    /// How many rules there are, case by case.
    pub(super) rules: &'static [usize],
}

/// Numbers of rules of the paths whose cost by them is the question.
const CURVE: [usize; 6] = [0, 10, 100, 1000, 10_000, 65_536];
/// Of the other paths: whether it is the same there.
const FEW: [usize; 4] = [0, 10, 1000, 10_000];

/// All of them.
pub(super) const ALL: [Workload; 13] = [
    Workload {
        name: "l2",
        title: "same network",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
        filter: Filter::Mixed,
        rules: &CURVE,
    },
    Workload {
        name: "snat-1",
        title: "container to outside, one flow",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "snat-16k",
        title: "container to outside, 16,384 flows",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::Established(MANY),
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "published",
        title: "outside to a published port",
        relation: Relation::Published,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "reply-out",
        title: "a published port's answer",
        relation: Relation::Published,
        direction: Direction::Reply,
        traffic: Traffic::Established(1),
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "reply-in",
        title: "the outside's answer to a container",
        relation: Relation::Masqueraded,
        direction: Direction::Reply,
        traffic: Traffic::Established(1),
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "new-l2",
        title: "same network, every packet a new flow",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Mixed,
        rules: &CURVE,
    },
    Workload {
        name: "worst-l2",
        title: "same network, new flows, the costliest packet",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Costliest,
        rules: &[10, 100, 1000, 10_000, 65_536],
    },
    Workload {
        name: "ports-l2",
        title: "same network, new flows, rules that differ in the port alone",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Ports,
        rules: &[10, 100, 1000, 10_000],
    },
    Workload {
        name: "sets-l2",
        title: "same network, new flows, rules that fit a set",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Fitting,
        rules: &[10, 1000, 10_000, 65_536],
    },
    Workload {
        name: "settled-l2",
        title: "same network, new flows, a pair that always passes",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Settled,
        rules: &[10, 1000, 10_000],
    },
    Workload {
        name: "new-snat",
        title: "container to outside, every packet a new flow",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Mixed,
        rules: &FEW,
    },
    Workload {
        name: "new-published",
        title: "outside to a published port, every packet a new flow",
        relation: Relation::Published,
        direction: Direction::Request,
        traffic: Traffic::New,
        filter: Filter::Mixed,
        rules: &FEW,
    },
];
