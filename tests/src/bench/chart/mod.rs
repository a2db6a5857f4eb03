//! The charts of a run, drawn from its series alone.

mod bars;
mod canvas;
mod lines;
mod scale;
mod style;

use std::collections::{BTreeMap, BTreeSet};

use self::bars::Bars;
use self::lines::{Line, Lines, Panel, Place};
use super::contestant::Contestant;
use super::grid::{families, family_title, member};
use super::results::{CaseName, Results};
use super::series::Metric;
use super::statistics::{median, summary};

/// A picture.
pub struct Chart {
    /// Its file's name.
    pub file: &'static str,
    /// What it shows.
    pub title: String,
    /// The file's text.
    pub svg: String,
}

/// All charts for which the run has figures.
pub fn all(results: &Results) -> Vec<Chart> {
    let charts = [
        ("net-cost.svg", "Net cost of a packet", net_cost(results)),
        (
            "rule-scale.svg",
            "Net cost of a packet by the number of filter rules",
            rule_scale(results),
        ),
        ("latency.svg", "Latency percentiles", latency(results)),
        ("publishing.svg", "Time to publish ports", publishing(results)),
    ];
    charts
        .into_iter()
        .filter_map(|(file, title, svg)| Some((file, title.to_owned(), svg?)))
        .map(|(file, title, svg)| Chart { file, title, svg })
        .collect()
}

/// Bars: every path without rules.
fn net_cost(results: &Results) -> Option<String> {
    let cases: Vec<&CaseName> = results
        .cases
        .iter()
        .filter(|case| member(&case.id, "rules").is_none_or(|(_, rules)| rules == 0))
        .filter(|case| measured(results, &case.id, Metric::NetNs))
        .collect();
    let takes_part = |who: &Contestant| {
        cases
            .iter()
            .any(|case| results.values(&case.id, *who, Metric::NetNs).is_some())
    };
    let contestants: Vec<Contestant> = Contestant::ALL.into_iter().filter(takes_part).collect();
    let cell = |case: &CaseName, who| {
        let figure = results.values(&case.id, who, Metric::NetNs).and_then(summary);
        figure.ok_or_else(|| {
            results
                .gap(&case.id, who, Metric::NetNs)
                .map_or("not measured", |gap| gap.brief())
                .to_owned()
        })
    };
    let groups = cases.iter().map(|case| {
        let cells = contestants.iter().map(|who| cell(case, *who)).collect();
        (case.title.clone(), cells)
    });
    let bars = Bars {
        title: "Net cost of a packet, without filter rules",
        axis: "ns per packet above the generator's own cost: median, line from quartile to quartile; less is better",
        contestants: &contestants,
        groups: groups.collect(),
    };
    (!cases.is_empty()).then(|| bars.draw())
}

/// Lines: each path, by the number of rules.
fn rule_scale(results: &Results) -> Option<String> {
    let (places, panels) = by_number(results, "rules", Metric::NetNs)?;
    let lines = Lines {
        title: "Net cost of a packet by the number of filter rules",
        height: "ns per packet",
        breadth: "filter rules",
        places,
        panels,
    };
    Some(lines.draw())
}

/// Lines: publishing, by the number of ports.
fn publishing(results: &Results) -> Option<String> {
    let (places, mut panels) = by_number(results, "ports", Metric::Millis)?;
    let back = by_number(results, "ports", Metric::UndoMillis).filter(|(same, _)| *same == places);
    panels.extend(back.into_iter().flat_map(|(_, back)| back).map(|panel| Panel {
        title: format!("{}: taken back", panel.title),
        ..panel
    }));
    let lines = Lines {
        title: "Time to publish ports and to take them back",
        height: "milliseconds",
        breadth: "ports",
        places,
        panels,
    };
    Some(lines.draw())
}

/// Lines: each request/response case, by percentile.
fn latency(results: &Results) -> Option<String> {
    let percentiles = [
        ("p50", Metric::P50Micros),
        ("p90", Metric::P90Micros),
        ("p99", Metric::P99Micros),
        ("p99.9", Metric::P999Micros),
    ];
    let contestants = results.contestants();
    let cases = results
        .cases
        .iter()
        .filter(|case| measured(results, &case.id, Metric::P50Micros));
    let panels: Vec<Panel> = cases
        .map(|case| {
            panel(
                results,
                &contestants,
                case.title.clone(),
                &percentiles.map(|(_, metric)| Some((case, metric))),
            )
        })
        .collect();
    let lines = Lines {
        title: "Latency of a request and its response",
        height: "microseconds",
        breadth: "percentile",
        places: (0_u32..)
            .zip(percentiles)
            .map(|(number, (name, _))| Place {
                at: f64::from(number),
                name: name.to_owned(),
            })
            .collect(),
        panels,
    };
    (!lines.panels.is_empty()).then(|| lines.draw())
}

/// The numbers that families of cases end in, and a panel for each family that goes up to the greatest. The limits are left
/// out: they have neither rules nor ports.
fn by_number(results: &Results, last: &str, metric: Metric) -> Option<(Vec<Place>, Vec<Panel>)> {
    let mut contestants = results.contestants();
    contestants.retain(|who| !matches!(who, Contestant::Loopback | Contestant::RawPair));
    let mut families: Vec<Vec<(u32, &CaseName)>> = families(results, last).into_values().collect();
    for members in &mut families {
        members.retain(|(_, case)| measured(results, &case.id, metric));
    }
    // Curves are drawn as far as any goes; what ends earlier is in the tables.
    let most = families.iter().flatten().map(|(number, _)| *number).max();
    families.retain(|members| members.len() > 1 && members.last().map(|(number, _)| *number) == most);
    // In the order of the run.
    let place = |case: &CaseName| results.cases.iter().position(|other| other == case);
    families.sort_by_key(|members| members.iter().filter_map(|(_, case)| place(case)).min());
    let numbers: BTreeSet<u32> = families.iter().flatten().map(|(number, _)| *number).collect();
    let panels: Vec<Panel> = families
        .iter()
        .map(|members| {
            let of = |number: &u32| members.iter().find(|(own, _)| own == number);
            let places: Vec<_> = numbers.iter().map(|number| Some((of(number)?.1, metric))).collect();
            panel(results, &contestants, family_title(members), &places)
        })
        .collect();
    let places = logarithmic(&numbers);
    (!panels.is_empty()).then_some((places, panels))
}

/// Numbers at places where equal steps are equal factors; a zero is a factor of ten before the first of the others.
fn logarithmic(numbers: &BTreeSet<u32>) -> Vec<Place> {
    let first = numbers.iter().find(|number| **number > 0).copied().unwrap_or(1);
    let at = |number: u32| match number {
        0 => f64::from(first).log10() - 1.0,
        number => f64::from(number).log10(),
    };
    let place = |number: &u32| Place {
        at: at(*number),
        name: bars::whole(f64::from(*number)),
    };
    numbers.iter().map(place).collect()
}

/// A line for each contestant that has a figure at one of these places; why the others have none, and where lines end.
fn panel(
    results: &Results,
    contestants: &[Contestant],
    title: String,
    places: &[Option<(&CaseName, Metric)>],
) -> Panel {
    let mut lines = Vec::new();
    let mut gaps: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for &contestant in contestants {
        let figure = |(case, metric): (&CaseName, Metric)| median(results.values(&case.id, contestant, metric)?);
        let figures: Vec<Option<f64>> = places.iter().map(|place| place.and_then(figure)).collect();
        let mut missing = places.iter().zip(&figures).filter(|(_, figure)| figure.is_none());
        let gap = missing.find_map(|(place, _)| {
            let (case, metric) = place.as_ref()?;
            Some(results.gap(&case.id, contestant, *metric)?.brief())
        });
        if let Some(gap) = gap {
            gaps.entry(gap).or_default().push(contestant.label());
        }
        if figures.iter().any(Option::is_some) {
            lines.push(Line { contestant, figures });
        }
    }
    let notes = gaps
        .iter()
        .map(|(reason, who)| format!("{}: {reason}", who.join(", ")))
        .collect();
    Panel { title, lines, notes }
}

/// True if anybody has a figure.
fn measured(results: &Results, case: &str, metric: Metric) -> bool {
    results
        .series
        .iter()
        .any(|series| series.case == case && series.metric == metric)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_run_has_all_charts_and_each_is_a_picture() {
        let charts = all(&fixture::results());
        let files: Vec<&str> = charts.iter().map(|chart| chart.file).collect();
        assert_eq!(
            files,
            ["net-cost.svg", "rule-scale.svg", "latency.svg", "publishing.svg"]
        );
        for chart in charts {
            assert!(
                chart.svg.starts_with("<svg ") && chart.svg.trim_end().ends_with("</svg>"),
                "{}",
                chart.file
            );
            assert!(
                chart.svg.contains("bridge + iptables-nft") && !chart.svg.contains("NaN"),
                "{}",
                chart.file
            );
        }
    }

    #[test]
    fn what_is_absent_is_shown_as_absent() {
        let charts = all(&fixture::results());
        for (chart, reason) in charts.iter().zip([
            "a bridge alone translates nothing",
            "bridge + ipset: would be 12 million elements",
            "loopback, raw veth pair: the limit has one direction",
            "bridge + iptables-nft, bridge + iptables-legacy,",
        ]) {
            assert!(chart.svg.contains(reason), "{}", chart.file);
        }
    }

    #[test]
    fn without_figures_there_is_no_chart() {
        let mut results = fixture::results();
        results.series.clear();
        assert!(all(&results).is_empty());
    }
}
