//! `limit` and `hashlimit` as the datapath has them.

use std::hash::{DefaultHasher, Hash, Hasher};

use netbridge_common::abi::{LIMITS, Limit, limit_flags};

use crate::filter::syntax::{Extension, HashLimit, Rate};

/// Units of time in a tick of the kernel's.
const UNITS: u64 = 1 << 16;

/// The limits of a set of rules.
pub(super) struct Limits {
    /// The kernel's ticks in a second.
    hz: u64,
    /// All of them, each known by its number.
    pub(super) all: Vec<Limit>,
}

/// There are more limits than a filter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Limits {
    pub(super) fn new(hz: u64) -> Self {
        Self { hz, all: Vec::new() }
    }

    /// The number of a limit, from 1 on. Where its buckets have no number, as in rules that nobody has put in force, they have one
    /// by their table's name, or by `own`: the chain, the rule, and the place in the rule.
    pub(super) fn of(&mut self, extension: &Extension, own: (u32, u32, u32)) -> Result<u32, TooMany> {
        let limit = match extension {
            Extension::Limit(rate) => self.bucket(*rate, number(&("limit", own))),
            Extension::HashLimit(limit) => self.hashed(limit),
            _ => return Ok(0),
        };
        let known = self.all.iter().position(|other| *other == limit);
        let place = known.unwrap_or_else(|| {
            self.all.push(limit);
            self.all.len() - 1
        });
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        if number < LIMITS { Ok(number + 1) } else { Err(TooMany) }
    }

    fn hashed(&self, limit: &HashLimit) -> Limit {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        Limit {
            source: limit.key.source,
            destination: limit.key.destination,
            flags: bit(limit.key.sport, limit_flags::SPORT)
                | bit(limit.key.dport, limit_flags::DPORT)
                | bit(limit.above, limit_flags::ABOVE),
            ..self.bucket(limit.rate, number(&("hashlimit", &limit.name)))
        }
    }

    fn bucket(&self, rate: Rate, unnumbered: u32) -> Limit {
        let interval = u64::from(rate.seconds) * self.hz * UNITS / u64::from(rate.packets.max(1));
        Limit {
            interval,
            tolerance: interval * u64::from(rate.burst.saturating_sub(1)),
            id: if rate.bucket == 0 { unnumbered } else { rate.bucket },
            ..Limit::default()
        }
    }
}

fn number(of: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    let [number, _]: [u32; 2] = bytemuck::cast(hasher.finish());
    number
}
