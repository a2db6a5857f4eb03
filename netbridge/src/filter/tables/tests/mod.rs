//! Compiled rules against rules interpreted one by one.

mod counting;
mod draw;
mod hostile;
mod interpreter;
mod kept;
mod large;
mod limits;
mod lookup;
mod packet;
mod patched;
mod property;
mod shrink;

use std::collections::BTreeMap;

use self::interpreter::Answer;
use super::{KnownInterface, RuleId, World};

/// The kernel's ticks in a second; the clock of a [`HostEnv`] counts in 64 of them.
const HZ: u64 = 1000;

/// True if two answers are the same, in whatever order rules are named.
fn agree(one: &Answer, other: &Answer) -> bool {
    let sum = |answer: &Answer| {
        let mut sum: BTreeMap<RuleId, usize> = BTreeMap::new();
        answer.counted.iter().for_each(|id| *sum.entry(*id).or_default() += 1);
        sum
    };
    one.verdict == other.verdict && sum(one) == sum(other)
}

/// Hosts: one with networks, endpoints and interfaces, of which one has a network's name; one with nothing.
fn worlds() -> [World; 2] {
    let known = |ifindex, network, names: &[&str]| KnownInterface {
        ifindex,
        network,
        names: names.iter().map(ToString::to_string).collect(),
    };
    let full = World {
        interfaces: vec![
            known(0, 0, &[]),
            known(2, 0, &["eth0"]),
            known(3, 0, &["eth1"]),
            known(4, 0, &["web"]),
            known(0, 1, &[]),
            known(10, 1, &["a", "veth1"]),
            known(11, 1, &["eth9", "veth2"]),
            known(0, 2, &[]),
            known(20, 2, &["api", "veth3"]),
            known(21, 2, &["b", "veth4"]),
        ],
        networks: vec![
            ("web".to_owned(), 1),
            ("br-web".to_owned(), 1),
            ("app".to_owned(), 2),
            ("br-app".to_owned(), 2),
        ],
        endpoints: Vec::new(),
        local: vec![[10, 0, 0, 1].into(), [192, 168, 0, 1].into()],
        broadcast: vec![[10, 0, 0, 255].into(), [192, 168, 255, 255].into()],
    };
    let empty = World {
        interfaces: vec![known(0, 0, &[])],
        ..World::default()
    };
    [full, empty]
}
