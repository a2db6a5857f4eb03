//! Rules that were compiled wrongly once.

use super::counting::Compiled;
use super::draw::{Dice, Pool};
use super::interpreter::Interpreter;
use super::{HZ, agree, worlds};
use crate::filter::syntax::parse;
use crate::filter::tables::compile;

/// Rules, and the sets that they ask for.
const KEPT: [(&str, &str); 16] = [
    // Interfaces that are not known, which have index 0, were those of no network.
    ("-A FORWARD ! -i web -j ACCEPT", ""),
    ("-A FORWARD -o app -j ACCEPT\n-A FORWARD -i a -o eth0 -j ACCEPT", ""),
    // The broadcast address of the loopback was an address of the host.
    (
        "-A FORWARD -m addrtype ! --src-type LOCAL ! --dst-type UNICAST,MULTICAST -j inner",
        "",
    ),
    // What a set of several dimensions excepts was not excepted.
    (
        "-A FORWARD -m set --match-set s src,dst -j ACCEPT",
        "create s hash:net,port\nadd s 10.0.0.0/8,tcp:80\nadd s 10.0.0.0/24,tcp:80 nomatch\nadd s 10.0.0.1,tcp:80",
    ),
    (
        "-A FORWARD -m set ! --match-set s src,dst -j ACCEPT",
        "create s hash:net,port\nadd s 10.0.0.0/8,tcp:80\nadd s 10.0.0.0/24,tcp:80 nomatch",
    ),
    (
        "-A FORWARD -m set --match-set s src,dst -g inner",
        "create s hash:net,port\nadd s 10.0.0.0/24,tcp:80 nomatch",
    ),
    // Of two networks the first decides which element is the more specific.
    (
        "-A FORWARD -m set --match-set s src,dst -j ACCEPT",
        "create s hash:net,net\nadd s 10.0.0.1,10.0.0.0/8\nadd s 10.0.0.0/8,10.0.0.1 nomatch\nadd s 10.0.0.1,10.0.1.0/24 nomatch",
    ),
    // What one set of a list excepts is not excepted from the others.
    (
        "-A FORWARD -m set --match-set l src -j ACCEPT",
        "create n hash:net\nadd n 10.0.0.0/8\nadd n 10.0.0.0/24 nomatch\ncreate h hash:ip\nadd h 10.0.0.7\ncreate l list:set\nadd l n\nadd l h",
    ),
    (
        "-A FORWARD -m set --match-set l dst,src -j inner\n-A inner -p udp -j ACCEPT",
        "create n hash:net\nadd n 128.0.0.0/1\nadd n 10.0.0.0/24 nomatch\ncreate p hash:ip,port\nadd p 10.0.0.2,gre:0\ncreate l list:set\nadd l p\nadd l n",
    ),
    // Packets of protocols without ports have port 0.
    (
        "-A FORWARD -m set --match-set s src,src -j ACCEPT",
        "create s hash:ip,port\nadd s 10.0.0.2,gre:0",
    ),
    // A rule took a token of one of its limits only, and only if all the rest matched.
    (
        "-A FORWARD -m limit --limit 1/sec --limit-burst 9 -m limit --limit 1/min --limit-burst 3 -j ACCEPT",
        "",
    ),
    (
        "-A FORWARD -m limit --limit 1/sec --limit-burst 9 -p tcp -m tcp --dport 80 -j ACCEPT",
        "",
    ),
    // A message of ICMP had a bucket for each type.
    (
        "-A FORWARD -p icmp -m icmp --icmp-type 8\n\
         -A FORWARD -m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 1 --hashlimit-mode dstport --hashlimit-name h -j ACCEPT",
        "",
    ),
    // What comes back from behind the policy may pass by rules that decide for everybody.
    (
        "-A FORWARD -j inner\n-A FORWARD -j ACCEPT\n-A inner -m limit --limit 1/sec --limit-burst 400 -m comment --comment x -g other\n\
         -A inner -j DROP\n-A other -p tcp -j RETURN",
        "",
    ),
    (
        "-A FORWARD -j inner\n-A FORWARD -j ACCEPT\n-A inner -m limit --limit 1/sec --limit-burst 400 -p tcp -j RETURN\n-A inner -j DROP",
        "",
    ),
    (
        "-A FORWARD -s 10.0.0.0/8 -j inner\n-A inner -m limit --limit 9/sec --limit-burst 99 -j other\n-A inner -p tcp\n\
         -A other -d 10.0.0.0/8 -m limit --limit 5/sec --limit-burst 50 -j RETURN\n-A other -p udp -j DROP",
        "",
    ),
];

#[test]
fn what_was_wrong_once_stays_right() {
    let [world, _] = worlds();
    for (rules, sets) in KEPT {
        let text = format!("*filter\n:FORWARD DROP [0:0]\n:inner - [0:0]\n:other - [0:0]\n{rules}\nCOMMIT\n");
        let rules = parse("f", &text, Some(("s", sets))).unwrap().ruleset;
        let tables = compile(&rules, &world, HZ).unwrap();
        let mut compiled = Compiled::new(&tables);
        let mut interpreter = Interpreter::new(&rules, &world, HZ);
        let (pool, mut dice) = (Pool::of(&rules, &world), Dice(1));
        for number in 0..2000 {
            compiled.env.now += number / 40 % 2;
            interpreter.now = u64::from(compiled.env.now) * 64;
            let packet = pool.packet(&mut dice);
            let (says, should) = (compiled.ask(&packet), interpreter.ask(&packet));
            assert!(agree(&says, &should), "{text}{sets}\n{packet:?}\n{says:?}\n{should:?}");
            assert!(compiled.steps.get() <= tables.steps);
        }
    }
}
