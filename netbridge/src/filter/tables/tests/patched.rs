//! Random changes of random rule sets, as patches.

use netbridge_common::abi::Region;

use super::counting::Compiled;
use super::draw::Dice;
use super::interpreter::{Answer, Interpreter};
use super::packet::Packet;
use super::property::{is_open, packets_of, rules_of};
use super::{HZ, agree, worlds};
use crate::facts::KernelFacts;
use crate::filter::syntax::{Rule, RuleId, Ruleset, parse};
use crate::filter::tables::{Bank, Room, Tables, Uses, World, compile};
use crate::filter::{Buckets, Change, Edit, buckets};
use crate::plan::patch::{Patched, patch};
use crate::plan::{Step, digest};
use crate::state::{FilterSource, SetSource};

/// Rule sets, changes of each, and packets for each change.
const RULE_SETS: u64 = 3000;
const CHANGES: usize = 6;
const PACKETS: usize = 60;

/// A line as somebody might write it: with lists, other blanks, long options, the target elsewhere, and comments that look like
/// options.
fn written(line: &str, dice: &mut Dice) -> String {
    let Some((head, rest)) = line.strip_prefix("-A ").and_then(|line| line.split_once(' ')) else {
        return line.to_owned();
    };
    let mut rest = rest.to_owned();
    for option in ["-s ", "-d "] {
        let plain = |at: &usize| *at == 0 || !rest[..*at].ends_with("! ");
        if dice.one_in(4)
            && let Some(from) = rest.find(option).filter(plain).map(|at| at + option.len())
            && let Some((address, _)) = rest[from..].split_once(' ')
            && !address.contains('"')
        {
            let more = dice.one(&["10.0.0.9", "10.0.1.0/24", "192.0.2.1", "0.0.0.0/0"]);
            let list = if dice.one_in(2) {
                format!("{address},{more}")
            } else {
                format!("{more},{address}")
            };
            rest.replace_range(from..from + address.len(), &list);
        }
    }
    let rest = match dice.below(8) {
        0 => format!("-m comment --comment \"-s 10.0.0.1 , -j DROP\" {rest}"),
        1 => format!("{rest} -m comment --comment \"x, limit -j ACCEPT\""),
        2 => rest.replacen("-s ", "--source  ", 1),
        3 => rest.replacen("-j ", "--jump ", 1),
        4 => rest.replace(' ', "\t"),
        5 => rest
            .strip_suffix("-j DROP")
            .map_or(rest.clone(), |rest| format!("-j DROP {rest}")),
        _ => rest,
    };
    format!("-A {head} {rest}")
}

/// A filter with the text of these rules, or one that is read as other ones.
fn source_of(rules: &Ruleset, dice: &mut Dice) -> (FilterSource, Ruleset) {
    let canonical = rules.to_string();
    let lines = canonical.lines().map(|line| written(line, dice) + "\n# a line more\n");
    let lines: String = lines.collect();
    let sets = rules.sets.to_string();
    let is_read = parse("f", &lines, Some(("sets", &sets))).is_ok();
    let mut source = FilterSource::new("f", if is_read { lines } else { canonical });
    source.sets = Some(SetSource {
        file: "sets".to_owned(),
        text: rules.sets.to_string().into(),
    });
    let mut rules = source.parse().unwrap().ruleset;
    buckets::draw(&mut rules, None, 1);
    source.buckets = Buckets::of(&rules);
    source.uses = Uses::of(&rules);
    (source, rules)
}

/// One rule or two of some.
fn some(dice: &mut Dice, of: &[Rule]) -> Vec<Rule> {
    let count = if of.is_empty() {
        0
    } else {
        1 + usize::from(dice.one_in(3))
    };
    (0..count).map(|_| of[dice.below(of.len())].clone()).collect()
}

/// A change of some chain by rules of another set, or the end of one of its own.
fn change(dice: &mut Dice, rules: &Ruleset, others: &Ruleset) -> Edit {
    let chain = &rules.chains[dice.below(rules.chains.len())];
    let other = &others.chains[dice.below(others.chains.len())].rules;
    let count = chain.rules.len();
    let change = match dice.below(4) {
        0 if count > 0 => Change::DeleteNumber(1 + dice.below(count)),
        1 if count > 0 => Change::Delete(vec![chain.rules[dice.below(count)].clone()]),
        2 if !other.is_empty() => Change::Append(some(dice, other)),
        _ => {
            let at = 1 + dice.below(count + 1);
            Change::Insert(at, some(dice, other))
        }
    };
    Edit {
        chain: Some(chain.name.clone()),
        change,
    }
}

/// An answer with rules by where they stood.
fn stood(rules: &Ruleset, answer: Answer) -> Answer {
    let stood = |RuleId { chain, rule }: RuleId| {
        let chain = &rules.chains[chain as usize];
        let own = chain.rules.get(rule as usize).map_or(chain.stood, |rule| rule.stood);
        own.unwrap()
    };
    Answer {
        counted: answer.counted.into_iter().map(stood).collect(),
        ..answer
    }
}

fn kernel(source: &FilterSource, world: &World, tables: &Tables, patches: u32) -> KernelFacts {
    let bank = Bank {
        digest: digest(source, world),
        patches,
        room: Room::behind(&tables.head),
    };
    KernelFacts {
        hz: HZ,
        serial: 1,
        bank: Some(bank),
    }
}

fn concerns(region: &Region, packet: &Packet) -> bool {
    let subject = packet.subject();
    let fields = [
        (u32::from_be_bytes(subject.src), region.src),
        (u32::from_be_bytes(subject.dst), region.dst),
        (subject.sport, region.sport),
        (subject.dport, region.dport),
        (subject.proto.into(), region.proto),
    ];
    fields
        .iter()
        .all(|(value, [first, last])| (first..=last).contains(&value))
}

/// Changes the rules of a seed; how many patches that were, and how many packets of those that were compared they concerned.
fn check(seed: u64) -> (usize, usize) {
    let world = &worlds()[usize::from(seed.is_multiple_of(8))];
    let mut dice = Dice(seed);
    let (mut source, rules) = source_of(&rules_of(seed), &mut dice);
    if is_open(&rules) {
        return (0, 0);
    }
    let others = rules_of(seed + 1_000_000);
    let Ok(mut last) = compile(&rules, world, HZ) else {
        return (0, 0);
    };
    let mut compiled = Compiled::new(&last);
    let (mut patches, mut concerned) = (0, 0);
    for _ in 0..CHANGES {
        let before = source.in_force().unwrap().ruleset;
        let edit = change(&mut dice, &before, &others);
        let facts = kernel(&source, world, &last, patches as u32);
        let Some((patched, step)) = patch(&source, &edit, world, &facts).unwrap() else {
            continue;
        };
        let Step::PatchFilter(step) = step else {
            panic!("{step}");
        };
        let Patched { region, tables, .. } = *step;
        let rules = patched.in_force().unwrap().ruleset;
        let mut expected = before.clone();
        edit.apply(&mut expected).unwrap();
        assert_eq!(rules.to_string(), expected.to_string(), "seed {seed}: {edit:?}");
        compiled.patch(region, &tables);
        patches += 1;
        for packet in packets_of(seed, &rules, world).iter().take(PACKETS) {
            compiled.env.buckets.borrow_mut().clear();
            let says = compiled.ask(packet);
            let should = stood(&rules, Interpreter::new(&rules, world, HZ).ask(packet));
            let told = || format!("seed {seed}: {edit:?}\n{packet:?}\n{rules}{}", rules.sets);
            assert!(agree(&says, &should), "{says:?}\n{should:?}\n{}", told());
            concerned += usize::from(concerns(&region, packet));
        }
        (source, last) = (patched, tables);
    }
    (patches, concerned)
}

#[test]
fn patched_rules_say_what_the_rules_say() {
    let counts = |seeds: std::ops::Range<u64>| seeds.map(check).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    let halves = [0..RULE_SETS / 2, RULE_SETS / 2..RULE_SETS];
    let (patches, concerned) = std::thread::scope(|scope| {
        let counts = halves.map(|seeds| scope.spawn(|| counts(seeds)));
        let counts = counts.map(|half| half.join().unwrap());
        (counts[0].0 + counts[1].0, counts[0].1 + counts[1].1)
    });
    assert!(
        patches > 3000 && concerned > 50_000,
        "only {patches} patches that concerned {concerned} packets"
    );
}
