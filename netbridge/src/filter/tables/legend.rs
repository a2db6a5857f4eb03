//! For which rules each place of the compiled rules counts, written beside them: what a bank has counted can so be read by
//! whoever comes later, when names in the rules stand for something else already and would be compiled to other places.

use netbridge_common::abi::FilterHead;

use super::classes::{put, reserve};
use super::places::Place;
use super::program::RuleId;

/// Writes the legend of some places.
pub(super) fn write(words: &mut Vec<u64>, head: &mut FilterHead, places: &[Place]) {
    head.legend = reserve(words, places.len());
    for (at, place) in (head.legend..).zip(places) {
        let list = reserve(words, place.counts.len());
        let rules: Vec<u64> = place
            .counts
            .iter()
            .map(|rule| u64::from(rule.chain) << 32 | u64::from(rule.rule))
            .collect();
        put(words, list, &rules);
        let count = u64::try_from(rules.len()).unwrap_or(u64::MAX);
        put(words, at, &[count << 32 | u64::from(list)]);
    }
}

/// Reads the legend of a head's places, by a function that reads words of its bank. What is no legend says nothing.
///
/// # Errors
///
/// Those of `words`.
pub fn read<E>(head: &FilterHead, mut word: impl FnMut(u32) -> Result<u64, E>) -> Result<Vec<Vec<RuleId>>, E> {
    let mut counts = Vec::new();
    for place in 0..head.places {
        let [list, count] = halves(word(head.legend.saturating_add(place))?);
        let rules = (list..list.saturating_add(count)).map(|at| {
            let [rule, chain] = halves(word(at)?);
            Ok(RuleId { chain, rule })
        });
        counts.push(rules.collect::<Result<_, E>>()?);
    }
    Ok(counts)
}

/// The low half and the high one.
fn halves(word: u64) -> [u32; 2] {
    [word & u64::from(u32::MAX), word >> 32].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::{World, compile};
    use super::read;
    use crate::filter::syntax::parse;

    #[test]
    fn the_legend_says_what_the_places_count_for() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n-A FORWARD -i gone -j mine\n-A FORWARD -j mine\n\
            -A mine -s 10.0.0.1/32 -j RETURN\n-A mine -p tcp -j ACCEPT\nCOMMIT\n";
        let tables = compile(&parse("f", text, None).unwrap().ruleset, &World::default(), 250).unwrap();
        let word = |at: u32| Ok::<_, Infallible>(tables.words.get(at as usize).copied().unwrap_or(0));
        assert_eq!(read(&tables.head, word), Ok(tables.counts));
    }
}
