//! Rule sets as large as an operator's, whose rules overlap.

use super::counting::Compiled;
use super::draw::{Dice, Pool};
use super::interpreter::Interpreter;
use super::shrink::shrunk;
use super::{HZ, agree, worlds};
use crate::filter::syntax::{Ruleset, parse};
use crate::filter::tables::{World, compile};

/// Packets for each rule set.
const PACKETS: usize = 3000;

/// A network within one of few others.
fn network(dice: &mut Dice) -> String {
    let length = dice.one(&[8, 12, 16, 20, 24, 24, 28, 30, 31, 32, 32]);
    let [_, b, c, d] = (dice.next() as u32).to_be_bytes();
    let first = dice.one(&[10, 10, 172, 192, 1 + b % 200]);
    format!("{first}.{}.{}.{d}/{length}", b % 4, c % 16)
}

/// Ports in the fashion of ClassBench: one, a class, or a range.
fn ports(dice: &mut Dice) -> String {
    let first = dice.next() as u16;
    match dice.below(6) {
        0 => "0:1023".to_owned(),
        1 => "1024:65535".to_owned(),
        2 => format!("{}:{}", first / 2, first / 2 + first % 3000),
        3 => first.to_string(),
        _ => dice.one(&[22, 25, 53, 80, 123, 443, 3306, 8080]).to_string(),
    }
}

fn rule(dice: &mut Dice, chain: &str) -> String {
    let mut line = format!("-A {chain}");
    for (option, times) in [("-s", 2), ("-d", 2), ("! -s", 40), ("! -d", 40)] {
        if dice.one_in(times) && !line.contains(&option[option.len() - 2..]) {
            line += &format!(" {option} {}", network(dice));
        }
    }
    if dice.one_in(6) {
        line += &format!(" -i {}", dice.one(&["web", "app", "eth+", "a", "api"]));
    }
    if dice.one_in(6) {
        line += &format!(" ! -o {}", dice.one(&["web", "app", "eth0", "eth9"]));
    }
    match dice.below(4) {
        0 => {}
        1 => line += " -p icmp",
        _ => {
            line += dice.one(&[" -p tcp -m tcp", " -p udp -m udp"]);
            for option in [" --dport ", " --dport ", " --sport "] {
                if dice.one_in(2) && !line.contains(option) {
                    line += &format!("{option}{}", ports(dice));
                }
            }
        }
    }
    if dice.one_in(8) {
        line += dice.one(&[
            " -m conntrack --ctstate NEW",
            " -m conntrack --ctstate RELATED,ESTABLISHED",
        ]);
    }
    let target = match dice.below(40) {
        0 => " -m comment --comment counted",
        1 if chain != "inner" => " -j inner",
        2 => " -j RETURN",
        3..8 => " -j REJECT --reject-with icmp-port-unreachable",
        8..20 => " -j ACCEPT",
        _ => " -j DROP",
    };
    line + target
}

/// Rules of a seed, a few of them in a chain that others jump to.
fn rules(count: usize, seed: u64) -> Ruleset {
    let mut dice = Dice(seed);
    let mut text = "*filter\n:FORWARD DROP [0:0]\n:inner - [0:0]\n-A FORWARD -s 10.1.0.0/16 -j inner\n".to_owned();
    for number in 0..count {
        let chain = if number % 16 == 0 && number < 200 {
            "inner"
        } else {
            "FORWARD"
        };
        text += &rule(&mut dice, chain);
        text.push('\n');
    }
    parse("f", &(text + "COMMIT\n"), None).unwrap().ruleset
}

fn check(count: usize, seed: u64) {
    let (rules, [world, _]) = (rules(count, seed), worlds());
    let tables = compile(&rules, &world, HZ).unwrap();
    let (compiled, mut interpreter) = (Compiled::new(&tables), Interpreter::new(&rules, &world, HZ));
    let (pool, mut dice) = (Pool::of(&rules, &world), Dice(seed));
    let mut most = 0;
    for _ in 0..PACKETS {
        let packet = pool.packet(&mut dice);
        let (says, should) = (compiled.ask(&packet), interpreter.ask(&packet));
        if !agree(&says, &should) {
            let differs = |rules: &Ruleset, world: &World| {
                let tables = compile(rules, world, HZ).unwrap();
                let says = Compiled::new(&tables).ask(&packet);
                !agree(&says, &Interpreter::new(rules, world, HZ).ask(&packet))
            };
            let least = shrunk(&rules, |less| differs(less, &world));
            panic!("{count} rules of seed {seed}: {packet:?}\n{says:?}\n{should:?}\n{least}");
        }
        most = most.max(compiled.steps.get());
    }
    assert!(most <= tables.steps, "{most} steps and not {}", tables.steps);
}

#[test]
fn large_rule_sets_say_what_their_rules_say() {
    for (count, seeds) in [(40, 0..8), (200, 8..12), (1000, 12..14), (4000, 14..15)] {
        for seed in seeds {
            check(count, seed);
        }
    }
}

/// Rules in the manner of ClassBench whose order is of no consequence: of both addresses and a service mostly.
fn mixed(count: usize, seed: u64) -> Ruleset {
    let mut dice = Dice(seed);
    let mut text = "*filter\n:FORWARD ACCEPT [0:0]\n".to_owned();
    for _ in 0..count {
        let service = format!(" -p udp -m udp --dport {}", ports(&mut dice));
        let (source, destination) = (network(&mut dice), network(&mut dice));
        text += &match dice.below(4) {
            0 => format!("-A FORWARD -s {source} -d {destination} -j DROP\n"),
            1 => format!("-A FORWARD -d {destination}{service} -j DROP\n"),
            _ => format!("-A FORWARD -s {source} -d {destination}{service} -j DROP\n"),
        };
    }
    parse("f", &(text + "COMMIT\n"), None).unwrap().ruleset
}

#[test]
fn as_many_rules_as_there_may_be_fit() {
    let (rules, [world, _]) = (mixed(65_536, 1), worlds());
    compile(&rules, &world, HZ).unwrap();
}
