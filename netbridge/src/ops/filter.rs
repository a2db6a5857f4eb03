//! The operations on the filter.

use std::collections::HashMap;

use anyhow::Context as _;
use serde::Serialize;

use super::{Done, Failure, Host};
use crate::filter::edit::Words;
use crate::filter::syntax::{Counters, Parsed, Ruleset, Set};
use crate::filter::tables::{self, World};
use crate::filter::{Change, Edit, tally};
use crate::model::Fault;
use crate::plan;
use crate::state::{FilterSource, State};

/// How often the counters are read again when the filter has changed meanwhile.
const TRIES: usize = 5;

/// The filter that a change has put in force.
#[derive(Clone, Debug, Serialize)]
pub struct Loaded {
    /// Where its rules were read from.
    pub file: String,
}

impl Loaded {
    fn of(state: &State) -> Option<Self> {
        let file = state.filter.as_ref()?.file.clone();
        Some(Self { file })
    }
}

/// A file of rules without a fault.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name for messages.
    pub file: String,
    /// Rules that would be in force.
    pub rules: usize,
    /// What is not the filter's, and would be left alone.
    pub notes: Vec<String>,
    /// Names for which it would not be loaded: the instance does not know them.
    pub unknown: Vec<String>,
}

/// The filter in force.
#[derive(Clone, Debug, Serialize)]
pub struct FilterView {
    /// Where it was read from.
    pub file: String,
    /// What happens to a packet that no rule decides about.
    pub policy: &'static str,
    /// Its chains, `FORWARD` first, those that it does not reach last.
    pub chains: Vec<ChainView>,
    /// The sets that its rules ask for, by name.
    pub sets: Vec<SetView>,
    /// Why nothing of it is in force after all, where the instance's programs and maps are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The rules that are reached, with all that they have counted.
    #[serde(skip)]
    pub ruleset: Ruleset,
}

/// A chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainView {
    /// Its name.
    pub name: String,
    /// False if no jump leads there from `FORWARD`: nothing of it is in force.
    pub reached: bool,
    /// Packets that met its policy; `FORWARD` alone has one.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its rules in order.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleView {
    /// Its number, from 1 on.
    pub number: usize,
    /// The line of its file, 0 if nothing is known of it.
    pub line: usize,
    /// The rule, as `iptables-save` writes it.
    pub text: String,
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
}

/// A set.
#[derive(Clone, Debug, Serialize)]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its elements, as `ipset save` writes them.
    pub elements: Vec<String>,
}

/// Says what is wrong with a filter, and what of it would be left alone. The names in it are those of the instance, if
/// there is one here.
pub async fn filter_check(host: Option<&Host>, source: &FilterSource) -> Result<Checked, Failure> {
    let world = match host {
        Some(host) => known_world(host).await,
        None => None,
    };
    let (parsed, _tables) =
        plan::check(source, world.as_ref().unwrap_or(&World::default())).map_err(plan::filter_faults)?;
    let unknown = world.iter().flat_map(|world| tables::unknown(&parsed.ruleset, world));
    let unknown = unknown.map(|(line, name)| format!("{}:{line}: `{name}` {}", source.file, plan::UNKNOWN));
    Ok(Checked {
        file: source.file.clone(),
        rules: parsed.ruleset.chains.iter().map(|chain| chain.rules.len()).sum(),
        notes: plan::notes(source, &parsed),
        unknown: unknown.collect(),
    })
}

/// What names stand for, if there is an instance that its caller may read.
async fn known_world(host: &Host) -> Option<World> {
    let state = host.state().ok().filter(|state| !state.is_empty())?;
    host.world(&state).await.ok()
}

/// Puts a filter in force, in place of the one before. With `counters`, its rules go on from those in its text.
pub async fn filter_load(host: &Host, source: &FilterSource, counters: bool) -> Result<Done<Loaded>, Failure> {
    let loaded = |_: &State, new: &State| Loaded::of(new);
    let plan = |state: &State, facts: &_| Ok(plan::filter_load(state, facts, source, counters)?);
    host.change(plan, loaded).await
}

/// Changes single rules of the filter in force; the others go on counting.
pub async fn filter_edit(host: &Host, edit: &Edit) -> Result<Done<Loaded>, Failure> {
    let edited = |_: &State, new: &State| Loaded::of(new);
    host.change(|state, facts| Ok(plan::filter_edit(state, facts, edit)?), edited)
        .await
}

/// Removes the filter: everything is accepted.
pub async fn filter_flush(host: &Host) -> Result<Done<()>, Failure> {
    host.change(|state, facts| Ok(plan::filter_flush(state, facts)?), |_, _| Some(()))
        .await
}

/// The filter in force, `None` if everything is accepted; with `chain`, nothing but that chain.
pub fn filter_show(host: &Host, chain: Option<&str>) -> Result<Option<FilterView>, Failure> {
    let found = in_force(host)?.map(view);
    let Some(name) = chain else { return Ok(found) };
    let missing = || {
        Fault::not_found(
            format!("chain {name}"),
            "does not exist",
            "`netbridge filter show` lists those that do",
        )
    };
    let Some(mut view) = found else {
        return if name == "FORWARD" {
            Ok(None)
        } else {
            Err(missing().into())
        };
    };
    view.chains.retain(|chain| chain.name == name);
    if view.chains.is_empty() {
        return Err(missing().into());
    }
    Ok(Some(view))
}

/// What the state says is in force.
pub(super) struct InForce {
    pub(super) source: FilterSource,
    pub(super) parsed: Parsed,
    /// Why it is not.
    lost: Option<String>,
}

/// The filter in force, its rules with all that they have counted.
pub(super) fn in_force(host: &Host) -> Result<Option<InForce>, Failure> {
    for _ in 0..TRIES {
        let Some(source) = host.state()?.filter else {
            return Ok(None);
        };
        let mut parsed = source.in_force().map_err(anyhow::Error::from)?;
        let datapath = match host.datapath() {
            Ok(datapath) => datapath,
            Err(failure) => {
                let lost = Some(failure.to_string());
                return Ok(Some(InForce { source, parsed, lost }));
            }
        };
        let mut look = || -> anyhow::Result<bool> {
            let tables = datapath.tables();
            let (generation, head) = (tables.config()?.generation, tables.filter()?);
            let matched = if head.base == source.tally.tables {
                tables.matched_in(generation)?
            } else {
                HashMap::new()
            };
            tally::add(&mut parsed.ruleset, &matched);
            Ok(tables.config()?.generation == generation)
        };
        let is_sound = look()?;
        if is_sound && host.state()?.filter.as_ref() == Some(&source) {
            let lost = None;
            return Ok(Some(InForce { source, parsed, lost }));
        }
    }
    Err(anyhow::anyhow!("the filter changes faster than it can be read; try again").into())
}

fn view(found: InForce) -> FilterView {
    let InForce { source, parsed, lost } = found;
    let Parsed { ruleset, spare, .. } = parsed;
    let reached = ruleset.chains.iter().map(|chain| ChainView {
        name: chain.name.clone(),
        reached: true,
        packets: chain.counters.packets,
        bytes: chain.counters.bytes,
        rules: (1..)
            .zip(&chain.rules)
            .map(|(number, rule)| rule_view(number, rule.line, rule.in_chain(&chain.name).to_string(), rule.counters))
            .collect(),
    });
    let others = spare.into_iter().map(|spare| {
        let text = |rule: &String| format!("-A {} {rule}", spare.name).trim_end().to_owned();
        let rules = (1..).zip(&spare.rules);
        ChainView {
            reached: false,
            packets: 0,
            bytes: 0,
            rules: rules
                .map(|(number, rule)| rule_view(number, 0, text(rule), Counters::default()))
                .collect(),
            name: spare.name.clone(),
        }
    });
    let set = |(name, set): (&String, &Set)| SetView {
        name: name.clone(),
        kind: set.kind.clone(),
        elements: set.elements.iter().map(ToString::to_string).collect(),
    };
    FilterView {
        file: source.file,
        policy: ruleset.policy.name(),
        chains: reached.chain(others).collect(),
        sets: ruleset.sets.0.iter().map(set).collect(),
        lost,
        ruleset,
    }
}

fn rule_view(number: usize, line: usize, text: String, counters: Counters) -> RuleView {
    RuleView {
        number,
        line,
        text,
        packets: counters.packets,
        bytes: counters.bytes,
    }
}

/// The change that the words of a command ask for; `chain` is the one that an option names.
pub fn edit_of(kind: EditKind, words: &[String], chain: Option<&str>) -> Result<Edit, Failure> {
    let words = Words::read(words).map_err(plan::filter_faults)?;
    if let (Some(one), Some(other)) = (chain, &words.chain)
        && one != other
    {
        let why = "names another chain than the rule";
        return Err(Fault::usage(format!("--chain {one}"), why, "leave it out").into());
    }
    let chain = words.chain.as_deref().or(chain).unwrap_or("FORWARD").to_owned();
    let rules = || words.rules().map_err(plan::filter_faults);
    let change = match (kind, words.number) {
        (EditKind::Append, None) => Change::Append(rules()?),
        (EditKind::Append, Some(number)) => {
            let why = "an appended rule comes last, and has no number";
            let remedy = format!("leave it out, or `netbridge filter insert {number} …`");
            return Err(Fault::usage(number.to_string(), why, remedy).into());
        }
        (EditKind::Insert, number) => Change::Insert(number.unwrap_or(1), rules()?),
        (EditKind::Delete, Some(number)) if words.options.is_empty() => Change::DeleteNumber(number),
        (EditKind::Delete, None) => Change::Delete(rules()?),
        (EditKind::Delete, Some(number)) => {
            let why = "a rule is deleted by its number or by what it says, not both";
            return Err(Fault::usage(number.to_string(), why, "leave one of them out").into());
        }
    };
    if words.options.is_empty() && !matches!(change, Change::DeleteNumber(_)) && words.chain.is_none() {
        let why = "asks for nothing, and does nothing";
        return Err(Fault::usage("rule", why, "give its options, such as `-p tcp --dport 80 -j DROP`").into());
    }
    Ok(Edit {
        chain: Some(chain),
        change,
    })
}

/// What is to be done with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// Put behind all others.
    Append,
    /// Put at a number, or before all others.
    Insert,
    /// Taken out.
    Delete,
}

impl Host {
    /// What names in rules stand for.
    pub(super) async fn world(&self, state: &State) -> Result<World, Failure> {
        let links = self.links().await.context("list the interfaces")?;
        Ok(plan::world(state, &links))
    }
}
