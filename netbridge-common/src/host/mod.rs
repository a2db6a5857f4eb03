//! The core's world in plain memory: byte vectors and hash maps instead of packets and BPF maps.
//!
//! Three users: the core's own tests, the differential test that runs the same packets through the
//! kernel, and whoever wants to know what would happen to a packet without sending it. [`rewrite`]
//! carries a verdict out with checksums computed in full, an oracle for the incremental ones.

pub mod build;
pub mod cases;
pub mod lab;
pub mod rewrite;
pub mod socket;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use bytemuck::Zeroable;

use crate::abi::{
    AddrKey, BANKS, Config, DropEvent, FlowKey, FlowV4, Hook, LinkV4, MAX_NETWORKS, MAX_RULES, MacKey, NetworkV4, Peer,
    PeerKey, Policy, PortBlock, PortKey, PublishedV4, REASON_SLOTS, Reason, RuleV4, SourceKey, Station, Traffic, V4,
};
use crate::datapath::conntrack::is_expired;
use crate::datapath::env::{Env, EventBudget, Hop, HopKind, Inserted};
use crate::datapath::parse::{Head, Packet, parse};
use crate::datapath::pipeline::{Scratch, run};
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
    pub hops: HashMap<Prefix, Hop>,
    /// Stations by MAC.
    pub fdb: RefCell<HashMap<MacKey, Station>>,
    /// Entries that `fdb` holds.
    pub fdb_capacity: usize,
    /// Flow halves.
    pub flows: RefCell<HashMap<FlowKey<Ip>, FlowV4>>,
    /// Entries that `flows` holds.
    pub flow_capacity: usize,
    /// Drops by reason.
    pub drops: RefCell<[u64; REASON_SLOTS as usize]>,
    /// Traffic by slot.
    pub traffic: RefCell<HashMap<u32, Traffic>>,
    /// Drop events sent.
    pub events: RefCell<Vec<DropEvent>>,
    /// Drop events of the current tick.
    pub budget: RefCell<EventBudget>,
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
            drops: RefCell::new([0; REASON_SLOTS as usize]),
            traffic: RefCell::default(),
            events: RefCell::default(),
            budget: RefCell::default(),
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
        run(&View { tables: self, frame }, hook, &mut scratch);
        scratch.work.verdict
    }

    /// What the core reads of a frame, whatever lay where it is read to.
    pub fn parsed(&self, frame: &Frame) -> Packet<Ip> {
        let (mut room, mut packet) = (Head::zeroed(), Packet::EMPTY);
        bytemuck::bytes_of_mut(&mut room).fill(LEFT_OVER);
        parse(&View { tables: self, frame }, &mut room, &mut packet);
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
        if slot < crate::abi::SLOTS {
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

    fn learn(&self, key: &MacKey, station: &Station) {
        *self.tables.writes.borrow_mut() += 1;
        let mut fdb = self.tables.fdb.borrow_mut();
        if fdb.len() < self.tables.fdb_capacity || fdb.contains_key(key) {
            fdb.insert(*key, *station);
        }
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

    fn flow_renew(&self, key: &FlowKey<Ip>, now: u32, resolved: bool) -> Option<(u8, u8)> {
        *self.tables.renewals.borrow_mut() += 1;
        let mut flows = self.tables.flows.borrow_mut();
        let head = &mut flows.get_mut(key)?.head;
        head.seen = now;
        head.resolved = if resolved { now } else { head.resolved };
        Some((head.state, head.flags))
    }

    fn flow_remove(&self, key: &FlowKey<Ip>) {
        *self.tables.writes.borrow_mut() += 1;
        self.tables.flows.borrow_mut().remove(key);
    }

    fn reclaim(&self, config: &Config, now: u32) -> bool {
        if now.wrapping_sub(*self.tables.reclaimed.borrow()) < config.refresh {
            return false;
        }
        *self.tables.reclaimed.borrow_mut() = now;
        let live = |key: &FlowKey<Ip>, flow: &mut FlowV4| !is_expired(config, key.proto, &flow.head, now);
        self.tables.flows.borrow_mut().retain(live);
        true
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

    fn next_hop(&self, _src: Ip, dst: Ip, _ifindex: u32) -> Hop {
        let none = Hop {
            kind: HopKind::Stack,
            ifindex: 0,
            dmac: [0; 6],
            smac: [0; 6],
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

    fn may_report(&self, tick: u32, limit: u32) -> bool {
        self.tables.budget.borrow_mut().take(tick, limit)
    }

    fn report(&self, event: &DropEvent) {
        self.tables.events.borrow_mut().push(*event);
    }
}
