//! What was measured: the only thing that results, reports, charts and comparisons know.

use serde::{Deserialize, Serialize};

use super::contestant::Contestant;

/// A yardstick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Nanoseconds per packet above the floor of the same round.
    NetNs,
    /// Nanoseconds per packet, the generator's own cost included.
    TotalNs,
    /// Packets per second of one core, the generator's own cost included; or received by a socket.
    PacketsPerSecond,
    /// Share of sent packets that did not arrive, per cent.
    LossPercent,
    /// Nanoseconds of BPF programs per packet (`bpf_stats`).
    BpfNs,
    /// Gbit/s of payload.
    GbitPerSecond,
    /// Median round trip, microseconds.
    P50Micros,
    /// 90th percentile of the round trip, microseconds.
    P90Micros,
    /// 99th percentile of the round trip, microseconds.
    P99Micros,
    /// 99.9th percentile of the round trip, microseconds.
    P999Micros,
    /// Transactions, or connections, per second.
    PerSecond,
    /// Nanoseconds of CPU (user, system, softirq) per packet, above an idle machine.
    CpuNsPerPacket,
    /// Nanoseconds of CPU per GiB of payload, above an idle machine.
    CpuNsPerGib,
    /// Milliseconds that a call took.
    Millis,
    /// Milliseconds that a call took which takes back what another did.
    UndoMillis,
    /// Resident memory of the processes that serve the contestant, bytes.
    ResidentBytes,
    /// Memory of the contestant's BPF maps, bytes.
    MapBytes,
}

impl Metric {
    /// The unit in a table's head.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::NetNs | Self::TotalNs | Self::BpfNs | Self::CpuNsPerPacket => "ns/packet",
            Self::PacketsPerSecond => "packets/s",
            Self::LossPercent => "%",
            Self::GbitPerSecond => "Gbit/s",
            Self::P50Micros | Self::P90Micros | Self::P99Micros | Self::P999Micros => "µs",
            Self::PerSecond => "1/s",
            Self::CpuNsPerGib => "ns/GiB",
            Self::Millis | Self::UndoMillis => "ms",
            Self::ResidentBytes | Self::MapBytes => "bytes",
        }
    }

    /// True if more is better.
    pub const fn is_higher_better(self) -> bool {
        matches!(self, Self::PacketsPerSecond | Self::GbitPerSecond | Self::PerSecond)
    }
}

/// One round's values.
pub type Sample = Vec<(Metric, f64)>;

/// What one contestant did in one case, by one yardstick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// [`super::case::Case::id`].
    pub case: String,
    /// Who.
    pub contestant: Contestant,
    /// The yardstick.
    pub metric: Metric,
    /// One value per round, in the order of the rounds.
    pub values: Vec<f64>,
}

/// A cell that has no figure, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// [`super::case::Case::id`].
    pub case: String,
    /// Who.
    pub contestant: Contestant,
    /// Why, as a report prints it: `holds 64 rules`.
    pub reason: String,
}
