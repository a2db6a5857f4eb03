//! What the benchmark's programs and userspace agree on: the mark of a frame, and the maps' values.
//!
//! Compiled twice: into the programs, and into `tests`, which fills the maps and reads them. Every structure is one map
//! value without padding; addresses and ports are in network byte order.

/// Bytes of the headers: Ethernet, IPv4 without options, UDP.
pub(crate) const HEADERS: usize = 42;

/// What the payload begins with: by it a sink knows a frame, whatever its headers have become.
pub(crate) const MARK: [u8; 8] = *b"nb-bench";

/// What the generator writes into the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Plan {
    /// The number of the next frame.
    pub(crate) next: u32,
    /// Flows less one; flows are a power of two, and no more than there are ports from `first_port` on.
    pub(crate) flows_mask: u32,
    /// 0: frame `n` is of flow `n`, modulo the flows. Else its flow is drawn by a hash of `n`.
    pub(crate) scattered: u32,
    /// The one's complement sum over pseudo-header and datagram, source port and checksum taken as 0.
    pub(crate) sum: u32,
    /// Source port of flow 0, in host byte order.
    pub(crate) first_port: u16,
    /// The headers of the last frame; all but source port and checksum are the same in every frame.
    pub(crate) headers: [u8; HEADERS],
}

/// Who talks to whom, in a UDP frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tuple {
    /// Source address.
    pub(crate) src: [u8; 4],
    /// Destination address.
    pub(crate) dst: [u8; 4],
    /// Source port.
    pub(crate) sport: [u8; 2],
    /// Destination port.
    pub(crate) dport: [u8; 2],
}

/// What a sink looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Wanted {
    /// What the frames must carry.
    pub(crate) tuple: Tuple,
    /// Bits that are set here need not be so.
    pub(crate) free: Tuple,
    /// 0: frames are counted and dropped. Else each goes back to where it came from, its ends exchanged.
    pub(crate) answer: u32,
}

/// What a sink saw on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Seen {
    /// Frames with the mark.
    pub(crate) frames: u64,
    /// Those among them that carried something else than what was wanted.
    pub(crate) strange: u64,
    /// What the last frame carried.
    pub(crate) last: Tuple,
    /// What the last strange one carried.
    pub(crate) last_strange: Tuple,
}
