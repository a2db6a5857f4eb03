//! What netbridge is known not to meet. A row that fails and is not listed fails the test, and so does one that is listed
//! and passes.

/// A row's id, and why.
pub const FAILURES: &[(&str, &str)] = &[
    ("U1", PER_DESTINATION),
    ("U3", PER_DESTINATION),
    ("U3a", "Every masqueraded port is an unprivileged one."),
    ("U4", "Ports are chosen without regard to parity."),
    ("U8", STRICTER),
    ("U8a", "There is no such option."),
    ("U9", HAIRPIN),
    ("U9a", HAIRPIN),
    ("U11", PER_DESTINATION),
    ("U13a", FRAGMENTS),
    ("U14", FRAGMENTS),
    ("T1", PER_DESTINATION),
    ("T3", STRICTER),
    ("T4", HOST_ANSWERS),
    ("T4a", HOST_ANSWERS),
    ("T7", PER_DESTINATION),
    ("T8", HAIRPIN),
    ("I1a", PER_DESTINATION),
    ("I3", CHECKSUMS),
    ("I3a", CHECKSUMS),
    ("I7", HAIRPIN),
    ("I8", "Refusals are counted by reason, and not told to the sender."),
    ("P3", "There is no such option: path MTU discovery works, see P1."),
    ("N2", "Half-open and closing connections share one timer."),
    ("N2a", "There is no such option."),
    ("N3", "A connection that was reset closes, whatever follows."),
    ("N7", "Identifications are left as they are, as the kernel leaves them."),
    ("C1", "There is no such option."),
    ("C2", "An expired port is free at once."),
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
    ("K1", FLAGS),
    ("K2", CHECKSUMS),
    ("K3", WINDOWS),
    ("K6", "A connection may be picked up in the middle from inside."),
    ("K7", "The length in a UDP header is left to the receiver."),
    ("K8", RESET),
    ("K9", RESET),
    ("K11", RESET),
    (
        "K16",
        "A refused SYN's flow closes, and stays for the time of a closing one.",
    ),
    ("K22", FLAGS),
];

const PER_DESTINATION: &str = "Mapping is per destination, as the kernel's is.";
const STRICTER: &str = "Stricter on purpose: only who was asked may answer.";
const HAIRPIN: &str = "The host's own address is not translated from inside.";
const FRAGMENTS: &str = "Fragments are dropped and counted.";
const HOST_ANSWERS: &str = "A port without a flow is the host's, and its stack answers.";
const CHECKSUMS: &str = "Checksums are changed by what the translation changes: a wrong one stays wrong, and the receiver drops the packet.";
const FLAGS: &str = "Combinations of flags are left to the receiver.";
const WINDOWS: &str = "Sequence numbers are the endpoints' to judge: windows would cost every packet a map write.";
const RESET: &str = "Any RST or FIN closes the flow.";

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
        segments: &["none"],
        states: &[],
        reason: FLAGS,
    },
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
