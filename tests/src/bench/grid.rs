//! Tables of cases by contestants.

use std::collections::BTreeMap;

use super::contestant::Contestant;
use super::figure::{estimate, spread};
use super::results::{CaseName, Results};
use super::series::Metric;
use super::statistics::{ratio, summary};
use super::table::Table;

/// A row: what it is called, and the case.
pub type Row<'r> = (String, &'r CaseName);

/// Medians with quartiles of one yardstick. Cases that are not measured by it are left out; contestants without any
/// figure are named below the table. None if nothing is left.
pub fn medians(results: &Results, rows: &[Row<'_>], metric: Metric) -> Option<String> {
    let summarise = |case: &CaseName, who| summary(results.values(&case.id, who, metric)?);
    let figure = if metric.is_of_all_rounds() {
        "all rounds together"
    } else {
        "median (quartiles)"
    };
    let unit = format!("{figure}, {}", metric.shown().0);
    grid(results, rows, metric, &unit, |case, who| {
        Some(spread(metric, summarise(case, who)?))
    })
}

/// Ratios of one yardstick to a contestant's, with their 95 % intervals, or ranges of few rounds. Cases in which that one has no figure are left
/// out. None if nothing is left.
pub fn ratios(results: &Results, rows: &[Row<'_>], metric: Metric, to: Contestant) -> Option<String> {
    grid(results, rows, metric, "ratio (95 % interval)", |case, who| {
        let reference = results.values(&case.id, to, metric)?;
        let own = results.values(&case.id, who, metric)?;
        Some(if who == to {
            "1".to_owned()
        } else {
            estimate(ratio(own, reference)?)
        })
    })
}

/// Cases that differ in the number that their id ends in alone: `forwarding/l2/rules-` and then 0, 10, 100.
pub fn families<'r>(results: &'r Results, last: &str) -> BTreeMap<&'r str, Vec<(u32, &'r CaseName)>> {
    let mut families: BTreeMap<&str, Vec<(u32, &CaseName)>> = BTreeMap::new();
    for case in &results.cases {
        if let Some((family, number)) = member(&case.id, last) {
            families.entry(family).or_default().push((number, case));
        }
    }
    for members in families.values_mut() {
        members.sort_by_key(|(number, _)| *number);
    }
    families
}

/// The family of an id that ends in `/LAST-NUMBER`, and the number.
pub fn member<'i>(id: &'i str, last: &str) -> Option<(&'i str, u32)> {
    let (family, member) = id.rsplit_once('/')?;
    let number = member.strip_prefix(last)?.strip_prefix('-')?.parse().ok()?;
    Some((family, number))
}

/// What the titles of a family have in common: that of the member with the number 0 as it is, else with an `n` for what
/// differs.
pub fn family_title(members: &[(u32, &CaseName)]) -> String {
    let words = |case: &CaseName| case.title.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match members {
        [(first, case), (_, other), ..] if *first > 0 => {
            let (words, others) = (words(case), words(other));
            let same = |(word, other): &(&String, &String)| word == other;
            let before = words.iter().zip(&others).take_while(same).count();
            let after = words.iter().rev().zip(others.iter().rev()).take_while(same).count();
            let after = words.len().saturating_sub(after).max(before);
            let [head, tail] = [words.get(..before), words.get(after..)].map(Option::unwrap_or_default);
            [head, &["n".to_owned()], tail].concat().join(" ")
        }
        [(_, case), ..] => case.title.clone(),
        [] => String::new(),
    }
}

fn grid(
    results: &Results,
    rows: &[Row<'_>],
    metric: Metric,
    unit: &str,
    cell: impl Fn(&CaseName, Contestant) -> Option<String>,
) -> Option<String> {
    let contestants = results.contestants();
    let cells = |case| contestants.iter().map(|who| cell(case, *who)).collect::<Vec<_>>();
    let rows: Vec<(&str, &CaseName, Vec<Option<String>>)> = rows
        .iter()
        .map(|(title, case)| (title.as_str(), *case, cells(case)))
        .filter(|(_, _, cells)| cells.iter().any(Option::is_some))
        .collect();
    let filled = |column: usize| {
        rows.iter()
            .any(|(_, _, cells)| cells.get(column).is_some_and(Option::is_some))
    };
    let (columns, without): (Vec<_>, Vec<_>) = contestants.iter().enumerate().partition(|(column, _)| filled(*column));
    let names = columns.iter().map(|(_, who)| who.to_string());
    let mut table = Table::new(1, [unit.to_owned()].into_iter().chain(names));
    for (title, case, cells) in &rows {
        let mut line = vec![(*title).to_owned()];
        for (column, who) in &columns {
            let gap = || {
                results
                    .gap(&case.id, **who, metric)
                    .map(|gap| table.gap(&gap.to_string()))
            };
            let figure = cells.get(*column).cloned().flatten();
            line.push(figure.or_else(gap).unwrap_or_else(|| "–".to_owned()));
        }
        table.row(line);
    }
    let without: Vec<String> = without
        .into_iter()
        .map(|(_, who)| {
            let reason = rows.iter().find_map(|(_, case, _)| results.gap(&case.id, *who, metric));
            let reason = reason.map_or_else(|| "not measured so".to_owned(), |gap| gap.to_string());
            format!("{who} ({reason})")
        })
        .collect();
    let without = match &without[..] {
        [] => String::new(),
        some => format!("\nWithout a figure: {}.\n", some.join("; ")),
    };
    let rounds = rounds(results, rows.iter().map(|(title, case, _)| (*title, *case)), metric);
    (!rows.is_empty()).then(|| table.markdown() + &without + &rounds)
}

/// How many rounds the rows have, where that is not what was asked for.
fn rounds<'r>(results: &Results, rows: impl Iterator<Item = (&'r str, &'r CaseName)>, metric: Metric) -> String {
    if metric.is_of_all_rounds() {
        return String::new();
    }
    let mut titles: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (title, case) in rows {
        let series = results.series.iter();
        let mut series = series.filter(|series| series.case == case.id && series.metric == metric);
        if let Some(series) = series.next() {
            titles.entry(series.values.len()).or_default().push(title);
        }
    }
    let count = |rounds: usize| {
        if rounds == 1 {
            "1 round".to_owned()
        } else {
            format!("{rounds} rounds")
        }
    };
    match (titles.len(), titles.first_key_value()) {
        (1, Some((&all, _))) if all == results.options.rounds => String::new(),
        (1, Some((&all, _))) => format!("\n{} each.\n", count(all)),
        _ => {
            titles.remove(&results.options.rounds);
            let fewer = titles
                .iter()
                .map(|(rounds, titles)| format!("{}: {}", count(*rounds), titles.join("; ")));
            fewer.fold(String::new(), |text, line| text + "\n" + &line + ".\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn rows(results: &Results) -> Vec<Row<'_>> {
        results.cases.iter().map(|case| (case.title.clone(), case)).collect()
    }

    #[test]
    fn every_cell_has_a_figure_or_a_reason() {
        let results = fixture::results();
        let text = medians(&results, &rows(&results), Metric::NetNs).unwrap();
        assert!(
            text.contains(" no filter |") && text.contains("[3] a bridge alone translates nothing"),
            "{text}"
        );
        assert!(
            text.contains("\nWithout a figure: loopback (a limit has neither"),
            "{text}"
        );
        assert!(!text.contains("publish 100 ports"), "{text}");
    }

    #[test]
    fn a_figure_of_all_rounds_is_called_so() {
        let results = fixture::results();
        let text = medians(&results, &rows(&results), Metric::P999Micros).unwrap();
        assert!(
            text.starts_with("| all rounds together, µs ") && !text.contains("round each"),
            "{text}"
        );
        let text = medians(&results, &rows(&results), Metric::P99Micros).unwrap();
        assert!(text.starts_with("| median (quartiles), µs "), "{text}");
    }

    #[test]
    fn ratios_are_to_the_one_named() {
        let results = fixture::results();
        let text = ratios(&results, &rows(&results), Metric::P50Micros, Contestant::RawPair).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("TCP request/response, container to container"));
        assert!(
            line.unwrap().contains("| 1 |") || line.unwrap().contains(" 1 |"),
            "{text}"
        );
        assert!(
            !text.contains("container to outside"),
            "the raw pair has no outside: {text}"
        );
        assert_eq!(
            ratios(&results, &rows(&results), Metric::BpfNs, Contestant::RawPair),
            None
        );
    }

    #[test]
    fn other_numbers_of_rounds_are_told_below_the_table() {
        let mut results = fixture::results();
        let of = |results: &Results| medians(results, &rows(results), Metric::GbitPerSecond).unwrap();
        assert!(!of(&results).contains("round"));
        for series in &mut results.series {
            if series.case == "sockets/tcp-stream-1/local" {
                series.values.truncate(4);
            }
        }
        let text = of(&results);
        assert!(
            text.ends_with("\n4 rounds: TCP stream, container to container.\n"),
            "{text}"
        );
        for series in &mut results.series {
            series.values.truncate(1);
        }
        assert!(of(&results).ends_with("\n1 round each.\n"));
    }

    #[test]
    fn families_are_told_by_the_number_at_the_end() {
        let results = fixture::results();
        let families = families(&results, "rules");
        assert_eq!(families.len(), 5);
        let numbers: Vec<u32> = families["forwarding/l2"].iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 10, 100, 1000, 10_000, 65_536]);
        assert_eq!(
            member("control/publish-range/ports-100", "ports"),
            Some(("control/publish-range", 100))
        );
        assert_eq!(member("control/attach/first", "ports"), None);
    }

    #[test]
    fn a_family_is_titled_by_what_its_members_share() {
        let case = |title: &str| CaseName {
            id: String::new(),
            title: title.to_owned(),
        };
        let (few, many) = (case("publish 1 port as a range"), case("publish 100 ports as a range"));
        assert_eq!(family_title(&[(1, &few), (100, &many)]), "publish n as a range");
        let (none, some) = (case("same network"), case("same network, 10 rules"));
        assert_eq!(family_title(&[(0, &none), (10, &some)]), "same network");
    }
}
