//! What netbridge does otherwise than netfilter, on purpose: one table, by name, each with the reason, the file and the
//! packets that show it, and what the two do. A line that both come to say the same of is an error too. Beside it, in the
//! same form, what is easily done otherwise and must be the same.

mod same;
mod table;

use anyhow::{Result, ensure};

use super::ground::EXTERNAL;
use super::host::{Backend, Counters, Files};
use super::stand::{Stands, with_stands};
use super::talk::{Step, Talk};
pub use same::SAME;
pub use table::KNOWN;

/// A difference that is meant.
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
    /// What is in force before, and sees the same packets; nothing if there is none.
    before: &'static [&'static str],
    /// Rules of `FORWARD`, and its policy before them.
    rules: &'static [&'static str],
    /// The sets that they name.
    sets: &'static str,
    /// The packets.
    talk: fn() -> Talk,
    /// What netfilter and netbridge do otherwise: what arrives of which packet, by its number, and what is counted, by the
    /// rule's. Nothing for what must be the same.
    differs: &'static [(&'static str, &'static str)],
}

/// True if both hosts tell the sender of a packet the same, from different addresses, as the table says: the packet was for an
/// address that was translated.
pub(super) fn told_by_another(step: &Step, theirs: &[String], ours: &[String]) -> bool {
    let ([theirs], [ours]) = (theirs, ours) else {
        return false;
    };
    let sender = format!("{:?}: ", step.from);
    let message = |words: &str| -> Option<(String, String)> {
        let (said, rest) = words.strip_prefix(&sender)?.split_once(" > ")?;
        let (what, _from) = said.rsplit_once(' ')?;
        Some((what.to_owned(), rest.to_owned()))
    };
    let same = message(theirs).is_some_and(|said| said.0 != "udp" && message(ours) == Some(said));
    same && step.packet.dst == EXTERNAL && step.from.bridge().is_some()
}

/// A policy and rules as files.
fn files(backend: Backend, lines: &[&str], sets: &str, goes_on: bool) -> Files {
    let (policy, rules) = lines.split_first().unwrap_or((&"ACCEPT", &[]));
    let rules = rules
        .iter()
        .fold(String::new(), |text, rule| text + &format!("-A FORWARD {rule}\n"));
    Files {
        backend,
        rules: format!("*filter\n:FORWARD {policy} [0:0]\n{rules}COMMIT\n"),
        sets: sets.to_owned(),
        goes_on,
    }
}

/// What both hosts do with the packets of a line, whatever becomes of them, in lines that may differ.
fn transcript(stands: &Stands, known: &Known, backend: Backend) -> Result<[Vec<String>; 2]> {
    if !known.before.is_empty() {
        stands.load(&files(backend, known.before, "", false))?;
        for step in (known.talk)() {
            stands.send(step.from, &step.packet)?;
        }
    }
    stands.load(&files(backend, known.rules, known.sets, !known.before.is_empty()))?;
    let mut lines = [Vec::new(), Vec::new()];
    for (number, step) in (known.talk)().iter().enumerate() {
        for (lines, arrived) in lines.iter_mut().zip(stands.send(step.from, &step.packet)?) {
            lines.push(format!("{number}: {}", arrived.join(", ")));
        }
    }
    let told = |counters: Counters| -> String {
        let each = counters
            .into_iter()
            .map(|((_, place), (packets, bytes))| format!("{place} [{packets}:{bytes}]"));
        each.collect::<Vec<_>>().join(" ")
    };
    for (lines, counters) in lines.iter_mut().zip(stands.counters()?) {
        lines.push(format!("counted: {}", told(counters)));
    }
    Ok(lines)
}

/// Tries every line; those that are not as they say, in words.
pub fn check() -> Result<Vec<String>> {
    with_stands(|stands| {
        let mut wrong = Vec::new();
        let lines = KNOWN.iter().chain(SAME);
        // What becomes of the rules before may depend on who replaces them.
        let nft = lines.clone().filter(|known| !known.before.is_empty());
        let both = lines
            .map(|known| (known, Backend::Legacy))
            .chain(nft.map(|known| (known, Backend::Nft)));
        for (known, backend) in both {
            let [theirs, ours] = transcript(stands, known, backend)?;
            ensure!(theirs.len() == ours.len(), "{}: not the same packets", known.name);
            let differs: Vec<_> = theirs
                .iter()
                .zip(&ours)
                .filter(|(theirs, ours)| theirs != ours)
                .collect();
            let expected = differs
                .iter()
                .map(|(theirs, ours)| (theirs.as_str(), ours.as_str()))
                .eq(known.differs.iter().copied());
            if !expected {
                wrong.push(format!("{}, {backend:?}: {differs:#?}", known.name));
            }
        }
        Ok(wrong)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_one() {
        let document = include_str!("../../../../docs/filter.md");
        for Known { name, reason, .. } in KNOWN {
            let line = format!("\n| {name} | {reason} |\n");
            assert!(document.contains(&line), "docs/filter.md lacks{line}");
        }
    }
}
