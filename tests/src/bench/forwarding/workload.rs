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
}

/// All of them.
pub(super) const ALL: [Workload; 9] = [
    Workload {
        name: "l2",
        title: "same network",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
    },
    Workload {
        name: "snat-1",
        title: "container to outside, one flow",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
    },
    Workload {
        name: "snat-16k",
        title: "container to outside, 16,384 flows",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::Established(MANY),
    },
    Workload {
        name: "published",
        title: "outside to a published port",
        relation: Relation::Published,
        direction: Direction::Request,
        traffic: Traffic::Established(1),
    },
    Workload {
        name: "reply-out",
        title: "a published port's answer",
        relation: Relation::Published,
        direction: Direction::Reply,
        traffic: Traffic::Established(1),
    },
    Workload {
        name: "reply-in",
        title: "the outside's answer to a container",
        relation: Relation::Masqueraded,
        direction: Direction::Reply,
        traffic: Traffic::Established(1),
    },
    Workload {
        name: "new-l2",
        title: "same network, every packet a new flow",
        relation: Relation::Neighbours,
        direction: Direction::Request,
        traffic: Traffic::New,
    },
    Workload {
        name: "new-snat",
        title: "container to outside, every packet a new flow",
        relation: Relation::Masqueraded,
        direction: Direction::Request,
        traffic: Traffic::New,
    },
    Workload {
        name: "new-published",
        title: "outside to a published port, every packet a new flow",
        relation: Relation::Published,
        direction: Direction::Request,
        traffic: Traffic::New,
    },
];
