//! Chains: which of them `FORWARD` reaches, and that no way leads round in circles.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::{
    Chain, Extension, HashLimit, Rule, RuleId, Spare, Target,
    build::{self, Asked, Output},
    chain_name::BUILT_IN,
    fault::Refusal,
    file::{FORWARD, Line, Table},
    lex,
    note::Note,
    options::{Chains, Goal, Options},
    region::{self, Excerpt},
};

/// Chains that may be within one another, `FORWARD` included: as many as netfilter takes.
pub const MAX_DEPTH: usize = 16;

/// Chains of a circle that are named.
const NAMED: usize = 8;

impl Rule {
    /// True if it names what is not in it: a chain, a set, or a table of `hashlimit`.
    pub fn leads(&self) -> bool {
        let names = |extension: &Extension| matches!(extension, Extension::Set(_) | Extension::HashLimit(_));
        matches!(self.target, Target::Jump(_) | Target::Goto(_)) || self.matches.iter().any(names)
    }
}

/// What `FORWARD` reaches.
pub(super) struct Reached {
    pub(super) chains: Vec<Chain>,
    /// The sets that its rules ask for.
    pub(super) asked: Vec<Asked>,
    /// The other chains of the user's.
    pub(super) spare: Vec<Spare>,
}

/// A jump: the line it stands on, and the number of the chain it leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Jump {
    line: usize,
    to: usize,
}

/// Where the rules of a chain stand that were read of it, when others were not.
#[derive(Default)]
struct Places {
    /// For each rule that was read its index among all of the chain.
    read: Vec<u32>,
    /// How many the chain has.
    all: u32,
    /// How many limits they have.
    limits: u32,
}

impl Places {
    /// Notes a line that was read.
    fn read(&mut self, rules: &mut [Rule]) {
        for rule in rules {
            self.read.push(self.all);
            self.all = self.all.saturating_add(1);
            for rate in rule.rates_mut() {
                self.limits = self.limits.saturating_add(1);
                rate.bucket = self.limits;
            }
        }
    }

    /// Notes one that was not.
    fn passed_over(&mut self, options: &Options, words: &[Cow<'_, str>]) {
        let rules = build::count(options, words);
        let limits = options
            .loaded
            .iter()
            .filter(|loaded| matches!(loaded.spec.name, "limit" | "hashlimit"));
        let limits = u32::try_from(limits.count()).unwrap_or(u32::MAX);
        self.all = self.all.saturating_add(rules);
        self.limits = self.limits.saturating_add(limits.saturating_mul(rules));
    }
}

/// Reads the rules of the chains that are reached, with `excerpt` those alone that belong to it; of the others only
/// that they are there. Faults and notes go to the table.
pub(super) fn reach(table: &mut Table<'_>, excerpt: Option<&Excerpt>) -> Reached {
    let mut rules: Vec<Option<Vec<Rule>>> = table.chains.iter().map(|_| None).collect();
    let mut places: Vec<Places> = table.chains.iter().map(|_| Places::default()).collect();
    let mut jumps: Vec<Vec<Jump>> = table.chains.iter().map(|_| Vec::new()).collect();
    let (mut options, mut output, mut words) = (Options::default(), Output::default(), Vec::new());
    let mut waiting = vec![FORWARD];
    while let Some(number) = waiting.pop() {
        if rules[number].is_some() {
            continue;
        }
        let lines = &table.chains[number].rules;
        output.rules.reserve(lines.len());
        for line in lines {
            words.clear();
            let Line {
                number: place,
                counters,
                options: text,
            } = line;
            let is_behind = |excerpt: &Excerpt| number == FORWARD && places[FORWARD].all >= excerpt.forward;
            if excerpt.is_some_and(|excerpt| region::is_elsewhere(&excerpt.region, is_behind(excerpt), text)) {
                places[number].all += 1;
                continue;
            }
            if let Err(refusal) = lex::split(text, &mut words) {
                table.faults.push(refusal.at(*place));
                continue;
            }
            options.read(&words, Chains::These(&table.numbers));
            if let Some(Goal::Jump(at) | Goal::Goto(at)) = options.goal
                && let Some(to) = words.get(at).and_then(|name| table.numbers.get(&**name)).copied()
            {
                jumps[number].push(Jump { line: *place, to });
                waiting.push(to);
            }
            if excerpt.is_some_and(|excerpt| is_behind(excerpt) || !region::meets(&excerpt.region, &options, &words)) {
                places[number].passed_over(&options, &words);
                continue;
            }
            let before = output.rules.len();
            build::rules(*place, *counters, &words, &mut options, &mut output);
            if excerpt.is_some() {
                places[number].read(&mut output.rules[before..]);
            }
            let faults = options.faults.drain(..);
            table.faults.extend(faults.map(|refusal| refusal.at(*place)));
        }
        let read = std::mem::take(&mut output.rules);
        output.elsewhere += read.len();
        rules[number] = Some(read);
    }
    check_ways(table, &jumps);
    let (mut chains, mut spare, mut limits) = (Vec::new(), Vec::new(), 0_u32);
    let user = BUILT_IN.len()..table.chains.len();
    for number in std::iter::once(FORWARD).chain(user) {
        let lines = &table.chains[number];
        if let Some(mut rules) = rules[number].take() {
            let index = u32::try_from(chains.len()).unwrap_or(u32::MAX);
            let stood = |rule: u32| Some(RuleId { chain: index, rule });
            for (rule, place) in rules.iter_mut().zip(&places[number].read) {
                rule.stood = stood(*place);
                rule.rates_mut().for_each(|rate| rate.bucket += limits);
            }
            limits = limits.saturating_add(places[number].limits);
            chains.push(Chain {
                name: lines.name.to_owned(),
                line: lines.line,
                counters: if number == FORWARD {
                    lines.counters
                } else {
                    super::Counters::default()
                },
                stood: excerpt.and_then(|_| stood(places[number].all)),
                rules,
            });
        } else {
            let text = format!(
                "rules left alone: {}; FORWARD does not reach the chain",
                lines.rules.len()
            );
            table.notes.push(Note::new(lines.line, lines.name, text));
            spare.push(Spare {
                name: lines.name.to_owned(),
                rules: lines.rules.iter().map(|line| line.options.to_owned()).collect(),
            });
        }
    }
    check_tables(table, &chains);
    Reached {
        chains,
        asked: output.sets,
        spare,
    }
}

/// Refuses tables of `hashlimit` with more than one rate: netfilter makes a table for the first rule that names it, and is
/// silent about what the others say.
fn check_tables(table: &mut Table<'_>, chains: &[Chain]) {
    let all = chains.iter().flat_map(|chain| &chain.rules);
    let named = all.flat_map(|rule| rule.matches.iter().map(move |extension| (rule.line, extension)));
    let mut limits: Vec<(usize, &HashLimit)> = named
        .filter_map(|(line, extension)| match extension {
            Extension::HashLimit(limit) => Some((line, limit)),
            _ => None,
        })
        .collect();
    limits.sort_by_key(|(line, _)| *line);
    let mut first: HashMap<&str, (usize, &HashLimit)> = HashMap::new();
    for (line, limit) in limits {
        let (known, table_of) = *first.entry(&limit.name).or_insert((line, limit));
        if !limit.is_alike(table_of) {
            let token = format!("--hashlimit-name {}", limit.name);
            let reason = format!("the buckets of this name have another rate or mode on line {known}");
            let advice = "give them another name, or the same rate, burst, mode and masks";
            table.faults.push(Refusal::new(token, reason, advice).at(line));
        }
    }
}

/// A chain on the way from `FORWARD` to the one that is looked at, and how many of its jumps were followed.
struct Step {
    number: usize,
    followed: usize,
}

/// The chains of a circle, the first again as the last; of a long one not those in between.
fn circle(table: &Table<'_>, steps: &[Step]) -> String {
    let name = |step: &Step| table.chains[step.number].name;
    let mut names: Vec<_> = if steps.len() <= NAMED {
        steps.iter().map(name).collect()
    } else {
        let (begin, end) = (&steps[..NAMED - 1], &steps[steps.len() - 1..]);
        begin
            .iter()
            .map(name)
            .chain(["…"])
            .chain(end.iter().map(name))
            .collect()
    };
    names.extend(steps.first().map(name));
    names.join(" → ")
}

/// Refuses jumps that lead back to where they come from, and those that lead too deep.
fn check_ways(table: &mut Table<'_>, jumps: &[Vec<Jump>]) {
    #[derive(Clone, Copy)]
    enum Seen {
        Never,
        /// Its place there.
        OnTheWay(usize),
        Done,
    }
    let mut seen = vec![Seen::Never; jumps.len()];
    let mut done = Vec::new();
    let mut circles = HashSet::new();
    let mut way = vec![Step {
        number: FORWARD,
        followed: 0,
    }];
    while let Some(place) = way.len().checked_sub(1) {
        let step = &mut way[place];
        let number = step.number;
        seen[number] = Seen::OnTheWay(place);
        let Some(jump) = jumps[number].get(step.followed).copied() else {
            seen[number] = Seen::Done;
            done.push(number);
            way.pop();
            continue;
        };
        step.followed += 1;
        match seen[jump.to] {
            Seen::Never => way.push(Step {
                number: jump.to,
                followed: 0,
            }),
            Seen::OnTheWay(first) => {
                if circles.insert((number, jump.to)) {
                    let token = table.chains[jump.to].name;
                    let reason = format!("the chain leads back to itself: {}", circle(table, &way[first..]));
                    let advice = "take one of these jumps out";
                    table.faults.push(Refusal::new(token, reason, advice).at(jump.line));
                }
            }
            Seen::Done => {}
        }
    }
    if !circles.is_empty() {
        return;
    }
    let mut depth = vec![1; jumps.len()];
    for number in done.into_iter().rev() {
        for Jump { line, to } in &jumps[number] {
            let deeper = depth[number] + 1;
            if deeper == MAX_DEPTH + 1 {
                let reason = format!("netfilter takes {MAX_DEPTH} chains within one another, and this is one more");
                let refusal = Refusal::new(
                    table.chains[*to].name,
                    reason,
                    "write the chain's rules in place of the jump",
                );
                table.faults.push(refusal.at(*line));
            }
            depth[*to] = depth[*to].max(deeper);
        }
    }
}
