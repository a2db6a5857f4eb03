//! What the figures should come to.

use super::contestant::Contestant;
use super::figure::{estimate, figure};
use super::results::Results;
use super::series::Metric;
use super::statistics::{Estimate, middle, ratio};
use super::table::Table;

/// What netbridge is to reach in a case.
struct Target {
    what: &'static str,
    case: &'static str,
    metric: Metric,
    goal: Goal,
}

enum Goal {
    /// At most this share of what the other one takes.
    AtMost(f64, Contestant),
    /// At least this share of what the other one reaches.
    AtLeast(f64, Contestant),
    /// Less than this, in the metric's unit.
    Under(f64),
}

const TARGETS: [Target; 11] = [
    Target {
        what: "net cost, same network",
        case: "forwarding/l2/rules-0",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 10.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, same network",
        case: "forwarding/l2/rules-0",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 3.0, Contestant::Bridge),
    },
    Target {
        what: "net cost, SNAT out, established",
        case: "forwarding/snat-1/rules-0",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 4.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, SNAT out, 16 k flows",
        case: "forwarding/snat-16k/rules-0",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 4.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, published port in, established",
        case: "forwarding/published/rules-0",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 4.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, every packet a new flow, 10 rules, same network",
        case: "forwarding/new-l2/rules-10",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 2.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, every packet a new flow, 10 rules, SNAT out",
        case: "forwarding/new-snat/rules-10",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 2.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, every packet a new flow, 10 rules, published port in",
        case: "forwarding/new-published/rules-10",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 2.0, Contestant::IptablesNft),
    },
    Target {
        what: "TCP request/response, p50",
        case: "sockets/tcp-rr/local",
        metric: Metric::P50Micros,
        goal: Goal::AtMost(1.05, Contestant::RawPair),
    },
    Target {
        what: "TCP stream",
        case: "sockets/tcp-stream-1/local",
        metric: Metric::GbitPerSecond,
        goal: Goal::AtLeast(0.95, Contestant::RawPair),
    },
    Target {
        what: "publish 10,000 ports",
        case: "control/publish-range/ports-10000",
        metric: Metric::Millis,
        goal: Goal::Under(50.0),
    },
];

/// Whether a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The whole interval is on the right side; of few rounds, every one.
    Met,
    /// The whole interval is on the wrong side.
    Missed,
    /// The limit is inside.
    Undecided,
}

impl Verdict {
    const fn label(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Undecided => "undecided",
        }
    }

    const fn of(all_within: bool, none_within: bool) -> Self {
        match (all_within, none_within) {
            (true, _) => Self::Met,
            (false, true) => Self::Missed,
            (false, false) => Self::Undecided,
        }
    }
}

/// Each target beside what was measured, and whether it is met; without a figure, why.
pub fn table(results: &Results) -> Table {
    let mut table = Table::new(2, ["case", "target", "measured (95 % interval)", "verdict"]);
    for target in &TARGETS {
        let (measured, verdict) = match target.measured(results) {
            Ok(found) => (target.shown(found), target.verdict(found).label()),
            Err(reason) => (reason, "no figure"),
        };
        table.row(vec![
            target.what.to_owned(),
            target.goal(),
            measured,
            verdict.to_owned(),
        ]);
    }
    table
}

impl Target {
    fn goal(&self) -> String {
        match self.goal {
            Goal::AtMost(share, of) => format!("≤ {} of {of}", figure(share)),
            Goal::AtLeast(share, of) => format!("≥ {} of {of}", figure(share)),
            Goal::Under(limit) => format!("< {} {}", figure(limit), self.metric.unit()),
        }
    }

    fn shown(&self, measured: Estimate) -> String {
        match self.goal {
            Goal::AtMost(..) | Goal::AtLeast(..) => estimate(measured),
            Goal::Under(_) => format!("{} {}", estimate(measured), self.metric.unit()),
        }
    }

    fn verdict(&self, Estimate { low, high, .. }: Estimate) -> Verdict {
        match self.goal {
            Goal::AtMost(limit, _) => Verdict::of(high <= limit, low > limit),
            Goal::AtLeast(limit, _) => Verdict::of(low >= limit, high < limit),
            Goal::Under(limit) => Verdict::of(high < limit, low >= limit),
        }
    }

    /// What is compared with the limit, or why there is no figure.
    fn measured(&self, results: &Results) -> Result<Estimate, String> {
        let values = |contestant| {
            results.values(self.case, contestant, self.metric).ok_or_else(|| {
                let gap = results.gap(self.case, contestant, self.metric);
                gap.map_or_else(
                    || "not part of this run".to_owned(),
                    |gap| format!("{contestant}: {}", gap.brief()),
                )
            })
        };
        let own = values(Contestant::Netbridge)?;
        match self.goal {
            Goal::AtMost(_, of) | Goal::AtLeast(_, of) => {
                ratio(own, values(of)?).ok_or_else(|| format!("{of} costs nothing measurable"))
            }
            Goal::Under(_) => middle(own).ok_or_else(|| "no rounds".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn line(results: &Results, index: usize) -> String {
        table(results).markdown().lines().nth(2 + index).unwrap().to_owned()
    }

    #[test]
    fn targets_are_met_or_not() {
        let results = fixture::results();
        let met = line(&results, 0);
        assert!(
            met.contains("≤ 0.10 of bridge + iptables-nft") && met.contains("0.07") && met.ends_with(" met |"),
            "{met}"
        );
        // 3 ms and a microsecond for each port.
        let ports = line(&results, 10);
        assert!(ports.contains("< 50.0 ms") && ports.ends_with(" met |"), "{ports}");
    }

    fn line_with(case: &str, values: &[f64], index: usize) -> String {
        let mut results = fixture::results();
        for series in results.series.iter_mut().filter(|series| series.case == case) {
            series.values.truncate(values.len());
            if series.contestant == Contestant::Netbridge {
                series.values = values.to_vec();
            }
        }
        line(&results, index)
    }

    #[test]
    fn a_limit_within_the_interval_decides_nothing() {
        let case = "sockets/tcp-rr/local";
        let values = [20.0, 20.0, 20.0, 20.0, 20.0, 30.0, 30.0, 30.0, 30.0, 30.0];
        let doubtful = line_with(case, &values, 8);
        assert!(doubtful.ends_with(" undecided |"), "{doubtful}");
        let missed = line_with(case, &[40.0; 10], 8);
        assert!(missed.ends_with(" missed |"), "{missed}");
    }

    #[test]
    fn few_rounds_decide_if_they_agree() {
        let case = "control/publish-range/ports-10000";
        for (values, verdict) in [
            ([10.0, 20.0, 49.0], "met"),
            ([10.0, 20.0, 51.0], "undecided"),
            ([50.0, 90.0, 51.0], "missed"),
        ] {
            let line = line_with(case, &values, 10);
            assert!(
                line.contains("(range ") && line.ends_with(&format!(" {verdict} |")),
                "{line}"
            );
        }
    }

    #[test]
    fn a_target_without_a_figure_says_why() {
        let mut results = fixture::results();
        results.series.retain(|series| series.contestant != Contestant::Bridge);
        assert!(line(&results, 1).contains("not part of this run"));
        results.series.clear();
        assert!(line(&results, 1).contains("no figure"));
    }
}
