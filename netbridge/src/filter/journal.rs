//! What has changed in a filter since its text was written: a rule that comes or goes is a line here, and the text stays.

use serde::{Deserialize, Serialize};

use super::FilterErrors;
use super::edit::Words;
use super::syntax::{Chain, Rule, RuleId, Ruleset};

/// Rules that came and went, in order: a command of `iptables` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Journal(Vec<String>);

impl Journal {
    /// True if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rules came or went.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes that a rule comes at an index of a chain.
    pub fn insert(&mut self, chain: &str, index: usize, rule: &Rule) {
        self.0.push(format!("-I {chain} {} {rule}", index + 1));
    }

    /// Notes that the rule at an index of a chain goes.
    pub fn delete(&mut self, chain: &str, index: usize) {
        self.0.push(format!("-D {chain} {}", index + 1));
    }

    /// Makes these changes. The rules of the text say where they stood in it; of those some may be missing, as in an
    /// [`excerpt`](super::syntax::excerpt). Rules that came stand behind its policy, in the order in which they came.
    ///
    /// # Errors
    ///
    /// Those of the rules that came.
    pub fn replay(&self, rules: &mut Ruleset) -> Result<(), FilterErrors> {
        for chain in &mut rules.chains {
            self.replay_in(chain)?;
        }
        Ok(())
    }

    /// The rules of a chain whose policy stood there in the text, or for want of one would have.
    ///
    /// # Errors
    ///
    /// Those of the rules that came.
    pub fn order(&self, chain: &str, policy: RuleId) -> Result<Order, FilterErrors> {
        let mut order = Order {
            places: (0..policy.rule).collect(),
            came: Vec::new(),
            policy,
        };
        for line in self.0.iter().filter(|line| line.split(' ').nth(1) == Some(chain)) {
            order.change(line)?;
        }
        Ok(order)
    }

    fn replay_in(&self, chain: &mut Chain) -> Result<(), FilterErrors> {
        let Some(policy) = chain.stood else { return Ok(()) };
        let order = self.order(&chain.name, policy)?;
        if order.came.is_empty() && order.count() == policy.rule as usize {
            return Ok(());
        }
        let mut indices = vec![None; policy.rule as usize + 1 + order.came.len()];
        for (place, index) in order.places.iter().zip(0_u32..) {
            if let Some(known) = indices.get_mut(*place as usize) {
                *known = Some(index);
            }
        }
        let index = |rule: &Rule| rule.stood.and_then(|stood| *indices.get(stood.rule as usize)?);
        chain.rules.extend(order.came);
        chain.rules.retain(|rule| index(rule).is_some());
        chain.rules.sort_by_key(|rule| index(rule));
        Ok(())
    }
}

/// The rules of a chain by where they stood in its text, and behind its policy those that came later.
#[derive(Debug)]
pub struct Order {
    places: Vec<u32>,
    /// Those that came, also if they went again.
    came: Vec<Rule>,
    policy: RuleId,
}

impl Order {
    /// How many rules the chain has.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The index of the rule that stood at a place.
    pub fn index(&self, stood: RuleId) -> Option<usize> {
        self.places.iter().position(|place| *place == stood.rule)
    }

    /// Where the rule at an index stood.
    pub fn place(&self, index: usize) -> Option<RuleId> {
        let rule = *self.places.get(index)?;
        Some(RuleId { rule, ..self.policy })
    }

    /// The rule that came and stands at a place; none if it is one of the text.
    pub fn came(&self, stood: RuleId) -> Option<&Rule> {
        self.came.iter().find(|rule| rule.stood == Some(stood))
    }

    fn change(&mut self, line: &str) -> Result<(), FilterErrors> {
        let words = Words::read(&[line.to_owned()])?;
        // One beyond the end is nobody's: a line is written for a chain that has the rule.
        let index = words.number.unwrap_or(1).saturating_sub(1).min(self.places.len());
        if line.starts_with("-D") {
            self.places.drain(index..self.places.len().min(index + 1));
            return Ok(());
        }
        for rule in words.rules()? {
            let count = u32::try_from(self.came.len()).unwrap_or(u32::MAX);
            let rule = Rule {
                stood: Some(RuleId {
                    rule: self.policy.rule.saturating_add(1).saturating_add(count),
                    ..self.policy
                }),
                ..rule
            };
            self.places.splice(index..index, rule.stood.map(|stood| stood.rule));
            self.came.push(rule);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;
    use super::super::{Change, Edit, Tally};
    use super::*;

    /// Rules of which one line is two, as they are in force.
    fn rules() -> Ruleset {
        let text = "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n-A FORWARD -s 10.0.0.1,10.0.0.2 -j mine\n\
            -A FORWARD -p tcp -j ACCEPT\n-A mine -j RETURN\nCOMMIT\n";
        let mut rules = parse("f", text, None).unwrap().ruleset;
        Tally::default().put(&mut rules);
        rules
    }

    fn made(options: &str) -> Rule {
        super::super::syntax::rule(options).unwrap().rules.remove(0)
    }

    fn places(chain: &Chain) -> Vec<u32> {
        chain.rules.iter().map(|rule| rule.stood.unwrap().rule).collect()
    }

    #[test]
    fn what_is_noted_is_what_an_edit_does() {
        let (mut journal, mut edited) = (Journal::default(), rules());
        let mut edit = |chain: &str, change: Change| {
            let edit = Edit {
                chain: Some(chain.to_owned()),
                change,
            };
            edit.apply(&mut edited).unwrap();
            let mut replayed = rules();
            match edit.change {
                Change::Insert(number, new) => journal.insert(chain, number - 1, &new[0]),
                Change::DeleteNumber(number) => journal.delete(chain, number - 1),
                _ => unreachable!(),
            }
            journal.replay(&mut replayed).unwrap();
            assert_eq!(replayed.to_string(), edited.to_string());
            (places(&replayed.chains[0]), places(&replayed.chains[1]))
        };
        let log = made("-m comment --comment \"-A FORWARD\" -j LOG --log-prefix \"a \\\"b\\\" \"");
        assert_eq!(
            edit("FORWARD", Change::Insert(2, vec![log])),
            (vec![0, 4, 1, 2], vec![0])
        );
        assert_eq!(
            edit("mine", Change::Insert(2, vec![made("-p udp")])),
            (vec![0, 4, 1, 2], vec![0, 2])
        );
        assert_eq!(edit("FORWARD", Change::DeleteNumber(1)), (vec![4, 1, 2], vec![0, 2]));
        assert_eq!(
            edit("FORWARD", Change::Insert(4, vec![made("-p udp")])),
            (vec![4, 1, 2, 5], vec![0, 2])
        );
        assert_eq!(edit("FORWARD", Change::DeleteNumber(1)), (vec![1, 2, 5], vec![0, 2]));
        let text = serde_json::to_string(&journal).unwrap();
        assert!(
            text.starts_with("[\"-I FORWARD 2 -m comment") && text.ends_with("\"-D FORWARD 1\"]"),
            "{text}"
        );
        assert_eq!(
            (serde_json::from_str::<Journal>(&text).unwrap(), journal.len()),
            (journal, 5)
        );
    }

    #[test]
    fn rules_that_are_missing_are_not_missed() {
        let mut journal = Journal::default();
        journal.insert("FORWARD", 3, &made("-p udp"));
        journal.insert("FORWARD", 0, &made("-p icmp"));
        journal.delete("FORWARD", 1);
        let mut some = rules();
        some.chains[0].rules.remove(1);
        journal.replay(&mut some).unwrap();
        assert_eq!(places(&some.chains[0]), [5, 2, 4]);
        let order = journal.order("FORWARD", some.chains[0].stood.unwrap()).unwrap();
        let at = |rule| RuleId { chain: 0, rule };
        assert_eq!(
            (order.count(), order.index(at(4)), order.place(1)),
            (4, Some(3), Some(at(1)))
        );
        assert_eq!(order.came(at(5)).unwrap().to_string(), "-p icmp");
        assert_eq!((order.came(at(1)), order.index(at(0))), (None, None));
    }
}
