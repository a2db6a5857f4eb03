//! `report.md`: a run as a person reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::contestant::Contestant;
use super::crosscheck::Outcome;
use super::figure::figure;
use super::grid::{self, Row};
use super::results::Results;
use super::series::Metric;
use super::table::Table;
use super::target;

/// What most people run.
const USUAL: Contestant = Contestant::IptablesNft;
/// The limit of two namespaces.
const LIMIT: Contestant = Contestant::RawPair;

/// A part of the report: its heading, which cases, by which yardsticks.
struct Section {
    title: &'static str,
    holds: fn(&str) -> bool,
    metrics: &'static [Metric],
}

const SECTIONS: [Section; 4] = [
    Section {
        title: "Forwarding cost, without sockets",
        holds: |case| case.starts_with("forwarding/"),
        metrics: &[Metric::NetNs, Metric::TotalNs, Metric::PacketsPerSecond],
    },
    Section {
        title: "Sockets",
        holds: |case| !case.starts_with("forwarding/"),
        metrics: &[
            Metric::GbitPerSecond,
            Metric::PacketsPerSecond,
            Metric::LossPercent,
            Metric::PerSecond,
            Metric::P50Micros,
            Metric::P90Micros,
            Metric::P99Micros,
            Metric::P999Micros,
        ],
    },
    Section {
        title: "Control plane",
        holds: |_| true,
        metrics: &[
            Metric::Millis,
            Metric::UndoMillis,
            Metric::ResidentBytes,
            Metric::MapBytes,
        ],
    },
    Section {
        title: "CPU",
        holds: |_| true,
        metrics: &[Metric::CpuNsPerPacket, Metric::CpuNsPerGib, Metric::BpfNs],
    },
];

/// Yardsticks whose ratios a reader asks for; of the others a ratio says nothing that the medians do not.
const COMPARED: [Metric; 8] = [
    Metric::NetNs,
    Metric::GbitPerSecond,
    Metric::PacketsPerSecond,
    Metric::PerSecond,
    Metric::P50Micros,
    Metric::P99Micros,
    Metric::Millis,
    Metric::UndoMillis,
];

const HOW_TO_READ: &str = "\
Every figure comes from this one run. In each case all contestants are measured in turn, round after round, the order
reversed every other round; a first round is not kept. A table shows the median of the rounds and its quartiles. A ratio
is that of two medians; its 95 % interval comes from drawing rounds anew (bootstrap, the same rounds for both). Where
an interval spans 1, the two cannot be told apart by this run.

Net cost is what a packet costs one core above the generator's own cost, which is measured in the same round. Ratios
carry over to other machines far better than nanoseconds do. A cell without a figure says why.
";

/// The whole report; `charts` are file names and what they show, `changes` what an earlier run says to this one.
pub fn markdown(results: &Results, charts: &[(String, String)], changes: Option<&str>) -> String {
    let mut text = format!("# netbridge benchmark, {}\n\n{}", results.started, head(results));
    let mut add = |title: &str, body: &str| {
        if !body.is_empty() {
            let _ = write!(text, "\n## {title}\n\n{}\n", body.trim_end());
        }
    };
    add("How to read this", HOW_TO_READ);
    add("Errors", &errors(results));
    add("Targets", &target::table(results).markdown());
    add("Charts", &pictures(charts));
    for section in &SECTIONS {
        add(section.title, &section.body(results));
    }
    add("Filters of many rules", &rule_scale(results));
    add("Our load programs beside others", &checks(results));
    add("Since the run compared with", changes.unwrap_or_default());
    add("What is absent, and why", &absences(results));
    add("The machine", &machine(results));
    text
}

/// What is worth printing at the end of a run.
pub fn summary(results: &Results) -> String {
    let mut text = String::new();
    let mut add = |title: &str, body: &str| {
        if !body.is_empty() {
            let _ = write!(text, "{title}\n\n{}\n\n", body.trim_end());
        }
    };
    let rows = base_rows(results, |_| true);
    add(
        "Net cost",
        &grid::medians(results, &rows, Metric::NetNs).unwrap_or_default(),
    );
    let ratios = grid::ratios(results, &rows, Metric::NetNs, USUAL).unwrap_or_default();
    add(&format!("Net cost, ratio to {USUAL}"), &ratios);
    add("Filters of many rules", &rule_scale(results));
    add("Targets", &target::table(results).markdown());
    add("Errors", &errors(results));
    text
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let options = &results.options;
    let rounds = results.series.iter().map(|series| series.values.len());
    let fewest = rounds.min().unwrap_or(0);
    let fewer = if fewest < options.rounds {
        format!(", down to {fewest} where a round takes long or time ran short")
    } else {
        String::new()
    };
    let took = humantime::format_duration(Duration::from_secs_f64(results.seconds.round()));
    let kind = if options.quick { "quick" } else { "full" };
    let version = machine.versions.get("netbridge").map_or("unknown", String::as_str);
    format!(
        "- netbridge {version}\n- Linux {}; {} × {}, {}; {}\n- {kind} run of {took}, {} cases, {} rounds each{fewer}\n\
         - load average {} before and {} after; {} % of the processors' time stolen by the hypervisor\n",
        machine.kernel,
        machine.cpus,
        machine.cpu,
        gibibytes(machine.memory_bytes),
        machine.virtualisation,
        results.cases.len(),
        options.rounds,
        machine.load_before,
        machine.load_after,
        figure(machine.steal_percent),
    )
}

impl Section {
    fn body(&self, results: &Results) -> String {
        let rows = base_rows(results, self.holds);
        let mut text = String::new();
        for &metric in self.metrics {
            let Some(medians) = grid::medians(results, &rows, metric) else {
                continue;
            };
            let better = if metric.is_higher_better() {
                "more is better"
            } else {
                "less is better"
            };
            let _ = write!(text, "### {} ({better})\n\n{medians}\n", metric.title());
            for to in [USUAL, LIMIT] {
                let ratios = grid::ratios(results, &rows, metric, to).filter(|_| COMPARED.contains(&metric));
                if let Some(ratios) = ratios {
                    let _ = write!(text, "Ratio to {to}:\n\n{ratios}\n");
                }
            }
        }
        text
    }
}

/// The cases that `holds` picks, but for packets that pass a filter: these are in [`rule_scale`].
fn base_rows(results: &Results, holds: impl Fn(&str) -> bool) -> Vec<Row<'_>> {
    let filtered =
        |id: &str| id.starts_with("forwarding/") && grid::member(id, "rules").is_some_and(|(_, rules)| rules > 0);
    let cases = results
        .cases
        .iter()
        .filter(|case| holds(&case.id) && !filtered(&case.id));
    cases.map(|case| (case.title.clone(), case)).collect()
}

/// Net cost by the number of rules, a table for each path.
fn rule_scale(results: &Results) -> String {
    let mut text = String::new();
    for (family, members) in grid::families(results, "rules") {
        let title = members.first().map_or(family, |(_, case)| case.title.as_str());
        let rows: Vec<Row<'_>> = members
            .iter()
            .map(|(rules, case)| {
                (
                    format!(
                        "{} rules",
                        figure(f64::from(*rules)).replace(".00", "").replace(".0", "")
                    ),
                    *case,
                )
            })
            .collect();
        if rows.len() > 1
            && let Some(table) = grid::medians(results, &rows, Metric::NetNs)
        {
            let _ = write!(text, "### Net cost, {title}\n\n{table}\n");
        }
    }
    text
}

fn pictures(charts: &[(String, String)]) -> String {
    let pictures = charts.iter().map(|(file, what)| format!("![{what}]({file})\n"));
    pictures.collect::<Vec<_>>().join("\n")
}

fn errors(results: &Results) -> String {
    let lines = results.errors.iter().map(|failure| {
        let error = failure.error.replace('\n', " ");
        format!("- `{}`, {}: {error}", failure.case, failure.contestant)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Reasons, each with the cells it empties.
fn absences(results: &Results) -> String {
    let mut reasons: BTreeMap<(Contestant, &str), Vec<String>> = BTreeMap::new();
    for absence in &results.absences {
        let cases = reasons.entry((absence.contestant, &absence.reason)).or_default();
        cases.push(format!("`{}`", absence.case));
    }
    let lines = reasons
        .iter()
        .map(|((who, reason), cases)| format!("- {who}: {reason}: {}", cases.join(", ")));
    lines.collect::<Vec<_>>().join("\n")
}

fn checks(results: &Results) -> String {
    let mut table = Table::new(
        4,
        ["what", "through", "tool", "unit", "its figure", "ours", "ours / its"],
    );
    for check in &results.checks {
        let mut line = vec![
            check.what.clone(),
            check.contestant.to_string(),
            check.tool.clone(),
            check.metric.unit().to_owned(),
        ];
        line.extend(match &check.outcome {
            Outcome::Compared { theirs, ours, ratio } => [*theirs, *ours, *ratio].map(figure),
            Outcome::Absent(reason) => [table.gap(reason), "–".to_owned(), "–".to_owned()],
        });
        table.row(line);
    }
    if table.is_empty() {
        String::new()
    } else {
        table.markdown()
    }
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let mut table = Table::new(2, ["what", "value"]);
    for (name, value) in machine.versions.iter().chain(&machine.sysctls) {
        table.row(vec![name.clone(), value.clone()]);
    }
    table.markdown()
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn gibibytes(bytes: u64) -> String {
    format!("{} GiB", figure(bytes as f64 / f64::from(1 << 30)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_report_has_every_part() {
        let results = fixture::results();
        let charts = [("net-cost.svg".to_owned(), "Net cost by case".to_owned())];
        let text = markdown(&results, &charts, Some("nothing changed"));
        for part in [
            "# netbridge benchmark, 2026-02-03T04:05:06Z",
            "Linux 6.18.0",
            "full run of 20m 34s, 40 cases, 10 rounds each\n",
            "## Targets",
            "![Net cost by case](net-cost.svg)",
            "### Net cost (less is better)",
            "### Net cost, same network",
            "| 10,000 rules ",
            "### Throughput (more is better)",
            "Ratio to raw veth pair:",
            "`control/attach/first`, bridge + iptables-legacy: cannot attach",
            "- netbridge: holds 64 rules: `forwarding/l2/rules-100`",
            "| TCP stream           | raw veth pair | iperf3 | Gbit/s",
            "nothing changed",
            "| nft ",
        ] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
    }

    #[test]
    fn every_metric_has_its_section() {
        let mut results = fixture::results();
        let text = serde_json::to_string(&results.series[0]).unwrap();
        for metric in SECTIONS.iter().flat_map(|section| section.metrics) {
            let mut series: super::super::series::Series = serde_json::from_str(&text).unwrap();
            series.metric = *metric;
            results.series = vec![series];
            results.series[0].case = match metric {
                Metric::NetNs | Metric::TotalNs => "forwarding/l2/rules-0".to_owned(),
                _ => "sockets/tcp-rr/local".to_owned(),
            };
            assert!(
                markdown(&results, &[], None).contains(&format!("### {} (", metric.title())),
                "{metric:?}"
            );
        }
    }

    #[test]
    fn fewer_rounds_than_asked_for_are_told() {
        let mut results = fixture::results();
        results.series[0].values.truncate(4);
        assert!(markdown(&results, &[], None).contains(", down to 4 where"));
    }
}
