//! netbridge as a host: a lab of the library's, its stacks silenced.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData};
use bytemuck::bytes_of;
use netbridge::filter::syntax::{self, Ruleset};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::ops::{self, Options};
use netbridge::state::{FilterSource, SetSource};
use netbridge_common::abi::{BucketKey, Config, Load, SLOTS};

use super::ground::{BRIDGES, ETH0, Ground, NODES, UPLINK, introduce};
use super::host::{Counters, Files, Host};
use crate::conformance::netbridge::{Bindings, Flows, clear};
use crate::conformance::stage::silence;
use crate::lab::Lab;
use crate::sandbox::Sandbox;
use crate::wire;

/// The stations, their networks, and the way out.
const TOPOLOGY: &str = r#"
name = "alike"

[outside]
uplink = "up0"
host = "192.0.2.1/24"
address = "192.0.2.2/24"

[[networks]]
name = "front"
subnet = "10.9.1.0/24"

[[networks]]
name = "back"
subnet = "10.9.2.0/24"

[[nodes]]
name = "c1"
attach = [{ net = "front", ips = ["10.9.1.2"], mac = "02:00:0a:09:01:02" }]
publish = ["8080:80"]

[[nodes]]
name = "c2"
attach = [{ net = "front", ips = ["10.9.1.3"], mac = "02:00:0a:09:01:03" }]
publish = ["8443:443", "5353:53/udp"]

[[nodes]]
name = "c3"
attach = [{ net = "back", ips = ["10.9.2.2"], mac = "02:00:0a:09:02:02" }]
"#;

/// The buckets of limits.
type Buckets = HashMap<MapData, [u8; size_of::<BucketKey>()], u64>;

/// netbridge's host.
pub(super) struct Ours<'a> {
    ground: Ground,
    host: Netns,
    options: Options,
    flows: Flows,
    bindings: Bindings,
    buckets: Buckets,
    quotas: Array<MapData, [u8; size_of::<Load>()]>,
    configuration: Array<MapData, [u8; size_of::<Config>()]>,
    /// What is in force.
    rules: Option<Ruleset>,
    lab: Lab<'a>,
}

impl<'a> Ours<'a> {
    /// Builds it in a sandbox.
    pub(super) fn build(sandbox: &'a Sandbox) -> Result<Self> {
        let lab = Lab::up(sandbox, TOPOLOGY, None)?;
        for node in NODES {
            silence(&format!("alike-{node}"), ETH0)?;
        }
        let (state, host) = (lab.state()?, lab.node("host")?);
        host.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"))??;
        let mut bridges = [("", [0; 6]); 2];
        for (found, bridge) in bridges.iter_mut().zip(BRIDGES) {
            let network = state.network(bridge.name).context("a network has gone")?;
            *found = (network.bridge.as_str(), network.mac.0);
        }
        introduce("alike-host", bridges.map(|(name, _)| name))?;
        for interface in bridges.iter().map(|(name, _)| *name).chain([UPLINK]) {
            wire::finish_checksums(&host, interface)?;
        }
        let macs = bridges.map(|(_, mac)| mac);
        let ground = Ground::open(|node| lab.node(node), macs, lab.uplink()?.mac.0)?;
        Ok(Self {
            ground,
            host,
            options: Options {
                bpffs: sandbox.bpffs().to_owned(),
                ..Options::default()
            },
            flows: lab.map("FLOWS")?,
            bindings: lab.map("BINDINGS")?,
            buckets: lab.map("LIMIT_BUCKETS")?,
            quotas: lab.map("LOADS")?,
            configuration: lab.map("CONFIG")?,
            rules: None,
            lab,
        })
    }

    /// Lets no answer be one too many, and takes up nothing in the middle: the first is a limit on what is made in a moment,
    /// the second a grace of the first two minutes.
    fn configure(&mut self) -> Result<()> {
        let mut config = self.lab.datapath()?.tables().config()?;
        config.answers_per_tick = u32::MAX;
        config.pickup_until = 0;
        let mut bytes = [0; size_of::<Config>()];
        bytes.copy_from_slice(bytes_of(&config));
        Ok(self.configuration.set(0, bytes, 0)?)
    }
}

/// A file of rules with its sets, as the controller takes it.
pub(super) fn source(files: &Files) -> FilterSource {
    let mut source = FilterSource::new("rules", files.rules.as_str());
    source.sets = (!files.sets.is_empty()).then(|| SetSource {
        file: "sets".to_owned(),
        text: files.sets.clone().into(),
    });
    source
}

/// A file of rules as it is understood.
pub(super) fn parse(files: &Files) -> Result<Ruleset> {
    let sets = (!files.sets.is_empty()).then_some(("sets", files.sets.as_str()));
    Ok(syntax::parse("rules", &files.rules, sets)?.ruleset)
}

impl Host for Ours<'_> {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn load(&mut self, files: &Files) -> Result<()> {
        let source = source(files);
        let options = &self.options;
        in_namespace(&self.host, async |_| {
            let host = ops::Host::open(options)?;
            Ok(ops::filter_load(&host, &source, false).await?)
        })?;
        self.rules = Some(parse(files)?);
        // Flows that are ended keep their ports from others for a while: here they have never been.
        clear(&mut self.flows)?;
        clear(&mut self.bindings)?;
        if !files.goes_on {
            clear(&mut self.buckets)?;
        }
        for slot in 0..SLOTS {
            self.quotas.set(slot, [0; size_of::<Load>()], 0)?;
        }
        self.configure()?;
        self.ground.announce()
    }

    fn counters(&self) -> Result<Counters> {
        let rules = self.rules.as_ref().context("nothing is loaded")?;
        let datapath = self.lab.datapath()?;
        let matched = datapath.tables().matched()?;
        let named = matched.into_iter().filter_map(|(rule, passed)| {
            let chain = rules.chains.get(rule.chain as usize)?;
            let place = (chain.name.clone(), rule.rule as usize);
            Some((place, (passed.packets, passed.bytes)))
        });
        Ok(named.filter(|(_, counted)| *counted != (0, 0)).collect())
    }

    fn show(&self) -> Result<String> {
        let report = self.lab.report()?;
        // Stations are the same in all cases.
        let told = report.lines().filter(|line| !line.starts_with("MacKey"));
        Ok(told.fold(String::new(), |text, line| text + line + "\n"))
    }
}
