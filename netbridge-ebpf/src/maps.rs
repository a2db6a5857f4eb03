//! The maps. The controller pins them by name; every layout is in `netbridge_common::abi`.
//!
//! `#[btf_map]` and not `#[map]`: the kernel then knows key and value types, `bpftool map dump`
//! prints them by field, and libbpf 1.x tools accept the object.

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use netbridge_common::abi::{
    AddrKey, BANKS, BOX_PAGES, BUCKETS, BindingKey, BindingV4, BoxPage, BucketKey, CHUNK_PAGES, CHUNKS, Config,
    DropEvent, EVENT_BYTES, FilterHead, FirstFragment, FlowKey, FlowV4, FragmentKey, HEADS, Held, JOINED_PATHS, LIMITS,
    Learned, Limit, LinkV4, Load, MAX_NETWORKS, MacKey, NetworkV4, PassedPage, PathKey, Peer, PeerKey, PortKey,
    PublishedV4, REASON_SLOTS, SAMPLES, SLOTS, STATIONS, SourceKey, Station, Traffic, V4, WORD_PAGES, WordPage,
};
use netbridge_common::datapath::env::Budget;
use netbridge_common::datapath::pipeline::Scratch;

/// An IPv4 address.
pub(crate) type Ip = [u8; 4];

/// Written by the controller.
#[btf_map]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();

/// By ifindex. Written by the controller.
#[btf_map]
pub(crate) static LINKS: HashMap<u32, LinkV4, { SLOTS as usize }> = HashMap::new();

/// By network id. Written by the controller.
#[btf_map]
pub(crate) static NETWORKS: Array<NetworkV4, { MAX_NETWORKS as usize }> = Array::new();

/// Whose address. Written by the controller.
#[btf_map]
pub(crate) static SUBNETS: LpmTrie<Ip, u32, 1024> = LpmTrie::new();

/// Endpoints by address. Written by the controller.
#[btf_map]
pub(crate) static ADDRESSES: HashMap<AddrKey<Ip>, Station, 8192> = HashMap::new();

/// Stations by MAC. Static entries written by the controller, learned ones by `from_container`; the
/// controller deletes both.
#[btf_map]
pub(crate) static FDB: HashMap<MacKey, Station, { STATIONS as usize }> = HashMap::new();

/// Flow halves; two for each flow of the settings. Written by every program, which removes what has expired, and under the
/// pressure of quotas what is not established; the controller ends flows by a program.
#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey<Ip>, FlowV4, 262_144> = HashMap::new();

/// Flows on each slot's quota. Counted by the programs.
#[btf_map]
pub(crate) static LOADS: Array<Load, { SLOTS as usize }> = Array::new();

/// Keys of flows that may not be established yet, [`SAMPLES`] a slot. Written by the programs.
#[btf_map]
pub(crate) static HALF_OPEN: Array<FlowKey<Ip>, { (SLOTS * SAMPLES) as usize }> = Array::new();

/// Sides of bindings; one for each flow of the settings. Written by the programs, which remove those that have ended; the
/// controller ends them.
#[btf_map]
pub(crate) static BINDINGS: HashMap<BindingKey<Ip>, BindingV4, 131_072> = HashMap::new();

/// First fragments. Written by the programs; what was used least lately is evicted.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey<Ip>, FirstFragment, 8192> = LruHashMap::new();

/// Frames that wait for the first fragment of their datagram. Written by the programs.
#[btf_map]
pub(crate) static HELD: HashMap<FragmentKey<Ip>, Held, 512> = HashMap::new();

/// How many of them came in by the interface of a slot. Counted by the programs.
#[btf_map]
pub(crate) static HELD_BY: Array<i64, { SLOTS as usize }> = Array::new();

/// Room for a frame that is about to wait, or that is set aside while others go.
#[btf_map]
pub(crate) static ASIDE: PerCpuArray<Held, 1> = PerCpuArray::new();

/// Published ports, by blocks; room for every port of a transport one by one at one address, which takes two entries each.
/// Written by the controller.
#[btf_map]
pub(crate) static PUBLISHED: LpmTrie<PortKey<Ip>, PublishedV4, 131_072> = LpmTrie::new();

/// Lists of sources that published ports are open to; the value says nothing. Written by the controller.
#[btf_map]
pub(crate) static SOURCES: LpmTrie<SourceKey<Ip>, u32, 16384> = LpmTrie::new();

/// What sockets of the host asked for when they were led to a container. Written by the socket hooks; the controller
/// deletes. Nobody tells that a socket is gone, so the oldest entry makes room: a program whose entry is lost sees the
/// container's address, and its packets go on.
#[btf_map]
pub(crate) static PEERS: LruHashMap<PeerKey<Ip>, Peer<Ip>, 32768> = LruHashMap::new();

/// Heads of the filter's banks and of their patches. The controller writes those of the bank not in force, and of the other
/// those of patches that are not in force; what these lead to is written behind all that is. Of what is in force it changes what
/// the programs do not look at, and zeroes answers for pairs.
#[btf_map]
pub(crate) static FILTER: Array<FilterHead, { (BANKS * HEADS) as usize }> = Array::new();

/// Words of both banks, by pages. Written likewise.
#[btf_map]
pub(crate) static FILTER_WORDS: Array<WordPage, { (BANKS * WORD_PAGES) as usize }> = Array::new();

/// Boxes of both banks, by pages. Written likewise.
#[btf_map]
pub(crate) static FILTER_BOXES: Array<BoxPage, { (BANKS * BOX_PAGES) as usize }> = Array::new();

/// Paths of several places through the rules, by number. Written by the programs; the controller deletes those of rules that
/// are no longer in force.
#[btf_map]
pub(crate) static PATHS: HashMap<u32, PathKey, { JOINED_PATHS as usize }> = HashMap::new();

/// Limits of both banks. Written like the words.
#[btf_map]
pub(crate) static FILTER_LIMITS: Array<Limit, { (BANKS * LIMITS) as usize }> = Array::new();

/// Buckets of limits. Written by the programs; what was used least lately is evicted, and is full when it comes back.
#[btf_map]
pub(crate) static LIMIT_BUCKETS: LruHashMap<BucketKey, u64, { BUCKETS as usize }> = LruHashMap::new();

/// What went each path, by bank, in chunks that the controller makes when a bank first needs them: a bank's worth for every
/// CPU would be much for rules that are few. Counted by the programs; the controller zeroes those of a bank before it
/// writes it.
#[btf_map]
pub(crate) static PASSED: ArrayOfMaps<
    PerCpuArray<PassedPage, { CHUNK_PAGES as usize }>,
    { (BANKS * CHUNKS) as usize },
> = ArrayOfMaps::new();

/// Drops by reason. Counted by the programs, read by the controller.
#[btf_map]
pub(crate) static DROPS: PerCpuArray<u64, { REASON_SLOTS as usize }> = PerCpuArray::new();

/// Traffic by slot. Counted by the programs; the controller zeroes a slot before it gives it away.
#[btf_map]
pub(crate) static TRAFFIC: PerCpuArray<Traffic, { SLOTS as usize }> = PerCpuArray::new();

/// Drop events, consumed by the controller; a full buffer loses events, never packets.
#[btf_map]
pub(crate) static EVENTS: RingBuf<DropEvent, { EVENT_BYTES as usize }> = RingBuf::new();

/// How many events this CPU has sent in the current tick.
#[btf_map]
pub(crate) static EVENT_RATE: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Frames for everybody that the port of a slot has sent on this CPU.
#[btf_map]
pub(crate) static FLOODS: PerCpuArray<Budget, { SLOTS as usize }> = PerCpuArray::new();

/// MACs learned behind the port of a slot. Counted by `from_container`; the controller zeroes a slot before it gives it
/// away.
#[btf_map]
pub(crate) static LEARNED: Array<Learned, { SLOTS as usize }> = Array::new();

/// How many ICMP errors this CPU has made in the current tick.
#[btf_map]
pub(crate) static ANSWER_RATE: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Bytes summed up at once: as many as the kernel's helper takes.
pub(crate) const CHUNK: u32 = 512;

/// Room for them, and to pad them to a word.
#[btf_map]
pub(crate) static SUMMED: PerCpuArray<[u8; CHUNK as usize + 4], 1> = PerCpuArray::new();

/// Ticks of the last walks over the flow table, over the frames that wait, and over the bindings. Written by whoever walks.
#[btf_map]
pub(crate) static RECLAIMED: Array<u32, 3> = Array::new();

/// The packet in work. TC programs run with bottom halves off, so one CPU works on one packet.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch<V4>, 1> = PerCpuArray::new();
