//! Filters that are ready to take force.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::filter::syntax::Ruleset;
use crate::filter::tables::{self, Tables, World};
use crate::filter::{Edit, FilterErrors, bounds};
use crate::state::FilterSource;

/// Rules, and the tables that they are compiled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The rules.
    pub rules: Ruleset,
    /// Their tables.
    pub tables: Tables,
}

impl Compiled {
    /// Compiles the rules of a source, on a host whose kernel's clock ticks `hz` times in a second.
    pub fn new(source: &FilterSource, rules: Ruleset, world: &World, hz: u64) -> Result<Self, FilterErrors> {
        let made = tables::compile(&rules, world, hz);
        let mut tables = made.map_err(|error| bounds::beyond(&source.file, &rules, &error))?;
        tables.head.digest = digest(source, world);
        Ok(Self { rules, tables })
    }
}

/// A filter that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The change.
    pub edit: Edit,
    /// The filter afterwards.
    pub compiled: Compiled,
}

/// What the tables of a filter are made from, as a number.
pub fn digest(source: &FilterSource, world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&source.text, &source.journal, &source.sets, &source.buckets).hash(&mut hasher);
    world.digest(&source.uses, &mut hasher);
    hasher.finish()
}
