//! The core's world in plain memory: byte vectors and hash maps instead of packets and BPF maps.
//!
//! Three users: the core's own tests, the differential test that runs the same packets through the
//! kernel, and whoever wants to know what would happen to a packet without sending it. [`rewrite`]
//! carries a verdict out with checksums computed in full, an oracle for the incremental ones.

pub mod build;
pub mod cases;
pub mod filter;
mod housekeeping;
pub mod lab;
pub mod pieces;
pub mod rewrite;
pub mod socket;
mod view;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use bytemuck::{Pod, Zeroable};

use crate::abi::{
    AddrKey, BANKS, BindingKey, BindingV4, BucketKey, Config, DropEvent, FilterHead, FirstFragment, FlowKey, FlowV4,
    FragmentKey, HeldHead, Hook, Learned, LinkV4, Load, MAX_NETWORKS, MacKey, NO_SLOT, NetworkV4, Passed, PathKey,
    Peer, PeerKey, PortBlock, PortKey, PublishedV4, REASON_SLOTS, Reason, Region, SLOTS, SourceKey, Station, Traffic,
    V4, ZONE_UPLINK, generation,
};
use crate::datapath::conntrack::{Arrival, Cx};
use crate::datapath::env::{Budget, Hop};
use crate::datapath::filter::{Subject, decide};
use crate::datapath::fragments::judged;
use crate::datapath::parse::{Head, Packet, parse};
use crate::datapath::pipeline::{Scratch, run, settle};
use crate::datapath::search::Search;
use crate::datapath::verdict::Verdict;

use self::filter::{Bank, RuleV4};
use self::view::View;

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
/// name; those that the datapath writes are behind a [`RefCell`], because [`Env`](crate::datapath::env::Env) is shared.
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
    /// The filter's banks.
    pub filter: [Bank; BANKS as usize],
    /// Paths of several places, by number.
    pub paths: RefCell<HashMap<u32, PathKey>>,
    /// Buckets of limits.
    pub buckets: RefCell<HashMap<BucketKey, u64>>,
    /// What went each path, by bank and number.
    pub passed: RefCell<HashMap<(u32, u32), Passed>>,
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
    /// When `bindings` was last walked for ended entries.
    pub bindings_reclaimed: RefCell<u32>,
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
            filter: Default::default(),
            paths: RefCell::default(),
            buckets: RefCell::default(),
            passed: RefCell::default(),
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
            bindings_reclaimed: RefCell::default(),
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

/// Room as a program finds it: with what the frame before this one left.
fn used() -> Scratch<V4> {
    let mut scratch = Scratch::new();
    bytemuck::bytes_of_mut(&mut scratch.head).fill(LEFT_OVER);
    let verdict = &mut scratch.work.verdict;
    (verdict.ttl, verdict.l4, verdict.inner_sum) = (LEFT_OVER, LEFT_OVER.into(), LEFT_OVER.into());
    (verdict.src, verdict.dst, verdict.ports) = ([LEFT_OVER; 4], [LEFT_OVER; 4], [LEFT_OVER; 4]);
    (verdict.pseudo_diff, verdict.l4_diff) = (LEFT_OVER.into(), LEFT_OVER.into());
    (verdict.quote, verdict.mtu, verdict.reject) = (LEFT_OVER.into(), LEFT_OVER.into(), LEFT_OVER);
    scratch
}

impl HostEnv {
    /// What the hook's program would do with the frame; the tables change as the kernel's would.
    pub fn run(&self, hook: Hook, frame: &Frame) -> Verdict<Ip> {
        let mut scratch = used();
        run(&View { tables: self, frame }, hook, &mut scratch);
        scratch.work.verdict
    }

    /// What the hook's program would do with the frame of an interface that it knows if a rule rejected it with `with`, one
    /// of [`crate::abi::reject`]: how [`Self::run`] ends.
    pub fn reject(&self, hook: Hook, frame: &Frame, with: u8) -> Verdict<Ip> {
        let env = View { tables: self, frame };
        let Scratch {
            mut head,
            mut packet,
            mut work,
        } = used();
        work.verdict.reset();
        parse(&env, hook, &mut head, &mut packet);
        let mut cx = Cx {
            env: &env,
            config: &self.config,
            packet: &mut packet,
            arrival: Arrival {
                hook,
                zone: ZONE_UPLINK,
                ifindex: frame.ifindex,
                slot: NO_SLOT,
                now: self.now,
                generation: self.config.generation,
            },
        };
        if let Some(link) = self.links.get(&frame.ifindex) {
            cx.enter(link.head.station.net);
            cx.arrival.slot = link.head.slot;
        }
        let action = judged(&mut cx, hook, &mut work, |_, work| work.verdict.reject(with));
        work.verdict.action = settle(&cx, hook, action, &mut work);
        work.verdict
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

    /// Puts rules in force, then the policy, one of [`crate::abi::verdict`].
    pub fn set_filter(&mut self, policy: u8, rules: &[RuleV4]) {
        self.swap_filter(filter::compile(policy, rules, &self.links));
    }

    /// Puts a bank in force. The generation rises, as when the controller swaps banks.
    pub fn swap_filter(&mut self, bank: Bank) {
        let generation = generation::swapped(self.config.generation);
        self.config.generation = generation;
        let number = generation::bank(generation);
        if let Some(place) = self.filter.get_mut(number as usize) {
            *place = bank;
            place.head.generation = generation;
        }
        self.passed.borrow_mut().retain(|(bank, _), _| *bank != number);
    }

    /// Puts tables in force for the packets of a region, made for what was free of the bank. The generation rises.
    pub fn patch_filter(&mut self, region: Region, tables: &Bank) {
        self.config.generation = generation::patched(self.config.generation);
        let Some(bank) = self.filter.get_mut(generation::bank(self.config.generation) as usize) else {
            return;
        };
        filled(&mut bank.words, &tables.words, tables.head.words);
        filled(&mut bank.boxes, &tables.boxes, tables.head.boxes);
        filled(&mut bank.limits, &tables.limits, tables.head.limits);
        let head = FilterHead {
            generation: bank.head.generation,
            region,
            ..tables.head
        };
        bank.patches.push(head);
    }

    /// What the filter in force says of a packet.
    pub fn decide(&self, subject: &Subject<Ip>) -> Search {
        let mut search = Search::EMPTY;
        decide(self, self.config.generation, subject, &mut search);
        search
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

/// Adds what ends at a place, and before it what nobody reads.
fn filled<T: Pod>(all: &mut Vec<T>, own: &[T], end: u32) {
    all.resize((end as usize).saturating_sub(own.len()), T::zeroed());
    all.extend_from_slice(own);
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
