//! What the figures should come to.

use super::contestant::Contestant;
use super::figure::{estimate, figure};
use super::results::Results;
use super::series::Metric;
use super::statistics::{Estimate, middle, ratio, ratio_apart};
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
    /// At most so many times what netbridge itself takes in another case, which is called so.
    AtMostOwn(f64, &'static str, &'static str),
    /// At least this share of what the other one reaches.
    AtLeast(f64, Contestant),
    /// Less than this, in the metric's unit.
    Under(f64),
}

/// How far one case may be above another that costs the same, at another time of the run.
const NOISE: f64 = 1.1;

/// Total cost of a packet with 10,000 addresses in sets of bpfilter, which is no contestant: measured elsewhere, on another
/// processor, and without flows.
const BPFILTER_NS: f64 = 1300.0;

const TARGETS: [Target; 24] = [
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
        what: "net cost, every packet a new flow, 10,000 rules",
        case: "forwarding/new-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMostOwn(2.0, "forwarding/new-l2/rules-10", "10 rules"),
    },
    Target {
        what: "net cost, every packet a new flow, 10,000 rules",
        case: "forwarding/new-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 100.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, every packet a new flow, 10,000 rules",
        case: "forwarding/new-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0, Contestant::Nftables),
    },
    Target {
        what: "net cost, the costliest packet, 10,000 rules",
        case: "forwarding/worst-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0 / 100.0, Contestant::IptablesNft),
    },
    Target {
        what: "net cost, the costliest packet, 10,000 rules",
        case: "forwarding/worst-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0, Contestant::Nftables),
    },
    Target {
        what: "net cost, 10,000 rules that fit a set",
        case: "forwarding/sets-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0, Contestant::Nftables),
    },
    Target {
        what: "net cost, 10,000 rules that fit a set",
        case: "forwarding/sets-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMost(1.0, Contestant::Ipset),
    },
    Target {
        what: "total cost, every packet a new flow, 10,000 rules",
        case: "forwarding/new-l2/rules-10000",
        metric: Metric::TotalNs,
        goal: Goal::Under(BPFILTER_NS),
    },
    Target {
        what: "net cost, same network, established, 10,000 rules",
        case: "forwarding/l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMostOwn(NOISE, "forwarding/l2/rules-10", "10 rules"),
    },
    Target {
        what: "net cost, SNAT out, established, 10,000 rules",
        case: "forwarding/snat-1/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMostOwn(NOISE, "forwarding/snat-1/rules-0", "no rules"),
    },
    Target {
        what: "net cost, a new flow of a pair that always passes, 10,000 rules",
        case: "forwarding/settled-l2/rules-10000",
        metric: Metric::NetNs,
        goal: Goal::AtMostOwn(
            1.0 / 2.0,
            "forwarding/new-l2/rules-10000",
            "a pair that is searched for",
        ),
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
    Target {
        what: "load 10,000 rules",
        case: "control/filter-load/rules-10000",
        metric: Metric::Millis,
        goal: Goal::Under(1000.0),
    },
    Target {
        what: "insert one of 10,000 rules",
        case: "control/filter-insert/rules-10000",
        metric: Metric::Millis,
        goal: Goal::Under(10.0),
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
            Goal::AtMostOwn(factor, _, what) => format!("≤ {} of {what}", figure(factor)),
            Goal::AtLeast(share, of) => format!("≥ {} of {of}", figure(share)),
            Goal::Under(limit) => format!("< {} {}", figure(limit), self.metric.unit()),
        }
    }

    fn shown(&self, measured: Estimate) -> String {
        match self.goal {
            Goal::AtMost(..) | Goal::AtMostOwn(..) | Goal::AtLeast(..) => estimate(measured),
            Goal::Under(_) => format!("{} {}", estimate(measured), self.metric.unit()),
        }
    }

    fn verdict(&self, Estimate { low, high, .. }: Estimate) -> Verdict {
        match self.goal {
            Goal::AtMost(limit, _) | Goal::AtMostOwn(limit, ..) => Verdict::of(high <= limit, low > limit),
            Goal::AtLeast(limit, _) => Verdict::of(low >= limit, high < limit),
            Goal::Under(limit) => Verdict::of(high < limit, low >= limit),
        }
    }

    /// What is compared with the limit, or why there is no figure.
    fn measured(&self, results: &Results) -> Result<Estimate, String> {
        let values = |case, contestant| {
            results.values(case, contestant, self.metric).ok_or_else(|| {
                let gap = results.gap(case, contestant, self.metric);
                gap.map_or_else(
                    || "not part of this run".to_owned(),
                    |gap| format!("{contestant}: {}", gap.brief()),
                )
            })
        };
        let own = values(self.case, Contestant::Netbridge)?;
        match self.goal {
            Goal::AtMost(_, of) | Goal::AtLeast(_, of) => {
                ratio(own, values(self.case, of)?).ok_or_else(|| format!("{of} costs nothing measurable"))
            }
            Goal::AtMostOwn(_, case, what) => ratio_apart(own, values(case, Contestant::Netbridge)?)
                .ok_or_else(|| format!("{what}: costs nothing measurable")),
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
        let ports = line(&results, 21);
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
        let doubtful = line_with(case, &values, 19);
        assert!(doubtful.ends_with(" undecided |"), "{doubtful}");
        let missed = line_with(case, &[40.0; 10], 19);
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
            let line = line_with(case, &values, 21);
            assert!(
                line.contains("(range ") && line.ends_with(&format!(" {verdict} |")),
                "{line}"
            );
        }
    }

    #[test]
    fn what_netbridge_takes_is_compared_with_what_it_takes_elsewhere() {
        let flat = line(&fixture::results(), 17);
        assert!(
            flat.contains("≤ 1.10 of no rules") && flat.contains(" 1.0") && flat.ends_with(" met |"),
            "{flat}"
        );
        let missed = line_with("forwarding/snat-1/rules-10000", &[900.0; 10], 17);
        assert!(missed.ends_with(" missed |"), "{missed}");
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
