//! Pairs of endpoints for which a bank has one answer, see [`netbridge_common::datapath::pairs`], and how they lose it when
//! rules come or go that concern some of their packets.

use std::collections::{BTreeMap, BTreeSet};

use netbridge_common::abi::{FilterHead, PAGE_WORDS, PARTY_WORDS, Region, SLOTS, WORD_PAGES, verdict};

use super::DatapathError;
use super::filter::FilterMaps;
use super::tables::Tables;
use crate::filter::tables as compiled;

/// The pairs of a bank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The party of each endpoint, by its ifindex and its address.
    endpoints: BTreeMap<(u64, u64), u32>,
    /// How many parties there are.
    parties: u32,
    /// The answers, row by row.
    answers: Vec<u64>,
    /// Where they are.
    first: u32,
}

/// Pairs that lose their answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Where these are.
    words: BTreeSet<u32>,
    /// True if packets of some pass without being tracked.
    pub pass: bool,
}

impl Settled {
    /// Those of tables that are not in force.
    pub fn of(tables: &compiled::Tables) -> Self {
        let words = |at: u32, count: u32| {
            let words = tables.words.iter().skip(at as usize).take(count as usize);
            words.copied().collect::<Vec<u64>>()
        };
        match Self::read(&tables.head, |at, count| {
            Ok::<_, std::convert::Infallible>(words(at, count))
        }) {
            Ok(settled) => settled,
            Err(never) => match never {},
        }
    }

    /// Reads those of a head by a function that reads words of its bank.
    fn read<E>(head: &FilterHead, words: impl Fn(u32, u32) -> Result<Vec<u64>, E>) -> Result<Self, E> {
        if head.parties == 0 {
            return Ok(Self::default());
        }
        let known = words(head.endpoints, SLOTS * PARTY_WORDS)?;
        let endpoints = known.chunks(PARTY_WORDS as usize).filter_map(|words| match words {
            [known, addr, ..] if *known != 0 => {
                let party = u32::try_from(known & u64::from(u32::MAX)).ok()?;
                Some(((known >> 32, *addr), party))
            }
            _ => None,
        });
        Ok(Self {
            endpoints: endpoints.collect(),
            parties: head.parties,
            answers: words(head.pairs, head.parties.saturating_mul(head.parties))?,
            first: head.pairs,
        })
    }

    /// True if packets between some neighbours pass here without being tracked, and there they would not. Who is not known
    /// there has gone.
    pub fn loses(&self, there: &Self) -> bool {
        let known = self.endpoints.iter();
        let both: BTreeSet<(u32, u32)> = known
            .filter_map(|(endpoint, here)| Some((*here, *there.endpoints.get(endpoint)?)))
            .collect();
        if there.parties == 0 {
            return self.answers.iter().any(|answer| passes(*answer));
        }
        let lost = |from: &(u32, u32), to: &(u32, u32)| {
            passes(self.answer(self.place(from.0, to.0))) && !passes(there.answer(there.place(from.1, to.1)))
        };
        both.iter().any(|from| both.iter().any(|to| lost(from, to)))
    }

    /// The pairs of which some packets are in a region, or answer one that is.
    fn pairs_in(&self, region: &Region) -> Pairs {
        let parties = |[first, last]: [u32; 2]| -> BTreeSet<u32> {
            let within = |addr: u64| (first.into()..=last.into()).contains(&addr);
            let endpoints = self.endpoints.iter().filter(|((_, addr), _)| within(*addr));
            endpoints.map(|(_, party)| *party).collect()
        };
        let mut pairs = Pairs::default();
        let receivers = parties(region.dst);
        for from in parties(region.src) {
            for to in &receivers {
                for (place, is_back) in [(self.place(from, *to), false), (self.place(*to, from), true)] {
                    let answer = self.answer(place);
                    // What is dropped needs no answer, whatever becomes of the packets that it would answer.
                    if passes(answer) || (answer != 0 && !is_back) {
                        pairs.words.insert(self.first + place);
                        pairs.pass |= passes(answer);
                    }
                }
            }
        }
        pairs
    }

    fn place(&self, from: u32, to: u32) -> u32 {
        from.saturating_mul(self.parties).saturating_add(to)
    }

    fn answer(&self, place: u32) -> u64 {
        self.answers.get(place as usize).copied().unwrap_or_default()
    }
}

/// True if packets of a pair with this answer pass.
fn passes(answer: u64) -> bool {
    answer >> 40 & 0xff == u64::from(verdict::ACCEPT) + 1
}

impl Tables {
    /// The pairs of the bank in force.
    pub fn settled(&self) -> Result<Settled, DatapathError> {
        let (maps, bank) = (self.filter_maps(), self.bank_in_force()?);
        Settled::read(&self.filter()?, |at, count| maps.words_at(bank, at, count))
    }

    /// Those of them that lose their answers when rules for packets of a region come or go.
    pub fn pairs_in(&self, region: &Region) -> Result<Pairs, DatapathError> {
        Ok(self.settled()?.pairs_in(region))
    }
}

impl FilterMaps {
    /// Has packets of pairs searched for. Whoever meets a word that is half written meets one without a verdict, or the old one.
    pub(super) fn unsettle(&self, bank: u32, pairs: &Pairs) -> Result<(), DatapathError> {
        let mut pages = BTreeMap::<u32, Vec<usize>>::new();
        for at in &pairs.words {
            let page = pages.entry(at / PAGE_WORDS).or_default();
            page.push((at % PAGE_WORDS) as usize);
        }
        for (number, places) in pages {
            let number = bank * WORD_PAGES + number;
            let mut page = self.words.get(number)?;
            for place in places {
                if let Some(word) = page.get_mut(place) {
                    *word = 0;
                }
            }
            self.words.set(number, &page)?;
        }
        Ok(())
    }

    /// Words of a bank.
    fn words_at(&self, bank: u32, at: u32, count: u32) -> Result<Vec<u64>, DatapathError> {
        let mut words = Vec::new();
        for number in at / PAGE_WORDS..(at + count).div_ceil(PAGE_WORDS) {
            words.extend(self.words.get(bank * WORD_PAGES + number)?);
        }
        let own = words.into_iter().skip((at % PAGE_WORDS) as usize);
        Ok(own.take(count as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: u64 = (verdict::ACCEPT as u64 + 1) << 40;
    const DROP: u64 = (verdict::DROP as u64 + 1) << 40;

    /// Parties 0 and 1 of one endpoint each, party 2 of two.
    fn settled(answers: [u64; 9]) -> Settled {
        let endpoints = [(10, 0), (11, 1), (12, 2), (13, 2)];
        Settled {
            endpoints: endpoints.map(|(addr, party)| ((addr, addr), party)).into(),
            parties: 3,
            answers: answers.into(),
            first: 100,
        }
    }

    fn pairs(answers: [u64; 9], src: [u32; 2], dst: [u32; 2]) -> (Vec<u32>, bool) {
        let region = Region {
            src,
            dst,
            ..Region::ALL
        };
        let found = settled(answers).pairs_in(&region);
        (found.words.into_iter().collect(), found.pass)
    }

    #[test]
    fn pairs_lose_their_answers_both_ways_where_they_pass() {
        let all = [PASS; 9];
        assert_eq!(pairs(all, [10, 10], [11, 11]), (vec![101, 103], true));
        assert_eq!(pairs(all, [0, 9], [0, u32::MAX]), (vec![], false), "from outside");
        assert_eq!(pairs(all, [13, 13], [10, 10]), (vec![102, 106], true), "one of a party");
        let mut some = [0; 9];
        some[1] = DROP;
        assert_eq!(pairs(some, [10, 10], [11, 11]), (vec![101], false));
        assert_eq!(
            pairs(some, [11, 11], [10, 10]),
            (vec![], false),
            "nobody answers what is dropped"
        );
        some[3] = PASS;
        assert_eq!(
            pairs(some, [10, 10], [11, 11]),
            (vec![101, 103], true),
            "its answers were told by the pair"
        );
    }

    #[test]
    fn what_passed_untracked_is_lost_where_it_does_not_any_more() {
        let all = settled([PASS; 9]);
        assert!(!all.loses(&all));
        assert!(all.loses(&Settled::default()), "nothing is known of any pair");
        assert!(!settled([DROP; 9]).loses(&Settled::default()));
        let mut one = [PASS; 9];
        one[5] = 0;
        assert!(all.loses(&settled(one)) && !settled(one).loses(&all));
        // Parties are others there, and who is gone has lost nothing.
        let mut fewer = settled([PASS; 9]);
        fewer.endpoints = [((10, 10), 0), ((13, 13), 1)].into();
        (fewer.parties, fewer.answers) = (2, vec![PASS; 4]);
        assert!(!all.loses(&fewer));
        fewer.answers[1] = DROP;
        assert!(all.loses(&fewer));
    }
}
