//! Which rule an event is about: one that reports a packet, or that has dropped it.

use std::collections::HashMap;

use netbridge_common::abi::NO_PATH;
use netbridge_common::abi::generation::{bank, patches, serial};

use super::Failure;
use crate::datapath::Datapath;
use crate::filter::edit::FORWARD;
use crate::filter::syntax::{Policy, RuleId, Target};
use crate::state::FilterSource;

/// A rule that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What it puts before its reports, if it reports.
    pub prefix: Option<String>,
    /// The rule as `iptables` takes it; a policy as `-P FORWARD DROP`.
    pub rule: String,
}

/// The rules in force, by what the datapath knows of them.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    /// Where they come from.
    source: Option<FilterSource>,
    /// The last generation in which places meant these rules: so they did in those of its bank with fewer patches.
    generation: u32,
    places: Vec<Option<Cause>>,
}

impl Causes {
    /// The rule at the end of a path through the filter of a generation, if it is one of these.
    pub fn get(&self, datapath: &Datapath, generation: u32, path: u32) -> Result<Option<&Cause>, Failure> {
        if path == NO_PATH || !self.mean(generation) {
            return Ok(None);
        }
        let place = datapath.tables().last_place(path).map_err(anyhow::Error::from)?;
        Ok(place.and_then(|place| self.places.get(place as usize)?.as_ref()))
    }

    /// True if these are the rules of a filter and of a generation. A state says what is in force some moments later than
    /// the datapath does.
    pub fn are_of(&self, source: Option<&FilterSource>, generation: u32) -> bool {
        self.source.as_ref() == source && self.mean(generation)
    }

    /// True if places mean these rules in a generation.
    fn mean(&self, generation: u32) -> bool {
        let swap = |generation| (serial(generation), bank(generation));
        swap(generation) == swap(self.generation) && patches(generation) <= patches(self.generation)
    }
}

/// Those of a filter that is in force; none if it is not.
pub fn filter_causes(source: &FilterSource, datapath: &Datapath) -> Result<Causes, Failure> {
    let rules = source.in_force().map_err(anyhow::Error::from)?.ruleset;
    let mut known = HashMap::<RuleId, Cause>::new();
    for chain in &rules.chains {
        for rule in &chain.rules {
            let prefix = match &rule.target {
                Target::Log(log) => Some(log.prefix.clone()),
                _ => None,
            };
            let rule_text = rule.in_chain(&chain.name).to_string();
            known.extend(rule.stood.map(|stood| {
                (
                    stood,
                    Cause {
                        prefix,
                        rule: rule_text,
                    },
                )
            }));
        }
    }
    let policy = rules.chains.first().and_then(|forward| forward.stood);
    if rules.policy == Policy::Drop {
        let rule = format!("-P {FORWARD} {}", rules.policy.name());
        known.extend(policy.map(|stood| (stood, Cause { prefix: None, rule })));
    }
    let look = || -> anyhow::Result<Causes> {
        let tables = datapath.tables();
        let (generation, head) = (tables.config()?.generation, tables.filter()?);
        if head.base != source.tally.tables {
            return Ok(Causes::default());
        }
        let legend = tables.legend(generation)?;
        let cause = |counts: Vec<RuleId>| known.get(counts.last()?).cloned();
        Ok(Causes {
            source: Some(source.clone()),
            generation,
            places: legend.into_iter().map(cause).collect(),
        })
    };
    Ok(look()?)
}

#[cfg(test)]
mod tests {
    use netbridge_common::abi::generation::{FIRST, patched, swapped};

    use super::*;

    #[test]
    fn rules_are_those_of_their_bank_and_its_patches() {
        let before = patched(FIRST);
        let swap = swapped(before);
        let causes = Causes {
            source: None,
            generation: patched(swap),
            places: Vec::new(),
        };
        for (generation, is) in [
            (FIRST, false),
            (before, false),
            (swap, true),
            (patched(swap), true),
            (patched(patched(swap)), false),
            (swapped(swap), false),
            (swapped(swapped(swap)), false),
        ] {
            assert_eq!(causes.are_of(None, generation), is, "{generation:x}");
        }
        let kept = FilterSource::new("f", "");
        assert!(!causes.are_of(Some(&kept), swap), "the state names other rules by now");
    }
}
