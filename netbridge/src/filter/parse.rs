//! The lines of a rule file: tables, chains, and which of them hold rules.

use std::borrow::Cow;

use netbridge_common::abi::MAX_RULES;

use super::{
    Fault, FilterErrors, Rule, Ruleset, Verdict, line,
    syntax::{fault::Refusal, lex},
};

/// The one table that is read.
const TABLE: &str = "filter";
/// The one chain that is read.
const CHAIN: &str = "FORWARD";

/// Reads a file in the format of `iptables-save`. `file` is how messages name it.
///
/// # Errors
///
/// Every fault of the file: whatever netbridge would not do exactly as netfilter does.
pub fn parse(file: &str, text: &str) -> Result<Ruleset, FilterErrors> {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line += 1;
        if let Err(refusals) = reader.read(line.trim()) {
            let line = reader.line;
            reader
                .faults
                .extend(refusals.into_iter().map(|refusal| refusal.at(line)));
        }
    }
    reader.finish().map_err(|faults| FilterErrors {
        file: file.to_owned(),
        faults,
    })
}

/// Where in the file a line stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Outside,
    Filter,
    /// A table that was refused as a whole.
    Refused,
}

#[derive(Default)]
struct Reader {
    /// The current line, counted from 1.
    line: usize,
    section: Section,
    /// The line of `*filter`.
    header: Option<usize>,
    /// True once the chain is declared, well or badly.
    declared: bool,
    policy: Option<Verdict>,
    rules: Vec<Rule>,
    /// Rules met, faulty ones included.
    count: u32,
    faults: Vec<Fault>,
}

impl Reader {
    fn read(&mut self, line: &str) -> Result<(), Vec<Refusal>> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(table) = line.strip_prefix('*') {
            return self.table(table);
        }
        match self.section {
            Section::Outside => {
                let word = line.split_whitespace().next().unwrap_or(line);
                let advice = "put it between `*filter` and `COMMIT`";
                Err(vec![Refusal::new(word, "the line is outside of a table", advice)])
            }
            _ if line == "COMMIT" => {
                self.section = Section::Outside;
                Ok(())
            }
            Section::Refused => Ok(()),
            Section::Filter => match line.strip_prefix(':') {
                Some(declaration) => self.chain(declaration),
                None => self.rule(line),
            },
        }
    }

    fn table(&mut self, name: &str) -> Result<(), Vec<Refusal>> {
        let token = format!("*{name}");
        let mut refusals = Vec::new();
        if self.section != Section::Outside {
            let reason = "the table before it is not closed";
            refusals.push(Refusal::new(&token, reason, "put `COMMIT` on the line before it"));
        }
        self.section = Section::Refused;
        if name != TABLE {
            let advice = "remove the table; masquerading and published ports belong to networks and endpoints";
            refusals.push(Refusal::new(token, "only the table *filter is read", advice));
        } else if let Some(first) = self.header {
            let reason = format!("the table is already given on line {first}");
            refusals.push(Refusal::new(token, reason, "merge the two"));
        } else {
            self.header = Some(self.line);
            self.section = Section::Filter;
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    /// `:CHAIN POLICY [PACKETS:BYTES]`, after the colon.
    fn chain(&mut self, declaration: &str) -> Result<(), Vec<Refusal>> {
        let mut words = declaration.split_whitespace();
        let name = words.next().unwrap_or_default();
        let policy = words.next().unwrap_or_default();
        let token = format!(":{name}");
        let mut refusals = Vec::new();
        match name {
            CHAIN => {
                if self.declared {
                    refusals.push(Refusal::new(
                        token,
                        "the chain is declared twice",
                        "keep one declaration",
                    ));
                } else if let Some(policy) = Verdict::named(policy) {
                    self.policy = Some(policy);
                } else {
                    refusals.push(Refusal::new(policy, "not a policy", "give ACCEPT or DROP"));
                }
                self.declared = true;
            }
            "INPUT" | "OUTPUT" if policy == "ACCEPT" => {}
            "INPUT" | "OUTPUT" => {
                let reason = "only FORWARD is filtered, another policy would have no effect";
                refusals.push(Refusal::new(format!("{token} {policy}"), reason, "give ACCEPT"));
            }
            _ => refusals.push(user_chain(token)),
        }
        let extra = words.enumerate().find(|(index, word)| *index > 0 || !is_counters(word));
        if let Some((_, word)) = extra {
            refusals.push(Refusal::new(
                word,
                "unexpected word",
                "end the line with [PACKETS:BYTES]",
            ));
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    /// `[PACKETS:BYTES] -A FORWARD …`
    fn rule(&mut self, text: &str) -> Result<(), Vec<Refusal>> {
        let mut split = Vec::new();
        lex::split(text, &mut split).map_err(|refusal| vec![refusal])?;
        let words: Vec<String> = split.into_iter().map(Cow::into_owned).collect();
        let mut words = words.as_slice();
        if let [first, rest @ ..] = words
            && is_counters(first)
        {
            words = rest;
        }
        let (command, rest) = words
            .split_first()
            .map_or((text, words), |(command, rest)| (command.as_str(), rest));
        if !matches!(command, "-A" | "--append") {
            return Err(vec![Refusal::new(command, "not a rule", "write `-A FORWARD …`")]);
        }
        let Some((chain, options)) = rest.split_first() else {
            return Err(vec![Refusal::new(
                command,
                "the rule names no chain",
                "write `-A FORWARD …`",
            )]);
        };
        match chain.as_str() {
            CHAIN => {}
            "INPUT" | "OUTPUT" => {
                let reason = "only FORWARD is filtered, the rule would have no effect";
                return Err(vec![Refusal::new(format!("-A {chain}"), reason, "remove the rule")]);
            }
            _ => return Err(vec![user_chain(format!("-A {chain}"))]),
        }
        self.count += 1;
        let mut refusals = Vec::new();
        if self.count == MAX_RULES + 1 {
            let reason = format!("a filter holds at most {MAX_RULES} rules, and this is one more");
            refusals.push(Refusal::new("-A FORWARD", reason, "merge rules or remove some"));
        }
        match line::rule(self.line, text, options) {
            Ok(rule) => self.rules.push(rule),
            Err(faults) => refusals.extend(faults),
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    fn finish(mut self) -> Result<Ruleset, Vec<Fault>> {
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
            Some(line) if !self.declared => {
                let advice = "add `:FORWARD ACCEPT [0:0]` or `:FORWARD DROP [0:0]` after it";
                refuse(line, "*filter", "the policy of FORWARD is not given", advice);
            }
            Some(_) => {}
        }
        self.faults.sort_by_key(|fault| fault.line);
        match self.policy {
            Some(policy) if self.faults.is_empty() => Ok(Ruleset {
                policy,
                rules: self.rules,
            }),
            _ => Err(self.faults),
        }
    }
}

fn user_chain(token: String) -> Refusal {
    Refusal::new(
        token,
        "user chains are not supported",
        "write the chain's rules into FORWARD",
    )
}

fn is_counters(word: &str) -> bool {
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    word.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.split_once(':'))
        .is_some_and(|(packets, bytes)| number(packets) && number(bytes))
}
