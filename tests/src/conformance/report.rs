//! The rows' outcomes as a document, and what is wrong with them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::cells::{Cell, SEGMENTS, SIDES, STATES, listed};
use super::known::{DIFFERENCES, FAILURES};
use super::netfilter::rules;
use super::rows::SECTIONS;
use super::world::Side;
use super::{Both, Level, Outcome, Row, Run, rows};

/// Begins the one line that may differ between machines.
const MACHINE: &str = "Run on ";

/// Where the document is, in this repository.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rfc-compliance.md")
}

/// The document.
pub fn render(both: &Both) -> Result<String> {
    let mut text = String::new();
    preface(&mut text)?;
    totals(&mut text, both)?;
    for section in SECTIONS {
        writeln!(text, "\n## {}\n", section.title)?;
        writeln!(text, "| | requirement | level | netfilter | netbridge | remark |")?;
        writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
        for row in section.rows() {
            line(&mut text, row, both)?;
        }
    }
    cells(&mut text, both)?;
    write!(
        text,
        "\n## The rules of the column netfilter\n\n```\n{}\n```\n",
        rules().replace("conformance", "nat")
    )?;
    Ok(text)
}

fn preface(text: &mut String) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell the kernel's version")?;
    let version: Vec<&str> = release.trim().split('.').take(2).collect();
    write!(
        text,
        "# What RFCs and IEEE standards ask for

This document is written by `cargo xtask compliance`, and a test compares it with what it sees. Every row sends raw
packets from silent hosts through a router and looks at what comes out; nothing in the columns netfilter and netbridge is
typed in. Both routers have the same neighbours: containers in 10.9.1.0/24 on one side, servers in 192.0.2.0/24 on the other,
and the address 192.0.2.1. netbridge has its defaults, and a network with `--tunnels`. netfilter is a Linux bridge with the nftables rules at the end of
this document, and the kernel's defaults. A lifetime of netfilter is what `conntrack` tells of a real connection; one of
netbridge is searched for by letting time pass in its tables: half a second before it the connection lives, half a second
after it it is gone.

{MACHINE}Linux {}.

✓ the requirement is met, ✗ it is not. *Practice* is what no standard asks for: it is what the kernel does, or what keeps
connections safe. A ✗ of netbridge has its reason in the last column. IPv4 only.

",
        version.join(".")
    )?;
    Ok(())
}

fn outcome<'a>(run: &'a Run, row: &Row) -> Result<&'a Outcome> {
    let found = run.outcomes.iter().find(|(id, _)| *id == row.id);
    found
        .map(|(_, outcome)| outcome)
        .with_context(|| format!("row {} did not run", row.id))
}

fn totals(text: &mut String, both: &Both) -> Result<()> {
    writeln!(text, "| level | rows | netfilter meets | netbridge meets |")?;
    writeln!(text, "| --- | ---: | ---: | ---: |")?;
    for level in Level::ALL {
        let mut sums = [0; 3];
        for row in rows().filter(|row| row.level == level) {
            sums[0] += 1;
            sums[1] += u32::from(outcome(&both.netfilter, row)?.met);
            sums[2] += u32::from(outcome(&both.netbridge, row)?.met);
        }
        writeln!(text, "| {} | {} | {} | {} |", level.name(), sums[0], sums[1], sums[2])?;
    }
    Ok(())
}

fn line(text: &mut String, row: &Row, both: &Both) -> Result<()> {
    let source = if row.source == "-" {
        String::new()
    } else {
        format!(" ({})", row.source)
    };
    let shown = |outcome: &Outcome| format!("{} {}", if outcome.met { "✓" } else { "✗" }, outcome.observed);
    let ours = outcome(&both.netbridge, row)?;
    writeln!(
        text,
        "| {} | {}{source} | {} | {} | {} | {} |",
        row.id,
        row.requirement,
        row.level.name(),
        shown(outcome(&both.netfilter, row)?),
        shown(ours),
        if ours.met {
            ""
        } else {
            known(row.id).unwrap_or_default()
        },
    )?;
    Ok(())
}

fn known(id: &str) -> Option<&'static str> {
    FAILURES
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, reason)| *reason)
}

/// The cells of both routers, side by side.
fn pairs(both: &Both) -> impl Iterator<Item = (&Cell, &Cell)> {
    both.netfilter.cells.iter().zip(&both.netbridge.cells)
}

fn cells(text: &mut String, both: &Both) -> Result<()> {
    let differ = pairs(both).filter(|(kernel, ours)| kernel != ours).count();
    write!(
        text,
        "\n## Every segment in every state

The states are those of the kernel's table; C1 opened the connection to S1, and packets brought it there. + is forwarded by
both, - by neither; where the two differ, the first sign is netfilter's, and the number is a reason below. Of {} cells
{differ} differ.
",
        both.netfilter.cells.len()
    )?;
    let mut used = BTreeSet::new();
    for side in SIDES {
        let who = if side == Side::Client { "C1" } else { "S1" };
        let names: Vec<&str> = SEGMENTS.iter().map(|(name, _)| *name).collect();
        writeln!(text, "\n| sent by {who} in | {} |", names.join(" | "))?;
        writeln!(text, "| --- |{}", " --- |".repeat(names.len()))?;
        for (state, _) in STATES {
            write!(text, "| {state} |")?;
            for (kernel, ours) in pairs(both).filter(|(cell, _)| cell.side == side && cell.state == state) {
                let sign = |cell: &Cell| if cell.forwarded { '+' } else { '-' };
                if kernel == ours {
                    write!(text, " {} |", sign(kernel))?;
                } else {
                    let reason = listed(ours);
                    used.extend(reason);
                    let number = reason.map_or("?".to_owned(), |index| (index + 1).to_string());
                    write!(text, " {}{} {number} |", sign(kernel), sign(ours))?;
                }
            }
            writeln!(text)?;
        }
    }
    writeln!(text)?;
    for (index, difference) in DIFFERENCES.iter().enumerate().filter(|(index, _)| used.contains(index)) {
        writeln!(text, "{}. {}", index + 1, difference.reason)?;
    }
    Ok(())
}

/// What is not as the lists of known failures and differences say.
pub fn surprises(both: &Both) -> Vec<String> {
    let mut all = Vec::new();
    for (id, outcome) in &both.netbridge.outcomes {
        match (outcome.met, known(id)) {
            (false, None) => all.push(format!("{id} is not met: {}", outcome.observed)),
            (true, Some(_)) => all.push(format!("{id} is met, and listed as a failure: {}", outcome.observed)),
            _ => {}
        }
    }
    for (id, _) in FAILURES {
        if !rows().any(|row| row.id == *id) {
            all.push(format!("{id} is listed as a failure, and there is no such row"));
        }
    }
    for (kernel, ours) in pairs(both) {
        let differs = (kernel.forwarded != ours.forwarded).then_some(ours.forwarded);
        let difference = listed(ours).map(|index| DIFFERENCES[index].forwarded);
        if differs != difference {
            all.push(format!(
                "{:?} sends {} in {}: forwarded by netfilter {}, by netbridge {}, listed {difference:?}",
                ours.side, ours.segment, ours.state, kernel.forwarded, ours.forwarded
            ));
        }
    }
    all
}

/// Fails, naming the lines, if the document that is kept is not this one; the kernel's version may differ.
pub fn compare(text: &str) -> Result<()> {
    let path = path();
    let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with(MACHINE));
        lines.map(str::to_owned).collect()
    };
    let (kept, new) = (lines(&kept), lines(text));
    let missing = |of: &[String], from: &[String], sign: char| -> Vec<String> {
        of.iter()
            .filter(|line| !from.contains(line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    let difference = [missing(&kept, &new, '-'), missing(&new, &kept, '+')].concat();
    ensure!(
        kept == new,
        "docs/rfc-compliance.md is not what was seen; `cargo xtask compliance` writes it anew\n{}",
        difference.join("\n")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Run, saw};
    use super::*;

    fn both(netbridge: &[(&'static str, bool)]) -> Both {
        let run = |outcomes: &[(&'static str, bool)]| Run {
            outcomes: outcomes.iter().map(|(id, met)| (*id, saw("seen", *met))).collect(),
            cells: Vec::new(),
        };
        Both {
            netfilter: run(&[]),
            netbridge: run(netbridge),
        }
    }

    #[test]
    fn a_failure_that_is_not_listed_and_a_listed_row_that_is_met_are_told() {
        let listed = FAILURES[0].0;
        let told = |seen: &[(&'static str, bool)]| {
            let all = surprises(&both(seen));
            all.iter().filter(|line| line.contains("seen")).count()
        };
        assert_eq!(told(&[("B1", true), (listed, false)]), 0);
        assert_eq!(told(&[("B1", false), (listed, true)]), 2);
    }

    #[test]
    fn a_cell_that_differs_where_or_how_none_is_listed_and_a_listed_one_that_does_not_are_told() {
        let told = |segment, kernel, ours| {
            let mut both = both(&[]);
            let cell = |forwarded| Cell {
                side: Side::Client,
                state: "NONE",
                segment,
                forwarded,
            };
            both.netfilter.cells.push(cell(kernel));
            both.netbridge.cells.push(cell(ours));
            surprises(&both).len()
        };
        assert_eq!(told("ACK", true, false), 0);
        assert_eq!(told("ACK", false, true), 1);
        assert_eq!(told("ACK", true, true), 1);
        assert_eq!(told("FIN", true, false), 1);
        assert_eq!(told("FIN", false, false), 0);
    }

    #[test]
    fn ids_are_unique() {
        let ids: Vec<_> = rows().map(|row| row.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        let listed: BTreeSet<_> = FAILURES.iter().map(|(id, _)| id).collect();
        assert_eq!(listed.len(), FAILURES.len());
    }
}
