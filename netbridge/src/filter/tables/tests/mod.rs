//! Compiled rules against rules interpreted one by one.

mod draw;
mod interpreter;
mod packet;
mod property;
mod shrink;

use std::collections::BTreeMap;

use netbridge_common::abi::{NO_PATH, PLACES, reject, verdict};
use netbridge_common::host::HostEnv;
use netbridge_common::host::filter::Bank;

use self::interpreter::{Answer, Verdict};
use self::packet::Packet;
use super::{KnownInterface, RuleId, Tables, World};
use crate::filter::syntax::RejectWith;

/// The kernel's ticks in a second; the clock of a [`HostEnv`] counts in 64 of them.
const HZ: u64 = 1000;

/// Compiled rules in force.
struct Compiled<'a> {
    tables: &'a Tables,
    env: HostEnv,
}

impl<'a> Compiled<'a> {
    fn new(tables: &'a Tables) -> Self {
        let mut env = HostEnv::default();
        env.swap_filter(Bank {
            head: tables.head,
            words: tables.words.clone(),
            boxes: tables.boxes.clone(),
            limits: tables.limits.clone(),
        });
        Self { tables, env }
    }

    /// What they say of a packet, and which rules count it, in any order.
    fn ask(&self, packet: &Packet) -> Answer {
        self.env.paths.borrow_mut().clear();
        self.env.passed.borrow_mut().clear();
        let found = self.env.decide(&packet.subject());
        let verdict = match found.verdict {
            verdict::ACCEPT => Verdict::Accept,
            verdict::DROP => Verdict::Drop,
            _ if found.with == reject::TCP_RESET => Verdict::Reject(RejectWith::TcpReset),
            _ => Verdict::Reject(RejectWith::Unreachable(found.with - reject::UNREACHABLE)),
        };
        let early = self.env.passed.borrow().keys().map(|(_, path)| *path).collect::<Vec<_>>();
        let mut counted = Vec::new();
        for path in early.into_iter().chain([found.path]) {
            self.counted(path, &mut counted);
        }
        Answer { verdict, counted }
    }

    /// The rules that a path counts for.
    fn counted(&self, mut path: u32, counted: &mut Vec<RuleId>) {
        while path != NO_PATH {
            let joined = (path >= PLACES).then(|| self.env.paths.borrow()[&path]);
            let place = joined.map_or(path, |key| key.place);
            counted.extend(&self.tables.counts[place as usize]);
            path = joined.map_or(NO_PATH, |key| key.path);
        }
    }
}

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
