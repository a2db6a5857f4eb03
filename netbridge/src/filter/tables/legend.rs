//! For which rules each place of the compiled rules counts, written beside them: what a bank has counted can so be read by
//! whoever comes later, when names in the rules stand for something else already and would be compiled to other places.

use netbridge_common::abi::FilterHead;

use super::places::Place;
use super::words::Words;
use crate::filter::syntax::RuleId;

/// Marks the word of a place that counts for one rule: the rest is that rule. Others say how long their list is and where.
const ONE: u64 = 1 << 63;

/// Writes the legend of some places.
pub(super) fn write(words: &mut Words, head: &mut FilterHead, places: &[Place]) {
    head.legend = words.reserve(places.len());
    for (at, place) in (head.legend..).zip(places) {
        let mut rules = place.counts.iter().map(|rule| joined(rule.chain, rule.rule));
        let word = match place.counts.len() {
            1 => ONE | rules.next().unwrap_or(0),
            count => {
                let list = words.reserve(count);
                words.put(list, &rules.collect::<Vec<_>>());
                joined(u32::try_from(count).unwrap_or(u32::MAX), list)
            }
        };
        words.put(at, &[word]);
    }
}

/// Reads the legend of a head's places, by a function that reads words of its bank. What is no legend says nothing.
///
/// # Errors
///
/// Those of `words`.
pub fn read<E>(head: &FilterHead, mut word: impl FnMut(u32) -> Result<u64, E>) -> Result<Vec<Vec<RuleId>>, E> {
    let rule = |word: u64| {
        let [rule, chain] = halves(word);
        RuleId { chain, rule }
    };
    let mut counts = Vec::new();
    for place in 0..head.places.saturating_sub(head.first_place) {
        let own = word(head.legend.saturating_add(place))?;
        if own & ONE != 0 {
            counts.push(vec![rule(own & !ONE)]);
            continue;
        }
        let [list, count] = halves(own);
        let rules = (list..list.saturating_add(count)).map(|at| Ok(rule(word(at)?)));
        counts.push(rules.collect::<Result<_, E>>()?);
    }
    Ok(counts)
}

fn joined(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
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
