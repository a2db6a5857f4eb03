//! Writes the places of a program, see [`super::program`].

use std::collections::{HashMap, VecDeque};

use netbridge_common::abi::verdict;

use super::asked::{Alternatives, Asks, Stage, Then};
use super::conditions::{Axes, Conditions};
use super::error::TooComplex;
use super::limits::{self, Limits};
use super::program::{MOST_BOXES, MOST_PLACES, MOST_SPANS, Outcome, Place, RuleId};
use super::values::Holes;
use crate::filter::syntax::{Policy, RejectWith, Rule, Ruleset, Target};

/// Most alternatives of a jump that each rule behind it is given too.
const MOST_ALTERNATIVES: usize = 4;

/// Most boxes of a place with a limit that its packets pass by who get no token.
const MOST_LIMITED: usize = u8::MAX as usize;

/// A place that may not be known yet.
type Label = usize;

/// How a chain is come by.
#[derive(Clone)]
struct Way {
    /// The jumps that count when a verdict is found in it.
    leaving: Vec<RuleId>,
    /// Where its end leads to.
    behind: Label,
    /// The jumps that count when it is left by its end.
    returning: Vec<RuleId>,
}

/// A rule, from one of its stages on.
struct Rest<'a> {
    own: RuleId,
    rule: &'a Rule,
    /// The stages, the next one last.
    stages: Vec<Stage<'a>>,
    /// What packets meet that do not match.
    after: Label,
}

/// What stands behind the policy.
enum Body<'a> {
    Chain(usize, Way),
    Rule(Rest<'a>, Way),
}

/// The places written so far, and what is left to write.
pub(super) struct Writer<'a, 'w> {
    rules: &'a Ruleset,
    chains: HashMap<&'a str, usize>,
    axes: &'w mut Axes<'a>,
    limits: &'w mut Limits,
    /// The rule that is being written.
    own: RuleId,
    /// Alternatives of all places.
    alternatives: usize,
    places: Vec<Place>,
    labels: Vec<Option<usize>>,
    waiting: VecDeque<(Label, Body<'a>)>,
}

impl<'a, 'w> Writer<'a, 'w> {
    pub(super) fn new(rules: &'a Ruleset, axes: &'w mut Axes<'a>, limits: &'w mut Limits) -> Self {
        let chains = rules.chains.iter().enumerate();
        Self {
            rules,
            chains: chains.map(|(index, chain)| (chain.name.as_str(), index)).collect(),
            axes,
            limits,
            own: id(0, 0),
            alternatives: 0,
            places: Vec::with_capacity(rules.chains.iter().map(|chain| chain.rules.len()).sum::<usize>() + 1),
            labels: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Places so far.
    pub(super) fn written(&self) -> usize {
        self.places.len()
    }

    /// Writes `FORWARD` and its policy.
    pub(super) fn forward(&mut self) -> Result<(), TooComplex> {
        let policy = self.label();
        let way = Way {
            leaving: Vec::new(),
            behind: policy,
            returning: Vec::new(),
        };
        let all = [Conditions::ANY];
        self.chain(0, &all, &way)?;
        self.here(policy);
        let number = self.rules.chains.first().map_or(0, |chain| chain.rules.len());
        let outcome = match self.rules.policy {
            Policy::Accept => verdict::ACCEPT,
            Policy::Drop => verdict::DROP,
        };
        self.own = id(0, number);
        self.write(Outcome::of(outcome), policy, vec![self.own], all.into())
    }

    /// Writes something of what stands behind the policy; false if there is nothing left.
    pub(super) fn next_body(&mut self) -> Result<bool, TooComplex> {
        let Some((label, body)) = self.waiting.pop_front() else {
            return Ok(false);
        };
        self.here(label);
        self.body(body)?;
        Ok(true)
    }

    /// Writes a chain for packets that meet one of `guard`.
    fn chain(&mut self, index: usize, guard: &[Conditions], way: &Way) -> Result<(), TooComplex> {
        let rules = self.rules;
        let all = rules.chains.get(index).map_or(&[][..], |chain| &chain.rules);
        for (number, rule) in all.iter().enumerate() {
            let own = id(index, number);
            self.own = own;
            let asked = self.axes.asked(rule);
            let mut stages = asked.map_err(|Holes| TooComplex::Holes { line: self.line() })?;
            if self.axes.size() > MOST_SPANS {
                return Err(TooComplex::Ranges { line: self.line() });
            }
            stages.reverse();
            let after = self.label();
            let rest = Rest {
                own,
                rule,
                stages,
                after,
            };
            self.stages(rest, guard, way)?;
            self.here(after);
        }
        Ok(())
    }

    fn body(&mut self, body: Body<'a>) -> Result<(), TooComplex> {
        let all = [Conditions::ANY];
        match body {
            Body::Chain(index, way) => {
                self.chain(index, &all, &way)?;
                self.write(Outcome::CONTINUE, way.behind, way.returning, all.into())
            }
            Body::Rule(rest, way) => {
                let after = rest.after;
                self.own = rest.own;
                self.stages(rest, &all, &way)?;
                self.write(Outcome::CONTINUE, after, Vec::new(), all.into())
            }
        }
    }

    /// Writes a rule from its next stage on.
    fn stages(&mut self, mut rest: Rest<'a>, guard: &[Conditions], way: &Way) -> Result<(), TooComplex> {
        let Some(mut stage) = rest.stages.pop() else {
            return self.target(guard.into(), 0, &rest, way);
        };
        let limit = self.limit(stage.limit, rest.own)?;
        if let [section] = stage.sections.as_mut_slice()
            && let [
                Alternatives {
                    any_of,
                    then: Then::Match,
                },
            ] = section.as_mut_slice()
        {
            let any_of = self.guarded(guard, std::mem::take(any_of));
            if any_of.is_empty() {
                return Ok(());
            }
            if limit != 0 && self.axes.boxes(&any_of) > MOST_LIMITED {
                let then = Then::Match;
                let any = vec![Conditions::ANY];
                stage.sections = vec![vec![Alternatives { any_of: any, then }]];
                rest.stages.push(stage);
                return self.later(any_of, 0, rest, way);
            }
            if rest.stages.is_empty() {
                return self.target(any_of, limit, &rest, way);
            }
            return self.later(any_of, limit, rest, way);
        }
        self.sections(stage, rest, guard, way)
    }

    /// Writes a stage of several lists of alternatives.
    fn sections(
        &mut self,
        stage: Stage<'a>,
        rest: Rest<'a>,
        guard: &[Conditions],
        way: &Way,
    ) -> Result<(), TooComplex> {
        let enters = matches!(rest.rule.target, Target::Jump(_) | Target::Goto(_));
        let all = || stage.sections.iter().flatten();
        let once = all().filter(|alternatives| alternatives.then == Then::Match).count() <= 1;
        // What follows is written once, here or behind the policy.
        let direct = rest.stages.is_empty() && (once || !enters);
        let inside = self.label();
        for section in stage.sections {
            let next = self.label();
            for Alternatives { any_of, then } in section {
                let any_of = self.guarded(guard, any_of);
                match then {
                    _ if any_of.is_empty() => {}
                    Then::Match if direct => self.target(any_of, 0, &rest, way)?,
                    Then::Match => self.lead(any_of, 0, inside, farthest(&rest, way))?,
                    Then::Fail => self.write(Outcome::CONTINUE, rest.after, Vec::new(), any_of)?,
                    Then::Next => self.write(Outcome::CONTINUE, next, Vec::new(), any_of)?,
                }
            }
            self.here(next);
        }
        if !direct {
            self.waiting.push_back((inside, Body::Rule(rest, way.clone())));
        }
        Ok(())
    }

    /// Leads packets to the rest of a rule.
    fn later(&mut self, any_of: Vec<Conditions>, limit: u32, rest: Rest<'a>, way: &Way) -> Result<(), TooComplex> {
        let inside = self.label();
        self.lead(any_of, limit, inside, farthest(&rest, way))?;
        self.waiting.push_back((inside, Body::Rule(rest, way.clone())));
        Ok(())
    }

    /// Writes what a rule does.
    fn target(&mut self, any_of: Vec<Conditions>, limit: u32, rest: &Rest<'a>, way: &Way) -> Result<(), TooComplex> {
        let (own, after) = (rest.own, rest.after);
        let (outcome, next, counts) = match &rest.rule.target {
            Target::Accept => (Outcome::of(verdict::ACCEPT), after, with(&way.leaving, own)),
            Target::Drop => (Outcome::of(verdict::DROP), after, with(&way.leaving, own)),
            Target::Reject(how) => {
                let outcome = Outcome {
                    verdict: verdict::REJECT,
                    with: match how {
                        RejectWith::Unreachable(code) => code + 1,
                        RejectWith::TcpReset => u8::MAX,
                    },
                };
                (outcome, after, with(&way.leaving, own))
            }
            Target::Count => (Outcome::CONTINUE, after, vec![own]),
            Target::Log(_) => (Outcome::of(verdict::LOG), after, vec![own]),
            Target::Return => (Outcome::CONTINUE, way.behind, with(&way.returning, own)),
            Target::Jump(name) => {
                let jump = Way {
                    leaving: with(&way.leaving, own),
                    behind: after,
                    returning: vec![own],
                };
                return self.enter(name, any_of, limit, jump);
            }
            Target::Goto(name) => {
                let goto = Way {
                    leaving: with(&way.leaving, own),
                    behind: way.behind,
                    returning: with(&way.returning, own),
                };
                return self.enter(name, any_of, limit, goto);
            }
        };
        self.place(Place {
            any_of,
            outcome,
            next,
            beyond: next,
            counts,
            limit,
            line: self.line(),
        })
    }

    /// Writes a chain where it is jumped to, and what becomes of packets that it says nothing of.
    fn enter(&mut self, name: &str, any_of: Vec<Conditions>, limit: u32, way: Way) -> Result<(), TooComplex> {
        let Some(index) = self.chains.get(name).copied() else {
            return Ok(());
        };
        if any_of.len() <= MOST_ALTERNATIVES && limit == 0 {
            self.chain(index, &any_of, &way)?;
            return self.write(Outcome::CONTINUE, way.behind, way.returning, any_of);
        }
        let inside = self.label();
        self.lead(any_of, limit, inside, way.behind)?;
        self.waiting.push_back((inside, Body::Chain(index, way)));
        Ok(())
    }

    /// Leads packets behind the policy, from where they come back to `beyond` at the farthest.
    fn lead(&mut self, any_of: Vec<Conditions>, limit: u32, to: Label, beyond: Label) -> Result<(), TooComplex> {
        self.place(Place {
            any_of,
            outcome: Outcome::CONTINUE,
            next: to,
            beyond,
            counts: Vec::new(),
            limit,
            line: self.line(),
        })
    }

    fn write(
        &mut self,
        outcome: Outcome,
        next: Label,
        counts: Vec<RuleId>,
        any_of: Vec<Conditions>,
    ) -> Result<(), TooComplex> {
        self.place(Place {
            any_of,
            outcome,
            next,
            beyond: next,
            counts,
            limit: 0,
            line: self.line(),
        })
    }

    fn place(&mut self, place: Place) -> Result<(), TooComplex> {
        self.alternatives += place.any_of.len();
        if self.places.len() >= MOST_PLACES {
            return Err(TooComplex::Places { line: self.line() });
        }
        if self.alternatives > MOST_BOXES {
            return Err(TooComplex::Boxes { line: self.line() });
        }
        self.places.push(place);
        Ok(())
    }

    /// What meets the guard too.
    fn guarded(&mut self, guard: &[Conditions], any_of: Vec<Conditions>) -> Vec<Conditions> {
        if guard == [Conditions::ANY] {
            any_of
        } else {
            self.axes.both(guard, &any_of)
        }
    }

    fn limit(&mut self, asks: Option<Asks<'_>>, own: RuleId) -> Result<u32, TooComplex> {
        let Some((limit, place)) = asks else { return Ok(0) };
        let number = self.limits.of(limit, (own.chain, own.rule, place));
        number.map_err(|limits::TooMany| TooComplex::Limits { line: self.line() })
    }

    /// The line of the rule that is being written.
    fn line(&self) -> usize {
        let RuleId { chain, rule } = self.own;
        let chain = self.rules.chains.get(chain as usize);
        let rule = chain.and_then(|chain| chain.rules.get(rule as usize));
        rule.map_or(0, |rule| rule.line)
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
    pub(super) fn finish(self) -> Vec<Place> {
        let (labels, mut places) = (self.labels, self.places);
        let known = |label: Label| labels.get(label).copied().flatten().unwrap_or(usize::MAX);
        for place in &mut places {
            place.next = known(place.next);
            place.beyond = known(place.beyond);
        }
        places
    }
}

/// Where packets come to at the farthest that a rule says something of.
fn farthest(rest: &Rest<'_>, way: &Way) -> Label {
    match rest.rule.target {
        Target::Return | Target::Goto(_) => way.behind,
        _ => rest.after,
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
