//! Which rule an event is about: one that reports a packet, or that has dropped it.

use std::collections::HashMap;

use netbridge_common::abi::{BANKS, NO_PATH};

use super::{Failure, Host};
use crate::datapath::Datapath;
use crate::filter::edit::FORWARD;
use crate::filter::syntax::{Policy, RuleId, Target};

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
    /// The generations in which places have meant these rules: from the first to the last, those of one bank.
    generations: (u32, u32),
    places: Vec<Option<Cause>>,
}

impl Causes {
    /// The rule at the end of a path through the filter of a generation, if it is one of these.
    pub fn get(&self, datapath: &Datapath, generation: u32, path: u32) -> Result<Option<&Cause>, Failure> {
        if path == NO_PATH || !self.is_of(generation) {
            return Ok(None);
        }
        let place = datapath.tables().last_place(path).map_err(anyhow::Error::from)?;
        Ok(place.and_then(|place| self.places.get(place as usize)?.as_ref()))
    }

    /// True if these are the rules of a generation.
    pub fn is_of(&self, generation: u32) -> bool {
        let (first, last) = self.generations;
        let age = generation.wrapping_sub(first);
        age <= last.wrapping_sub(first) && age % BANKS == 0
    }
}

/// Those of the filter in force.
pub fn filter_causes(host: &Host, datapath: &Datapath) -> Result<Causes, Failure> {
    let Some(source) = host.state()?.filter else {
        return Ok(Causes::default());
    };
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
            generations: (head.generation, generation),
            places: legend.into_iter().map(cause).collect(),
        })
    };
    Ok(look()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_their_bank() {
        let of = |first, last| Causes {
            generations: (first, last),
            places: Vec::new(),
        };
        let causes = of(7, 11);
        for (generation, is) in [
            (5, false),
            (6, false),
            (7, true),
            (8, false),
            (9, true),
            (11, true),
            (13, false),
        ] {
            assert_eq!(causes.is_of(generation), is, "{generation}");
        }
        assert!(of(u32::MAX - 1, 4).is_of(2) && !of(u32::MAX - 1, 4).is_of(6));
    }
}
