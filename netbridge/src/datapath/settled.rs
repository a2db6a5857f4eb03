//! Pairs of endpoints for which the bank in force has one answer, see [`netbridge_common::datapath::pairs`], and how they lose
//! it when rules come or go that concern some of their packets.

use std::collections::{BTreeMap, BTreeSet};

use netbridge_common::abi::{FilterHead, PAGE_WORDS, PARTY_WORDS, Region, SLOTS, WORD_PAGES, verdict};

use super::DatapathError;
use super::filter::FilterMaps;
use super::tables::Tables;

/// Pairs of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Where their answers are.
    words: BTreeSet<u32>,
    /// True if packets of some pass without being tracked.
    pub pass: bool,
}

impl Tables {
    /// The pairs of which some packets are in a region, or answer one that is.
    pub fn pairs_in(&self, region: &Region) -> Result<Pairs, DatapathError> {
        let head = self.filter()?;
        if head.parties == 0 {
            return Ok(Pairs::default());
        }
        let maps = self.filter_maps();
        let bank = self.bank_in_force()?;
        let known = maps.words_at(bank, head.endpoints, SLOTS * PARTY_WORDS)?;
        let answers = maps.words_at(bank, head.pairs, head.parties.saturating_mul(head.parties))?;
        Ok(found(&head, &known, &answers, region))
    }
}

/// Finds pairs among the endpoints and the answers of a bank.
fn found(head: &FilterHead, known: &[u64], answers: &[u64], region: &Region) -> Pairs {
    let endpoints = || {
        known
            .chunks(PARTY_WORDS as usize)
            .filter(|words| words.first().is_some_and(|word| *word != 0))
    };
    let parties = |[first, last]: [u32; 2]| -> BTreeSet<u32> {
        let within = |words: &&[u64]| {
            words
                .get(1)
                .is_some_and(|addr| (first.into()..=last.into()).contains(addr))
        };
        let party = |words: &[u64]| words.first().and_then(|word| u32::try_from(word & 0xffff_ffff).ok());
        endpoints().filter(within).filter_map(party).collect()
    };
    let mut pairs = Pairs::default();
    let receivers = parties(region.dst);
    for from in parties(region.src) {
        for to in &receivers {
            for (place, is_back) in [(from * head.parties + to, false), (to * head.parties + from, true)] {
                let answer = answers.get(place as usize).copied().unwrap_or_default();
                let passes = answer != 0 && answer >> 40 & 0xff == u64::from(verdict::ACCEPT);
                // What is dropped needs no answer, whatever becomes of the packets that it would answer.
                if passes || (answer != 0 && !is_back) {
                    pairs.words.insert(head.pairs + place);
                    pairs.pass |= passes;
                }
            }
        }
    }
    pairs
}

impl FilterMaps {
    /// Has packets of pairs searched for. A word is written at once: whoever reads it meets the old answer or none.
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
                page.iter_mut().skip(place).take(1).for_each(|word| *word = 0);
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
        Ok(words
            .into_iter()
            .skip((at % PAGE_WORDS) as usize)
            .take(count as usize)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    const KNOWN: u64 = 1 << 63;
    const DROPS: u64 = KNOWN | (verdict::DROP as u64) << 40;

    /// Parties 0 and 1 of one endpoint each, party 2 of two.
    fn pairs(answers: [u64; 9], src: [u32; 2], dst: [u32; 2]) -> (Vec<u32>, bool) {
        let head = FilterHead {
            parties: 3,
            pairs: 100,
            ..FilterHead::zeroed()
        };
        let mut known = vec![0; (SLOTS * PARTY_WORDS) as usize];
        for (slot, (party, addr)) in [(1, (0, 10)), (2, (1, 11)), (7, (2, 12)), (8, (2, 13))] {
            known[slot * PARTY_WORDS as usize..][..2].copy_from_slice(&[5 << 32 | party, addr]);
        }
        let found = found(
            &head,
            &known,
            &answers,
            &Region {
                src,
                dst,
                ..Region::ALL
            },
        );
        (found.words.into_iter().collect(), found.pass)
    }

    #[test]
    fn pairs_lose_their_answers_both_ways_where_they_pass() {
        let all = [KNOWN; 9];
        assert_eq!(pairs(all, [10, 10], [11, 11]), (vec![101, 103], true));
        assert_eq!(pairs(all, [0, 9], [0, u32::MAX]), (vec![], false), "from outside");
        assert_eq!(pairs(all, [13, 13], [10, 10]), (vec![102, 106], true), "one of a party");
        let mut some = [0; 9];
        some[1] = DROPS;
        assert_eq!(pairs(some, [10, 10], [11, 11]), (vec![101], false));
        assert_eq!(
            pairs(some, [11, 11], [10, 10]),
            (vec![], false),
            "nobody answers what is dropped"
        );
        some[3] = KNOWN;
        assert_eq!(
            pairs(some, [10, 10], [11, 11]),
            (vec![101, 103], true),
            "its answers were told by the pair"
        );
    }
}
