//! Rule sets made smaller while they still show what is wrong.

use crate::filter::syntax::{Extension, Rule, Ruleset, Target};

/// The smallest rule set that `fails`, as far as leaving out one thing after another leads.
pub(super) fn shrunk(rules: &Ruleset, fails: impl Fn(&Ruleset) -> bool) -> Ruleset {
    let mut least = rules.clone();
    while let Some(less) = lesser(&least).into_iter().find(|less| fails(less)) {
        least = less;
    }
    least
}

/// The rule set with one thing less, in every way.
fn lesser(rules: &Ruleset) -> Vec<Ruleset> {
    let mut all = Vec::new();
    let changed = |change: &dyn Fn(&mut Ruleset)| {
        let mut less = rules.clone();
        change(&mut less);
        let named = |name: &String| {
            let all = less.chains.iter().flat_map(|chain| &chain.rules);
            all.clone()
                .any(|rule| matches!(&rule.target, Target::Jump(to) | Target::Goto(to) if to == name))
        };
        let kept: Vec<bool> = less.chains.iter().map(|chain| named(&chain.name)).collect();
        let mut kept = [true].into_iter().chain(kept.into_iter().skip(1));
        less.chains.retain(|_| kept.next() == Some(true));
        less
    };
    for (number, chain) in rules.chains.iter().enumerate() {
        for place in 0..chain.rules.len() {
            all.push(changed(&|less| {
                less.chains[number].rules.remove(place);
            }));
        }
    }
    for (number, chain) in rules.chains.iter().enumerate() {
        for (place, rule) in chain.rules.iter().enumerate() {
            for simpler in simpler(rule) {
                all.push(changed(&|less| less.chains[number].rules[place] = simpler.clone()));
            }
        }
    }
    for (name, set) in &rules.sets.0 {
        for element in 0..set.elements.len() {
            all.push(changed(&|less| {
                if let Some(set) = less.sets.0.get_mut(name) {
                    set.elements.remove(element);
                }
            }));
        }
    }
    all
}

/// The rule with one option less, in every way.
fn simpler(rule: &Rule) -> Vec<Rule> {
    let mut all = Vec::new();
    for option in [&rule.source, &rule.destination]
        .map(Option::is_some)
        .into_iter()
        .enumerate()
    {
        let mut less = rule.clone();
        match option {
            (0, true) => less.source = None,
            (1, true) => less.destination = None,
            _ => continue,
        }
        all.push(less);
    }
    for option in [&rule.in_interface, &rule.out_interface]
        .map(Option::is_some)
        .into_iter()
        .enumerate()
    {
        let mut less = rule.clone();
        match option {
            (0, true) => less.in_interface = None,
            (1, true) => less.out_interface = None,
            _ => continue,
        }
        all.push(less);
    }
    for place in 0..rule.matches.len() {
        let mut less = rule.clone();
        less.matches.remove(place);
        all.push(less);
    }
    let bound = |extension: &Extension| {
        matches!(
            extension,
            Extension::Tcp { .. } | Extension::Udp { .. } | Extension::Icmp(_) | Extension::Multiport { .. }
        )
    };
    if rule.protocol.is_some() && !rule.matches.iter().any(bound) {
        let mut less = rule.clone();
        less.protocol = None;
        all.push(less);
    }
    all
}
