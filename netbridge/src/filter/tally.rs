//! What rules have counted before the tables that are in force, kept beside their text: the text stays as its author wrote
//! it, and says by its line what is wrong with it.

use std::collections::HashMap;
use std::hash::BuildHasher;

use netbridge_common::abi::Passed;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::syntax::{Counters, Rule, RuleId, Ruleset};

/// Counters of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Which tables count from here on, by [`netbridge_common::abi::FilterHead::base`]: what others have counted belongs to
    /// other rules.
    pub tables: u64,
    /// Chain by chain those of its rules, then of its policy; where they end, all others are zero.
    counters: Vec<Counters>,
}

impl Tally {
    /// The counters in `rules`.
    pub fn of(rules: &Ruleset, tables: u64) -> Self {
        Self::with(rules, &HashMap::<_, _>::new(), tables)
    }

    /// The counters in `rules`, and what they have matched since, where they stood.
    pub fn with<S: BuildHasher>(rules: &Ruleset, matched: &HashMap<RuleId, Passed, S>, tables: u64) -> Self {
        let mut counters = Vec::new();
        for chain in &rules.chains {
            let own = chain.rules.iter().map(|rule| sum(rule.counters, rule.stood, matched));
            counters.extend(own.chain([sum(chain.counters, chain.stood, matched)]));
        }
        let last = counters.iter().rposition(|counters| *counters != Counters::default());
        counters.truncate(last.map_or(0, |last| last + 1));
        Self { tables, counters }
    }

    /// Puts them into the rules, in place of what these say: they stand in the filter in force.
    pub fn put(&self, rules: &mut Ruleset) {
        let mut counters = self.counters.iter().copied();
        for (chain, number) in rules.chains.iter_mut().zip(0..) {
            let places = (0..).map(|rule| Some(RuleId { chain: number, rule }));
            let own = chain.rules.iter_mut().map(|rule| (&mut rule.counters, &mut rule.stood));
            for ((counted, stood), place) in own.chain([(&mut chain.counters, &mut chain.stood)]).zip(places) {
                (*counted, *stood) = (counters.next().unwrap_or_default(), place);
            }
        }
    }
}

/// Adds to the counters in `rules` what they have matched since.
pub fn add<S: BuildHasher>(rules: &mut Ruleset, matched: &HashMap<RuleId, Passed, S>) {
    for chain in &mut rules.chains {
        chain.counters = sum(chain.counters, chain.stood, matched);
        for rule in &mut chain.rules {
            rule.counters = sum(rule.counters, rule.stood, matched);
        }
    }
}

fn sum<S: BuildHasher>(counted: Counters, stood: Option<RuleId>, matched: &HashMap<RuleId, Passed, S>) -> Counters {
    let passed = stood.and_then(|stood| matched.get(&stood));
    passed.map_or(counted, |passed| Counters {
        packets: counted.packets.wrapping_add(passed.packets),
        bytes: counted.bytes.wrapping_add(passed.bytes),
    })
}

/// Gives the rules of `to` what is known of those in `from`: in chains of the same name the rules are the same.
pub fn carry(from: &Ruleset, to: &mut Ruleset) {
    let chains: HashMap<&str, _> = from.chains.iter().map(|chain| (chain.name.as_str(), chain)).collect();
    for chain in &mut to.chains {
        let Some(known) = chains.get(chain.name.as_str()) else {
            continue;
        };
        (chain.counters, chain.stood) = (known.counters, known.stood);
        for (rule, known) in chain.rules.iter_mut().zip(&known.rules) {
            *rule = Rule {
                line: rule.line,
                ..known.clone()
            };
        }
    }
}

/// One word for the tables, and one for each rule: a filter of many rules makes no long file.
impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counters = self
            .counters
            .iter()
            .map(|counters| format!(" {}:{}", counters.packets, counters.bytes));
        let text = counters.fold(format!("{:x}", self.tables), |text, counters| text + &counters);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = || {
            let mut words = text.split_ascii_whitespace();
            let tables = u64::from_str_radix(words.next()?, 16).ok()?;
            let counters = words.map(|word| {
                let (packets, bytes) = word.split_once(':')?;
                Some(Counters {
                    packets: packets.parse().ok()?,
                    bytes: bytes.parse().ok()?,
                })
            });
            let counters = counters.collect::<Option<_>>()?;
            Some(Self { tables, counters })
        };
        read().ok_or_else(|| de::Error::custom("not a tally of rules"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::{Parsed, parse};
    use super::*;

    const RULES: &str = "*filter\n:FORWARD DROP [7:70]\n:mine - [0:0]\n[1:10] -A FORWARD -s 1.1.1.1,2.2.2.2 -j mine\n\
        [2:20] -A mine -j LOG\n-A mine -j RETURN\nCOMMIT\n";

    fn rules() -> Ruleset {
        let Parsed { ruleset, .. } = parse("f", RULES, None).unwrap();
        ruleset
    }

    #[test]
    fn counters_survive_their_text() {
        let tally = Tally::of(&rules(), 0xfe);
        let text = serde_json::to_string(&tally).unwrap();
        assert_eq!(text, r#""fe 1:10 1:10 7:70 2:20""#);
        let read: Tally = serde_json::from_str(&text).unwrap();
        assert_eq!(read, tally);
        let mut others = rules();
        Tally::default().put(&mut others);
        assert!(others.with_counters().to_string().contains("[0:0] -A mine -j LOG"));
        read.put(&mut others);
        assert_eq!(others.with_counters().to_string(), rules().with_counters().to_string());
        for bad in [r#""""#, r#""x""#, r#""1 2""#, r#""1 2:x""#] {
            assert!(serde_json::from_str::<Tally>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_matched_is_added_to_rules_and_policy() {
        let mut rules = rules();
        Tally::of(&rules, 1).put(&mut rules);
        let passed = |packets| Passed {
            packets,
            bytes: packets * 84,
        };
        let id = |chain, rule| RuleId { chain, rule };
        add(
            &mut rules,
            &[(id(0, 1), passed(2)), (id(0, 2), passed(3)), (id(1, 1), passed(4))].into(),
        );
        let all: Vec<u64> = rules
            .chains
            .iter()
            .flat_map(|chain| &chain.rules)
            .map(|rule| rule.counters.packets)
            .collect();
        assert_eq!((all, rules.chains[0].counters.packets), (vec![1, 3, 2, 4], 10));
    }
}
