//! The step that puts a filter in force, with what its rules have counted.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use netbridge_common::abi::FilterHead;

use super::Run;
use crate::datapath::Datapath;
use crate::filter::syntax::Ruleset;
use crate::filter::tables::{self, World};
use crate::filter::{Buckets, Edit, Tally, bounds, buckets, tally};
use crate::netlink::LinkInfo;
use crate::plan::world;
use crate::state::{FilterSource, State};

/// Seconds for which connections that were not tracked are taken up in the middle when the first filter is loaded.
const PICKUP: u32 = 120;

impl Run<'_> {
    /// Compiles the filter of the new state; its counters are the state's, or go on from what the old one's have counted. What a
    /// file or an edit brings has new buckets.
    pub(super) async fn swap_filter(&mut self, loads: bool, edit: Option<&Edit>) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        let links = self.with.netlink.links().await?;
        if let Some(filter) = &mut self.new.filter
            && (loads || edit.is_some())
        {
            let generation = datapath.tables().config()?.generation;
            filter.buckets = numbered(filter, self.old.filter.as_ref(), edit, generation)?;
        }
        let from = match &self.old.filter {
            _ if loads => Counters::Given,
            Some(source) => Counters::Of(source, edit),
            None => Counters::Given,
        };
        let in_force = Wanted::of(&self.new, &links).put_in_force(datapath, &from)?;
        if let Some(filter) = &mut self.new.filter {
            filter.tally = in_force.tally;
        }
        self.warnings.extend(in_force.told);
        Ok(())
    }

    /// Compiles the filter of the old state again. What it has counted since the state was kept is lost.
    pub(super) async fn restore_filter(&mut self) -> Result<()> {
        let Some(datapath) = &self.with.datapath else {
            return Ok(());
        };
        let links = self.with.netlink.links().await?;
        let from = self
            .old
            .filter
            .as_ref()
            .map_or(Counters::Given, |source| Counters::Of(source, None));
        Wanted::of(self.old, &links).put_in_force(datapath, &from)?;
        Ok(())
    }
}

/// Puts the filter of a state in force, unless it is already; what its rules had counted before, if it has any.
pub(super) fn settle(state: &State, links: &[LinkInfo], datapath: &Datapath) -> Result<Option<Tally>> {
    let wanted = Wanted::of(state, links);
    let Some(source) = &state.filter else {
        let is_there = datapath.tables().filter()?.digest != 0;
        if is_there {
            wanted.put_in_force(datapath, &Counters::Given)?;
        }
        return Ok(None);
    };
    let in_force = wanted.put_in_force(datapath, &Counters::Of(source, None))?;
    Ok(Some(in_force.tally))
}

/// Where the counters of a filter that takes force come from.
enum Counters<'a> {
    /// They are those that its source says. It takes force in any case: its rules begin to count.
    Given,
    /// They go on from those of the filter before, which becomes this one by the edit, if there is one.
    Of(&'a FilterSource, Option<&'a Edit>),
}

/// A filter that is in force.
struct InForce {
    /// What is wrong with it that is to be told.
    told: Vec<String>,
    /// What its rules had counted before.
    tally: Tally,
}

/// A filter that is to be in force.
struct Wanted<'a> {
    source: Option<&'a FilterSource>,
    world: World,
    /// What its tables would be made from, as a number.
    digest: u64,
}

impl<'a> Wanted<'a> {
    /// That of a state, on a host with the interfaces `links`.
    fn of(state: &'a State, links: &[LinkInfo]) -> Self {
        let (source, world) = (state.filter.as_ref(), world(state, links));
        let digest = source.map_or(0, |source| {
            let mut hasher = DefaultHasher::new();
            (&source.text, &source.sets, &source.buckets).hash(&mut hasher);
            world.digest(&source.uses, &mut hasher);
            hasher.finish()
        });
        Self { source, world, digest }
    }

    /// Puts it in force, unless it is already.
    ///
    /// What the rules before have counted is read after the swap, when it is final, and kept with the state after that.
    /// A process killed in between leaves tables that the state does not name: whoever comes next swaps them for those of
    /// the state, or finds them to be the same, and some counts are lost. Rules are never wrong for it, and no count is
    /// added twice or to the rule of another filter: [`Tally::tables`] says whose counts the state goes on from.
    fn put_in_force(&self, datapath: &Datapath, counters: &Counters<'_>) -> Result<InForce> {
        let (tables, before) = (datapath.tables(), datapath.tables().filter()?);
        if before.digest == self.digest && matches!(counters, Counters::Of(_, None)) {
            let mut tally = self.source.map(|source| source.tally.clone()).unwrap_or_default();
            tally.tables = self.digest;
            return Ok(InForce {
                told: Vec::new(),
                tally,
            });
        }
        let mut rules = self.source.map(FilterSource::rules).transpose()?;
        let hz = datapath.clock().hz();
        let file = self.source.map_or("", |source| &source.file);
        let compile = |rules: &Ruleset| {
            let made = tables::compile(rules, &self.world, hz);
            made.map_err(|error| bounds::beyond(file, rules, &error))
        };
        let mut made = match &rules {
            Some(rules) => compile(rules)?,
            None => tables::Tables::empty(),
        };
        made.head.digest = self.digest;
        let untracked = before.active == 0 || before.parties != 0;
        if untracked && made.head.active != 0 {
            // Connections between some neighbours were not tracked: they are to be known, not opened again.
            datapath.pick_up(PICKUP)?;
        }
        let generation = tables.swap_filter(&made)?;
        let gone = rules.iter().flat_map(|rules| tables::unknown(rules, &self.world));
        let told = gone.map(|(line, name)| format!("{file}:{line}: `{name}` is gone; the rule matches it no more"));
        let told = told.collect();
        if let (Some(rules), Counters::Of(source, edit)) = (&mut rules, counters) {
            let mut counted = counted(source, datapath, generation, &before)?;
            if let Some(edit) = edit {
                // It could be made when it was planned.
                let _made = edit.apply(&mut counted);
            }
            tally::carry(&counted, rules);
        }
        Ok(InForce {
            told,
            tally: rules
                .as_ref()
                .map(|rules| Tally::of(rules, self.digest))
                .unwrap_or_default(),
        })
    }
}

/// The numbers of the buckets of a filter that comes by a file, or by an edit of the `old` one.
fn numbered(new: &FilterSource, old: Option<&FilterSource>, edit: Option<&Edit>, generation: u32) -> Result<Buckets> {
    let mut rules = new.parse()?.ruleset;
    let before = old.map(FilterSource::rules).transpose()?;
    if let (Some(before), Some(edit)) = (&before, edit) {
        let mut edited = before.clone();
        // It could be made when it was planned.
        let _made = edit.apply(&mut edited);
        tally::carry(&edited, &mut rules);
    }
    buckets::draw(&mut rules, before.as_ref(), generation);
    Ok(Buckets::of(&rules))
}

/// The rules of a filter that was in force, with all that they have counted.
fn counted(source: &FilterSource, datapath: &Datapath, generation: u32, head: &FilterHead) -> Result<Ruleset> {
    let mut rules = source.rules()?;
    if head.digest == source.tally.tables {
        tally::add(&mut rules, &datapath.tables().matched_in(generation)?);
    }
    Ok(rules)
}
