//! What was measured: the only thing that results, reports, charts and comparisons know.

use serde::{Deserialize, Serialize};

use super::contestant::Contestant;
use super::latency::Latency;

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
    /// 99.9th percentile of the round trip, microseconds: of all rounds together, as one has too few transactions beyond it.
    P999Micros,
    /// Transactions, or connections, per second.
    PerSecond,
    /// Nanoseconds of CPU (user, system, softirq) per packet, above an idle machine.
    CpuNsPerPacket,
    /// Nanoseconds of CPU per GiB of payload, above an idle machine.
    CpuNsPerGib,
    /// What the machine does while the benchmark waits, per cent of one CPU; it is taken off CPU time.
    OtherWorkPercent,
    /// Milliseconds that a call took.
    Millis,
    /// Milliseconds that a call took which takes back what another did.
    UndoMillis,
    /// Resident memory of the processes that serve the contestant, bytes.
    ResidentBytes,
    /// Memory of the contestant's BPF maps, bytes.
    MapBytes,
}

/// What there is to say about a yardstick.
struct Traits {
    title: &'static str,
    unit: &'static str,
    /// The unit that reports show and the factor to it, where it is another.
    shown: Option<(&'static str, f64)>,
    higher_better: bool,
}

/// A yardstick of which less is better, shown in its own unit.
const fn less(title: &'static str, unit: &'static str) -> Traits {
    Traits {
        title,
        unit,
        shown: None,
        higher_better: false,
    }
}

/// The same of which more is better.
const fn more(title: &'static str, unit: &'static str) -> Traits {
    Traits {
        higher_better: true,
        ..less(title, unit)
    }
}

/// The same of which less is better, shown in another unit.
const fn less_as(title: &'static str, unit: &'static str, shown: &'static str, factor: f64) -> Traits {
    Traits {
        shown: Some((shown, factor)),
        ..less(title, unit)
    }
}

impl Metric {
    const fn traits(self) -> Traits {
        match self {
            Self::NetNs => less("Net cost", "ns/packet"),
            Self::TotalNs => less("Total cost", "ns/packet"),
            Self::PacketsPerSecond => more("Packet rate", "packets/s"),
            Self::LossPercent => less("Loss", "%"),
            Self::BpfNs => less("Time in BPF programs", "ns/packet"),
            Self::GbitPerSecond => more("Throughput", "Gbit/s"),
            Self::P50Micros => less("Latency, p50", "µs"),
            Self::P90Micros => less("Latency, p90", "µs"),
            Self::P99Micros => less("Latency, p99", "µs"),
            Self::P999Micros => less("Latency, p99.9", "µs"),
            Self::PerSecond => more("Transactions", "1/s"),
            Self::CpuNsPerPacket => less("CPU time per packet", "ns/packet"),
            Self::CpuNsPerGib => less_as("CPU time per GiB", "ns/GiB", "ms/GiB", 1e-6),
            Self::OtherWorkPercent => less("Other work of the machine", "% of a CPU"),
            Self::Millis => less("Duration", "ms"),
            Self::UndoMillis => less("Duration of taking it back", "ms"),
            Self::ResidentBytes => less_as("Resident memory", "bytes", "MiB", 1.0 / 1_048_576.0),
            Self::MapBytes => less_as("Memory of BPF maps", "bytes", "MiB", 1.0 / 1_048_576.0),
        }
    }

    /// What a table of this yardstick is called.
    pub const fn title(self) -> &'static str {
        self.traits().title
    }

    /// The unit of values.
    pub const fn unit(self) -> &'static str {
        self.traits().unit
    }

    /// The unit that reports show, and the factor from [`unit`](Self::unit) to it.
    pub const fn shown(self) -> (&'static str, f64) {
        match self.traits() {
            Traits { shown: Some(shown), .. } => shown,
            Traits { unit, .. } => (unit, 1.0),
        }
    }

    /// True if more is better.
    pub const fn is_higher_better(self) -> bool {
        self.traits().higher_better
    }

    /// True if there is one figure of all rounds together, and none of each.
    pub const fn is_of_all_rounds(self) -> bool {
        matches!(self, Self::P999Micros)
    }

    /// True where the generator's own cost is part of the figure: a ratio of two such figures hides what differs.
    pub fn includes_generator(self, case: &str) -> bool {
        matches!(self, Self::TotalNs | Self::PacketsPerSecond) && case.starts_with("forwarding/")
    }
}

/// One round's values, and what the round cannot tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    figures: Vec<(Metric, f64)>,
    lacks: Vec<(Metric, String)>,
    latency: Option<Latency>,
}

impl<const COUNT: usize> From<[(Metric, f64); COUNT]> for Sample {
    fn from(figures: [(Metric, f64); COUNT]) -> Self {
        Self {
            figures: figures.into(),
            ..Self::default()
        }
    }
}

impl Sample {
    /// Adds a figure, or the reason why there is none, as a report prints it.
    pub fn put<R: Into<String>>(&mut self, metric: Metric, figure: Result<f64, R>) {
        match figure {
            Ok(figure) => self.figures.push((metric, figure)),
            Err(reason) => self.lacks.push((metric, reason.into())),
        }
    }

    /// Adds how long the round's transactions took, for the yardsticks that are of all rounds together.
    pub fn put_latency(&mut self, latency: Latency) {
        self.latency = Some(latency);
    }

    /// How long the round's transactions took.
    pub fn latency(&self) -> Option<&Latency> {
        self.latency.as_ref()
    }

    /// The figures.
    pub fn figures(&self) -> &[(Metric, f64)] {
        &self.figures
    }

    /// What has no figure, and why.
    pub fn lacks(&self) -> &[(Metric, String)] {
        &self.lacks
    }
}

/// What one contestant did in one case, by one yardstick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// [`super::case::Case::id`].
    pub case: String,
    /// Who.
    pub contestant: Contestant,
    /// The yardstick.
    pub metric: Metric,
    /// One value per round, in the order of the rounds; a single one by a yardstick of all rounds together.
    pub values: Vec<f64>,
}

/// A cell that has no figure, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// [`super::case::Case::id`].
    pub case: String,
    /// Who.
    pub contestant: Contestant,
    /// The yardstick; none: every one.
    pub metric: Option<Metric>,
    /// Why, as a report prints it: `a bridge alone filters nothing`.
    pub reason: String,
}
