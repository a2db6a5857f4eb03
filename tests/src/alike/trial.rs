//! One file and its conversations, tried on both hosts.

use anyhow::{Context as _, Result};
use fastrand::Rng;

use super::host::{Counters, Files};
use super::known::told_by_another;
use super::linux::of_reached;
use super::ours::parse;
use super::stand::Stands;
use super::talk::{Step, Talk, is_question};
use super::words::describe;

/// How netbridge begins to say what is wrong with a file: where one that it understands is wrong, it is beyond the tables.
const PLACE: &str = "rules:";

/// What is tried.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The rules.
    pub(super) files: Files,
    /// The conversations, which go on at the same time.
    pub(super) talks: Vec<Talk>,
    /// In which order their packets come is made from this.
    pub(super) order: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Packets sent.
    pub(super) packets: usize,
    /// Packets that arrived.
    pub(super) delivered: usize,
    /// Packets whose sender got something back.
    pub(super) rejected: usize,
    /// Errors that the two hosts sent from different addresses of theirs, see [`told_by_another`].
    pub(super) told_by_another: usize,
    /// Rules that counted.
    pub(super) counted: usize,
    /// Why netbridge does not take the file, which is beyond its tables.
    pub(super) refused: Option<String>,
    /// What differs, if anything.
    pub(super) difference: Option<Difference>,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The conversation, where one packet shows it.
    pub(super) talk: Option<usize>,
    /// In words.
    pub(super) text: String,
}

/// Sends the packets of the conversations until one of them differs, and compares the counters.
pub(super) fn run(stands: &Stands, case: &Case) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if let Err(error) = stands.load(&case.files).with_context(|| case.files.rules.clone()) {
        let told = error.root_cause().to_string();
        if !told.starts_with(PLACE) || parse(&case.files).is_err() {
            return Err(error);
        }
        outcome.refused = Some(told);
        return Ok(outcome);
    }
    let mut random = Rng::with_seed(case.order);
    let mut waiting: Vec<(usize, &[Step])> = case.talks.iter().map(Vec::as_slice).enumerate().collect();
    while !waiting.is_empty() {
        let chosen = random.usize(..waiting.len());
        let (talk, steps) = waiting[chosen];
        let Some((step, rest)) = steps.split_first() else {
            waiting.swap_remove(chosen);
            continue;
        };
        let passed = send(stands, step, talk, &mut outcome)?;
        if outcome.difference.is_some() {
            return Ok(outcome);
        }
        if passed {
            waiting[chosen].1 = rest;
            continue;
        }
        // Who asks may ask again, and then gives up: what was dropped is not spoken of any more.
        if is_question(step) && steps.len() == case.talks[talk].len() && random.bool() {
            send(stands, step, talk, &mut outcome)?;
        }
        waiting.swap_remove(chosen);
    }
    if outcome.difference.is_none() {
        compare_counters(stands, case, &mut outcome)?;
    }
    Ok(outcome)
}

/// Sends a packet through both; true if it arrived.
fn send(stands: &Stands, step: &Step, talk: usize, outcome: &mut Outcome) -> Result<bool> {
    let [theirs, ours] = stands.send(step.from, &step.packet)?;
    outcome.packets += 1;
    outcome.told_by_another += usize::from(theirs != ours && told_by_another(step, &theirs, &ours));
    if theirs != ours && !told_by_another(step, &theirs, &ours) {
        let packet = describe(&step.packet);
        outcome.difference = Some(Difference {
            talk: Some(talk),
            text: format!(
                "{:?} sends {packet}\nnetfilter: {theirs:?}\nnetbridge: {ours:?}",
                step.from
            ),
        });
        return Ok(false);
    }
    let at = |station| format!("{station:?}: ");
    let arrived = theirs.iter().any(|words| words.starts_with(&at(step.to)));
    outcome.delivered += usize::from(arrived);
    outcome.rejected += usize::from(theirs.iter().any(|words| words.starts_with(&at(step.from))));
    Ok(arrived)
}

fn compare_counters(stands: &Stands, case: &Case, outcome: &mut Outcome) -> Result<()> {
    let [mut theirs, ours] = stands.counters()?;
    of_reached(&mut theirs, &parse(&case.files)?);
    outcome.counted = theirs.len();
    outcome.difference = counted_otherwise(&theirs, &ours).map(|text| Difference { talk: None, text });
    Ok(())
}

/// Where counters differ.
fn counted_otherwise(theirs: &Counters, ours: &Counters) -> Option<String> {
    let rules = theirs.keys().chain(ours.keys());
    let count = |counters: &Counters, rule| counters.get(rule).copied().unwrap_or_default();
    let mut lines: Vec<_> = rules
        .filter(|rule| count(theirs, rule) != count(ours, rule))
        .map(|rule| {
            let (theirs, ours) = (count(theirs, rule), count(ours, rule));
            format!("{} {}: netfilter {theirs:?}, netbridge {ours:?}", rule.0, rule.1)
        })
        .collect();
    lines.sort();
    lines.dedup();
    (!lines.is_empty()).then(|| format!("counters: {}", lines.join("; ")))
}
