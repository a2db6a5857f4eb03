//! What netbridge is known not to meet. A row that fails and is not listed fails the test, and so does one that is listed
//! and passes.

/// A row's id, and why.
pub const FAILURES: &[(&str, &str)] = &[
    ("U8", STRICTER),
    ("U13a", FRAGMENTS),
    ("U14", FRAGMENTS),
    ("T3", STRICTER),
    ("T4", HOST_ANSWERS),
    ("T4a", HOST_ANSWERS),
    ("I3", CHECKSUMS),
    ("I7", HAIRPIN),
    ("I8", "Refusals are counted by reason, and not told to the sender."),
    ("P3", "There is no such option: path MTU discovery works, see P1."),
    ("N2", "Half-open and closing connections share one timer."),
    ("N7", "Identifications are left as they are, as the kernel leaves them."),
    ("C1", "There is no such option."),
    (
        "B9",
        "Left to the kernel's bridge, which forwards it while it takes no part in a spanning tree.",
    ),
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
    ("K7", "The length in a UDP header is left to the receiver."),
];

const STRICTER: &str = "Stricter on purpose: only who was asked may answer.";
const HAIRPIN: &str = "The host's own address is not translated from inside.";
const FRAGMENTS: &str = "Fragments are dropped and counted.";
const HOST_ANSWERS: &str = "A port without a flow is the host's, and its stack answers.";
const CHECKSUMS: &str = "Checksums are changed by what the translation changes: a wrong one stays wrong, and the receiver drops the packet.";
const WINDOWS: &str = "Sequence numbers are the endpoints' to judge: windows would cost every packet a map write.";

/// A difference between the two routers in [`super::cells`], and its reason: states and segments it is about, by name;
/// none for all of them.
pub struct Difference {
    /// Segments.
    pub segments: &'static [&'static str],
    /// States.
    pub states: &'static [&'static str],
    /// The reason.
    pub reason: &'static str,
}

/// What netbridge does with segments otherwise than the kernel. The first that fits is the reason.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        segments: &[],
        states: &["NONE"],
        reason: "Any segment from inside opens a flow.",
    },
    Difference {
        segments: &[],
        states: &[],
        reason: "Order and numbers of segments are the endpoints' to judge: a segment that is out of order is answered or dropped by its receiver (RFC 9293, RFC 5961).",
    },
];
