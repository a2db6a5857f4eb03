//! What netbridge is known not to meet. A row that fails and is not listed fails the test, and so does one that is listed
//! and passes.

use super::world::Side::{self, Client, Server};

/// A row's id, and why.
pub const FAILURES: &[(&str, &str)] = &[
    ("U8", STRICTER),
    (
        "U14a",
        "Fragments are not put together: one that overlaps another reaches the receiver, whose stack discards the datagram.",
    ),
    ("T3", STRICTER),
    ("T4", HOST_ANSWERS),
    ("T4a", HOST_ANSWERS),
    ("I3", CHECKSUMS),
    ("I8", "Refusals are counted by reason, and not told to the sender."),
    ("P3", "There is no such option: path MTU discovery works, see P1."),
    ("N7", "Identifications are left as they are, as the kernel leaves them."),
    (
        "B12",
        "A tag would take a frame past guard and filter: tagged frames are dropped and counted.",
    ),
    (
        "B15",
        "There is no such option: networks are isolated from each other, and a filter isolates ports.",
    ),
    ("K2", CHECKSUMS),
    ("K3", WINDOWS),
];

const HOST_ANSWERS: &str = "What is nobody's is the host's, which may lead it somewhere by rules of its own; `ct config --silent true` meets this, see T4b and T4c.";
const STRICTER: &str = "Stricter on purpose: only who was asked may answer.";
const CHECKSUMS: &str = "Checksums are changed by what the translation changes: a wrong one stays wrong, and the receiver drops the packet.";
const WINDOWS: &str = "Sequence numbers are the endpoints' to judge: windows would cost every packet a map write.";

/// A difference between the two routers in [`super::cells`], and its reason.
pub struct Difference {
    /// Whether netbridge forwards these segments, and the kernel does not; else it is the other way round.
    pub forwarded: bool,
    /// Who sends, in which states, which segments: each of them differs.
    pub cells: &'static [(Side, &'static [&'static str], &'static [&'static str])],
    /// The reason.
    pub reason: &'static str,
}

/// What netbridge does with segments otherwise than the kernel.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        forwarded: false,
        cells: &[(Client, &["NONE"], &["ACK"])],
        reason: "A segment that opens no connection opens no flow, and one of a flow that is gone is dropped.",
    },
    Difference {
        forwarded: true,
        cells: &[
            (Client, &["SYN_SENT"], &["SYN+ACK", "FIN", "ACK", "RST"]),
            (Client, &["SYN_SENT2"], &["FIN", "ACK"]),
            (Client, ANSWERED, &["SYN+ACK"]),
            (Server, &["SYN_SENT", "SYN_SENT2"], &["FIN"]),
            (Server, &["SYN_RECV"], &["SYN"]),
            (Server, ANSWERED, &["SYN"]),
        ],
        reason: "Order and numbers of segments are the endpoints' to judge: a segment that is out of order is answered or dropped by its receiver (RFC 9293, RFC 5961).",
    },
];

/// The states behind the handshake.
const ANSWERED: &[&str] = &[
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
];
