//! An instance in the kernel: filled from a host environment, run on one packet at a time.

use std::collections::HashMap;
use std::mem::offset_of;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::SchedClassifier;
use aya::util::nr_cpus;
use aya::{TestRun as _, TestRunOptions};
use ipnet::Ipv4Net;
use netbridge::datapath::{Datapath, LoadOptions, Pins, Tables};
use netbridge_common::abi::{
    BindingKey, BindingV4, Config, FirstFragment, FlowKey, FlowV4, FragmentKey, HELD_BYTES, Held, HeldHead, Hook,
    Learned, LinkV4, Load, MacKey, NetworkV4, Policy, Reason, RuleV4, SAMPLES, Station, Traffic, V4,
};
use netbridge_common::datapath::env::Budget;
use netbridge_common::datapath::pipeline::Scratch;
use netbridge_common::datapath::verdict::{Action, Verdict};
use netbridge_common::host::{Frame, HostEnv, Ip, Waiting};
use netbridge_tests::sandbox::Sandbox;

use crate::maps::{Table, fill, open};

/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT`.
const UNSPEC: i32 = -1;
pub(crate) const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// Longest frame that comes out of a run, bytes.
const ROOM: usize = 4096;

/// Slots that tests use.
const SLOTS: u32 = 16;

const SCRATCH: usize = size_of::<Scratch<V4>>();

type Flows = Table<FlowKey<Ip>, FlowV4, { size_of::<FlowKey<Ip>>() }, { size_of::<FlowV4>() }>;
type Bindings = Table<BindingKey<Ip>, BindingV4, { size_of::<BindingKey<Ip>>() }, { size_of::<BindingV4>() }>;
type Fragments =
    Table<FragmentKey<Ip>, FirstFragment, { size_of::<FragmentKey<Ip>>() }, { size_of::<FirstFragment>() }>;
type HeldFrames = Table<FragmentKey<Ip>, Held, { size_of::<FragmentKey<Ip>>() }, { size_of::<Held>() }>;
type Fdb = Table<MacKey, Station, { size_of::<MacKey>() }, { size_of::<Station>() }>;

/// What a program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the kernel was told.
    pub(crate) code: i32,
    /// An [`Action`], as the core decided.
    pub(crate) action: u8,
    /// A [`Reason`].
    pub(crate) reason: u8,
    /// Of a redirect.
    pub(crate) ifindex: u32,
    /// The receiver's traffic slot.
    pub(crate) slot: u32,
    /// The frame afterwards.
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    /// What a verdict must come to, with this frame afterwards.
    pub(crate) fn expected(verdict: &Verdict<Ip>, bytes: Vec<u8>) -> Self {
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
pub(crate) struct Kernel {
    datapath: Datapath,
    programs: Vec<(Hook, SchedClassifier)>,
    config: Array<MapData, [u8; size_of::<Config>()]>,
    networks: Array<MapData, [u8; size_of::<NetworkV4>()]>,
    policy: Array<MapData, [u8; size_of::<Policy>()]>,
    rules: Array<MapData, [u8; size_of::<RuleV4>()]>,
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
}

impl Kernel {
    /// Loads the object with room for so many flow halves.
    pub(crate) fn load(sandbox: &Sandbox, flow_entries: usize) -> Result<Self> {
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
            policy: open(&pins, "POLICY")?,
            rules: open(&pins, "RULES")?,
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
            datapath,
        })
    }

    /// The instance as the controller sees it.
    pub(crate) fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// Writes everything the environment knows, in place of what was there. Times keep their distance to now.
    pub(crate) fn install(&mut self, env: &HostEnv) -> Result<()> {
        self.lead = self.datapath.clock().now_ticks()?.wrapping_sub(env.now);
        self.install_filter(env)?;
        let reclaimed = env.reclaimed.borrow().wrapping_add(self.lead);
        self.reclaimed.set(0, reclaimed, 0)?;
        let reclaimed = env.held_reclaimed.borrow().wrapping_add(self.lead);
        self.reclaimed.set(1, reclaimed, 0)?;
        let fragments = env.fragments.borrow();
        self.fragments
            .replace(fragments.iter().map(|(key, first)| (*key, begun(first, self.lead))))?;
        let held = env.held.borrow();
        self.held.replace(
            held.iter()
                .map(|(key, (head, bytes))| (*key, waiting(head, bytes, self.lead))),
        )?;
        for slot in 0..SLOTS {
            let count = env.held_by.borrow().get(&slot).copied().unwrap_or_default();
            self.held_by.set(slot, u64::try_from(count)?, 0)?;
            let mut learned = env.learned.borrow().get(&slot).copied().unwrap_or_default();
            learned.walked = learned.walked.wrapping_add(self.lead);
            let mut floods = env.floods.borrow().get(&slot).copied().unwrap_or_default();
            floods.since = floods.since.wrapping_add(self.lead);
            self.put_limits(slot, learned, floods)?;
        }
        fill(&mut self.networks, &env.networks)?;
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
        for (&(slot, place), key) in env.samples.borrow().iter() {
            self.samples.set(
                slot * SAMPLES + place,
                bytemuck::cast::<_, [u8; size_of::<FlowKey<Ip>>()]>(*key),
                0,
            )?;
        }
        let stations = env.fdb.borrow();
        self.fdb
            .replace(stations.iter().map(|(key, station)| (*key, heard(station, self.lead))))?;
        let tables = self.datapath.tables();
        for (&(address, length), &network) in &env.subnets {
            tables.put_subnet(Ipv4Net::new(address.into(), u8::try_from(length)?)?, network)?;
        }
        for (key, station) in &env.addresses {
            tables.put_address(key, station)?;
        }
        for (key, target) in &env.published {
            tables.put_published(key, target)?;
        }
        for &(list, (address, length)) in &env.sources {
            tables.put_source(list, Ipv4Net::new(address.into(), u8::try_from(length)?)?)?;
        }
        Ok(())
    }

    /// Writes the environment's configuration and filter.
    pub(crate) fn install_filter(&mut self, env: &HostEnv) -> Result<()> {
        fill(&mut self.rules, &env.rules)?;
        fill(&mut self.policy, &env.policy)?;
        let mut config = env.config;
        if config.pickup_until != 0 {
            config.pickup_until = config.pickup_until.wrapping_add(self.lead);
        }
        fill(&mut self.config, &[config])
    }

    /// Lets so many ticks pass: everything was that much longer ago.
    pub(crate) fn age(&mut self, ticks: u32) -> Result<()> {
        let back = ticks.wrapping_neg();
        self.lead = self.lead.wrapping_add(back);
        let reclaimed = self.reclaimed.get(&0, 0)?.wrapping_add(back);
        self.reclaimed.set(0, reclaimed, 0)?;
        let reclaimed = self.reclaimed.get(&1, 0)?.wrapping_add(back);
        self.reclaimed.set(1, reclaimed, 0)?;
        let fragments = self.fragments.entries()?;
        self.fragments
            .replace(fragments.into_iter().map(|(key, first)| (key, begun(&first, back))))?;
        let held = self.held.entries()?;
        self.held.replace(
            held.into_iter()
                .map(|(key, held)| (key, waiting(&held.head, &held.bytes, back))),
        )?;
        for slot in 0..SLOTS {
            let (mut learned, mut floods) = self.limits(slot)?;
            learned.walked = learned.walked.wrapping_add(back);
            floods.since = floods.since.wrapping_add(back);
            self.put_limits(slot, learned, floods)?;
        }
        let flows = self.flows.entries()?;
        self.flows
            .replace(flows.into_iter().map(|(key, flow)| (key, moved(&flow, back))))?;
        let bindings = self.bindings.entries()?;
        self.bindings
            .replace(bindings.into_iter().map(|(key, side)| (key, lasting(&side, back))))?;
        let stations = self.fdb.entries()?;
        self.fdb
            .replace(stations.into_iter().map(|(key, station)| (key, heard(&station, back))))
    }

    /// Removes every flow.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.flows.replace([])
    }

    /// Runs the hook's program on a frame.
    pub(crate) fn run(&mut self, hook: Hook, frame: &Frame) -> Result<Outcome> {
        let mut out = vec![0; ROOM];
        let context = context(frame);
        let (_, program) = self
            .programs
            .iter()
            .find(|(candidate, _)| *candidate == hook)
            .context("a hook without a program")?;
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&frame.bytes),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .with_context(|| format!("run {} on {:02x?}", hook.name(), frame.bytes))?;
        out.truncate(usize::try_from(result.data_size_out)?);
        let scratch = self.scratch.get(&0, 0)?;
        let scratch = scratch.first().context("no CPU")?;
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
            bytes: out,
        })
    }

    /// The flow table, times as the environment counts them.
    pub(crate) fn flows(&self) -> Result<HashMap<FlowKey<Ip>, FlowV4>> {
        let back = self.lead.wrapping_neg();
        let flows = self.flows.entries()?;
        Ok(flows.into_iter().map(|(key, flow)| (key, moved(&flow, back))).collect())
    }

    /// The bindings, times as the environment counts them.
    pub(crate) fn bindings(&self) -> Result<HashMap<BindingKey<Ip>, BindingV4>> {
        let back = self.lead.wrapping_neg();
        let bindings = self.bindings.entries()?;
        Ok(bindings
            .into_iter()
            .map(|(key, side)| (key, lasting(&side, back)))
            .collect())
    }

    /// What first fragments said, times as the environment counts them.
    pub(crate) fn fragments(&self) -> Result<HashMap<FragmentKey<Ip>, FirstFragment>> {
        let back = self.lead.wrapping_neg();
        let fragments = self.fragments.entries()?;
        Ok(fragments
            .into_iter()
            .map(|(key, first)| (key, begun(&first, back)))
            .collect())
    }

    /// The frames that wait, times as the environment counts them.
    pub(crate) fn held(&self) -> Result<HashMap<FragmentKey<Ip>, Waiting>> {
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
    pub(crate) fn held_by(&self, slot: u32) -> Result<i64> {
        Ok(self.held_by.get(&slot, 0)?.cast_signed())
    }

    /// The flows on a slot's quota.
    pub(crate) fn load_of(&self, slot: u32) -> Result<Load> {
        Ok(bytemuck::cast(self.loads.get(&slot, 0)?))
    }

    /// The FDB, times as the environment counts them.
    pub(crate) fn stations(&self) -> Result<HashMap<MacKey, Station>> {
        let back = self.lead.wrapping_neg();
        let stations = self.fdb.entries()?;
        Ok(stations
            .into_iter()
            .map(|(key, station)| (key, heard(&station, back)))
            .collect())
    }

    /// MACs learned, by slot.
    pub(crate) fn learned(&self) -> Result<HashMap<u32, i32>> {
        let counts = (0..SLOTS).map(|slot| Ok((slot, self.limits(slot)?.0.count)));
        counts.filter(|count| !matches!(count, Ok((_, 0)))).collect()
    }

    /// What is counted of a port towards its limits; the floods are those of the one CPU that runs the programs.
    fn limits(&self, slot: u32) -> Result<(Learned, Budget)> {
        let floods = self.floods.get(&slot, 0)?;
        let floods = floods.first().context("no CPU")?;
        let learned = bytemuck::pod_read_unaligned(&self.learned.get(&slot, 0)?);
        Ok((learned, bytemuck::pod_read_unaligned(floods)))
    }

    fn put_limits(&mut self, slot: u32, learned: Learned, floods: Budget) -> Result<()> {
        self.learned.set(slot, bytemuck::cast::<_, [u8; 8]>(learned), 0)?;
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let floods = PerCpuValues::try_from(vec![bytemuck::cast::<_, [u8; 8]>(floods); cpus])?;
        Ok(self.floods.set(slot, floods, 0)?)
    }

    /// Drops for a reason since the load.
    pub(crate) fn dropped(&self, reason: Reason) -> Result<u64> {
        let drops = self.tables().drops()?;
        let (_, count) = drops
            .into_iter()
            .find(|(candidate, _)| *candidate == reason)
            .with_context(|| format!("{reason:?} is not listed"))?;
        Ok(count)
    }

    /// Traffic of a slot since the load.
    pub(crate) fn traffic(&self, slot: u32) -> Result<Traffic> {
        Ok(self.tables().traffic(slot)?)
    }

    fn tables(&self) -> &Tables {
        self.datapath.tables()
    }
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
pub(crate) fn context(frame: &Frame) -> Vec<u8> {
    // Offsets of `ingress_ifindex`, `ifindex` and `gso_size` in the kernel's `struct __sk_buff`.
    let mut context = vec![0; 192];
    for (offset, value) in [(36, frame.ingress), (40, frame.ifindex), (176, frame.gso_size)] {
        context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}
