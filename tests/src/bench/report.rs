//! `report.md`: a run as a person reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::contestant::Contestant;
use super::crosscheck::Outcome;
use super::figure::figure;
use super::grid::{self, Row};
use super::results::{CaseName, Results};
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
        metrics: &[
            Metric::CpuNsPerPacket,
            Metric::CpuNsPerGib,
            Metric::OtherWorkPercent,
            Metric::BpfNs,
        ],
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

/// The case that a note is due to, and the note.
const NOTED: (&str, &str) = (
    "forwarding/new-l2/rules-0",
    "¹ netbridge tracks no flow inside a network while no filter is loaded: here a new flow costs it what any packet costs.",
);
/// A ratio of our figure to another tool's that is farther from 1 is told in words.
const AGREEMENT: f64 = 0.15;

const HOW_TO_READ: &str = "\
Every figure comes from this one run. In each case all contestants are measured in turn, round after round, the order
reversed every other round; a first round is not kept. A table shows the median of the rounds and its quartiles. A ratio
is that of two medians; its 95 % interval comes from drawing rounds anew (bootstrap, the same rounds for both). Where
an interval spans 1, the two cannot be told apart by this run. Fewer than 6 rounds have no interval: a range is the
least and the most of the ratios of the rounds. A target is met or missed if the whole interval, or every one of few
rounds, says so; else it is undecided. A 99.9th percentile is that of the transactions of all rounds together: it has
no interval, and one disturbed round can decide it.

Net cost is what a packet costs one core above the generator's own cost, the floor, which is measured in the same round.
A round whose floor shows that the processor was slowed down is repeated, a limited number of times. Ratios carry over
to other machines far better than nanoseconds do. A cell without a figure says why.
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
    let medians = grid::medians(results, &rows, Metric::NetNs);
    add(
        "Net cost",
        &medians.map_or_else(String::new, |table| format!("{table}\n{}", note(&rows))),
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
    let rounds = results.series.iter().filter(|series| !series.metric.is_of_all_rounds());
    let rounds = rounds.map(|series| series.values.len());
    let fewest = rounds.min().unwrap_or(0);
    let fewer = if fewest < options.rounds {
        format!(", down to {fewest} where a round takes long or time ran short")
    } else {
        String::new()
    };
    let took = humantime::format_duration(Duration::from_secs_f64(results.seconds.round()));
    let kind = if options.quick { "quick" } else { "full" };
    let version = machine.versions.get("netbridge").map_or("unknown", String::as_str);
    let other_work = match &machine.other_work()[..] {
        [] => String::new(),
        work => format!(
            "**The machine had other work: {}. Differences between contestants may be due to it.**\n\n",
            work.join("; ")
        ),
    };
    format!(
        "{other_work}- netbridge {version}\n- Linux {}; {} × {}, {}; {}\n- {kind} run of {took}, {} cases, {} rounds each{fewer}\n\
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
                text += &without_figures(results, &rows, metric);
                continue;
            };
            let better = if metric.is_higher_better() {
                "more is better"
            } else {
                "less is better"
            };
            let with_generator = rows.iter().any(|(_, case)| metric.includes_generator(&case.id));
            let included = if with_generator { ", generator included" } else { "" };
            let _ = write!(text, "### {}{included} ({better})\n\n{medians}\n", metric.title());
            if with_generator || !COMPARED.contains(&metric) {
                continue;
            }
            for to in [USUAL, LIMIT] {
                let ratios = grid::ratios(results, &rows, metric, to);
                if let Some(ratios) = ratios {
                    let _ = write!(text, "Ratio to {to}:\n\n{ratios}\n");
                }
            }
        }
        if self.metrics.contains(&Metric::NetNs) {
            text += note(&rows);
        }
        text
    }
}

/// What to say of a yardstick by which nobody could be measured: every reason, once. Nothing if nobody was asked.
fn without_figures(results: &Results, rows: &[Row<'_>], metric: Metric) -> String {
    let absences = results
        .absences
        .iter()
        .filter(|absence| absence.metric == Some(metric) && rows.iter().any(|(_, case)| case.id == absence.case));
    let reasons: BTreeSet<&str> = absences.map(|absence| absence.reason.as_str()).collect();
    if reasons.is_empty() {
        return String::new();
    }
    let reasons: Vec<&str> = reasons.into_iter().collect();
    format!("### {}\n\nNo figure: {}.\n\n", metric.title(), reasons.join("; "))
}

/// What marks a case that has a note.
fn mark(case: &CaseName) -> &'static str {
    if case.id == NOTED.0 { "¹" } else { "" }
}

/// The note below tables of these rows.
fn note(rows: &[Row<'_>]) -> &'static str {
    let (noted, note) = NOTED;
    if rows.iter().any(|(_, case)| case.id == noted) {
        note
    } else {
        ""
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
    cases.map(|case| (case.title.clone() + mark(case), case)).collect()
}

/// Net cost by the number of rules, a table for each path.
fn rule_scale(results: &Results) -> String {
    let mut text = String::new();
    for members in grid::families(results, "rules").into_values() {
        let title = grid::family_title(&members);
        let rows: Vec<Row<'_>> = members
            .iter()
            .map(|(rules, case)| {
                let rules = figure(f64::from(*rules)).replace(".00", "").replace(".0", "");
                (format!("{rules} rules{}", mark(case)), *case)
            })
            .collect();
        if rows.len() > 1
            && let Some(table) = grid::medians(results, &rows, Metric::NetNs)
        {
            let _ = write!(text, "### Net cost, {title}\n\n{table}\n{}\n", note(&rows));
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
    let mut reasons: BTreeMap<(Contestant, Option<Metric>, &str), Vec<String>> = BTreeMap::new();
    for absence in &results.absences {
        let cell = (absence.contestant, absence.metric, absence.reason.as_str());
        let cases = reasons.entry(cell).or_default();
        cases.push(format!("`{}`", absence.case));
    }
    let lines = reasons.iter().map(|((who, metric, reason), cases)| {
        let what = metric.map_or_else(String::new, |metric| format!(", {}", metric.title()));
        format!("- {who}{what}: {reason}: {}", cases.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn checks(results: &Results) -> String {
    let mut table = Table::new(
        4,
        [
            "what",
            "through",
            "tool",
            "unit",
            "rounds",
            "its figure",
            "ours",
            "ours / its",
        ],
    );
    let mut apart = Vec::new();
    for check in &results.checks {
        let mut line = vec![
            check.what.clone(),
            check.contestant.to_string(),
            check.tool.clone(),
            check.metric.unit().to_owned(),
        ];
        match &check.outcome {
            Outcome::Compared {
                theirs,
                ours,
                ratio,
                rounds,
            } => {
                line.push(rounds.to_string());
                line.extend([*theirs, *ours, *ratio].map(figure));
                if (ratio - 1.0).abs() > AGREEMENT {
                    apart.push(format!(
                        "\n{}: ours is {} times what {} measures: do not compare this figure with one of {}.\n",
                        check.what,
                        figure(*ratio),
                        check.tool,
                        check.tool,
                    ));
                }
            }
            Outcome::Absent(reason) => {
                let nothing = || "–".to_owned();
                line.extend([nothing(), table.gap(reason), nothing(), nothing()]);
            }
        }
        table.row(line);
    }
    if table.is_empty() {
        String::new()
    } else {
        table.markdown() + &apart.concat()
    }
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let mut table = Table::new(2, ["what", "value"]);
    for (name, value) in machine.facts() {
        table.row(vec![name.to_owned(), value.to_owned()]);
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
            "full run of 20m 34s, 45 cases, 10 rounds each\n",
            "## Targets",
            "![Net cost by case](net-cost.svg)",
            "### Net cost (less is better)",
            "### Net cost, same network",
            "| 10,000 rules ",
            "### Throughput (more is better)",
            "Ratio to raw veth pair:",
            "`control/attach/first`, bridge + iptables-legacy: cannot attach",
            "- bridge + ipset: would be 12 million elements: `forwarding/l2/rules-65536`",
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
                markdown(&results, &[], None).contains(&format!("### {}", metric.title())),
                "{metric:?}"
            );
        }
    }

    #[test]
    fn a_yardstick_that_nobody_has_says_why() {
        let mut results = fixture::results();
        results.absences.push(super::super::series::Absence {
            case: "sockets/tcp-rr/local".to_owned(),
            contestant: Contestant::Netbridge,
            metric: Some(Metric::CpuNsPerPacket),
            reason: "other work kept 0.4 of a core busy".to_owned(),
        });
        let text = markdown(&results, &[], None);
        let expected = "### CPU time per packet\n\nNo figure: other work kept 0.4 of a core busy.\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_rate_with_the_generator_in_it_has_no_ratios() {
        let mut results = fixture::results();
        results.series.retain(|series| series.metric == Metric::NetNs);
        for series in &mut results.series {
            series.metric = Metric::PacketsPerSecond;
        }
        let text = markdown(&results, &[], None);
        assert!(
            text.contains("### Packet rate, generator included (") && !text.contains("Ratio to"),
            "{text}"
        );
    }

    #[test]
    fn a_busy_machine_and_a_tool_that_differs_are_told() {
        let mut results = fixture::results();
        results.machine.steal_percent = 7.0;
        if let Some(Outcome::Compared { ratio, .. }) = results.checks.first_mut().map(|check| &mut check.outcome) {
            *ratio = 0.8;
        }
        let text = markdown(&results, &[], None);
        for part in [
            "\n\n**The machine had other work: 7.0 %",
            "TCP stream: ours is 0.80 times what iperf3",
        ] {
            assert!(text.contains(part), "`{part}` is missing in:\n{text}");
        }
    }

    #[test]
    fn an_untracked_flow_is_noted() {
        let mut results = fixture::results();
        for case in &mut results.cases {
            case.id = case.id.replace("/new-flow/", "/new-l2/");
        }
        for series in &mut results.series {
            series.case = series.case.replace("/new-flow/", "/new-l2/");
        }
        let text = markdown(&results, &[], None);
        assert!(
            text.contains("a new flow¹ ") && text.contains("\n¹ netbridge tracks no flow"),
            "{text}"
        );
    }

    #[test]
    fn fewer_rounds_than_asked_for_are_told() {
        let mut results = fixture::results();
        results.series[0].values.truncate(4);
        assert!(markdown(&results, &[], None).contains(", down to 4 where"));
    }
}
