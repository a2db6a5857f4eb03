//! netbridge: set up by the operations behind its command line, and changed by its command, a process a call, as its user
//! does it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::MapData;
use aya::programs::ProgramInfo;
use netbridge::datapath::{Datapath, HOOKS, Pins};
use netbridge::model::{Attach, NetCreate, Tune};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::ops::{self, Failure, Options};
use netbridge::state::State;
use tempfile::TempDir;

use super::super::contestant::Contestant;
use super::super::rule::Rule;
use super::super::world::{Able, Host, Layout, Port, Published, World};
use super::foreign::stack;
use super::ground::{Ground, HostSettings};
use super::syntax::{forward, operand};
use super::{A, B, CONTAINERS, ETH0, GATEWAY, MTU, OUTSIDE, UPLINK, command, more, wiring};
use crate::sandbox::Sandbox;
use crate::wire::counters;

/// The containers' network.
const NETWORK: &str = "bench";
/// Flows of one container: more than any workload opens.
const MOST: u32 = 32_768;
/// The command, of the sources beside this program.
const PROGRAM: &str = "netbridge-under-test";
/// A memory file system of the sandbox's own.
const PRIVATE: &str = "/run";

/// The host's part of netbridge.
struct Instance {
    host: Netns,
    /// What `ip netns` calls its namespace.
    name: String,
    options: Options,
    /// Where the command is.
    directory: TempDir,
}

impl Instance {
    /// Carries out an operation in the host's namespace.
    fn play<T: Send>(&self, operation: impl AsyncFnOnce(&ops::Host) -> Result<T, Failure> + Send) -> Result<T> {
        in_namespace(&self.host, async |_| {
            let host = ops::Host::open(&self.options)?;
            Ok(operation(&host).await?)
        })
    }

    /// Calls the command as its user does, with `input` on its standard input.
    fn call(&self, arguments: &[&str], input: &str) -> Result<Able> {
        let program = self.directory.path().join(PROGRAM);
        let program = program.to_str().context("the command's path is no text")?;
        command::feed(program, &[&["-n", &self.name], arguments].concat(), input)?;
        Ok(Able::Done)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let removed = self.play(async |host| {
            // A world that failed to come up has none.
            if host.state()?.network(NETWORK).is_some() {
                ops::net_remove(host, &[NETWORK.to_owned()], true).await?;
            }
            let nothing = Tune {
                reset: true,
                ..Tune::default()
            };
            ops::tune(host, &nothing).await.map(drop)
        });
        if let Err(error) = removed {
            eprintln!("{error:#}");
        }
    }
}

/// Containers on a network of netbridge.
pub(super) struct Netbridge {
    layout: Layout,
    /// As it is with A and B alone.
    state: State,
    pins: Pins,
    /// Containers attached later.
    attached: BTreeSet<u16>,
    instance: Instance,
    /// Last: namespaces go when nobody has them open.
    ground: Ground,
}

impl Netbridge {
    /// Builds it with the first two containers.
    pub(super) fn build(sandbox: &Sandbox) -> Result<Self> {
        let mut ground = Ground::new(Contestant::Netbridge)?;
        let host = ground.add_host(HostSettings {
            forwarding: true,
            bridge_netfilter: false,
        })?;
        let outside = ground.add("outside")?;
        wiring::uplink(&host, &outside)?;
        let (a, b) = (ground.add("a")?, ground.add("b")?);
        let instance = Instance {
            host: ground.open("host")?,
            name: ground.name("host"),
            directory: command_of_this_run()?,
            options: Options {
                bpffs: sandbox.bpffs().to_owned(),
                ..Options::default()
            },
        };
        let network = NetCreate {
            subnet: Some(super::subnet(GATEWAY).trunc().to_string()),
            gateway: Some(GATEWAY.to_string()),
            uplink: Some(ETH0.to_owned()),
            mtu: Some(MTU),
            ..NetCreate::new(NETWORK)
        };
        // One container plays many clients, and the contestants know no quotas.
        let room = Tune {
            quota: Some(MOST),
            half_open: Some(MOST),
            ..Tune::default()
        };
        let requests = [("a", A), ("b", B)].map(|(node, ip)| attachment(&ground, node, ip));
        let (state, name) = instance.play(async |host| {
            ops::tune(host, &room).await?;
            ops::net_create(host, &network).await?;
            for request in &requests {
                ops::attach(host, request).await?;
            }
            Ok((host.state()?, host.instance().to_owned()))
        })?;
        let bridge = &state.network(NETWORK).context("the network has gone")?.bridge;
        let layout = Layout {
            a: wiring::place(a, ETH0, A)?,
            b: wiring::place(b, ETH0, B)?,
            outside: wiring::place(outside, ETH0, OUTSIDE)?,
            host: Some(Host {
                a_port: host_end(&host, &state, "a")?,
                b_port: host_end(&host, &state, "b")?,
                uplink: wiring::port(&host, ETH0, UPLINK)?,
                gateway: wiring::port(&host, bridge, GATEWAY)?,
                netns: host,
            }),
        };
        wiring::introduce(&layout, bridge)?;
        wiring::settle(&layout)?;
        let mut world = Self {
            layout,
            state,
            pins: Pins::new(sandbox.bpffs(), &name),
            attached: BTreeSet::new(),
            instance,
            ground,
        };
        world.forget_flows()?;
        Ok(world)
    }
}

/// A directory with a copy of the command: a build while a run lasts must not change what is measured.
fn command_of_this_run() -> Result<TempDir> {
    let directory = TempDir::new_in(PRIVATE).with_context(|| format!("cannot make a directory in {PRIVATE}"))?;
    fs::copy(built()?, directory.path().join(PROGRAM)).with_context(|| format!("cannot copy {PROGRAM}"))?;
    Ok(directory)
}

/// The command, which cargo puts beside the programs of this package, and above its tests.
fn built() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let directories = own.ancestors().skip(1).take(2);
    let mut places = directories.map(|directory| directory.join(PROGRAM));
    places.find(|path| path.is_file()).with_context(|| {
        let own = own.file_name().unwrap_or_default().display();
        format!("{PROGRAM} is not beside {own}; `cargo build --package netbridge-tests --bins` builds it")
    })
}

/// A container's connection as its user asks for it.
fn attachment(ground: &Ground, node: &str, ip: Ipv4Addr) -> Attach {
    Attach {
        name: Some(node.to_owned()),
        ips: vec![format!("{ip}/{CONTAINERS}")],
        ..Attach::new(ground.name(node), NETWORK)
    }
}

fn host_end(host: &Netns, state: &State, endpoint: &str) -> Result<Port> {
    let endpoint = state.endpoint(endpoint).context("an endpoint has gone")?;
    wiring::port(host, &endpoint.host_if, Ipv4Addr::UNSPECIFIED)
}

/// `HOST[-END]:CONTAINER[-END]/PROTOCOL`.
fn ports(first: Published, count: u16) -> Result<String> {
    let last = |first: u16| first.checked_add(count.saturating_sub(1));
    let (Some(host), Some(container)) = (last(first.host), last(first.container)) else {
        bail!("{count} ports from {} are more than there are", first.host);
    };
    let proto = if first.proto == 6 { "tcp" } else { "udp" };
    Ok(format!("{}-{host}:{}-{container}/{proto}", first.host, first.container))
}

impl World for Netbridge {
    fn contestant(&self) -> Contestant {
        Contestant::Netbridge
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn translates(&self) -> Able {
        Able::Done
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        if rules.is_empty() {
            return self.instance.call(&["filter", "flush"], "");
        }
        self.instance.call(&["filter", "load", "-"], &forward(rules))
    }

    fn insert_rule(&mut self, _rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        let rule = format!("{}{}", index + 1, operand(rule));
        self.instance.call(&["filter", "insert", &rule], "")
    }

    fn delete_rule(&mut self, _rules: &[Rule], index: usize) -> Result<Able> {
        self.instance.call(&["filter", "delete", &(index + 1).to_string()], "")
    }

    fn publish(&mut self, published: &[Published]) -> Result<Able> {
        let ports: Vec<String> = published.iter().map(|port| ports(*port, 1)).collect::<Result<_>>()?;
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        self.instance
            .call(&[&["port", "add", "b"], ports.as_slice()].concat(), "")
    }

    fn publish_range(&mut self, first: Published, count: u16) -> Result<Able> {
        self.instance.call(&["port", "add", "b", &ports(first, count)?], "")
    }

    fn unpublish(&mut self) -> Result<Able> {
        self.instance.call(&["port", "rm", "b", "--all"], "")
    }

    fn new_container(&mut self, index: u16) -> Result<Able> {
        self.ground.add(&format!("c{index}"))?;
        Ok(Able::Done)
    }

    fn attach(&mut self, index: u16) -> Result<Able> {
        let name = format!("c{index}");
        let (netns, ip) = (self.ground.name(&name), format!("{}/{CONTAINERS}", more(index)));
        let arguments = ["attach", &netns, "--net", NETWORK, "--name", &name, "--ip", &ip];
        self.instance.call(&arguments, "")?;
        self.attached.insert(index);
        Ok(Able::Done)
    }

    fn detach(&mut self, index: u16) -> Result<Able> {
        self.instance.call(&["detach", &format!("c{index}")], "")?;
        self.attached.remove(&index);
        Ok(Able::Done)
    }

    fn remove_container(&mut self, index: u16) -> Result<()> {
        if self.attached.contains(&index) {
            self.detach(index)?;
        }
        self.ground.remove(&format!("c{index}"))
    }

    fn forget_flows(&mut self) -> Result<()> {
        self.instance.play(async |host| ops::flows_flush(host, None))?;
        Ok(())
    }

    fn path_counters(&self) -> Result<Vec<(String, u64)>> {
        let datapath = Datapath::open(&self.pins)?;
        let endpoints = self.state.endpoints.iter().map(|end| (end.name.to_string(), end.slot));
        let uplinks = self
            .state
            .uplinks
            .iter()
            .map(|uplink| (uplink.name.clone(), uplink.slot));
        endpoints
            .chain(uplinks)
            .map(|(name, slot)| Ok((format!("{name} sent"), datapath.tables().traffic(slot)?.tx_packets)))
            .collect()
    }

    fn foreign_counters(&self) -> Result<Vec<(String, u64)>> {
        let host = &self.instance.host;
        let mut counted = stack(host)?;
        for endpoint in &self.state.endpoints {
            let sent = counters(host, &endpoint.host_if)?.tx_packets;
            counted.push((format!("packets bridged to {}", endpoint.name), sent));
        }
        Ok(counted)
    }

    fn programs(&self) -> Result<Vec<ProgramInfo>> {
        let datapath = Datapath::open(&self.pins)?;
        HOOKS
            .into_iter()
            .map(|hook| Ok(datapath.program(hook)?.info()?))
            .collect()
    }

    fn map_bytes(&self) -> Result<Option<u64>> {
        let maps = self.pins.root().join("maps");
        let mut bytes = 0;
        for pin in fs::read_dir(&maps).with_context(|| format!("cannot list {}", maps.display()))? {
            let map = MapData::from_pin(pin?.path())?;
            let descriptor = map.fd().as_fd().as_raw_fd();
            let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{descriptor}"))?;
            let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            bytes += memory
                .context("the kernel does not tell what a map takes")?
                .trim()
                .parse::<u64>()?;
        }
        ensure!(bytes > 0, "no maps in {}", maps.display());
        Ok(Some(bytes))
    }
}
