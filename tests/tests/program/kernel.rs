//! An instance in the kernel: filled from a host environment, run on one packet at a time.

use std::collections::HashMap;
use std::mem::offset_of;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{TestRun as _, TestRunOptions};
use ipnet::Ipv4Net;
use netbridge::datapath::{Datapath, LoadOptions, Pins, Tables};
use netbridge_common::abi::{
    Config, FlowKey, FlowV4, Hook, LinkV4, MacKey, NetworkV4, Policy, Reason, RuleV4, Station, Traffic, V4,
};
use netbridge_common::datapath::pipeline::Scratch;
use netbridge_common::datapath::verdict::{Action, Verdict};
use netbridge_common::host::{Frame, HostEnv, Ip};
use netbridge_tests::sandbox::Sandbox;

use crate::maps::{Table, fill, open};

/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT`.
const UNSPEC: i32 = -1;
pub(crate) const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// Longest frame that comes out of a run, bytes.
const ROOM: usize = 4096;

const SCRATCH: usize = size_of::<Scratch<V4>>();

type Flows = Table<FlowKey<Ip>, FlowV4, { size_of::<FlowKey<Ip>>() }, { size_of::<FlowV4>() }>;
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
            Action::Peer | Action::Redirect | Action::Neigh => REDIRECT,
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
    fdb: Fdb,
    scratch: PerCpuArray<MapData, [u8; SCRATCH]>,
    reclaimed: Array<MapData, u32>,
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
            fdb: Table::open(&pins, "FDB")?,
            scratch: open(&pins, "SCRATCH")?,
            reclaimed: open(&pins, "RECLAIMED")?,
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
        fill(&mut self.networks, &env.networks)?;
        self.links.replace(env.links.iter().map(|(key, link)| (*key, *link)))?;
        self.flows.replace(
            env.flows
                .borrow()
                .iter()
                .map(|(key, flow)| (*key, moved(flow, self.lead))),
        )?;
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
        fill(&mut self.config, &[env.config])
    }

    /// Lets so many ticks pass: everything was that much longer ago.
    pub(crate) fn age(&mut self, ticks: u32) -> Result<()> {
        let back = ticks.wrapping_neg();
        self.lead = self.lead.wrapping_add(back);
        let reclaimed = self.reclaimed.get(&0, 0)?.wrapping_add(back);
        self.reclaimed.set(0, reclaimed, 0)?;
        let flows = self.flows.entries()?;
        self.flows
            .replace(flows.into_iter().map(|(key, flow)| (key, moved(&flow, back))))?;
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

    /// The FDB, times as the environment counts them.
    pub(crate) fn stations(&self) -> Result<HashMap<MacKey, Station>> {
        let back = self.lead.wrapping_neg();
        let stations = self.fdb.entries()?;
        Ok(stations
            .into_iter()
            .map(|(key, station)| (key, heard(&station, back)))
            .collect())
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
