//! Writes the places of a program, see [`super::program`].

use std::collections::{HashMap, VecDeque};

use netbridge_common::abi::verdict;

use super::asked::{Alternatives, Asks, Limited, Stage, Then};
use super::conditions::{Axes, Conditions};
use super::error::TooComplex;
use super::limits::{self, Limits};
use super::places::{Label, Outcome, Place, Places};
use super::program::{MOST_SPANS, MOST_WORK, RuleId};
use super::values::Holes;
use crate::filter::syntax::{Policy, RejectWith, Rule, Ruleset, Target};

/// Most alternatives of a jump that each rule behind it is given too.
const MOST_ALTERNATIVES: usize = 4;

/// Most boxes of a place with a limit that its packets pass by who get no token.
const MOST_LIMITED: usize = u8::MAX as usize;

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
struct Body<'a> {
    /// Where it begins.
    label: Label,
    /// What packets that are led there meet one of.
    guard: Vec<Conditions>,
    way: Way,
    inner: Inner<'a>,
}

enum Inner<'a> {
    Chain(usize),
    Rule(Rest<'a>),
}

/// The places written so far, and what is left to write.
pub(super) struct Writer<'a, 'w> {
    rules: &'a Ruleset,
    chains: HashMap<&'a str, usize>,
    axes: &'w mut Axes<'a>,
    limits: &'w mut Limits,
    /// The rule that is being written.
    own: RuleId,
    places: Places,
    waiting: VecDeque<Body<'a>>,
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
            places: Places::default(),
            waiting: VecDeque::new(),
        }
    }

    /// The places so far.
    pub(super) fn places(self) -> Places {
        self.places
    }

    /// How many there are.
    pub(super) fn written(&self) -> usize {
        self.places.written()
    }

    /// Writes `FORWARD` and its policy.
    pub(super) fn forward(&mut self) -> Result<(), TooComplex> {
        let policy = self.places.label();
        let way = Way {
            leaving: Vec::new(),
            behind: policy,
            returning: Vec::new(),
        };
        let all = [Conditions::ANY];
        self.chain(0, &all, &way)?;
        self.places.here(policy);
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
        let Some(body) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let Body {
            label,
            guard,
            way,
            inner,
        } = body;
        self.places.here(label);
        match inner {
            Inner::Chain(index) => {
                self.chain(index, &guard, &way)?;
                self.write(Outcome::CONTINUE, way.behind, way.returning, guard)?;
            }
            Inner::Rule(rest) => {
                let after = rest.after;
                self.own = rest.own;
                self.stages(rest, &guard, &way)?;
                self.write(Outcome::CONTINUE, after, Vec::new(), guard)?;
            }
        }
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
            if self.axes.size() > MOST_SPANS || self.axes.work() > MOST_WORK {
                return Err(TooComplex::Ranges { line: self.line() });
            }
            stages.reverse();
            let after = self.places.label();
            let rest = Rest {
                own,
                rule,
                stages,
                after,
            };
            self.stages(rest, guard, way)?;
            self.places.here(after);
        }
        Ok(())
    }

    /// Writes a rule from its next stage on.
    fn stages(&mut self, mut rest: Rest<'a>, guard: &[Conditions], way: &Way) -> Result<(), TooComplex> {
        let Some(stage) = rest.stages.pop() else {
            return self.target(guard.into(), 0, &rest, way);
        };
        let any_of = match stage.asks {
            Asks::Sections(sections) => return self.sections(sections, rest, guard, way),
            Asks::Any(any_of) => self.guarded(guard, any_of),
        };
        let limit = self.limit(stage.limit, rest.own)?;
        if any_of.is_empty() {
            return Ok(());
        }
        if limit != 0 && self.axes.boxes(&any_of) > MOST_LIMITED {
            rest.stages.push(Stage {
                asks: Asks::Any(vec![Conditions::ANY]),
                limit: stage.limit,
            });
            let inside = self.places.label();
            self.lead(any_of, 0, inside, farthest(&rest, way))?;
            self.wait(inside, vec![Conditions::ANY], way, Inner::Rule(rest));
            return Ok(());
        }
        if rest.stages.is_empty() {
            return self.target(any_of, limit, &rest, way);
        }
        let beyond = farthest(&rest, way);
        self.outside(any_of, limit, beyond, way, Inner::Rule(rest))
    }

    /// Writes a stage of several lists of alternatives.
    fn sections(
        &mut self,
        sections: Vec<Vec<Alternatives>>,
        rest: Rest<'a>,
        guard: &[Conditions],
        way: &Way,
    ) -> Result<(), TooComplex> {
        let enters = matches!(rest.rule.target, Target::Jump(_) | Target::Goto(_));
        let matching = sections.iter().flatten().filter(|list| list.then == Then::Match);
        // What follows is written once, here or behind the policy.
        let direct = rest.stages.is_empty() && (matching.count() <= 1 || !enters);
        let inside = self.places.label();
        for section in sections {
            let next = self.places.label();
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
            self.places.here(next);
        }
        if !direct {
            self.wait(inside, vec![Conditions::ANY], way, Inner::Rule(rest));
        }
        Ok(())
    }

    /// Leads packets behind the policy, from where they come back to `beyond` at the farthest.
    fn outside(
        &mut self,
        any_of: Vec<Conditions>,
        limit: u32,
        beyond: Label,
        way: &Way,
        inner: Inner<'a>,
    ) -> Result<(), TooComplex> {
        let guard = if any_of.len() <= MOST_ALTERNATIVES {
            any_of.clone()
        } else {
            vec![Conditions::ANY]
        };
        let inside = self.places.label();
        self.wait(inside, guard, way, inner);
        self.lead(any_of, limit, inside, beyond)
    }

    /// Has something written behind the policy.
    fn wait(&mut self, label: Label, guard: Vec<Conditions>, way: &Way, inner: Inner<'a>) {
        self.waiting.push_back(Body {
            label,
            guard,
            way: way.clone(),
            inner,
        });
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
        self.places.add(Place {
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
        self.outside(any_of, limit, way.behind, &way, Inner::Chain(index))
    }

    /// Writes a place that leads to a label, from behind which packets come back to `beyond` at the farthest.
    fn lead(&mut self, any_of: Vec<Conditions>, limit: u32, to: Label, beyond: Label) -> Result<(), TooComplex> {
        self.places.add(Place {
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
        self.places.add(Place {
            any_of,
            outcome,
            next,
            beyond: next,
            counts,
            limit: 0,
            line: self.line(),
        })
    }

    /// What meets the guard too.
    fn guarded(&mut self, guard: &[Conditions], any_of: Vec<Conditions>) -> Vec<Conditions> {
        if guard == [Conditions::ANY] {
            any_of
        } else {
            self.axes.both(guard, &any_of)
        }
    }

    fn limit(&mut self, asks: Option<Limited<'_>>, own: RuleId) -> Result<u32, TooComplex> {
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
