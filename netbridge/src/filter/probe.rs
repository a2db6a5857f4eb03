//! What compiled rules say of a packet that is described, not sent: the search that the datapath makes, on the host.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use netbridge_common::abi::{BucketKey, FilterHead, Limit, NO_PATH, PLACES, PathKey, RuleBox, word};
use netbridge_common::datapath::env::Inserted;
use netbridge_common::datapath::filter::{Subject, decide};
use netbridge_common::datapath::search::{self, Search};

use super::syntax::{Ruleset, Target};
use super::tables::{RuleId, Tables};

/// What rules say of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// One of [`netbridge_common::abi::verdict`].
    pub verdict: u8,
    /// The rules that have matched, in the order in which they were met; the last is the one that decides, unless it is the
    /// policy.
    pub path: Vec<RuleId>,
    /// The rule that decides, or the policy; `None` if the filter is empty and accepts: it is not asked.
    pub decided: Option<RuleId>,
    /// The next packet of the flow is asked about as well: its answer depends on TCP flags or on a limit, or it is to be
    /// reported.
    pub varies: bool,
}

/// Asks rules, and the tables that were made of them, what becomes of a packet. Limits have a token for it. `None` if the
/// two do not agree.
pub fn ask(rules: &Ruleset, tables: &Tables, subject: &Subject<[u8; 4]>) -> Option<Said> {
    let searched = Searched::new(tables);
    let mut found = Search::EMPTY;
    decide(&searched, 0, subject, &mut found);
    let mut said = Said {
        verdict: found.verdict,
        path: Vec::new(),
        decided: None,
        varies: found.varies != 0,
    };
    if tables.head.active == 0 {
        return Some(said);
    }
    let matched = searched.matched(found.path);
    let decided = walk(rules, &matched, &mut said.path)?;
    said.decided = Some(decided);
    // The search counts what it has matched once for each place, the walk for each rule: both must have met all of it.
    let met: BTreeSet<RuleId> = said.path.iter().copied().chain([decided]).collect();
    (met == matched).then_some(said)
}

/// How often the search for a packet reads compiled tables, whatever it finds there: what the packet costs, in looks at memory.
pub fn reads(tables: &Tables, subject: &Subject<[u8; 4]>) -> u32 {
    let searched = Searched::new(tables);
    decide(&searched, 0, subject, &mut { Search::EMPTY });
    searched.reads.get()
}

/// Goes through the rules as netfilter does, where these match; the rule that decides, or the policy.
fn walk(rules: &Ruleset, matched: &BTreeSet<RuleId>, path: &mut Vec<RuleId>) -> Option<RuleId> {
    let index = |name: &String| rules.chains.iter().position(|chain| chain.name == *name);
    let (mut chain, mut number) = (0, 0);
    let mut behind: Vec<(usize, usize)> = Vec::new();
    loop {
        let all = &rules.chains.get(chain)?.rules;
        let id = RuleId {
            chain: u32::try_from(chain).ok()?,
            rule: u32::try_from(number).ok()?,
        };
        let found = all.get(number).map(|rule| &rule.target);
        number += 1;
        let target = match found {
            Some(_) if !matched.contains(&id) => continue,
            Some(target) => {
                path.push(id);
                target
            }
            None => &Target::Return,
        };
        match target {
            Target::Accept | Target::Drop | Target::Reject(_) => return Some(id),
            Target::Count | Target::Log(_) => {}
            Target::Jump(name) => {
                behind.push((chain, number));
                (chain, number) = (index(name)?, 0);
            }
            Target::Goto(name) => (chain, number) = (index(name)?, 0),
            Target::Return => match behind.pop() {
                Some(place) => (chain, number) = place,
                None => {
                    return Some(RuleId {
                        chain: 0,
                        rule: u32::try_from(rules.chains.first()?.rules.len()).ok()?,
                    });
                }
            },
        }
    }
}

/// Compiled tables as the search reads them. They are one bank, whichever is asked for.
struct Searched<'a> {
    tables: &'a Tables,
    paths: RefCell<BTreeMap<u32, PathKey>>,
    /// Words and boxes that were asked for.
    reads: Cell<u32>,
}

impl<'a> Searched<'a> {
    fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            paths: RefCell::default(),
            reads: Cell::new(0),
        }
    }

    /// The rules that a path counts for.
    fn matched(&self, path: u32) -> BTreeSet<RuleId> {
        let paths = self.paths.borrow();
        let mut matched = BTreeSet::new();
        let mut path = path;
        while path != NO_PATH {
            let key = paths.get(&path).filter(|_| path >= PLACES);
            let place = key.map_or(path, |key| key.place);
            matched.extend(self.tables.counts.get(place as usize).into_iter().flatten());
            path = key.map_or(NO_PATH, |key| key.path);
        }
        matched
    }
}

impl search::Tables for Searched<'_> {
    fn head(&self, _bank: u32, _number: u32) -> Option<&FilterHead> {
        Some(&self.tables.head)
    }

    fn word(&self, _bank: u32, index: u32) -> u64 {
        self.reads.update(|reads| reads + 1);
        self.tables.words.get(index as usize).copied().unwrap_or(word::EMPTY)
    }

    fn found(&self, _bank: u32, index: u32) -> Option<&RuleBox> {
        self.reads.update(|reads| reads + 1);
        self.tables.boxes.get(index as usize)
    }

    fn path(&self, number: u32) -> Option<PathKey> {
        self.paths.borrow().get(&number).copied()
    }

    fn path_insert(&self, number: u32, path: &PathKey) -> Inserted {
        let mut paths = self.paths.borrow_mut();
        if paths.contains_key(&number) {
            return Inserted::Exists;
        }
        paths.insert(number, *path);
        Inserted::Yes
    }

    fn limit(&self, _bank: u32, number: u32) -> Option<&Limit> {
        self.tables.limits.get(number as usize)
    }

    fn moment(&self) -> u64 {
        0
    }

    fn bucket(&self, _key: &BucketKey) -> Option<u64> {
        None
    }

    fn bucket_insert(&self, _key: &BucketKey, _due: u64) -> Inserted {
        Inserted::Yes
    }

    fn bucket_replace(&self, _key: &BucketKey, _was: u64, _due: u64) -> bool {
        true
    }

    fn count(&self, _bank: u32, _path: u32, _bytes: u32) {}

    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, mut step: S) {
        let _all = (0..times).try_for_each(|time| step(time).then_some(()));
    }
}

#[cfg(test)]
mod tests {
    use netbridge_common::abi::{CtState, verdict};

    use super::super::syntax::parse;
    use super::super::tables::{World, compile};
    use super::*;

    /// A rule by the indices of its chain and of itself.
    type At = (u32, u32);

    fn said(rules: &str, subject: &Subject<[u8; 4]>) -> (u8, Vec<At>, Option<At>) {
        let text = format!("*filter\n:FORWARD DROP [0:0]\n:one - [0:0]\n:two - [0:0]\n{rules}\nCOMMIT\n");
        let rules = parse("f", &text, None).unwrap().ruleset;
        let tables = compile(&rules, &World::default(), 250).unwrap();
        let said = ask(&rules, &tables, subject).unwrap();
        let place = |id: RuleId| (id.chain, id.rule);
        (
            said.verdict,
            said.path.into_iter().map(place).collect(),
            said.decided.map(place),
        )
    }

    fn udp(dport: u32) -> Subject<[u8; 4]> {
        Subject {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            sport: 49_152,
            dport,
            proto: 17,
            state: CtState::NEW,
            ..Subject::EMPTY
        }
    }

    #[test]
    fn rules_are_told_in_the_order_in_which_they_are_met() {
        let rules = "-A FORWARD -p tcp -j ACCEPT\n-A FORWARD -p udp -j one\n-A FORWARD -p udp -j LOG\n\
            -A FORWARD -p udp --dport 9 -g two\n-A FORWARD -j ACCEPT\n\
            -A one -s 10.0.0.1\n-A one -p udp --dport 7 -j DROP\n-A one -p udp --dport 8 -j RETURN\n-A one -j LOG\n\
            -A two -p udp -m limit --limit 1/s -j LOG";
        let [jump, log, last] = [(0, 1), (0, 2), (0, 4)];
        assert_eq!(
            said(rules, &udp(7)),
            (verdict::DROP, vec![jump, (1, 0), (1, 1)], Some((1, 1)))
        );
        assert_eq!(
            said(rules, &udp(8)),
            (verdict::ACCEPT, vec![jump, (1, 0), (1, 2), log, last], Some(last))
        );
        // A goto leads back to nobody: the policy decides.
        assert_eq!(
            said(rules, &udp(9)),
            (
                verdict::DROP,
                vec![jump, (1, 0), (1, 3), log, (0, 3), (2, 0)],
                Some((0, 5))
            )
        );
    }

    #[test]
    fn a_filter_that_is_empty_and_accepts_is_not_asked() {
        let rules = parse("f", "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", None)
            .unwrap()
            .ruleset;
        let tables = compile(&rules, &World::default(), 250).unwrap();
        let said = ask(&rules, &tables, &udp(7)).unwrap();
        assert_eq!((said.verdict, said.decided), (verdict::ACCEPT, None));
    }
}
