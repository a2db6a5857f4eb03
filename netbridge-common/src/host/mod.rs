//! The core's world in plain memory: byte vectors and hash maps instead of packets and BPF maps.
//!
//! Three users: the core's own tests, the differential test that runs the same packets through the
//! kernel, and whoever wants to know what would happen to a packet without sending it. [`rewrite`]
//! carries a verdict out with checksums computed in full, an oracle for the incremental ones.

pub mod build;
pub mod cases;
mod housekeeping;
pub mod lab;
pub mod pieces;
pub mod rewrite;
pub mod socket;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use bytemuck::Zeroable;

use crate::abi::{
    AddrKey, BANKS, BindingHead, BindingKey, BindingV4, Config, DropEvent, FirstFragment, FlowKey, FlowV4, FragmentKey, HeldHead,
    Hook, Learned, LinkV4, Load, MAX_NETWORKS, MAX_RULES, MacKey, NetworkV4, Peer, PeerKey, Policy, PortBlock, PortKey,
    PublishedV4, REASON_SLOTS, Reason, RuleV4, SLOTS, SourceKey, Station, Traffic, V4, station_flags,
};
use crate::datapath::env::{Budget, Env, Hop, HopKind, Inserted, Released, Renewal};
use crate::datapath::parse::{Head, Packet, parse};
use crate::datapath::pipeline::{Scratch, run};
use crate::datapath::state::outlived;
use crate::datapath::verdict::Verdict;

/// An IPv4 address in network order.
pub type Ip = [u8; 4];

/// A frame and what the kernel keeps beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The interface whose program sees it.
    pub ifindex: u32,
    /// The interface it came in by, 0 if the host made it.
    pub ingress: u32,
    /// Payload of each segment of a GSO frame, 0 for others, bytes.
    pub gso_size: u32,
    /// It carries an 802.1Q tag.
    pub tagged: bool,
}

/// An IPv4 prefix: address and length in bits.
pub type Prefix = (Ip, u32);

/// A frame that waits for the first fragment of its datagram.
pub type Waiting = (HeldHead, Vec<u8>);

/// The tables of an instance, its clock and the host's routes. The fields are the maps of the same
/// name; those that the datapath writes are behind a [`RefCell`], because [`Env`] is shared.
#[derive(Clone, Debug)]
pub struct HostEnv {
    /// Ticks.
    pub now: u32,
    /// The configuration; generation 0 stands for none.
    pub config: Config,
    /// Interfaces by ifindex.
    pub links: HashMap<u32, LinkV4>,
    /// Networks by id, [`MAX_NETWORKS`] of them.
    pub networks: Vec<NetworkV4>,
    /// Whose address, by prefix.
    pub subnets: HashMap<Prefix, u32>,
    /// Endpoints by address.
    pub addresses: HashMap<AddrKey<Ip>, Station>,
    /// Published ports, by blocks.
    pub published: HashMap<PortBlock<Ip>, PublishedV4>,
    /// Lists of sources: the number of each and a prefix on it.
    pub sources: HashSet<(u32, Prefix)>,
    /// What sockets of the host asked for, by the container that they talk to.
    pub peers: RefCell<HashMap<PeerKey<Ip>, Peer<Ip>>>,
    /// Heads of the filter's banks.
    pub policy: [Policy; BANKS as usize],
    /// Rules of both banks.
    pub rules: Vec<RuleV4>,
    /// The host's routes; without one the stack answers.
    pub hops: HashMap<Prefix, Hop<Ip>>,
    /// Stations by MAC.
    pub fdb: RefCell<HashMap<MacKey, Station>>,
    /// Entries that `fdb` holds.
    pub fdb_capacity: usize,
    /// Flow halves.
    pub flows: RefCell<HashMap<FlowKey<Ip>, FlowV4>>,
    /// Entries that `flows` holds.
    pub flow_capacity: usize,
    /// Flows on the quota of each slot's owner.
    pub loads: RefCell<HashMap<u32, Load>>,
    /// Keys of flows that may not be established yet, by slot and place.
    pub samples: RefCell<HashMap<(u32, u32), FlowKey<Ip>>>,
    /// Sides of bindings.
    pub bindings: RefCell<HashMap<BindingKey<Ip>, BindingV4>>,
    /// Sides that `bindings` holds.
    pub binding_capacity: usize,
    /// What first fragments said.
    pub fragments: RefCell<HashMap<FragmentKey<Ip>, FirstFragment>>,
    /// Frames that wait for the first fragment of their datagram.
    pub held: RefCell<HashMap<FragmentKey<Ip>, Waiting>>,
    /// Frames that `held` holds.
    pub held_capacity: usize,
    /// How many of them came in by the interface of each slot.
    pub held_by: RefCell<HashMap<u32, i32>>,
    /// Tick of the last walk over them.
    pub held_reclaimed: RefCell<u32>,
    /// Frames that have waited, and that their interfaces receive anew next.
    pub released: RefCell<Vec<Frame>>,
    /// Sockets of the host: protocol and port.
    pub sockets: HashSet<(u8, u16)>,
    /// Drops by reason.
    pub drops: RefCell<[u64; REASON_SLOTS as usize]>,
    /// Traffic by slot.
    pub traffic: RefCell<HashMap<u32, Traffic>>,
    /// Drop events sent.
    pub events: RefCell<Vec<DropEvent>>,
    /// Drop events of the current tick.
    pub budget: RefCell<Budget>,
    /// ICMP errors made in the current tick.
    pub answers: RefCell<Budget>,
    /// MACs learned, by slot.
    pub learned: RefCell<HashMap<u32, Learned>>,
    /// Frames sent to everybody, by slot.
    pub floods: RefCell<HashMap<u32, Budget>>,
    /// Tick of the last walk over a full flow table.
    pub reclaimed: RefCell<u32>,
    /// Writes to `flows` and `fdb`, refused ones included.
    pub writes: RefCell<u64>,
    /// Halves of flows whose times were renewed in place.
    pub renewals: RefCell<u64>,
}

impl Default for HostEnv {
    /// Nothing is known; tables as large as the kernel's.
    fn default() -> Self {
        Self {
            now: 0,
            config: Config::zeroed(),
            links: HashMap::new(),
            networks: vec![NetworkV4::zeroed(); MAX_NETWORKS as usize],
            subnets: HashMap::new(),
            addresses: HashMap::new(),
            published: HashMap::new(),
            sources: HashSet::new(),
            peers: RefCell::default(),
            policy: [Policy::zeroed(); BANKS as usize],
            rules: vec![RuleV4::zeroed(); (BANKS * MAX_RULES) as usize],
            hops: HashMap::new(),
            fdb: RefCell::default(),
            fdb_capacity: 16_384,
            flows: RefCell::default(),
            flow_capacity: 262_144,
            loads: RefCell::default(),
            samples: RefCell::default(),
            bindings: RefCell::default(),
            binding_capacity: 131_072,
            fragments: RefCell::default(),
            held: RefCell::default(),
            held_capacity: 512,
            held_by: RefCell::default(),
            held_reclaimed: RefCell::default(),
            released: RefCell::default(),
            sockets: HashSet::new(),
            drops: RefCell::new([0; REASON_SLOTS as usize]),
            traffic: RefCell::default(),
            events: RefCell::default(),
            budget: RefCell::default(),
            answers: RefCell::default(),
            learned: RefCell::default(),
            floods: RefCell::default(),
            reclaimed: RefCell::default(),
            writes: RefCell::default(),
            renewals: RefCell::default(),
        }
    }
}

/// What every byte that another frame left behind is here.
const LEFT_OVER: u8 = 0xa5;

impl HostEnv {
    /// What the hook's program would do with the frame; the tables change as the kernel's would.
    pub fn run(&self, hook: Hook, frame: &Frame) -> Verdict<Ip> {
        let mut scratch = Scratch::new();
        // A program finds what the frame before this one left.
        bytemuck::bytes_of_mut(&mut scratch.head).fill(LEFT_OVER);
        let verdict = &mut scratch.work.verdict;
        (verdict.ttl, verdict.l4, verdict.inner_sum) = (LEFT_OVER, LEFT_OVER.into(), LEFT_OVER.into());
        (verdict.src, verdict.dst, verdict.ports) = ([LEFT_OVER; 4], [LEFT_OVER; 4], [LEFT_OVER; 4]);
        (verdict.pseudo_diff, verdict.l4_diff) = (LEFT_OVER.into(), LEFT_OVER.into());
        (verdict.quote, verdict.mtu) = (LEFT_OVER.into(), LEFT_OVER.into());
        run(&View { tables: self, frame }, hook, &mut scratch);
        scratch.work.verdict
    }

    /// What the core reads of a container's frame, whatever lay where it is read to.
    pub fn parsed(&self, frame: &Frame) -> Packet<Ip> {
        let (mut room, mut packet) = (Head::zeroed(), Packet::EMPTY);
        bytemuck::bytes_of_mut(&mut room).fill(LEFT_OVER);
        let view = View { tables: self, frame };
        parse(&view, Hook::FromContainer, &mut room, &mut packet);
        packet
    }

    /// Drops so far for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops.borrow().get(reason as usize).copied().unwrap_or_default()
    }

    /// Puts a filter in force: up to [`MAX_RULES`] rules, then the policy, one of
    /// [`crate::abi::verdict`]. The generation rises, as when the controller swaps banks.
    pub fn set_filter(&mut self, policy: u8, rules: &[RuleV4]) {
        self.config.generation += 1;
        let bank = (self.config.generation & (BANKS - 1)) as usize;
        let places = self
            .rules
            .iter_mut()
            .skip(bank * MAX_RULES as usize)
            .take(MAX_RULES as usize);
        let mut used = 0;
        for (place, rule) in places.zip(rules) {
            *place = *rule;
            used += 1;
        }
        if let Some(head) = self.policy.get_mut(bank) {
            *head = Policy {
                rules: used,
                policy,
                active: u8::from(used > 0 || policy != 0),
                pad: 0,
            };
        }
    }

    /// The block that holds a port by the longest prefix: where it leads.
    fn leads(&self, key: PortKey<Ip>) -> Option<&PublishedV4> {
        let holds = |block: &PortBlock<Ip>| {
            let bits = |key: &PortKey<Ip>| u64::from_be_bytes(bytemuck::cast(*key));
            let differ = bits(&block.first) ^ bits(&key);
            differ.checked_shr(PortKey::<Ip>::BITS - block.prefix).unwrap_or(0) == 0
        };
        let blocks = self.published.iter().filter(|(block, _)| holds(block));
        blocks.max_by_key(|(block, _)| block.prefix).map(|(_, target)| target)
    }

    /// Whether a list of sources has an address.
    fn lists(&self, key: SourceKey<Ip>) -> bool {
        let on = |(list, prefix): &(u32, Prefix)| *list == { key.list } && holds(*prefix, key.addr);
        self.sources.iter().any(on)
    }

    fn change(&self, slot: u32, change: impl FnOnce(&mut Traffic)) {
        if slot < SLOTS {
            change(self.traffic.borrow_mut().entry(slot).or_default());
        }
    }
}

/// Whether a prefix holds an address.
fn holds((net, length): Prefix, addr: Ip) -> bool {
    let differ = u32::from_be_bytes(net) ^ u32::from_be_bytes(addr);
    differ.checked_shr(32 - length).unwrap_or(0) == 0
}

/// The value of the longest prefix that holds an address.
fn longest<T: Copy>(table: &HashMap<Prefix, T>, addr: Ip) -> Option<T> {
    let found = table
        .iter()
        .filter(|(prefix, _)| holds(**prefix, addr))
        .max_by_key(|((_, length), _)| *length);
    found.map(|(_, value)| *value)
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

/// One frame in front of the tables.
struct View<'a> {
    tables: &'a HostEnv,
    frame: &'a Frame,
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

    fn learned(&self, slot: u32) -> i32 {
        self.tables
            .learned
            .borrow()
            .get(&slot)
            .map_or(0, |learned| learned.count)
    }

    fn count_learned(&self, slot: u32, more: i32) {
        if slot < SLOTS {
            self.tables.learned.borrow_mut().entry(slot).or_default().count += more;
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
            learned.count += i32::from(live && !other);
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

    fn binding_renew(&self, key: &BindingKey<Ip>, head: BindingHead) {
        if let Some(binding) = self.tables.bindings.borrow_mut().get_mut(key) {
            binding.head = head;
        }
    }

    fn binding_remove(&self, key: &BindingKey<Ip>) {
        self.tables.bindings.borrow_mut().remove(key);
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

    fn policy(&self, bank: u32) -> Option<&Policy> {
        self.tables.policy.get(bank as usize)
    }

    fn rule(&self, index: u32) -> Option<&RuleV4> {
        self.tables.rules.get(index as usize)
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
