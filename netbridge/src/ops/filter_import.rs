//! The rules that netfilter has in the host's namespace, taken over.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use anyhow::anyhow;
use serde::Serialize;

use super::filter::in_force;
use super::{Failure, Host};
use crate::filter::diff;
use crate::filter::syntax::{Chain, Counters, Rule, Ruleset};
use crate::filter::tables;
use crate::model::Fault;
use crate::plan;
use crate::state::{FilterSource, SetSource};

/// The tables that the older engine of netfilter has in the thread's namespace; absent if it was never used. To list a table
/// that is not there would make it.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// Which of netfilter's two engines is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The one that `iptables-nft` writes to.
    Nft,
    /// The one that `iptables-legacy` writes to.
    Legacy,
}

/// Rules of netfilter, and what would change.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The rules.
    #[serde(flatten)]
    pub source: FilterSource,
    /// What differs from the filter in force, in the unified format; empty if nothing does.
    pub diff: String,
    /// What is not the filter's, and is left alone.
    pub notes: Vec<String>,
    /// Names for which the rules would not be loaded.
    pub unknown: Vec<String>,
}

/// Reads the rules that netfilter has for the host's namespace, in both of its engines unless one is named, and the sets
/// that they ask for. Refused if netbridge cannot do what they do. With `counters`, they are read with what they have
/// counted.
pub async fn filter_import(host: &Host, backend: Option<Backend>, counters: bool) -> Result<Imported, Failure> {
    let (file, text) = saved(backend, counters)?;
    let asks_sets = text.contains("--match-set");
    let sets = asks_sets.then(|| run("ipset", &["save"], "ipset")).transpose()?;
    let sets = sets.map(|text| SetSource {
        file: "ipset save".to_owned(),
        text: text.into(),
    });
    let source = FilterSource {
        sets,
        ..FilterSource::new(file, text)
    };
    let world = host.world(&host.state()?).await?;
    let (parsed, _tables) = plan::check(&source, &world).map_err(plan::filter_faults)?;
    let unknown = tables::unknown(&parsed.ruleset, &world);
    let before = canonical(in_force(host)?.map_or_else(Ruleset::empty, |found| found.parsed.ruleset));
    let notes = plan::notes(&source, &parsed);
    let after = canonical(parsed.ruleset);
    Ok(Imported {
        diff: diff::unified(("netbridge filter", &before), (&source.file, &after)),
        notes,
        unknown: unknown
            .into_iter()
            .map(|(line, name)| format!("{}:{line}: `{name}` {}", source.file, plan::UNKNOWN))
            .collect(),
        source,
    })
}

/// Sets and rules without counters.
fn canonical(mut rules: Ruleset) -> String {
    for Chain { counters, rules, .. } in &mut rules.chains {
        *counters = Counters::default();
        for Rule { counters, .. } in rules {
            *counters = Counters::default();
        }
    }
    format!("{}{rules}", rules.sets)
}

/// What the engine that has rules says, and what it is called.
fn saved(backend: Option<Backend>, counters: bool) -> Result<(String, String), Failure> {
    let options: &[&str] = if counters { &["-c"] } else { &[] };
    let run = |name: &str| Ok::<_, Failure>((name.to_owned(), run(name, options, "iptables")?));
    let found = match backend {
        Some(Backend::Nft) => run("iptables-nft-save")?,
        Some(Backend::Legacy) => run("iptables-legacy-save")?,
        None => {
            let usual = run("iptables-save")?;
            let tables = fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
            let has_legacy = tables.lines().any(|table| table == "filter");
            // Where there is no such program, `iptables-save` is of the older engine itself.
            let legacy = has_legacy.then(|| run("iptables-legacy-save").ok()).flatten();
            choose(usual, legacy)?
        }
    };
    if found.1.lines().any(|line| line.trim() == "*filter") {
        return Ok(found);
    }
    let why = "has no table `filter` in the namespace that is the host of this call";
    Err(Fault::not_found(found.0, why, "name the namespace (-n) whose rules are meant").into())
}

/// The one of two that has rules in `FORWARD`; both at once cannot be taken.
fn choose(usual: (String, String), legacy: Option<(String, String)>) -> Result<(String, String), Fault> {
    let Some(legacy) = legacy else { return Ok(usual) };
    match (decides(&usual.1), decides(&legacy.1)) {
        (true, true) if rules(&usual.1) != rules(&legacy.1) => Err(Fault::conflict(
            "netfilter",
            "has rules in FORWARD of both engines, and asks both for every packet",
            "name one: --backend nft or --backend legacy",
        )),
        (false, true) => Ok(legacy),
        _ => Ok(usual),
    }
}

/// True if the table `filter` does anything about forwarded packets.
fn decides(text: &str) -> bool {
    let mut table = "";
    rules(text).into_iter().any(|line| {
        if line.starts_with('*') {
            table = line;
        }
        table == "*filter" && (line.starts_with("-A FORWARD") || line.starts_with(":FORWARD DROP"))
    })
}

/// The lines that say something, without counters.
fn rules(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let bare = |line: &'_ str| -> usize {
        match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((_, rest)) => line.len() - rest.len(),
            None => 0,
        }
    };
    let policy = |line: &str| match line.rfind(" [") {
        Some(at) if line.starts_with(':') => at,
        _ => line.len(),
    };
    lines.filter_map(|line| line.get(bare(line)..policy(line))).collect()
}

/// What a program prints; it runs in the namespace of this thread.
fn run(name: &str, options: &[&str], package: &str) -> Result<String, Failure> {
    let output = Command::new(name).args(options).output();
    let output = output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let remedy =
                format!("install it (package {package}), or save the rules elsewhere and `netbridge filter load`");
            Failure::from(Fault::not_found(format!("program {name}"), "is not installed", remedy))
        }
        _ => anyhow!("cannot run {name}: {error}").into(),
    })?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(anyhow!("{name} {}: {}", options.join(" "), told.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, rules: &str) -> (String, String) {
        (
            name.to_owned(),
            format!("# made today\n*filter\n:FORWARD ACCEPT [1:2]\n{rules}COMMIT\n"),
        )
    }

    #[test]
    fn the_engine_that_has_rules_is_taken() {
        let none = || of("nft", "");
        let some = |name, counters: &str| of(name, &format!("{counters}-A FORWARD -j DROP\n"));
        let chosen = |usual, legacy| choose(usual, legacy).map(|(name, _)| name);
        assert_eq!(chosen(none(), None), Ok("nft".to_owned()));
        assert_eq!(chosen(none(), Some(some("legacy", ""))), Ok("legacy".to_owned()));
        assert_eq!(chosen(some("nft", ""), Some(of("legacy", ""))), Ok("nft".to_owned()));
        // It is the same engine, asked by two names.
        assert_eq!(
            chosen(some("nft", ""), Some(some("legacy", "[3:4] "))),
            Ok("nft".to_owned())
        );
        let other = of("legacy", "-A FORWARD -j ACCEPT\n");
        assert!(choose(some("nft", ""), Some(other)).is_err());
        let elsewhere = (
            "nft".to_owned(),
            "*mangle\n:FORWARD DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n".to_owned(),
        );
        assert!(!decides(&elsewhere.1));
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let failure = run("netbridge-no-such-save", &[], "iptables").unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.to_string().contains("package iptables"), "{failure}");
    }
}
