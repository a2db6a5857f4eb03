//! Random rule sets, and for each packets at its edges.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::counting::Compiled;
use super::draw::{Dice, Pool};
use super::interpreter::Interpreter;
use super::packet::Packet;
use super::shrink::shrunk;
use super::{HZ, agree, worlds};
use crate::filter::probe;
use crate::filter::syntax::tests::generate::ruleset;
use crate::filter::syntax::{Policy, Ruleset};
use crate::filter::tables::{Tables, World, compile};

/// Rule sets, and packets for each.
const RULE_SETS: u64 = 4000;
const PACKETS: usize = 400;

/// Pairs of a rule set and a packet that are tried at least.
const PAIRS: usize = 1_000_000;

/// Seeds that failed once.
const KEPT: [u64; 0] = [];

/// The rule set of a seed.
pub(super) fn rules_of(seed: u64) -> Ruleset {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = ruleset().new_tree(&mut runner).unwrap();
    tree.current()
}

/// True if nothing is asked at all: then nothing is counted either, not even for the policy.
pub(super) fn is_open(rules: &Ruleset) -> bool {
    rules.chains[0].rules.is_empty() && rules.policy == Policy::Accept
}

/// The packet of a seed's that the tables answer otherwise than the rules say, if there is one, with those before it: limits
/// remember them.
fn differing(rules: &Ruleset, world: &World, packets: &[Packet]) -> Option<usize> {
    let tables = compile(rules, world, HZ).unwrap();
    let mut compiled = Compiled::new(&tables);
    let mut interpreter = Interpreter::new(rules, world, HZ);
    packets.iter().enumerate().position(|(number, packet)| {
        // Bursts, and now and then a pause.
        if number % 16 == 0 {
            compiled.env.now += [1, 40, 1000][number / 16 % 3];
            interpreter.now = u64::from(compiled.env.now) * 64;
        }
        !agree(&compiled.ask(packet), &interpreter.ask(packet)) || compiled.steps.get() > tables.steps
    })
}

pub(super) fn packets_of(seed: u64, rules: &Ruleset, world: &World) -> Vec<Packet> {
    let (pool, mut dice) = (Pool::of(rules, world), Dice(seed));
    (0..PACKETS).map(|_| pool.packet(&mut dice)).collect()
}

/// Tries a seed; how many packets that were.
fn check(seed: u64) -> usize {
    let rules = rules_of(seed);
    let world = &worlds()[usize::from(seed.is_multiple_of(8))];
    if is_open(&rules) {
        return 0;
    }
    let packets = packets_of(seed, &rules, world);
    if let Some(last) = differing(&rules, world, &packets) {
        report(seed, &rules, world, &packets[..=last]);
    }
    packets.len()
}

/// Fails with the least rule set and packets that show it.
fn report(seed: u64, rules: &Ruleset, world: &World, packets: &[Packet]) -> ! {
    let alone = packets.last().map(std::slice::from_ref).unwrap_or_default();
    let packets = if differing(rules, world, alone).is_some() {
        alone
    } else {
        packets
    };
    let least = shrunk(rules, |less| {
        !is_open(less) && differing(less, world, packets).is_some()
    });
    let last = differing(&least, world, packets).unwrap();
    let tables: Tables = compile(&least, world, HZ).unwrap();
    let says = Compiled::new(&tables).ask(&packets[last]);
    let should = Interpreter::new(&least, world, HZ).ask(&packets[last]);
    panic!(
        "seed {seed}: packet {last}\n{:?}\nalone: compiled {says:?}\ninterpreted {should:?}\n{least}{}",
        packets[last], least.sets
    );
}

#[test]
fn compiled_rules_say_what_the_rules_say() {
    for seed in KEPT {
        check(seed);
    }
    let (next, pairs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if seed >= RULE_SETS {
                        break;
                    }
                    pairs.fetch_add(check(seed), Ordering::Relaxed);
                }
            });
        }
    });
    let pairs = pairs.into_inner();
    assert!(pairs >= PAIRS, "only {pairs}");
}

/// Rule sets, and packets for each, that are asked about by description.
const DESCRIBED: (u64, usize) = (1000, 60);

#[test]
fn what_is_told_of_a_packet_is_the_way_it_takes() {
    let (mut told, mut long) = (0, 0);
    for seed in 0..DESCRIBED.0 {
        let rules = rules_of(seed);
        let world = &worlds()[usize::from(seed.is_multiple_of(8))];
        let tables = compile(&rules, world, HZ).unwrap();
        for packet in packets_of(seed, &rules, world).iter().take(DESCRIBED.1) {
            // None where the walk through the rules and the search of the tables do not meet the same ones.
            let said = probe::ask(&rules, &tables, &packet.subject());
            let said = said.unwrap_or_else(|| panic!("seed {seed}: {packet:?}\n{rules}"));
            assert_eq!(said.decided.is_none(), is_open(&rules), "seed {seed}");
            told += 1;
            long += usize::from(said.path.len() > 2);
        }
    }
    assert!(
        told > 40_000 && long > 200,
        "{told} packets, {long} of them by a long way"
    );
}
