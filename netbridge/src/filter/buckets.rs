//! By which numbers the buckets of limits are known: as long as a rule is in force, whatever comes and goes around it, its limit
//! has one number, which no other had before.
//!
//! netfilter makes a bucket for `limit` with the rule that has it, and a table of them for `hashlimit` with the first rule that
//! names it. A file that replaces all rules so brings new buckets, but keeps the tables that its rules name too: they are made
//! before those in force go.

use std::collections::HashMap;

use netbridge_common::abi::LIMITS;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::syntax::{Extension, HashLimit, Rule, Ruleset};

/// The numbers of the buckets of rules, in the order of their limits; where they end, the others have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Buckets(Vec<u32>);

impl Buckets {
    /// The numbers in `rules`.
    pub fn of(rules: &Ruleset) -> Self {
        let all = rules.chains.iter().flat_map(|chain| &chain.rules);
        Self(all.flat_map(Rule::rates).map(|rate| rate.bucket).collect())
    }

    /// Puts them into the rules, in place of those that are there.
    pub fn put(&self, rules: &mut Ruleset) {
        let mut numbers = self.0.iter().copied();
        for rule in rules.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            rule.rates_mut()
                .for_each(|rate| rate.bucket = numbers.next().unwrap_or_default());
        }
    }

    /// Puts them into the rules of an [`excerpt`](super::syntax::excerpt).
    pub fn put_into_excerpt(&self, rules: &mut Ruleset) {
        let number = |place: u32| self.0.get((place as usize).checked_sub(1)?).copied();
        for rule in rules.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
            rule.rates_mut()
                .for_each(|rate| rate.bucket = number(rate.bucket).unwrap_or_default());
        }
    }
}

/// Gives numbers to the limits in `rules` that have none: those of their tables that are in force `before` or get one here, and
/// else new ones, which no other `serial` of a generation of the filter gives.
pub fn draw(rules: &mut Ruleset, before: Option<&Ruleset>, serial: u32) {
    let numbered = hash_limits(rules).filter(|limit| limit.rate.bucket != 0);
    let mut tables: HashMap<String, u32> = numbered.map(|limit| (limit.name.clone(), limit.rate.bucket)).collect();
    let in_force = before.into_iter().flat_map(hash_limits);
    let in_force: HashMap<&str, &HashLimit> = in_force.map(|limit| (limit.name.as_str(), limit)).collect();
    let mut last = serial.wrapping_mul(LIMITS);
    let mut new = || {
        last = last.wrapping_add(1);
        last
    };
    for extension in extensions_mut(rules) {
        match extension {
            Extension::Limit(rate) if rate.bucket == 0 => rate.bucket = new(),
            Extension::HashLimit(limit) if limit.rate.bucket == 0 => {
                let kept = in_force.get(limit.name.as_str()).filter(|table| table.is_alike(limit));
                let number = || kept.map_or_else(&mut new, |table| table.rate.bucket);
                limit.rate.bucket = *tables.entry(limit.name.clone()).or_insert_with(number);
            }
            _ => {}
        }
    }
}

/// True if these rules may have buckets that others have too: tables of them are known by a name.
pub fn are_shared(rules: &Ruleset) -> bool {
    hash_limits(rules).next().is_some()
}

fn hash_limits(rules: &Ruleset) -> impl Iterator<Item = &HashLimit> {
    extensions(rules).filter_map(|extension| match extension {
        Extension::HashLimit(limit) => Some(limit),
        _ => None,
    })
}

fn extensions(rules: &Ruleset) -> impl Iterator<Item = &Extension> {
    let all = rules.chains.iter().flat_map(|chain| &chain.rules);
    all.flat_map(|rule| &rule.matches)
}

fn extensions_mut(rules: &mut Ruleset) -> impl Iterator<Item = &mut Extension> {
    let all = rules.chains.iter_mut().flat_map(|chain| &mut chain.rules);
    all.flat_map(|rule| &mut rule.matches)
}

/// One word for each: a filter of many rules makes no long file.
impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        serializer.serialize_str(&words.join(" "))
    }
}

impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers: Result<_, _> = text.split_ascii_whitespace().map(str::parse).collect();
        numbers.map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::Words;
    use super::super::syntax::parse;
    use super::super::{Change, Edit};
    use super::*;

    const LIMIT: &str = "-m limit --limit 1/day";
    const TABLE: &str = "-m hashlimit --hashlimit-upto 1/day --hashlimit-name";

    fn rules(lines: &[&str]) -> Ruleset {
        let rules = lines.iter().map(|line| format!("-A FORWARD {line}\n"));
        let text = format!("*filter\n:FORWARD DROP [0:0]\n{}COMMIT\n", rules.collect::<String>());
        parse("f", &text, None).unwrap().ruleset
    }

    fn loaded(lines: &[&str], before: &Ruleset, serial: u32) -> Ruleset {
        let mut rules = rules(lines);
        draw(&mut rules, Some(before), serial);
        rules
    }

    fn numbers(rules: &Ruleset) -> Vec<u32> {
        Buckets::of(rules).0
    }

    fn first() -> Ruleset {
        loaded(
            &[LIMIT, &format!("{TABLE} a {LIMIT}"), LIMIT, &format!("{TABLE} a")],
            &rules(&[]),
            1,
        )
    }

    #[test]
    fn a_file_brings_new_buckets_and_keeps_the_tables_that_it_names() {
        let first = first();
        assert_eq!(numbers(&first), [1025, 1026, 1027, 1028, 1026]);
        let tables = [format!("{TABLE} b"), format!("{TABLE} a -j LOG")];
        let second = loaded(&[LIMIT, &tables[0], &tables[1]], &first, 2);
        assert_eq!(numbers(&second), [2049, 2050, 1026]);
        assert_eq!(numbers(&loaded(&[&tables[0]], &first, 3)), [3073], "b was not there");
    }

    #[test]
    fn a_table_of_another_rate_or_for_other_packets_is_new() {
        for other in ["a --hashlimit-burst 9", "a --hashlimit-mode dstport"] {
            let other = loaded(&[&format!("{TABLE} {other}")], &first(), 2);
            assert_eq!(numbers(&other), [2049]);
        }
    }

    #[test]
    fn what_an_edit_leaves_alone_keeps_its_bucket() {
        let edited = |before: &Ruleset, change, serial| {
            let mut after = before.clone();
            let edit = Edit {
                chain: Some("FORWARD".to_owned()),
                change,
            };
            edit.apply(&mut after).unwrap();
            draw(&mut after, Some(before), serial);
            after
        };
        let made = |line: &str| Words::read(&[line.to_owned()]).unwrap().rules().unwrap();
        let inserted = edited(&first(), Change::Insert(1, made(LIMIT)), 2);
        assert_eq!(numbers(&inserted), [2049, 1025, 1026, 1027, 1028, 1026]);
        let deleted = edited(&inserted, Change::Delete(made(LIMIT)), 3);
        assert_eq!(numbers(&deleted), numbers(&first()), "the first of equal rules goes");
        let appended = edited(&deleted, Change::Append(made(&format!("{TABLE} a -j LOG"))), 4);
        assert_eq!(numbers(&appended).last(), Some(&1026));
        let without = edited(&rules(&[LIMIT]), Change::DeleteNumber(1), 5);
        let again = edited(&without, Change::Append(made(LIMIT)), 6);
        assert_eq!(numbers(&again), [6145]);
    }

    #[test]
    fn numbers_survive_their_text() {
        let numbers = Buckets::of(&first());
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(text, r#""1025 1026 1027 1028 1026""#);
        assert_eq!(serde_json::from_str::<Buckets>(&text).unwrap(), numbers);
        assert!(serde_json::from_str::<Buckets>(r#""1 x""#).is_err());
        let mut others = first();
        Buckets(vec![7]).put(&mut others);
        assert_eq!(Buckets::of(&others).0, [7, 0, 0, 0, 0]);
        numbers.put(&mut others);
        assert_eq!(others, first());
    }
}
