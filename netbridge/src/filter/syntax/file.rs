//! A file in the format of `iptables-save`: its tables, its chains, and which line belongs to which.

use std::collections::{HashMap, HashSet};

use super::{
    Counters, Fault, FilterErrors, Parsed, Policy, Ruleset,
    chain_name::{BUILT_IN, check_chain_name},
    chains,
    fault::Refusal,
    ipset, lex,
    note::Note,
    region::Excerpt,
    single::{appended_to, counted, read_counters},
};

/// The one table that is read.
const TABLE: &str = "filter";
/// The number of the one chain of netfilter's own that is read.
pub(super) const FORWARD: usize = 1;

/// Reads a file in the format of `iptables-save`, and beside it the sets that its rules ask for, in the format of
/// `ipset save`. `file`, and the first of `sets`, are how messages name them.
///
/// # Errors
///
/// Every fault of both files: whatever `FORWARD` reaches and netbridge would not do exactly as netfilter does.
pub fn parse(file: &str, text: &str, sets: Option<(&str, &str)>) -> Result<Parsed, FilterErrors> {
    read(file, text, sets, None)
}

/// Reads of a file only the rules that belong to an excerpt, each with where it stands among all of them; the
/// buckets of its limits are numbered in the order of all limits, from 1 on.
///
/// # Errors
///
/// Those of [`parse`], as far as they are seen so.
pub fn excerpt(file: &str, text: &str, sets: Option<(&str, &str)>, excerpt: &Excerpt) -> Result<Ruleset, FilterErrors> {
    Ok(read(file, text, sets, Some(excerpt))?.ruleset)
}

/// The options of a chain's rules in a text without faults.
pub(super) fn options_of<'t>(text: &'t str, chain: &str) -> Vec<&'t str> {
    let table = Table::of(text);
    let lines = table.numbers.get(chain).and_then(|number| table.chains.get(*number));
    lines.map_or(Vec::new(), |lines| {
        lines.rules.iter().map(|line| line.options).collect()
    })
}

fn read(file: &str, text: &str, sets: Option<(&str, &str)>, excerpt: Option<&Excerpt>) -> Result<Parsed, FilterErrors> {
    let mut table = Table::of(text);
    table.finish();
    let reached = chains::reach(&mut table, excerpt);
    let found = ipset::read(sets, &reached.asked);
    let mut faults = table.faults;
    faults.extend(found.missing);
    faults.sort_by_key(|fault| fault.line);
    faults.extend(found.faults);
    let mut notes = table.notes;
    notes.sort_by_key(|note| note.line);
    notes.extend(found.notes);
    match table.policy {
        Some(policy) if faults.is_empty() => Ok(Parsed {
            ruleset: Ruleset {
                policy,
                chains: reached.chains,
                sets: found.sets,
            },
            notes,
            spare: reached.spare,
        }),
        _ => Err(FilterErrors::new(file, faults)),
    }
}

/// A rule as it stands in the file.
pub(super) struct Line<'t> {
    pub(super) number: usize,
    pub(super) counters: Counters,
    /// What follows the name of the chain.
    pub(super) options: &'t str,
}

/// A chain as it stands in the file.
pub(super) struct Lines<'t> {
    pub(super) name: &'t str,
    /// The line that declares it; 0 for a chain of netfilter's own that none declares.
    pub(super) line: usize,
    pub(super) counters: Counters,
    /// Its policy as written.
    policy: &'t str,
    pub(super) rules: Vec<Line<'t>>,
}

/// Where in the file a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Outside,
    Filter,
    /// Another table, by its note.
    Other(usize),
    /// A second `*filter`, which was refused.
    Refused,
}

/// The table `*filter` as it stands in the file.
pub(super) struct Table<'t> {
    /// The current line, counted from 1.
    line: usize,
    section: Section,
    /// The line of `*filter`.
    header: Option<usize>,
    /// The policy of `FORWARD`.
    policy: Option<Policy>,
    /// The chains in the order of the file, those of netfilter's own first.
    pub(super) chains: Vec<Lines<'t>>,
    /// The number of each chain.
    pub(super) numbers: HashMap<&'t str, usize>,
    /// The chain of the line before, as the next is mostly of the same.
    last: usize,
    /// Rules of each table that is left alone, with the index of its note.
    pub(super) notes: Vec<Note>,
    others: Vec<usize>,
    pub(super) faults: Vec<Fault>,
    /// Chains that rules belong to and that nobody declares.
    undeclared: HashSet<&'t str>,
}

impl<'t> Table<'t> {
    fn new() -> Self {
        let chains = BUILT_IN.into_iter().map(|name| Lines {
            name,
            line: 0,
            counters: Counters::default(),
            policy: "",
            rules: Vec::new(),
        });
        Self {
            line: 0,
            section: Section::Outside,
            header: None,
            policy: None,
            chains: chains.collect(),
            numbers: BUILT_IN.into_iter().zip(0..).collect(),
            last: FORWARD,
            notes: Vec::new(),
            others: Vec::new(),
            faults: Vec::new(),
            undeclared: HashSet::new(),
        }
    }

    /// The table of a text, with the faults of its lines.
    fn of(text: &'t str) -> Self {
        let mut table = Self::new();
        for line in lex::lines(text) {
            table.line += 1;
            if let Err(refusal) = table.read(line.trim()) {
                table.faults.push(refusal.at(table.line));
            }
        }
        table
    }

    fn read(&mut self, line: &'t str) -> Result<(), Refusal> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('*') {
            return self.table(name);
        }
        match self.section {
            Section::Outside => {
                let word = line.split_whitespace().next().unwrap_or(line);
                let advice = "put it between `*filter` and `COMMIT`";
                Err(Refusal::new(word, "the line is outside of a table", advice))
            }
            _ if line == "COMMIT" => {
                self.section = Section::Outside;
                Ok(())
            }
            Section::Other(note) => {
                self.others[note] += usize::from(!line.starts_with(':'));
                Ok(())
            }
            Section::Refused => Ok(()),
            Section::Filter => match line.strip_prefix(':') {
                Some(declaration) => self.chain(declaration),
                None => self.rule(line),
            },
        }
    }

    fn table(&mut self, name: &str) -> Result<(), Refusal> {
        let token = format!("*{name}");
        let open = self.section != Section::Outside;
        self.section = Section::Refused;
        if name != TABLE {
            self.notes.push(Note::new(self.line, token.clone(), ""));
            self.others.push(0);
            self.section = Section::Other(self.others.len() - 1);
        } else if let Some(first) = self.header {
            let reason = format!("the table is already given on line {first}");
            return Err(Refusal::new(token, reason, "merge the two"));
        } else {
            self.header = Some(self.line);
            self.section = Section::Filter;
        }
        if open {
            let reason = "the table before it is not closed";
            return Err(Refusal::new(token, reason, "put `COMMIT` on the line before it"));
        }
        Ok(())
    }

    /// `:CHAIN POLICY [PACKETS:BYTES]`, after the colon.
    fn chain(&mut self, declaration: &'t str) -> Result<(), Refusal> {
        let mut words = declaration.split_whitespace();
        let name = words.next().unwrap_or_default();
        let policy = words.next().unwrap_or_default();
        let counters = words.next();
        let read = counters.and_then(read_counters);
        let number = self.numbers.get(name).copied();
        if number.is_some_and(|number| self.chains[number].line != 0) {
            return Err(Refusal::new(
                format!(":{name}"),
                "the chain is declared twice",
                "keep one declaration",
            ));
        }
        let lines = Lines {
            name,
            line: self.line,
            counters: read.unwrap_or_default(),
            policy,
            rules: Vec::new(),
        };
        if let Some(number) = number {
            let rules = std::mem::take(&mut self.chains[number].rules);
            self.chains[number] = Lines { rules, ..lines };
        } else {
            self.numbers.insert(name, self.chains.len());
            self.chains.push(lines);
            check_chain_name(name)?;
        }
        match (number, policy) {
            (Some(FORWARD), "ACCEPT") => self.policy = Some(Policy::Accept),
            (Some(FORWARD), "DROP") => self.policy = Some(Policy::Drop),
            (Some(FORWARD), _) => return Err(Refusal::new(policy, "not a policy", "give ACCEPT or DROP")),
            (Some(_), _) | (None, "-") => {}
            (None, _) => {
                let reason = "a chain of the user's has no policy";
                let advice = format!("write `:{name} - [0:0]`, and end the chain with a rule that decides");
                return Err(Refusal::new(policy, reason, advice));
            }
        }
        let extra = words.next().or(counters.filter(|_| read.is_none()));
        match extra {
            Some(word) => Err(Refusal::new(
                word,
                "unexpected word",
                "end the line with [PACKETS:BYTES]",
            )),
            None => Ok(()),
        }
    }

    /// `[PACKETS:BYTES] -A CHAIN …`
    fn rule(&mut self, text: &'t str) -> Result<(), Refusal> {
        let (counters, rest) = counted(text);
        let (chain, options) = appended_to(rest)?;
        let number = if self.chains[self.last].name == chain {
            self.last
        } else if let Some(number) = self.numbers.get(chain) {
            *number
        } else if !self.undeclared.insert(chain) {
            return Ok(());
        } else {
            let advice = format!("add `:{chain} - [0:0]` before it, or write `-A FORWARD …`");
            return Err(Refusal::new(format!("-A {chain}"), "there is no such chain", advice));
        };
        self.last = number;
        self.chains[number].rules.push(Line {
            number: self.line,
            counters,
            options,
        });
        Ok(())
    }

    /// What only the whole file can tell.
    fn finish(&mut self) {
        let last = self.line.max(1);
        let mut refuse = |line, token: &str, reason: &str, advice: &str| {
            self.faults.push(Refusal::new(token, reason, advice).at(line));
        };
        if self.section != Section::Outside {
            refuse(
                last,
                "end of file",
                "the last table is not closed",
                "add a line `COMMIT`",
            );
        }
        match self.header {
            None => refuse(
                last,
                "end of file",
                "there is no table *filter",
                "begin with `*filter`, end with `COMMIT`",
            ),
            Some(line) if self.chains[FORWARD].line == 0 => {
                let advice = "add `:FORWARD ACCEPT [0:0]` or `:FORWARD DROP [0:0]` after it";
                refuse(line, "*filter", "the policy of FORWARD is not given", advice);
            }
            Some(_) => {}
        }
        for (note, rules) in self.notes.iter_mut().zip(&self.others) {
            note.text = format!("rules left alone: {rules}; of the tables only *filter is read");
        }
        for chain in self.chains.iter().take(BUILT_IN.len()) {
            let silent = chain.rules.is_empty() && matches!(chain.policy, "" | "ACCEPT");
            if chain.name == "FORWARD" || silent {
                continue;
            }
            let first = chain.rules.first().map_or(0, |rule| rule.number);
            let line = if chain.line == 0 { first } else { chain.line };
            let text = format!(
                "rules left alone: {}, policy: {}; only FORWARD is filtered",
                chain.rules.len(),
                if chain.policy.is_empty() {
                    "ACCEPT"
                } else {
                    chain.policy
                }
            );
            self.notes.push(Note::new(line, chain.name, text));
        }
    }
}
