//! Rules in the order in which they are asked, jumps resolved: a list of places, each with what it asks for, what happens
//! then, and which of the user's rules that counts for.
//!
//! A chain is written where it is jumped to, each of its rules asking for what the jump asks for too. A packet that leaves a
//! chain, by a verdict or at its end, so counts for the jump by which it came, and no place stands for the jump itself but
//! the one behind the chain, for those that it said nothing of.

use std::collections::HashMap;

use netbridge_common::abi::verdict;

use super::conditions::{Axes, Conditions};
use super::limits::{self, Limits};
use crate::filter::syntax::{Chain, Policy, RejectWith, Rule, Ruleset, Target};

/// Most places of a program.
pub(super) const MOST_PLACES: usize = netbridge_common::abi::PLACES as usize;

/// Most alternatives of a jump that each rule behind it is given too.
const MOST_ALTERNATIVES: usize = 4;

/// A rule by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Index of its chain.
    pub chain: u32,
    /// Its index in the chain; the number of rules there stands for the chain's policy.
    pub rule: u32,
}

/// What happens to a packet at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// One of [`verdict`].
    pub(super) verdict: u8,
    /// How a rejected packet's sender is told.
    pub(super) with: u8,
}

impl Outcome {
    const fn of(verdict: u8) -> Self {
        Self { verdict, with: 0 }
    }

    /// True if it ends the search.
    pub(super) const fn is_final(self) -> bool {
        matches!(self.verdict, verdict::ACCEPT | verdict::DROP | verdict::REJECT)
    }
}

/// A place of the program.
#[derive(Debug)]
pub(super) struct Place {
    /// It is for packets that meet one of these.
    pub(super) any_of: Vec<Conditions>,
    /// What happens to them.
    pub(super) outcome: Outcome,
    /// The place that is next, where that does not end it.
    pub(super) next: usize,
    /// The rules that it counts for.
    pub(super) counts: Vec<RuleId>,
    /// The number of the limit that lets packets in, 0 for none.
    pub(super) limit: u32,
}

/// A place that may not be known yet.
type Label = usize;

/// Why there is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoProgram {
    /// Rules reach more places than a program may have, this one the first beyond.
    TooLong(RuleId),
    /// More limits than a filter holds, this rule's the first beyond.
    TooManyLimits(RuleId),
}

/// The places of a set of rules, the policy of `FORWARD` the last.
pub(super) fn program(rules: &Ruleset, axes: &mut Axes<'_>, limits: &mut Limits) -> Result<Vec<Place>, NoProgram> {
    let chains = rules
        .chains
        .iter()
        .enumerate()
        .map(|(index, chain)| (chain.name.as_str(), index));
    let mut writer = Writer {
        rules,
        chains: chains.collect(),
        axes,
        limits,
        limit: 0,
        places: Vec::with_capacity(rules.chains.iter().map(|chain| chain.rules.len()).sum::<usize>() + 1),
        labels: Vec::new(),
    };
    let policy = writer.label();
    let way = Way {
        guard: vec![Conditions::ANY],
        alternatives: 1,
        leaving: Vec::new(),
        behind: policy,
        returning: Vec::new(),
    };
    writer.chain(0, way)?;
    writer.here(policy);
    let number = rules.chains.first().map_or(0, |chain| chain.rules.len());
    let outcome = match rules.policy {
        Policy::Accept => verdict::ACCEPT,
        Policy::Drop => verdict::DROP,
    };
    let counts = vec![id(0, number)];
    writer.place(vec![Conditions::ANY], Outcome::of(outcome), policy, counts)?;
    Ok(writer.finish())
}

/// How a chain is come by.
struct Way {
    /// What packets in it meet one of.
    guard: Vec<Conditions>,
    /// How many these are at most, whatever the names in the rules stand for.
    alternatives: usize,
    /// The jumps that count when a verdict is found in it.
    leaving: Vec<RuleId>,
    /// Where its end leads to.
    behind: Label,
    /// The jumps that count when it is left by its end.
    returning: Vec<RuleId>,
}

struct Writer<'a, 'w> {
    rules: &'a Ruleset,
    chains: HashMap<&'a str, usize>,
    axes: &'a mut Axes<'w>,
    limits: &'a mut Limits,
    /// The limit of the rule that is being written, until a place has it.
    limit: u32,
    places: Vec<Place>,
    labels: Vec<Option<usize>>,
}

impl<'a> Writer<'a, '_> {
    /// Writes a chain.
    fn chain(&mut self, index: usize, mut way: Way) -> Result<(), NoProgram> {
        let rules = self.rules;
        let Some(chain) = rules.chains.get(index) else {
            return Ok(());
        };
        for (number, rule) in chain.rules.iter().enumerate() {
            self.rule(chain, id(index, number), rule, &mut way)?;
        }
        Ok(())
    }

    fn rule(&mut self, _chain: &Chain, own: RuleId, rule: &'a Rule, way: &mut Way) -> Result<(), NoProgram> {
        let asked = self.axes.asked(rule);
        let any_of = self.axes.both(&way.guard, &asked.any_of);
        let after = self.label();
        if !asked.none_of.is_empty() {
            let none_of = self.axes.both(&way.guard, &asked.none_of);
            self.place(none_of, Outcome::of(verdict::CONTINUE), after, Vec::new())?;
        }
        let limit = self.limits.of(rule, (own.chain, own.rule));
        self.limit = limit.map_err(|limits::TooMany| NoProgram::TooManyLimits(own))?;
        let leaving = with(&way.leaving, own);
        let alternatives = way.alternatives.saturating_mul(asked.alternatives);
        match &rule.target {
            Target::Accept => self.place(any_of, Outcome::of(verdict::ACCEPT), after, leaving)?,
            Target::Drop => self.place(any_of, Outcome::of(verdict::DROP), after, leaving)?,
            Target::Reject(how) => {
                let outcome = Outcome {
                    verdict: verdict::REJECT,
                    with: match how {
                        RejectWith::Unreachable(code) => code + 1,
                        RejectWith::TcpReset => u8::MAX,
                    },
                };
                self.place(any_of, outcome, after, leaving)?;
            }
            Target::Count => self.place(any_of, Outcome::of(verdict::CONTINUE), after, vec![own])?,
            Target::Log(_) => self.place(any_of, Outcome::of(verdict::LOG), after, vec![own])?,
            Target::Return => {
                let counts = with(&way.returning, own);
                self.place(any_of, Outcome::of(verdict::CONTINUE), way.behind, counts)?;
            }
            Target::Jump(name) => {
                let jump = Way {
                    guard: any_of,
                    alternatives,
                    leaving,
                    behind: after,
                    returning: vec![own],
                };
                self.enter(name, jump)?;
            }
            Target::Goto(name) => {
                let jump = Way {
                    guard: any_of,
                    alternatives,
                    leaving,
                    behind: way.behind,
                    returning: with(&way.returning, own),
                };
                self.enter(name, jump)?;
            }
        }
        self.here(after);
        Ok(())
    }

    /// Writes a chain where it is jumped to, and what becomes of packets that it says nothing of.
    fn enter(&mut self, name: &str, mut jump: Way) -> Result<(), NoProgram> {
        let Some(index) = self.chains.get(name).copied() else {
            return Ok(());
        };
        let (behind, returning) = (jump.behind, jump.returning.clone());
        let skipped = self.label();
        let mut end = jump.guard.clone();
        // Not by the length of the guard: places are numbered by the rules alone, so that what a bank has counted can be
        // read when the names stand for something else already (see `super::counts`).
        if jump.alternatives > MOST_ALTERNATIVES || self.limit != 0 {
            // Each rule would be given every alternative, or take a token: the chain is guarded by a place of its own.
            jump.alternatives = 1;
            let inside = self.label();
            let guard = std::mem::replace(&mut jump.guard, vec![Conditions::ANY]);
            self.place(guard, Outcome::of(verdict::CONTINUE), inside, Vec::new())?;
            self.place(
                vec![Conditions::ANY],
                Outcome::of(verdict::CONTINUE),
                skipped,
                Vec::new(),
            )?;
            self.here(inside);
            end = vec![Conditions::ANY];
        }
        self.chain(index, jump)?;
        self.place(end, Outcome::of(verdict::CONTINUE), behind, returning)?;
        self.here(skipped);
        Ok(())
    }

    fn place(
        &mut self,
        any_of: Vec<Conditions>,
        outcome: Outcome,
        next: Label,
        counts: Vec<RuleId>,
    ) -> Result<(), NoProgram> {
        if self.places.len() >= MOST_PLACES {
            let at = counts.last().copied().unwrap_or(id(0, 0));
            return Err(NoProgram::TooLong(at));
        }
        self.places.push(Place {
            any_of,
            outcome,
            next,
            counts,
            limit: std::mem::take(&mut self.limit),
        });
        Ok(())
    }

    fn label(&mut self) -> Label {
        self.labels.push(None);
        self.labels.len() - 1
    }

    fn here(&mut self, label: Label) {
        let here = self.places.len();
        if let Some(place) = self.labels.get_mut(label) {
            *place = Some(here);
        }
    }

    /// The places, with places instead of labels.
    fn finish(self) -> Vec<Place> {
        let (labels, mut places) = (self.labels, self.places);
        for place in &mut places {
            place.next = labels.get(place.next).copied().flatten().unwrap_or(usize::MAX);
        }
        places
    }
}

fn with(before: &[RuleId], own: RuleId) -> Vec<RuleId> {
    before.iter().copied().chain([own]).collect()
}

fn id(chain: usize, rule: usize) -> RuleId {
    RuleId {
        chain: u32::try_from(chain).unwrap_or(u32::MAX),
        rule: u32::try_from(rule).unwrap_or(u32::MAX),
    }
}
