//! Which rule it is that reports a packet.

use std::collections::HashMap;

use super::{Failure, Host};
use crate::filter::syntax::{RuleId, Target};

/// A rule with `-j LOG` or `-j NFLOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporter {
    /// What it puts before its reports.
    pub prefix: String,
    /// The rule as `iptables-save` writes it.
    pub rule: String,
}

/// The rules in force that report packets.
#[derive(Clone, Debug, Default)]
pub struct Reporters {
    generation: u32,
    places: HashMap<u32, Reporter>,
}

impl Reporters {
    /// The rule at a place of the filter of a generation, if these are the rules of that one.
    pub fn get(&self, generation: u32, place: u32) -> Option<&Reporter> {
        self.places.get(&place).filter(|_| self.generation == generation)
    }

    /// True if these are the rules of a generation.
    pub fn is_of(&self, generation: u32) -> bool {
        self.generation == generation
    }
}

/// Those of the filter in force.
pub fn filter_reporters(host: &Host) -> Result<Reporters, Failure> {
    let Some(source) = host.state()?.filter else {
        return Ok(Reporters::default());
    };
    let rules = source.in_force().map_err(anyhow::Error::from)?.ruleset;
    let all = rules
        .chains
        .iter()
        .flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)));
    let known: HashMap<RuleId, _> = all.filter_map(|own| Some((own.1.stood?, own))).collect();
    let datapath = host.datapath()?;
    let look = || -> anyhow::Result<Reporters> {
        let tables = datapath.tables();
        let generation = tables.config()?.generation;
        if tables.filter()?.digest != source.tally.tables {
            return Ok(Reporters::default());
        }
        let places = (0..).zip(tables.legend(generation)?).filter_map(|(place, counts)| {
            let (chain, rule) = known.get(counts.last()?)?;
            let Target::Log(log) = &rule.target else { return None };
            let reporter = Reporter {
                prefix: log.prefix.clone(),
                rule: rule.in_chain(&chain.name).to_string(),
            };
            Some((place, reporter))
        });
        Ok(Reporters {
            generation,
            places: places.collect(),
        })
    };
    Ok(look()?)
}
