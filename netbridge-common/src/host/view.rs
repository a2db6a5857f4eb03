//! The tables as the core sees them when a frame is in front of it.
//!
//! Longer than other files, because a trait is implemented in one block.

use std::cell::RefCell;
use std::collections::hash_map::Entry;

use bytemuck::Zeroable;

use crate::abi::{
    AddrKey, BindingKey, BindingV4, BucketKey, Config, DropEvent, FilterHead, FirstFragment, FlowKey, FlowV4,
    FragmentKey, HeldHead, Learned, Limit, LinkV4, Load, MacKey, NetworkV4, PathKey, PortKey, PublishedV4, Reason,
    RuleBox, SLOTS, SourceKey, Station, V4, station_flags, word,
};
use crate::datapath::env::{Env, Hop, HopKind, Inserted, Released, Renewal};
use crate::datapath::parse::Head;
use crate::datapath::state::outlived;

use crate::datapath::conntrack::Work;
use crate::datapath::filter::decide;
use crate::datapath::search::Tables;

use super::{Frame, HostEnv, Ip, longest, rewrite};

/// One frame in front of the tables.
pub(super) struct View<'a> {
    pub(super) tables: &'a HostEnv,
    pub(super) frame: &'a Frame,
}

impl Env for View<'_> {
    type F = V4;

    fn head<'a>(&'a self, room: &'a mut Head) -> &'a Head {
        for (place, byte) in bytemuck::bytes_of_mut(room).iter_mut().zip(&self.frame.bytes) {
            *place = *byte;
        }
        room
    }

    fn load<const N: usize>(&self, offset: u16) -> Option<[u8; N]> {
        let start = usize::from(offset);
        self.frame.bytes.get(start..start + N)?.try_into().ok()
    }

    fn sum(&self, at: u16, len: u16) -> Option<u16> {
        let start = usize::from(at);
        let bytes = self.frame.bytes.get(start..start + usize::from(len))?;
        Some(u16::from_ne_bytes(rewrite::sum(bytes).to_be_bytes()))
    }

    fn frame_len(&self) -> u32 {
        u32::try_from(self.frame.bytes.len()).unwrap_or(u32::MAX)
    }

    fn tagged(&self) -> bool {
        self.frame.tagged
    }

    fn gso_size(&self) -> u32 {
        self.frame.gso_size
    }

    fn ifindex(&self) -> u32 {
        self.frame.ifindex
    }

    fn ingress_ifindex(&self) -> u32 {
        self.frame.ingress
    }

    fn now(&self) -> u32 {
        self.tables.now
    }

    fn config(&self) -> Option<&Config> {
        Some(&self.tables.config).filter(|config| config.generation != 0)
    }

    fn link(&self, ifindex: u32) -> Option<&LinkV4> {
        self.tables.links.get(&ifindex)
    }

    fn network(&self, id: u16) -> Option<&NetworkV4> {
        self.tables.networks.get(usize::from(id))
    }

    fn subnet(&self, addr: Ip) -> Option<u32> {
        longest(&self.tables.subnets, addr)
    }

    fn address(&self, key: &AddrKey<Ip>) -> Option<Station> {
        self.tables.addresses.get(key).copied()
    }

    fn station(&self, key: &MacKey) -> Option<Station> {
        self.tables.fdb.borrow().get(key).copied()
    }

    fn learn(&self, key: &MacKey, station: &Station) -> bool {
        *self.tables.writes.borrow_mut() += 1;
        let mut fdb = self.tables.fdb.borrow_mut();
        let room = fdb.len() < self.tables.fdb_capacity || fdb.contains_key(key);
        if room {
            fdb.insert(*key, *station);
        }
        room
    }

    fn learned(&self, slot: u32) -> i64 {
        self.tables
            .learned
            .borrow()
            .get(&slot)
            .map_or(0, |learned| learned.count)
    }

    fn count_learned(&self, slot: u32, more: i32) {
        if slot < SLOTS {
            self.tables.learned.borrow_mut().entry(slot).or_default().count += i64::from(more);
        }
    }

    fn forget_aged(&self, config: &Config, slot: u32, now: u32) {
        let mut table = self.tables.learned.borrow_mut();
        let learned = table.entry(slot).or_default();
        if now.wrapping_sub(learned.walked) < config.refresh {
            return;
        }
        *learned = Learned {
            walked: now,
            ..Learned::default()
        };
        self.tables.fdb.borrow_mut().retain(|_, station| {
            let other = station.slot != slot || station.flags & station_flags::STATIC != 0;
            let live = other || !outlived(now, station.seen, config.fdb_ageing);
            learned.count += i64::from(live && !other);
            live
        });
    }

    fn flow(&self, key: &FlowKey<Ip>, into: &mut FlowV4) -> bool {
        let found = self.tables.flows.borrow().get(key).copied();
        if let Some(flow) = found {
            *into = flow;
        }
        found.is_some()
    }

    fn flow_insert(&self, key: &FlowKey<Ip>, flow: &FlowV4) -> Inserted {
        *self.tables.writes.borrow_mut() += 1;
        let mut flows = self.tables.flows.borrow_mut();
        if flows.contains_key(key) {
            Inserted::Exists
        } else if flows.len() >= self.tables.flow_capacity {
            Inserted::Full
        } else {
            flows.insert(*key, *flow);
            Inserted::Yes
        }
    }

    fn flow_update(&self, key: &FlowKey<Ip>, flow: &FlowV4) {
        *self.tables.writes.borrow_mut() += 1;
        if let Some(place) = self.tables.flows.borrow_mut().get_mut(key) {
            *place = *flow;
        }
    }

    fn flow_renew(&self, key: &FlowKey<Ip>, renewal: &Renewal) -> Option<u8> {
        *self.tables.renewals.borrow_mut() += 1;
        let mut flows = self.tables.flows.borrow_mut();
        let head = &mut flows.get_mut(key)?.head;
        let before = head.state;
        head.seen = renewal.now;
        head.state = renewal.state as u8;
        if renewal.resolved {
            head.resolved = renewal.now;
        }
        if renewal.ask {
            head.epoch = 0;
        }
        Some(before)
    }

    fn flow_remove(&self, key: &FlowKey<Ip>) -> bool {
        *self.tables.writes.borrow_mut() += 1;
        self.tables.flows.borrow_mut().remove(key).is_some()
    }

    fn each_flow<V: FnMut(&FlowKey<Ip>, &FlowV4)>(&self, mut visit: V) {
        let flows: Vec<_> = self
            .tables
            .flows
            .borrow()
            .iter()
            .map(|(key, flow)| (*key, *flow))
            .collect();
        for (key, flow) in flows {
            visit(&key, &flow);
        }
    }

    fn may_reclaim(&self, refresh: u32, now: u32) -> bool {
        due(&self.tables.reclaimed, refresh, now)
    }

    fn load_of(&self, slot: u32) -> Load {
        self.tables.loads.borrow().get(&slot).copied().unwrap_or_default()
    }

    fn charge(&self, slot: u32, change: Load) {
        if slot < SLOTS {
            let mut loads = self.tables.loads.borrow_mut();
            let load = loads.entry(slot).or_default();
            load.flows += change.flows;
            load.half_open += change.half_open;
            load.ports += change.ports;
        }
    }

    fn sample(&self, slot: u32, place: u32) -> Option<FlowKey<Ip>> {
        // An array's element is all zero before it is written.
        let kept = self.tables.samples.borrow().get(&(slot, place)).copied();
        (slot < SLOTS).then(|| kept.unwrap_or_else(FlowKey::zeroed))
    }

    fn keep_sample(&self, slot: u32, place: u32, key: &FlowKey<Ip>) {
        if slot < SLOTS {
            self.tables.samples.borrow_mut().insert((slot, place), *key);
        }
    }

    fn binding(&self, key: &BindingKey<Ip>) -> Option<BindingV4> {
        self.tables.bindings.borrow().get(key).copied()
    }

    fn binding_insert(&self, key: &BindingKey<Ip>, binding: &BindingV4) -> Inserted {
        let mut bindings = self.tables.bindings.borrow_mut();
        if bindings.contains_key(key) {
            Inserted::Exists
        } else if bindings.len() >= self.tables.binding_capacity {
            Inserted::Full
        } else {
            bindings.insert(*key, *binding);
            Inserted::Yes
        }
    }

    fn binding_extend(&self, key: &BindingKey<Ip>, until: u32) {
        if let Some(binding) = self.tables.bindings.borrow_mut().get_mut(key) {
            binding.head.until = until;
        }
    }

    fn binding_share(&self, key: &BindingKey<Ip>) {
        if let Some(binding) = self.tables.bindings.borrow_mut().get_mut(key) {
            binding.head.shared = 1;
        }
    }

    fn binding_remove(&self, key: &BindingKey<Ip>) -> bool {
        self.tables.bindings.borrow_mut().remove(key).is_some()
    }

    fn each_binding<V: FnMut(&BindingKey<Ip>, &BindingV4)>(&self, mut visit: V) {
        let bindings: Vec<_> = self
            .tables
            .bindings
            .borrow()
            .iter()
            .map(|(key, side)| (*key, *side))
            .collect();
        for (key, side) in bindings {
            visit(&key, &side);
        }
    }

    fn first_fragment(&self, key: &FragmentKey<Ip>, into: &mut FirstFragment) -> bool {
        let found = self.tables.fragments.borrow().get(key).copied();
        *into = found.unwrap_or(*into);
        found.is_some()
    }

    fn note_first(&self, key: &FragmentKey<Ip>, first: &FirstFragment) {
        self.tables.fragments.borrow_mut().insert(*key, *first);
    }

    fn advance(&self, key: &FragmentKey<Ip>, next: u16) {
        if let Some(first) = self.tables.fragments.borrow_mut().get_mut(key) {
            first.next = next;
        }
    }

    fn held(&self, place: &FragmentKey<Ip>, into: &mut HeldHead) -> bool {
        let found = self.tables.held.borrow().get(place).map(|(head, _)| *head);
        *into = found.unwrap_or(*into);
        found.is_some()
    }

    fn hold(&self, place: &FragmentKey<Ip>, head: &HeldHead) -> Inserted {
        let mut held = self.tables.held.borrow_mut();
        if held.contains_key(place) {
            Inserted::Exists
        } else if held.len() >= self.tables.held_capacity {
            Inserted::Full
        } else {
            held.insert(*place, (*head, self.frame.bytes.clone()));
            Inserted::Yes
        }
    }

    fn held_remove(&self, place: &FragmentKey<Ip>) -> bool {
        self.tables.held.borrow_mut().remove(place).is_some()
    }

    fn release(&self, place: &FragmentKey<Ip>, head: &HeldHead) -> Released {
        let Some((_, bytes)) = self.tables.held.borrow_mut().remove(place) else {
            return Released::Kept;
        };
        self.tables.released.borrow_mut().push(Frame {
            bytes,
            ifindex: head.ifindex,
            ingress: head.ifindex,
            ..Frame::default()
        });
        Released::Received
    }

    fn each_held<V: FnMut(&FragmentKey<Ip>, &HeldHead)>(&self, mut visit: V) {
        let held: Vec<_> = self
            .tables
            .held
            .borrow()
            .iter()
            .map(|(place, (head, _))| (*place, *head))
            .collect();
        for (place, head) in held {
            visit(&place, &head);
        }
    }

    fn may_reclaim_bindings(&self, refresh: u32, now: u32) -> bool {
        due(&self.tables.bindings_reclaimed, refresh, now)
    }

    fn may_reclaim_held(&self, refresh: u32, now: u32) -> bool {
        due(&self.tables.held_reclaimed, refresh, now)
    }

    fn held_by(&self, slot: u32) -> i32 {
        self.tables.held_by.borrow().get(&slot).copied().unwrap_or_default()
    }

    fn count_held(&self, slot: u32, more: i32) {
        if slot < SLOTS {
            *self.tables.held_by.borrow_mut().entry(slot).or_default() += more;
        }
    }

    fn host_socket(&self, key: &FlowKey<Ip>) -> bool {
        self.tables
            .sockets
            .contains(&(key.proto, u16::from_be_bytes(key.dport)))
    }

    fn published(&self, key: &PortKey<Ip>) -> Option<&PublishedV4> {
        self.tables.leads(*key)
    }

    fn is_source(&self, key: &SourceKey<Ip>) -> bool {
        self.tables.lists(*key)
    }

    fn filter(&self, bank: u32) -> Option<&FilterHead> {
        self.tables.filter.get(bank as usize).map(|bank| &bank.head)
    }

    fn filter_word(&self, bank: u32, index: u32) -> u64 {
        self.tables.word(bank, index)
    }

    fn search(&self, generation: u32, work: &mut Work<V4>) {
        decide(self.tables, generation, &work.subject, &mut work.search);
    }

    fn count_path(&self, bank: u32, path: u32, bytes: u32) {
        self.tables.count(bank, path, bytes);
    }

    fn next_hop(&self, _src: Ip, dst: Ip, _ifindex: u32) -> Hop<Ip> {
        let none = Hop {
            kind: HopKind::Stack,
            ifindex: 0,
            dmac: [0; 6],
            smac: [0; 6],
            src: [0; 4],
        };
        longest(&self.tables.hops, dst).unwrap_or(none)
    }

    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, mut step: S) {
        let _stopped = (0..times).all(&mut step);
    }

    fn count_tx(&self, slot: u32, bytes: u32) {
        self.tables.change(slot, |traffic| {
            traffic.tx_packets += 1;
            traffic.tx_bytes += u64::from(bytes);
        });
    }

    fn count_rx(&self, slot: u32, bytes: u32) {
        self.tables.change(slot, |traffic| {
            traffic.rx_packets += 1;
            traffic.rx_bytes += u64::from(bytes);
        });
    }

    fn count_drop(&self, slot: u32, reason: Reason) {
        if let Some(drops) = self.tables.drops.borrow_mut().get_mut(reason as usize) {
            *drops += 1;
        }
        self.tables.change(slot, |traffic| traffic.drops += 1);
    }

    fn uncount(&self, slot: u32, bytes: u32, reason: Reason) {
        if let Some(drops) = self.tables.drops.borrow_mut().get_mut(reason as usize) {
            *drops -= 1;
        }
        self.tables.change(slot, |traffic| {
            traffic.drops -= 1;
            traffic.tx_packets -= 1;
            traffic.tx_bytes -= u64::from(bytes);
        });
    }

    fn may_report(&self, tick: u32, limit: u32) -> bool {
        self.tables.budget.borrow_mut().take(tick, 1, limit)
    }

    fn may_flood(&self, slot: u32, now: u32, span: u32, limit: u32) -> bool {
        self.tables
            .floods
            .borrow_mut()
            .entry(slot)
            .or_default()
            .take(now, span, limit)
    }

    fn may_answer(&self, tick: u32, limit: u32) -> bool {
        self.tables.answers.borrow_mut().take(tick, 1, limit)
    }

    fn report(&self, event: &DropEvent) {
        self.tables.events.borrow_mut().push(*event);
    }
}

/// True if `refresh` ticks have passed since `last`, which is now then.
fn due(last: &RefCell<u32>, refresh: u32, now: u32) -> bool {
    let mut last = last.borrow_mut();
    let due = now.wrapping_sub(*last) >= refresh;
    if due {
        *last = now;
    }
    due
}

impl Tables for HostEnv {
    fn head(&self, bank: u32, number: u32) -> Option<&FilterHead> {
        let bank = self.filter.get(bank as usize)?;
        std::iter::once(&bank.head).chain(&bank.patches).nth(number as usize)
    }

    fn word(&self, bank: u32, index: u32) -> u64 {
        let bank = self.filter.get(bank as usize);
        bank.and_then(|bank| bank.words.get(index as usize))
            .copied()
            .unwrap_or(word::EMPTY)
    }

    fn found(&self, bank: u32, index: u32) -> Option<&RuleBox> {
        self.filter.get(bank as usize)?.boxes.get(index as usize)
    }

    fn path(&self, number: u32) -> Option<PathKey> {
        self.paths.borrow().get(&number).copied()
    }

    fn path_insert(&self, number: u32, path: &PathKey) -> Inserted {
        match self.paths.borrow_mut().entry(number) {
            Entry::Occupied(_) => Inserted::Exists,
            Entry::Vacant(place) => {
                place.insert(*path);
                Inserted::Yes
            }
        }
    }

    fn limit(&self, bank: u32, number: u32) -> Option<&Limit> {
        self.filter.get(bank as usize)?.limits.get(number as usize)
    }

    fn moment(&self) -> u64 {
        u64::from(self.now) << 22
    }

    fn bucket(&self, key: &BucketKey) -> Option<u64> {
        self.buckets.borrow().get(key).copied()
    }

    fn bucket_insert(&self, key: &BucketKey, due: u64) -> Inserted {
        match self.buckets.borrow_mut().entry(*key) {
            Entry::Occupied(_) => Inserted::Exists,
            Entry::Vacant(place) => {
                place.insert(due);
                Inserted::Yes
            }
        }
    }

    fn bucket_replace(&self, key: &BucketKey, was: u64, due: u64) -> bool {
        let mut buckets = self.buckets.borrow_mut();
        let found = buckets.get_mut(key).filter(|found| **found == was);
        found.map(|found| *found = due).is_some()
    }

    fn count(&self, bank: u32, path: u32, bytes: u32) {
        let mut passed = self.passed.borrow_mut();
        let passed = passed.entry((bank, path)).or_default();
        passed.packets += 1;
        passed.bytes += u64::from(bytes);
    }

    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, mut step: S) {
        let _stopped = (0..times).all(&mut step);
    }
}
