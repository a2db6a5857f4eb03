//! Compiled rules in force, their searches counted.

use std::cell::Cell;

use netbridge_common::abi::{BucketKey, FilterHead, Limit, NO_PATH, PLACES, PathKey, Region, RuleBox, reject, verdict};
use netbridge_common::datapath::env::Inserted;
use netbridge_common::datapath::filter::decide;
use netbridge_common::datapath::search::{self, Search};
use netbridge_common::host::HostEnv;
use netbridge_common::host::filter::Bank;

use super::interpreter::{Answer, Verdict};
use super::packet::Packet;
use crate::filter::syntax::RejectWith;
use crate::filter::tables::{RuleId, Tables};

/// Compiled rules in force.
pub(super) struct Compiled {
    /// For each place the rules that it counts for.
    counts: Vec<Vec<RuleId>>,
    pub(super) env: HostEnv,
    /// Steps of the last search.
    pub(super) steps: Cell<usize>,
}

impl Compiled {
    pub(super) fn new(tables: &Tables) -> Self {
        let mut env = HostEnv::default();
        env.swap_filter(bank(tables));
        Self {
            counts: tables.counts.clone(),
            env,
            steps: Cell::new(0),
        }
    }

    /// Puts a patch in force.
    pub(super) fn patch(&mut self, region: Region, tables: &Tables) {
        self.env.patch_filter(region, &bank(tables));
        assert_eq!(self.counts.len(), tables.head.first_place as usize);
        self.counts.extend(tables.counts.iter().cloned());
    }

    /// What they say of a packet, and which rules count it, in any order.
    pub(super) fn ask(&self, packet: &Packet) -> Answer {
        self.env.paths.borrow_mut().clear();
        self.env.passed.borrow_mut().clear();
        self.steps.set(0);
        let mut found = Search::EMPTY;
        decide(self, self.env.config.generation, &packet.subject(), &mut found);
        let verdict = match found.verdict {
            verdict::ACCEPT => Verdict::Accept,
            verdict::DROP => Verdict::Drop,
            _ if found.with == reject::TCP_RESET => Verdict::Reject(RejectWith::TcpReset),
            _ => Verdict::Reject(RejectWith::Unreachable(found.with - reject::UNREACHABLE)),
        };
        let early: Vec<u32> = self.env.passed.borrow().keys().map(|(_, path)| *path).collect();
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
            counted.extend(&self.counts[place as usize]);
            path = joined.map_or(NO_PATH, |key| key.path);
        }
    }
}

fn bank(tables: &Tables) -> Bank {
    Bank {
        head: tables.head,
        words: tables.words.clone(),
        patches: Vec::new(),
        boxes: tables.boxes.clone(),
        limits: tables.limits.clone(),
    }
}

impl search::Tables for Compiled {
    fn head(&self, bank: u32, number: u32) -> Option<&FilterHead> {
        self.env.head(bank, number)
    }

    fn word(&self, bank: u32, index: u32) -> u64 {
        self.env.word(bank, index)
    }

    fn found(&self, bank: u32, index: u32) -> Option<&RuleBox> {
        self.env.found(bank, index)
    }

    fn path(&self, number: u32) -> Option<PathKey> {
        self.env.path(number)
    }

    fn path_insert(&self, number: u32, path: &PathKey) -> Inserted {
        self.env.path_insert(number, path)
    }

    fn limit(&self, bank: u32, number: u32) -> Option<&Limit> {
        self.env.limit(bank, number)
    }

    fn moment(&self) -> u64 {
        self.env.moment()
    }

    fn bucket(&self, key: &BucketKey) -> Option<u64> {
        self.env.bucket(key)
    }

    fn bucket_insert(&self, key: &BucketKey, due: u64) -> Inserted {
        self.env.bucket_insert(key, due)
    }

    fn bucket_replace(&self, key: &BucketKey, was: u64, due: u64) -> bool {
        self.env.bucket_replace(key, was, due)
    }

    fn count(&self, bank: u32, path: u32, bytes: u32) {
        search::Tables::count(&self.env, bank, path, bytes);
    }

    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, mut step: S) {
        self.env.repeat(times, |number| {
            self.steps.set(self.steps.get() + 1);
            step(number)
        });
    }
}
