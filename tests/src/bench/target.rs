//! What the figures should come to.

use super::contestant::Contestant;
use super::figure::{figure, interval};
use super::results::Results;
use super::series::Metric;
use super::statistics::{median, ratio};
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

/// Each target beside what was measured, and whether it is met; without a figure, why.
pub fn table(results: &Results) -> Table {
    let mut table = Table::new(2, ["case", "target", "measured (95 % interval)", "met"]);
    for target in &TARGETS {
        let (measured, met) = match target.measured(results) {
            Ok(found) => found,
            Err(reason) => (reason, "no figure".to_owned()),
        };
        table.row(vec![target.what.to_owned(), target.goal(), measured, met]);
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

    /// The figure, and `yes` or `no`, with a doubt where the interval lies on both sides; or why there is none.
    fn measured(&self, results: &Results) -> Result<(String, String), String> {
        let values = |contestant| {
            results.values(self.case, contestant, self.metric).ok_or_else(|| {
                let gap = results.gap(self.case, contestant);
                gap.map_or_else(
                    || "not part of this run".to_owned(),
                    |gap| format!("{contestant}: {}", gap.brief()),
                )
            })
        };
        let own = values(Contestant::Netbridge)?;
        let (limit, of, most) = match self.goal {
            Goal::AtMost(share, of) => (share, of, true),
            Goal::AtLeast(share, of) => (share, of, false),
            Goal::Under(limit) => {
                let median = median(own).ok_or("no rounds")?;
                return Ok((
                    format!("{} {}", figure(median), self.metric.unit()),
                    yes(median < limit).to_owned(),
                ));
            }
        };
        let ratio = ratio(own, values(of)?).ok_or_else(|| format!("{of} costs nothing measurable"))?;
        let met = if most {
            ratio.value <= limit
        } else {
            ratio.value >= limit
        };
        let doubt = if ratio.low <= limit && limit <= ratio.high && ratio.low < ratio.high {
            ", within error"
        } else {
            ""
        };
        Ok((interval(ratio), format!("{}{doubt}", yes(met))))
    }
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "no" }
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
            met.contains("≤ 0.10 of bridge + iptables-nft") && met.contains("0.07") && met.ends_with("yes |"),
            "{met}"
        );
        // 3 ms and a microsecond for each port.
        let ports = line(&results, 10);
        assert!(ports.contains("< 50.0 ms") && ports.ends_with("yes |"), "{ports}");
    }

    #[test]
    fn a_limit_within_the_interval_is_a_doubt() {
        let mut results = fixture::results();
        for series in &mut results.series {
            if series.case == "sockets/tcp-rr/local" && series.contestant == Contestant::Netbridge {
                series.values = vec![20.0, 20.0, 20.0, 20.0, 20.0, 30.0, 30.0, 30.0, 30.0, 30.0];
            }
        }
        let line = line(&results, 8);
        assert!(line.contains("within error"), "{line}");
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
