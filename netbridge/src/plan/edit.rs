//! Plans that change single rules of the filter in force.

use std::fmt::Write as _;

use super::filter::{UNKNOWN, no_network, world};
use super::patch::patch;
use super::{Compiled, Edited, Plan, Step, check_loaded};
use crate::facts::HostFacts;
use crate::filter::syntax::{MAX_RULES, Parsed, RULE, Rule, Ruleset, Spare};
use crate::filter::tables::{self, Uses};
use crate::filter::{Buckets, Change, Edit, FilterErrors, NoEdit, Text, buckets, tally};
use crate::model::{Fault, Faults};
use crate::state::{FilterSource, State};

/// What messages call the text of rules that were changed one by one: lines are counted as this command prints them.
const SHOWN: &str = "netbridge filter show";

/// Bytes of a text whose rules take long to compile. All of others are compiled with every change, so that it is known that they
/// can be: what a patch leaves alone may be too much together with it.
const LONG: usize = 1 << 15;

/// Plans that one rule comes or goes, or that counters begin at zero.
///
/// Where no filter is in force, rules are added to an empty one that accepts.
pub fn filter_edit(state: &State, host: &HostFacts, edit: &Edit) -> Result<Plan, Faults> {
    check_loaded(state, host.loaded, &host.instance)?;
    if state.is_empty() {
        return Err(no_network(host).into());
    }
    let world = world(state, &host.links);
    let long = state.filter.as_ref().filter(|source| source.text.len() >= LONG);
    let patched = long.map(|source| patch(source, edit, &world, &host.kernel));
    if let Some((filter, step)) = patched.transpose().map_err(super::filter_faults)?.flatten() {
        return Ok(planned(state, filter, step));
    }
    let (mut rules, spare) = match &state.filter {
        Some(source) => {
            let Parsed { ruleset, spare, .. } = source.in_force().map_err(super::filter_faults)?;
            (ruleset, spare)
        }
        None if edit.change.adds() => (Ruleset::empty(), Vec::new()),
        None => return Err(none_in_force().into()),
    };
    let known = tables::unknown(&rules, &world);
    let went = edit.apply(&mut rules).map_err(|error| no_edit(error, &spare))?;
    let mut source = match &state.filter {
        Some(source) if matches!(edit.change, Change::Zero(_)) && source.journal.is_empty() => source.clone(),
        old => {
            let reads = edit.change.comes().iter().chain(&went).any(Rule::leads);
            let written = written(old.as_ref(), &mut rules, &spare, reads);
            written.map_err(|(errors, text)| faults_of(errors, &text))?
        }
    };
    buckets::draw(&mut rules, None, host.kernel.serial);
    source.buckets = Buckets::of(&rules);
    source.uses = Uses::of(&rules);
    let compiled = Compiled::new(&source, rules, &world, host.kernel.hz);
    let compiled = compiled.map_err(|errors| faults_of(errors, &source.text))?;
    let mut faults = Faults::default();
    // What was there before may name what is gone; what comes may not.
    let is_new = |name: &String| !known.iter().any(|(_, known)| known == name);
    for (line, name) in tables::unknown(&compiled.rules, &world)
        .into_iter()
        .filter(|(_, name)| is_new(name))
    {
        let what = format!("{}: `{name}`", line_of(&source.text, line));
        faults.push(Fault::not_found(what, UNKNOWN, "correct the name, or create it first"));
    }
    faults.check()?;
    let edit = edit.clone();
    Ok(planned(
        state,
        source,
        Step::EditFilter(Box::new(Edited { edit, compiled })),
    ))
}

fn planned(state: &State, filter: FilterSource, step: Step) -> Plan {
    Plan {
        steps: vec![step],
        state: State {
            filter: Some(filter),
            ..state.clone()
        },
        warnings: Vec::new(),
    }
}

/// The source of rules that have changed, its text in the canonical form and the sets as they are. The rules get their lines in it;
/// if one of those that come or go `leads` to something that others have too, the text is read.
pub fn written(
    old: Option<&FilterSource>,
    rules: &mut Ruleset,
    spare: &[Spare],
    leads: bool,
) -> Result<FilterSource, (FilterErrors, Text)> {
    // Much the same as before; text that grows is copied.
    let mut text = String::with_capacity(old.map_or(0, |old| old.text.len() + old.text.len() / 4));
    // Nothing is refused to a string.
    let _ = write!(text, "{}", rules.and(spare));
    let mut source = FilterSource::new(SHOWN, text);
    source.sets = old.and_then(|old| old.sets.clone());
    let count: usize = rules.chains.iter().map(|chain| chain.rules.len()).sum();
    if leads || count > MAX_RULES {
        let mut read = source.parse().map_err(|errors| (errors, source.text.clone()))?.ruleset;
        tally::carry(rules, &mut read);
        *rules = read;
    } else {
        rules.number(spare.len());
    }
    Ok(source)
}

fn none_in_force() -> Fault {
    Fault::not_found(
        "the filter",
        "has no rules, and no counters: none is in force",
        "`netbridge filter load FILE` or `netbridge filter append RULE` puts one in force",
    )
}

/// Faults of a changed text, by the rule and not by the line, which nobody has seen.
fn faults_of(errors: FilterErrors, text: &str) -> Faults {
    let faults = errors.faults.into_iter().map(|fault| {
        let place = match &fault.file {
            Some(file) => format!("{file}:{}: `{}`", fault.line, fault.token),
            None => format!("{}: `{}`", line_of(text, fault.line), fault.token),
        };
        Fault::usage(place, fault.reason, fault.advice)
    });
    faults.collect()
}

fn line_of(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or(RULE);
    format!("`{line}`")
}

fn no_edit(error: NoEdit, spare: &[Spare]) -> Faults {
    let fault = match error {
        NoEdit::Chain(name) if spare.iter().any(|spare| spare.name == name) => Fault::not_found(
            format!("chain {name}"),
            "FORWARD does not reach it",
            format!("add the jump first: `netbridge filter append -j {name}`"),
        ),
        NoEdit::Chain(name) => Fault::not_found(
            format!("chain {name}"),
            "does not exist",
            format!("`netbridge filter show` lists those that do; a file that says `:{name} - [0:0]` makes it"),
        ),
        NoEdit::Number { chain, number, rules } => Fault::not_found(
            format!("rule {number} of chain {chain}"),
            format!("the chain has {rules} rules"),
            "`netbridge filter show --line-numbers` tells the numbers",
        ),
        NoEdit::Rule { chain, rule } => Fault::not_found(
            format!("`{rule}`"),
            format!("chain {chain} has no such rule"),
            "give the rule as `netbridge filter show` prints it, or its number",
        ),
    };
    fault.into()
}
