//! An instance in the kernel: filled from a host environment, run on one packet at a time.
//!
//! Long, because each map is here twice: how it is filled, and how it is read back.

use std::collections::HashMap;
use std::mem::offset_of;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::SchedClassifier;
use aya::util::nr_cpus;
use aya::{TestRun as _, TestRunOptions};
use bytemuck::Zeroable as _;
use ipnet::Ipv4Net;
use netbridge::datapath::{Datapath, LoadOptions, Pins, Tables};
use netbridge_common::abi::{
    BOX_PAGES, BindingKey, BindingV4, BoxPage, Config, FilterHead, FirstFragment, FlowKey, FlowV4, FragmentKey, HEADS,
    HELD_BYTES, Held, HeldHead, Hook, Learned, LinkV4, Load, MacKey, NetworkV4, PAGE_BOXES, PAGE_WORDS, Reason,
    SAMPLES, Station, Traffic, V4, WORD_PAGES, WordPage,
};
use netbridge_common::datapath::env::Budget;
use netbridge_common::datapath::pipeline::Scratch;
use netbridge_common::datapath::verdict::{Action, Verdict};
use netbridge_common::host::{Frame, HostEnv, Ip, Prefix, Waiting};

use super::maps::{Table, fill, open};
use crate::sandbox::Sandbox;

/// `TC_ACT_UNSPEC`.
const UNSPEC: i32 = -1;
/// `TC_ACT_SHOT`: what the kernel is told of a packet that is dropped.
pub const SHOT: i32 = 2;
/// `TC_ACT_REDIRECT`.
const REDIRECT: i32 = 7;

/// Longest frame that comes out of a run, bytes.
const ROOM: usize = 4096;

/// Slots that tests use.
pub(super) const SLOTS: u32 = 16;

const SCRATCH: usize = size_of::<Scratch<V4>>();

type Flows = Table<FlowKey<Ip>, FlowV4, { size_of::<FlowKey<Ip>>() }, { size_of::<FlowV4>() }>;
type Bindings = Table<BindingKey<Ip>, BindingV4, { size_of::<BindingKey<Ip>>() }, { size_of::<BindingV4>() }>;
type Fragments =
    Table<FragmentKey<Ip>, FirstFragment, { size_of::<FragmentKey<Ip>>() }, { size_of::<FirstFragment>() }>;
type HeldFrames = Table<FragmentKey<Ip>, Held, { size_of::<FragmentKey<Ip>>() }, { size_of::<Held>() }>;
type Fdb = Table<MacKey, Station, { size_of::<MacKey>() }, { size_of::<Station>() }>;

/// What a program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the kernel was told.
    pub code: i32,
    /// An [`Action`], as the core decided.
    pub action: u8,
    /// A [`Reason`].
    pub reason: u8,
    /// Of a redirect.
    pub ifindex: u32,
    /// The receiver's traffic slot.
    pub slot: u32,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
}

impl Outcome {
    /// What a verdict must come to, with this frame afterwards.
    pub fn expected(verdict: &Verdict<Ip>, bytes: Vec<u8>) -> Self {
        let code = match verdict.action {
            Action::Pass => UNSPEC,
            Action::Drop => SHOT,
            Action::Peer | Action::Redirect | Action::Neigh | Action::Answer => REDIRECT,
        };
        Self {
            code,
            action: verdict.action as u8,
            reason: verdict.reason as u8,
            ifindex: verdict.ifindex,
            slot: verdict.slot,
            bytes,
        }
    }
}

/// A loaded instance.
pub struct Kernel {
    datapath: Datapath,
    programs: Vec<(Hook, SchedClassifier)>,
    config: Array<MapData, [u8; size_of::<Config>()]>,
    networks: Array<MapData, [u8; size_of::<NetworkV4>()]>,
    filter: Array<MapData, [u8; size_of::<FilterHead>()]>,
    words: Array<MapData, [u8; size_of::<WordPage>()]>,
    boxes: Array<MapData, [u8; size_of::<BoxPage>()]>,
    links: Table<u32, LinkV4, 4, { size_of::<LinkV4>() }>,
    flows: Flows,
    bindings: Bindings,
    loads: Array<MapData, [u8; size_of::<Load>()]>,
    samples: Array<MapData, [u8; size_of::<FlowKey<Ip>>()]>,
    fragments: Fragments,
    held: HeldFrames,
    held_by: Array<MapData, u64>,
    fdb: Fdb,
    scratch: PerCpuArray<MapData, [u8; SCRATCH]>,
    reclaimed: Array<MapData, u32>,
    learned: Array<MapData, [u8; size_of::<Learned>()]>,
    floods: PerCpuArray<MapData, [u8; size_of::<Budget>()]>,
    /// Ticks of the kernel less those of the host environment.
    lead: u32,
    /// The CPU on which the programs run.
    cpu: usize,
    /// What a run leaves of a frame.
    room: Vec<u8>,
}

impl Kernel {
    /// Loads the object with room for so many flow halves, to be run on this CPU.
    pub(super) fn load(sandbox: &Sandbox, flow_entries: usize, cpu: usize) -> Result<Self> {
        let pins = Pins::new(sandbox.bpffs(), "program");
        let options = LoadOptions {
            flow_entries: Some(u32::try_from(flow_entries)?),
            ..LoadOptions::default()
        };
        let datapath = Datapath::load(&pins, &options)?;
        let programs = netbridge::datapath::HOOKS
            .map(|hook| datapath.program(hook).map(|program| (hook, program)))
            .into_iter()
            .collect::<Result<_, _>>()?;
        Ok(Self {
            programs,
            config: open(&pins, "CONFIG")?,
            networks: open(&pins, "NETWORKS")?,
            filter: open(&pins, "FILTER")?,
            words: open(&pins, "FILTER_WORDS")?,
            boxes: open(&pins, "FILTER_BOXES")?,
            links: Table::open(&pins, "LINKS")?,
            flows: Table::open(&pins, "FLOWS")?,
            bindings: Table::open(&pins, "BINDINGS")?,
            loads: open(&pins, "LOADS")?,
            samples: open(&pins, "HALF_OPEN")?,
            fragments: Table::open(&pins, "FRAGMENTS")?,
            held: Table::open(&pins, "HELD")?,
            held_by: open(&pins, "HELD_BY")?,
            fdb: Table::open(&pins, "FDB")?,
            scratch: open(&pins, "SCRATCH")?,
            reclaimed: open(&pins, "RECLAIMED")?,
            learned: open(&pins, "LEARNED")?,
            floods: open(&pins, "FLOODS")?,
            lead: 0,
            cpu,
            room: vec![0; ROOM],
            datapath,
        })
    }

    /// The instance as the controller sees it.
    pub fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// Writes everything the environment knows, in place of what was there. Times keep their distance to now.
    pub fn install(&mut self, env: &HostEnv) -> Result<()> {
        self.lead = self.datapath.clock().now_ticks()?.wrapping_sub(env.now);
        self.install_filter(env)?;
        let walks = [&env.reclaimed, &env.held_reclaimed, &env.bindings_reclaimed];
        for (table, walked) in (0..).zip(walks) {
            self.reclaimed.set(table, walked.borrow().wrapping_add(self.lead), 0)?;
        }
        let fragments = env.fragments.borrow();
        self.fragments
            .replace(fragments.iter().map(|(key, first)| (*key, begun(first, self.lead))))?;
        let held = env.held.borrow();
        let held = held.iter();
        self.held
            .replace(held.map(|(key, (head, bytes))| (*key, waiting(head, bytes, self.lead))))?;
        for slot in 0..SLOTS {
            let count = env.held_by.borrow().get(&slot).copied().unwrap_or_default();
            self.held_by.set(slot, u64::try_from(count)?, 0)?;
            let mut learned = env.learned.borrow().get(&slot).copied().unwrap_or_default();
            learned.walked = learned.walked.wrapping_add(self.lead);
            let mut floods = env.floods.borrow().get(&slot).copied().unwrap_or_default();
            floods.since = floods.since.wrapping_add(self.lead);
            self.put_limits(slot, learned, floods)?;
        }
        self.install_networks(env)?;
        self.links.replace(env.links.iter().map(|(key, link)| (*key, *link)))?;
        self.flows.replace(
            env.flows
                .borrow()
                .iter()
                .map(|(key, flow)| (*key, moved(flow, self.lead))),
        )?;
        let bindings = env.bindings.borrow();
        self.bindings
            .replace(bindings.iter().map(|(key, side)| (*key, lasting(side, self.lead))))?;
        for slot in 0..SLOTS {
            let load = env.loads.borrow().get(&slot).copied().unwrap_or_default();
            self.loads
                .set(slot, bytemuck::cast::<_, [u8; size_of::<Load>()]>(load), 0)?;
        }
        let samples = env.samples.borrow();
        for (slot, place) in (0..SLOTS).flat_map(|slot| (0..SAMPLES).map(move |place| (slot, place))) {
            let key = samples.get(&(slot, place)).copied().unwrap_or_else(FlowKey::zeroed);
            self.samples.set(
                slot * SAMPLES + place,
                bytemuck::cast::<_, [u8; size_of::<FlowKey<Ip>>()]>(key),
                0,
            )?;
        }
        let stations = env.fdb.borrow();
        self.fdb
            .replace(stations.iter().map(|(key, station)| (*key, heard(station, self.lead))))?;
        let tables = self.datapath.tables();
        for (&(address, length), &network) in &env.subnets {
            tables.put_subnet(subnet((address, length))?, network)?;
        }
        for (key, station) in &env.addresses {
            tables.put_address(key, station)?;
        }
        for &(list, prefix) in &env.sources {
            tables.put_source(list, subnet(prefix)?)?;
        }
        self.install_published(env)
    }

    /// Writes the environment's published ports, in place of those that were there.
    pub fn install_published(&mut self, env: &HostEnv) -> Result<()> {
        let tables = self.datapath.tables();
        for (block, _) in tables.published()? {
            if !env.published.contains_key(&block) {
                tables.remove_published(&block)?;
            }
        }
        for (block, target) in &env.published {
            tables.put_published(block, target)?;
        }
        Ok(())
    }

    /// Writes the environment's networks.
    pub fn install_networks(&mut self, env: &HostEnv) -> Result<()> {
        fill(&mut self.networks, &env.networks)
    }

    /// Writes the environment's configuration and filter.
    pub fn install_filter(&mut self, env: &HostEnv) -> Result<()> {
        for (bank, tables) in (0..).zip(&env.filter) {
            for (index, words) in (bank * WORD_PAGES..).zip(tables.words.chunks(PAGE_WORDS as usize)) {
                self.words.set(index, padded(bytemuck::cast_slice(words)), 0)?;
            }
            for (index, boxes) in (bank * BOX_PAGES..).zip(tables.boxes.chunks(PAGE_BOXES as usize)) {
                self.boxes.set(index, padded(bytemuck::cast_slice(boxes)), 0)?;
            }
            for (index, head) in (bank * HEADS..).zip(std::iter::once(&tables.head).chain(&tables.patches)) {
                self.filter.set(index, padded(bytemuck::bytes_of(head)), 0)?;
            }
        }
        let mut config = env.config;
        if config.pickup_until != 0 {
            config.pickup_until = config.pickup_until.wrapping_add(self.lead);
        }
        fill(&mut self.config, &[config])
    }

    /// Lets so many ticks pass: everything was that much longer ago.
    pub fn age(&mut self, ticks: u32) -> Result<()> {
        let back = ticks.wrapping_neg();
        self.lead = self.lead.wrapping_add(back);
        for table in 0..self.reclaimed.len() {
            let walked = self.reclaimed.get(&table, 0)?.wrapping_add(back);
            self.reclaimed.set(table, walked, 0)?;
        }
        for slot in 0..SLOTS {
            let (mut learned, mut floods) = self.limits(slot)?;
            learned.walked = learned.walked.wrapping_add(back);
            floods.since = floods.since.wrapping_add(back);
            self.put_limits(slot, learned, floods)?;
        }
        let reclaimed = self.reclaimed.get(&1, 0)?.wrapping_add(back);
        self.reclaimed.set(1, reclaimed, 0)?;
        for (key, first) in self.fragments.entries()? {
            self.fragments.put(&key, &begun(&first, back))?;
        }
        for (key, held) in self.held.entries()? {
            self.held.put(&key, &waiting(&held.head, &held.bytes, back))?;
        }
        let tables = self.datapath.tables();
        for (key, flow) in tables.flows()? {
            self.flows.put(&key, &moved(&flow, back))?;
        }
        for (key, side) in tables.bindings()? {
            self.bindings.put(&key, &lasting(&side, back))?;
        }
        for (key, station) in tables.stations()? {
            self.fdb.put(&key, &heard(&station, back))?;
        }
        Ok(())
    }

    /// Removes every flow.
    pub fn flush(&mut self) -> Result<()> {
        self.flows.replace([])
    }

    /// Runs the hook's program on a frame.
    pub fn run(&mut self, hook: Hook, frame: &Frame) -> Result<Outcome> {
        let context = context(frame);
        let (_, program) = self
            .programs
            .iter()
            .find(|(candidate, _)| *candidate == hook)
            .context("a hook without a program")?;
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&frame.bytes),
                data_out: Some(&mut self.room),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .with_context(|| format!("run {} on {:02x?}", hook.name(), frame.bytes))?;
        let left = self.room.get(..usize::try_from(result.data_size_out)?);
        let bytes = left.context("a frame that grew beyond all room")?.to_vec();
        let scratch = self.scratch.get(&0, 0)?;
        let scratch = scratch.get(self.cpu).context("no such CPU")?;
        let word = |offset: usize| -> Result<u32> {
            let bytes = scratch.get(offset..offset + 4).context("a short scratch")?;
            Ok(u32::from_ne_bytes(bytes.try_into()?))
        };
        Ok(Outcome {
            code: result.return_value.cast_signed(),
            action: scratch[offset_of!(Scratch<V4>, work.verdict.action)],
            reason: scratch[offset_of!(Scratch<V4>, work.verdict.reason)],
            ifindex: word(offset_of!(Scratch<V4>, work.verdict.ifindex))?,
            slot: word(offset_of!(Scratch<V4>, work.verdict.slot))?,
            bytes,
        })
    }

    /// The flow table, times as the environment counts them.
    pub fn flows(&self) -> Result<HashMap<FlowKey<Ip>, FlowV4>> {
        let back = self.lead.wrapping_neg();
        let flows = self.tables().flows()?;
        Ok(flows.into_iter().map(|(key, flow)| (key, moved(&flow, back))).collect())
    }

    /// The bindings, times as the environment counts them.
    pub fn bindings(&self) -> Result<HashMap<BindingKey<Ip>, BindingV4>> {
        let back = self.lead.wrapping_neg();
        let bindings = self.tables().bindings()?;
        Ok(bindings
            .into_iter()
            .map(|(key, side)| (key, lasting(&side, back)))
            .collect())
    }

    /// What first fragments said, times as the environment counts them.
    pub fn fragments(&self) -> Result<HashMap<FragmentKey<Ip>, FirstFragment>> {
        let back = self.lead.wrapping_neg();
        let fragments = self.fragments.entries()?.into_iter();
        Ok(fragments.map(|(key, first)| (key, begun(&first, back))).collect())
    }

    /// The frames that wait, times as the environment counts them.
    pub fn held(&self) -> Result<HashMap<FragmentKey<Ip>, Waiting>> {
        let back = self.lead.wrapping_neg();
        let whole = |held: Held| -> Result<Waiting> {
            let head = waiting(&held.head, &[], back).head;
            let bytes = held.bytes.get(..head.len as usize).context("a frame beyond its room")?;
            Ok((head, bytes.to_vec()))
        };
        let held = self.held.entries()?.into_iter();
        held.map(|(key, held)| Ok((key, whole(held)?))).collect()
    }

    /// How many frames of a slot wait.
    pub fn held_by(&self, slot: u32) -> Result<i64> {
        Ok(self.held_by.get(&slot, 0)?.cast_signed())
    }

    /// The keys of flows that may go for others, by slot and place.
    pub fn samples(&self) -> Result<HashMap<(u32, u32), FlowKey<Ip>>> {
        let mut samples = HashMap::new();
        for (slot, place) in (0..SLOTS).flat_map(|slot| (0..SAMPLES).map(move |place| (slot, place))) {
            let key = bytemuck::pod_read_unaligned(&self.samples.get(&(slot * SAMPLES + place), 0)?);
            if key != FlowKey::zeroed() {
                samples.insert((slot, place), key);
            }
        }
        Ok(samples)
    }

    /// The flows on a slot's quota.
    pub fn load_of(&self, slot: u32) -> Result<Load> {
        Ok(bytemuck::cast(self.loads.get(&slot, 0)?))
    }

    /// The FDB, times as the environment counts them.
    pub fn stations(&self) -> Result<HashMap<MacKey, Station>> {
        let back = self.lead.wrapping_neg();
        let stations = self.tables().stations()?;
        Ok(stations
            .into_iter()
            .map(|(key, station)| (key, heard(&station, back)))
            .collect())
    }

    /// MACs learned, by slot.
    pub fn learned(&self) -> Result<HashMap<u32, i64>> {
        let counts = (0..SLOTS).map(|slot| Ok((slot, self.limits(slot)?.0.count)));
        counts.filter(|count| !matches!(count, Ok((_, 0)))).collect()
    }

    /// What is counted of a port towards its limits; the floods are those of the CPU that runs the programs.
    fn limits(&self, slot: u32) -> Result<(Learned, Budget)> {
        let floods = self.floods.get(&slot, 0)?;
        let floods = floods.get(self.cpu).context("no such CPU")?;
        let learned = bytemuck::pod_read_unaligned(&self.learned.get(&slot, 0)?);
        Ok((learned, bytemuck::pod_read_unaligned(floods)))
    }

    fn put_limits(&mut self, slot: u32, learned: Learned, floods: Budget) -> Result<()> {
        self.learned
            .set(slot, bytemuck::cast::<_, [u8; size_of::<Learned>()]>(learned), 0)?;
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let floods = PerCpuValues::try_from(vec![bytemuck::cast::<_, [u8; 8]>(floods); cpus])?;
        Ok(self.floods.set(slot, floods, 0)?)
    }

    /// Drops since the load, by reason.
    pub fn drops(&self) -> Result<Vec<(Reason, u64)>> {
        Ok(self.tables().drops()?)
    }

    /// Drops for a reason since the load.
    pub fn dropped(&self, reason: Reason) -> Result<u64> {
        let drops = self.drops()?;
        let (_, count) = drops
            .into_iter()
            .find(|(candidate, _)| *candidate == reason)
            .with_context(|| format!("{reason:?} is not listed"))?;
        Ok(count)
    }

    /// Traffic of a slot since the load.
    pub fn traffic(&self, slot: u32) -> Result<Traffic> {
        Ok(self.tables().traffic(slot)?)
    }

    fn tables(&self) -> &Tables {
        self.datapath.tables()
    }
}

/// The prefix as the controller names it, by way of its text: from its parts, rustc 1.95 (LLVM 22.1.2) makes 0.0.0.0/0 of
/// every one in an optimised build.
fn subnet((address, length): Prefix) -> Result<Ipv4Net> {
    Ok(format!("{}/{length}", std::net::Ipv4Addr::from(address)).parse()?)
}

fn moved(flow: &FlowV4, by: u32) -> FlowV4 {
    let mut moved = *flow;
    moved.head.seen = flow.head.seen.wrapping_add(by);
    moved.head.resolved = flow.head.resolved.wrapping_add(by);
    moved
}

fn begun(first: &FirstFragment, by: u32) -> FirstFragment {
    FirstFragment {
        seen: first.seen.wrapping_add(by),
        ..*first
    }
}

fn waiting(head: &HeldHead, frame: &[u8], by: u32) -> Held {
    let mut bytes = [0; HELD_BYTES as usize];
    for (place, byte) in bytes.iter_mut().zip(frame) {
        *place = *byte;
    }
    let seen = head.seen.wrapping_add(by);
    Held {
        head: HeldHead { seen, ..*head },
        bytes,
    }
}

fn lasting(side: &BindingV4, by: u32) -> BindingV4 {
    let mut lasting = *side;
    lasting.head.until = side.head.until.wrapping_add(by);
    lasting
}

fn heard(station: &Station, by: u32) -> Station {
    // A static entry was never heard.
    let seen = if station.flags == 0 {
        station.seen.wrapping_add(by)
    } else {
        station.seen
    };
    Station { seen, ..*station }
}

/// A `__sk_buff` that says where the frame is and, for a GSO frame, how it will be cut.
pub fn context(frame: &Frame) -> Vec<u8> {
    // Offsets of `ingress_ifindex`, `ifindex` and `gso_size` in the kernel's `struct __sk_buff`.
    let mut context = vec![0; 192];
    for (offset, value) in [(36, frame.ingress), (40, frame.ifindex), (176, frame.gso_size)] {
        context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}

/// Bytes, and zeros behind them.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut page = [0; N];
    page.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    page
}
