//! netbridge as a router: a lab of the library's, its stacks silenced.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData};
use bytemuck::{AnyBitPattern, NoUninit, bytes_of, pod_read_unaligned};
use netbridge::model::{NetCreate, Ports, Profile, Tune};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::ops::{self, Failure, Options};
use netbridge::state::FilterSource;
use netbridge_common::abi::{
    BindingKey, BindingV4, Config, FirstFragment, FlowKey, FlowV4, FragmentKey, Held, Learned as Count, Load, MacKey,
    Reason, SLOTS, Station as Learned, flow_flags, network_flags, station_flags,
};
use netbridge_common::datapath::state::is_expired;

use super::netfilter::introduce;
use super::router::{Column, Port, Router, Setting};
use super::stage::{ETH0, Stage, Station, UPLINK, silence, tool};
use crate::lab::Lab;
use crate::sandbox::Sandbox;

/// The stations' network, and the way out.
const TOPOLOGY: &str = r#"
name = "rfc"

[outside]
uplink = "up0"
host = "192.0.2.1/24"
address = "192.0.2.2/24"

[[networks]]
name = "front"
subnet = "10.9.1.0/24"
tunnels = true

[[nodes]]
name = "c1"
attach = [{ net = "front", ips = ["10.9.1.2"] }]

[[nodes]]
name = "c2"
attach = [{ net = "front", ips = ["10.9.1.3"] }]

[[nodes]]
name = "t1"
attach = [{ net = "front", ips = ["10.9.1.4"], trunk = true }]

[[nodes]]
name = "t2"
attach = [{ net = "front", ips = ["10.9.1.5"], trunk = true }]
"#;

const NETWORK: &str = "front";
/// A network that overlaps the external one.
const OVERLAPPING: &str = "192.0.2.128/25";

/// The flow table.
pub(crate) type Flows = HashMap<MapData, [u8; size_of::<FlowKey<[u8; 4]>>()], [u8; size_of::<FlowV4>()]>;
/// The ports that stand for containers'.
pub(crate) type Bindings = HashMap<MapData, [u8; size_of::<BindingKey<[u8; 4]>>()], [u8; size_of::<BindingV4>()]>;
type Fragments<V> = HashMap<MapData, [u8; size_of::<FragmentKey<[u8; 4]>>()], V>;
type Fdb = HashMap<MapData, [u8; size_of::<MacKey>()], [u8; size_of::<Learned>()]>;
type Configuration = Array<MapData, [u8; size_of::<Config>()]>;

/// netbridge's router.
pub struct Netbridge<'a> {
    stage: Stage,
    host: Netns,
    options: Options,
    /// The kernel's bridge below.
    bridge: String,
    /// How long that one remembers stations.
    ageing: Duration,
    /// As the controller wrote it.
    config: Config,
    /// A filter is loaded.
    filtered: bool,
    /// Whose ports are published.
    published: Vec<Station>,
    flows: Flows,
    bindings: Bindings,
    fragments: Fragments<[u8; size_of::<FirstFragment>()]>,
    held: Fragments<[u8; size_of::<Held>()]>,
    held_by: Array<MapData, i64>,
    loads: Array<MapData, [u8; size_of::<Load>()]>,
    learned: Array<MapData, [u8; size_of::<Count>()]>,
    fdb: Fdb,
    configuration: Configuration,
    lab: Lab<'a>,
}

impl<'a> Netbridge<'a> {
    /// Builds it in a sandbox.
    pub fn build(sandbox: &'a Sandbox) -> Result<Self> {
        let lab = Lab::up(sandbox, TOPOLOGY, None)?;
        for node in ["outside"].into_iter().chain(Station::PORTS.map(Station::node)) {
            silence(&format!("rfc-{node}"), ETH0)?;
        }
        let host = lab.node("host")?;
        tool("ip netns exec rfc-host sysctl -qw net.ipv6.conf.all.disable_ipv6=1")?;
        host.run(|| std::fs::write(super::stage::ICMP_RATE, "0"))??;
        let state = lab.state()?;
        let network = state.network(NETWORK).context("the network has gone")?;
        let stage = Stage::open(|node| lab.node(node), network.mac.0, lab.uplink()?.mac.0)?;
        introduce("rfc-host", &network.bridge, &stage)?;
        crate::wire::finish_checksums(&host, UPLINK)?;
        crate::wire::finish_checksums(&host, &network.bridge)?;
        let ageing = tool(&format!(
            "ip netns exec rfc-host cat /sys/class/net/{}/bridge/ageing_time",
            network.bridge
        ))?;
        Ok(Self {
            stage,
            host,
            bridge: network.bridge.clone(),
            ageing: Duration::from_millis(ageing.trim().parse::<u64>()? * 10),
            options: Options {
                bpffs: sandbox.bpffs().to_owned(),
                ..Options::default()
            },
            config: lab.datapath()?.tables().config()?,
            filtered: false,
            published: Vec::new(),
            flows: lab.map("FLOWS")?,
            bindings: lab.map("BINDINGS")?,
            fragments: lab.map("FRAGMENTS")?,
            held: lab.map("HELD")?,
            held_by: lab.map("HELD_BY")?,
            loads: lab.map("LOADS")?,
            learned: lab.map("LEARNED")?,
            fdb: lab.map("FDB")?,
            configuration: lab.map("CONFIG")?,
            lab,
        })
    }

    /// Carries out an operation on the host.
    fn play<T: Send>(&self, operation: impl AsyncFnOnce(&ops::Host) -> Result<T, Failure> + Send) -> Result<T> {
        let options = &self.options;
        in_namespace(&self.host, async |_| {
            let host = ops::Host::open(options)?;
            Ok(operation(&host).await?)
        })
    }

    /// Makes the kernel's bridge forget what it has learned.
    fn flush_bridge(&self) -> Result<()> {
        tool(&format!(
            "ip -n rfc-host link set {} type bridge fdb_flush",
            self.bridge
        ))
        .map(drop)
    }

    /// Sets the uplink's MTU, and has netbridge look at its uplink, as every change does.
    fn set_mtu(&self, mtu: u32) -> Result<()> {
        tool(&format!("ip -n rfc-host link set {UPLINK} mtu {mtu}"))?;
        self.play(async |host| ops::filter_flush(host).await).map(drop)
    }

    /// Writes the configuration with some fields changed: what has no command line yet.
    fn configure(&mut self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let mut config = self.lab.datapath()?.tables().config()?;
        change(&mut config);
        self.configuration.set(0, to_bytes(&config), 0)?;
        Ok(())
    }

    /// Sets or clears a flag of the stations' network, which is chosen when a network is created.
    fn accept_from_anyone(&self, anyone: bool) -> Result<()> {
        let (state, datapath) = (self.lab.state()?, self.lab.datapath()?);
        let id = state.network(NETWORK).context("the network has gone")?.id;
        let mut network = datapath.tables().network(id)?;
        if anyone {
            network.head.flags |= network_flags::INDEPENDENT_FILTERING;
        } else {
            network.head.flags &= !network_flags::INDEPENDENT_FILTERING;
        }
        Ok(datapath.tables().put_network(id, &network)?)
    }

    fn tune(&self, request: &Tune) -> Result<()> {
        self.play(async |host| ops::tune(host, request).await).map(drop)
    }

    fn clamp_segments() -> bool {
        false
    }

    fn isolate(_station: Station) -> bool {
        false
    }

    fn set_ports(&mut self, first: u16, last: u16) -> Result<()> {
        self.configure(|config| {
            config.snat_min = first;
            config.snat_ports = last - first + 1;
        })
    }
}

/// A port as the command line has it.
fn specification(port: Port) -> Ports {
    Ports {
        endpoint: port.station.node().to_owned(),
        specs: vec![format!("{}:{}/{}", port.host, port.container, port.transport)],
        from: Vec::new(),
    }
}

/// Removes every entry of a map.
pub(crate) fn clear<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>) -> Result<()> {
    let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
    Ok(keys.iter().try_for_each(|key| map.remove(key))?)
}

/// Changes every value of a map.
fn each<V: AnyBitPattern + NoUninit, const K: usize, const N: usize>(
    map: &mut HashMap<MapData, [u8; K], [u8; N]>,
    mut change: impl FnMut(&mut V),
) -> Result<()> {
    let entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
    for (key, value) in entries {
        let mut value: V = pod_read_unaligned(&value);
        change(&mut value);
        map.insert(key, to_bytes(&value), 0)?;
    }
    Ok(())
}

fn to_bytes<T: NoUninit, const N: usize>(value: &T) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(bytes_of(value));
    bytes
}

impl Router for Netbridge<'_> {
    fn column(&self) -> Column {
        Column::Netbridge
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn reset(&mut self) -> Result<()> {
        for station in std::mem::take(&mut self.published) {
            let request = Ports {
                endpoint: station.node().to_owned(),
                specs: Vec::new(),
                from: Vec::new(),
            };
            self.play(async |host| ops::port_remove(host, &request).await)?;
        }
        if std::mem::take(&mut self.filtered) {
            self.play(async |host| ops::filter_flush(host).await)?;
        }
        if self.lab.uplink()?.mtu != 1500 {
            self.set_mtu(1500)?;
        }
        self.accept_from_anyone(false)?;
        self.tune(&Tune {
            reset: true,
            ..Tune::default()
        })?;
        let config = self.config;
        self.configure(|now| {
            *now = Config {
                generation: now.generation,
                ..config
            };
        })?;
        clear(&mut self.flows)?;
        clear(&mut self.bindings)?;
        clear(&mut self.fragments)?;
        clear(&mut self.held)?;
        for slot in 0..SLOTS {
            self.held_by.set(slot, 0, 0)?;
            self.loads.set(slot, [0; size_of::<Load>()], 0)?;
            self.learned.set(slot, [0; size_of::<Count>()], 0)?;
        }
        let stations: Vec<_> = self.fdb.iter().collect::<Result<_, _>>()?;
        for (key, value) in stations {
            let station: Learned = pod_read_unaligned(&value);
            if station.flags & station_flags::STATIC == 0 {
                self.fdb.remove(&key)?;
            }
        }
        self.flush_bridge()?;
        self.stage.arrived()?;
        Ok(())
    }

    fn withdraw(&mut self, port: Port) -> Result<()> {
        let request = specification(port);
        self.play(async |host| ops::port_remove(host, &request).await).map(drop)
    }

    fn deny(&mut self, ports: &[u16]) -> Result<()> {
        self.filtered = !ports.is_empty();
        if ports.is_empty() {
            return self.play(async |host| ops::filter_flush(host).await).map(drop);
        }
        let mut text = "*filter\n:FORWARD ACCEPT [0:0]\n".to_owned();
        for (port, proto) in ports.iter().flat_map(|port| [(port, "tcp"), (port, "udp")]) {
            writeln!(text, "-A FORWARD -p {proto} -m {proto} --dport {port} -j DROP")?;
        }
        text += "COMMIT\n";
        self.play(async |host| {
            ops::filter_load(host, &FilterSource::new("denied", text), false).await?;
            // For some minutes after the first filter connections are taken up in the middle: nothing here may depend on
            // the time.
            ops::flows_pick_up(host, 0).await.map(drop)
        })
    }

    fn publish(&mut self, port: Port) -> Result<()> {
        let request = specification(port);
        self.play(async |host| ops::port_add(host, &request).await)?;
        if !self.published.contains(&port.station) {
            self.published.push(port.station);
        }
        Ok(())
    }

    fn set(&mut self, setting: Setting) -> Result<bool> {
        Ok(match setting {
            Setting::AcceptFromAnyone => self.accept_from_anyone(true).map(|()| true)?,
            Setting::UplinkMtu(mtu) => self.set_mtu(mtu).map(|()| true)?,
            Setting::Ports(first, last) => self.set_ports(first, last).map(|()| true)?,
            Setting::Limit(connections) => {
                let limit = Tune {
                    quota: Some(connections),
                    half_open: Some(connections),
                    ..Tune::default()
                };
                self.tune(&limit).map(|()| true)?
            }
            Setting::ClampSegments => Self::clamp_segments(),
            Setting::Isolate(station) => Self::isolate(station),
            // An endpoint's own MAC is, always.
            Setting::Pin(_) => true,
            Setting::Silent => {
                let silent = Tune {
                    silent: Some(true),
                    ..Tune::default()
                };
                self.tune(&silent).map(|()| true)?
            }
            Setting::KernelTimers => {
                let kernels = Tune {
                    profile: Some(Profile::Netfilter),
                    ..Tune::default()
                };
                self.tune(&kernels).map(|()| true)?
            }
            Setting::Transitory { opening, closing } => {
                let apart = Tune {
                    timeouts: ["tcp-opening", "tcp-answered"]
                        .map(|timer| format!("{timer}={opening}"))
                        .into_iter()
                        .chain(["tcp-half-closed", "tcp-closing"].map(|timer| format!("{timer}={closing}")))
                        .collect(),
                    ..Tune::default()
                };
                self.tune(&apart).map(|()| true)?
            }
        })
    }

    fn overlap(&mut self) -> Result<bool> {
        let request = NetCreate {
            subnet: Some(OVERLAPPING.to_owned()),
            ..NetCreate::new("twice")
        };
        match self.play(async |host| ops::net_create(host, &request).await) {
            Ok(_) => {
                self.play(async |host| ops::net_remove(host, &["twice".to_owned()], true).await)?;
                Ok(true)
            }
            Err(error) if format!("{error:#}").contains(&format!("--subnet {OVERLAPPING}: overlaps ")) => Ok(false),
            Err(error) => bail!("an overlapping network was refused for another reason: {error:#}"),
        }
    }

    fn connections(&self) -> Result<usize> {
        let datapath = self.lab.datapath()?;
        let (config, now) = (datapath.tables().config()?, datapath.clock().now_ticks()?);
        let flows = datapath.tables().flows()?;
        let opened = flows.iter().filter(|(key, flow)| {
            flow.head.flags & flow_flags::REPLY == 0 && !is_expired(&config, key.proto, &flow.head, now)
        });
        Ok(opened.count())
    }

    fn show(&self) -> Result<String> {
        self.lab.report()
    }

    fn refusals(&self) -> Result<Option<u64>> {
        Ok(Some(
            self.lab.drops(Reason::NatExhausted)?
                + self.lab.drops(Reason::FlowTableFull)?
                + self.lab.drops(Reason::QuotaExceeded)?,
        ))
    }

    fn state(&self) -> Result<Option<String>> {
        Ok(None)
    }

    fn told_lifetime(&self) -> Result<Option<u32>> {
        Ok(None)
    }

    fn told_ageing(&self) -> Result<Option<u32>> {
        Ok(None)
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        let clock = *self.lab.datapath()?.clock();
        let (tick, now) = (clock.ticks_to_duration(1).as_nanos(), clock.now_ticks()?);
        let ticks = u32::try_from((time.as_nanos() + tick / 2) / tick)?;
        // Ticks wrap in some years: what is that old already stays as old as it is.
        let aged = |seen: u32| {
            let old = now.wrapping_sub(seen) >= 1 << 30 && seen.wrapping_sub(now) >= 1 << 30;
            if old { seen } else { seen.wrapping_sub(ticks) }
        };
        each(&mut self.flows, |flow: &mut FlowV4| {
            flow.head.seen = aged(flow.head.seen);
            flow.head.resolved = aged(flow.head.resolved);
        })?;
        each(&mut self.bindings, |side: &mut BindingV4| {
            side.head.until = aged(side.head.until);
        })?;
        each(&mut self.fdb, |station: &mut Learned| {
            if station.flags & station_flags::STATIC == 0 {
                station.seen = aged(station.seen);
            }
        })?;
        if time >= self.ageing {
            self.flush_bridge()?;
        }
        Ok(())
    }

    fn expire(&mut self, lifetime: u32) -> Result<()> {
        self.pass(Duration::from_secs(u64::from(lifetime) + 1))
    }
}
