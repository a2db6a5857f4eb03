//! The steps that put a filter in force, with what its rules have counted.

use std::collections::HashMap;

use anyhow::Result;
use netbridge_common::abi::FilterHead;

use super::Run;
use crate::datapath::{Datapath, Settled};
use crate::filter::syntax::{Interface, Parsed};
use crate::filter::tables::{self, Tables, Uses, World};
use crate::filter::{Buckets, FilterErrors, Tally};
use crate::netlink::LinkInfo;
use crate::plan::{Compiled, Edited, Patched, digest, world, written};
use crate::state::{Endpoint, FilterSource, State};

/// Seconds for which connections that were not tracked are taken up in the middle when other rules take force.
const PICKUP: u32 = 120;

impl Run<'_> {
    /// Puts the new state's filter in force, or none. Its counters are the state's.
    pub(super) fn load_filter(&mut self, compiled: Option<&Compiled>) -> Result<()> {
        let empty = Tables::empty();
        let tables = compiled.map_or(&empty, |compiled| &compiled.tables);
        Swapped::to(tables, self.loaded()?)?;
        if let Some(filter) = &mut self.new.filter {
            filter.tally.tables = tables.head.digest;
        }
        Ok(())
    }

    /// Puts the new state's filter in force. Its counters go on from what the old one's have counted.
    pub(super) fn edit_filter(&mut self, edited: &Edited) -> Result<()> {
        let compiled = &edited.compiled;
        let datapath = self.loaded()?;
        let swapped = Swapped::to(&compiled.tables, datapath)?;
        let tally = swapped.tally(self.old.filter.as_ref(), compiled, datapath)?;
        if let Some(filter) = &mut self.new.filter {
            filter.tally = tally;
        }
        Ok(())
    }

    /// Puts the new state's filter in force by a patch of the old one. Its counters go on where they are.
    pub(super) fn patch_filter(&mut self, patched: &Patched) -> Result<()> {
        let datapath = self.loaded()?;
        let pairs = datapath.tables().pairs_in(&patched.region)?;
        if pairs.pass {
            datapath.pick_up(PICKUP)?;
        }
        Ok(datapath
            .tables()
            .patch_filter(patched.region, &patched.tables, &pairs)?)
    }

    /// Compiles the filter for what its names stand for now, unless that is in force.
    pub(super) async fn swap_filter(&mut self) -> Result<()> {
        let links = self.with.netlink.links().await?;
        let in_force = match &self.with.datapath {
            Some(datapath) => settle(&self.new, &links, datapath),
            None => Ok(None),
        };
        let comes = |endpoint: &Endpoint| self.old.endpoint(endpoint.name.as_str()).is_none();
        let in_force = match in_force {
            // Who goes is not held up by it.
            Err(error) if error.is::<FilterErrors>() && !self.new.endpoints.iter().any(comes) => {
                self.warnings.push(stays(&error));
                None
            }
            in_force => in_force?,
        };
        let Some((in_force, filter)) = in_force.zip(self.new.filter.as_mut()) else {
            return Ok(());
        };
        *filter = in_force.source;
        let before = world(self.old, &links);
        let goes = |name: &String| {
            let name = name.clone();
            before.knows(&Interface { name, wildcard: false })
        };
        let gone = in_force.unknown.into_iter().filter(|(_, name)| goes(name));
        let told =
            gone.map(|(line, name)| format!("{}:{line}: `{name}` is gone; the rule matches it no more", filter.file));
        self.warnings.extend(told);
        Ok(())
    }

    /// Compiles the filter of the old state again.
    pub(super) async fn restore_filter(&mut self) -> Result<()> {
        let links = self.with.netlink.links().await?;
        if let Some(datapath) = &self.with.datapath {
            self.restored = settle(self.old, &links, datapath)?.map(|in_force| in_force.source);
        }
        Ok(())
    }
}

/// What is told of a filter that was taken before, and cannot be compiled for the world as it is now.
pub(super) fn stays(error: &anyhow::Error) -> String {
    format!(
        "the filter in force stays as it is, whatever its names stand for now, for it cannot be compiled anew: {error:#}; \
         change its rules or load others"
    )
}

/// A filter that is in force.
pub(super) struct InForce {
    /// Names in it that stand for nothing, as far as that is looked at, each with its line.
    unknown: Vec<(usize, String)>,
    /// Where its tables come from, with what its rules had counted before them.
    pub(super) source: FilterSource,
}

/// Puts the filter of a state in force, unless it is already, or none if it has none.
pub(super) fn settle(state: &State, links: &[LinkInfo], datapath: &Datapath) -> Result<Option<InForce>> {
    let head = datapath.tables().filter()?;
    let Some(source) = &state.filter else {
        if head.digest != 0 {
            Swapped::to(&Tables::empty(), datapath)?;
        }
        return Ok(None);
    };
    let world = world(state, links);
    let digest = digest(source, &world);
    if head.digest != digest {
        return swap(source, &world, datapath).map(Some);
    }
    let mut source = source.clone();
    source.tally.tables = head.base;
    Ok(Some(InForce {
        unknown: Vec::new(),
        source,
    }))
}

/// Compiles a filter for the world as it is; its counters go on. One that has changed since its text was written is written
/// anew: its tables know rules by where they stand in a text.
fn swap(before: &FilterSource, world: &World, datapath: &Datapath) -> Result<InForce> {
    let Parsed { mut ruleset, spare, .. } = before.in_force()?;
    let mut source = before.clone();
    if !before.journal.is_empty() {
        source = written(Some(before), &mut ruleset, &spare, false).map_err(|(errors, _)| errors)?;
        source.buckets = Buckets::of(&ruleset);
        source.uses = Uses::of(&ruleset);
    }
    let compiled = Compiled::new(&source, ruleset, world, datapath.clock().hz())?;
    let swapped = Swapped::to(&compiled.tables, datapath)?;
    source.tally = swapped.tally(Some(before), &compiled, datapath)?;
    Ok(InForce {
        unknown: tables::unknown(&compiled.rules, world),
        source,
    })
}

/// What was in force before a swap.
///
/// What the rules before have counted is read after the swap, when it is final, and kept with the state after that.
/// A process killed in between leaves tables that the state does not name: whoever comes next swaps them for those of
/// the state, or finds them to be the same, and some counts are lost. Rules are never wrong for it, and no count is
/// added twice or to the rule of another filter: [`Tally::tables`] says whose counts the state goes on from.
struct Swapped {
    head: FilterHead,
    generation: u32,
}

impl Swapped {
    /// Swaps the tables in force for these.
    fn to(made: &Tables, datapath: &Datapath) -> Result<Self> {
        let tables = datapath.tables();
        let head = tables.filter()?;
        if made.head.active != 0 && (head.active == 0 || tables.settled()?.loses(&Settled::of(made))) {
            // Connections between some neighbours were not tracked: they are to be known, not opened again.
            datapath.pick_up(PICKUP)?;
        }
        let generation = tables.swap_filter(made)?;
        Ok(Self { head, generation })
    }

    /// What the rules now in force have counted, if those before were those of this source, which they come from.
    fn tally(&self, source: Option<&FilterSource>, now: &Compiled, datapath: &Datapath) -> Result<Tally> {
        let matched = match source {
            Some(source) if self.head.base == source.tally.tables => datapath.tables().matched_in(self.generation)?,
            _ => HashMap::new(),
        };
        Ok(Tally::with(&now.rules, &matched, now.tables.head.digest))
    }
}
