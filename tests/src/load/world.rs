//! Where the loads run: a host with containers, and servers outside.

use std::collections::BTreeMap;
use std::fs;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netbridge::datapath::{Datapath, Pins};
use netbridge::model::{Attach, NetCreate, Ports, Tune};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::ops::{self, Failure, Host, Options};
use netbridge::state::{Endpoint, State};
use netbridge_common::abi::{Load, Reason};

use crate::conformance::stage::tool;
use crate::frame::Station;
use crate::sandbox::Sandbox;
use crate::wire::Wire;

/// The host, and the world outside.
const HOST: &str = "H";
const OUTSIDE: &str = "out";
/// The instance's name.
const INSTANCE: &str = "load";
/// The network that the containers are on.
const NETWORK: &str = "web";

/// The host's address.
pub const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The servers' first address; the others follow.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// What keeps a namespace from sending packets of its own: no IPv6, no report of the group that a bridge joins.
const QUIET: [&str; 2] = [
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv4.igmp_link_local_mcast_reports=0",
];

/// What a world has that differs from others.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Containers.
    pub containers: usize,
    /// The host's own ephemeral ports: SNAT takes the longest run outside.
    pub local_ports: (u16, u16),
    /// Sizes, quotas and lifetimes.
    pub tune: Tune,
}

impl Default for Plan {
    /// Two containers, everything else as by default.
    fn default() -> Self {
        Self {
            containers: 2,
            local_ports: (32_768, 60_999),
            tune: Tune::default(),
        }
    }
}

/// A host with a network and containers on it, and servers outside. Namespaces and all are gone with the sandbox.
pub struct World<'a> {
    state: State,
    datapath: Datapath,
    options: Options,
    /// It lives in the sandbox of the thread that made it.
    sandbox: PhantomData<&'a Sandbox>,
}

impl<'a> World<'a> {
    /// Builds it.
    pub fn build(sandbox: &'a Sandbox, plan: &Plan) -> Result<Self> {
        let containers: Vec<String> = (0..plan.containers).map(container).collect();
        for namespace in [HOST, OUTSIDE].into_iter().chain(containers.iter().map(String::as_str)) {
            tool(&format!("ip netns add {namespace}"))?;
            let ports = if namespace == HOST {
                plan.local_ports
            } else {
                (1024, 65_535)
            };
            let ports = format!("{} {}", ports.0, ports.1);
            named(namespace)?.run(|| {
                fs::write("/proc/sys/net/ipv4/ip_local_port_range", ports)?;
                fs::write("/proc/sys/net/core/somaxconn", "8192")?;
                fs::write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "8192")
            })??;
            for quiet in QUIET {
                tool(&format!("ip netns exec {namespace} sysctl -qw {quiet}"))?;
            }
            tool(&format!("ip -n {namespace} link set lo up"))?;
        }
        tool(&format!(
            "ip -n {HOST} link add up0 type veth peer name eth0 netns {OUTSIDE}"
        ))?;
        tool(&format!("ip -n {HOST} address add {UPLINK}/24 dev up0"))?;
        tool(&format!("ip -n {HOST} link set up0 up"))?;
        tool(&format!("ip -n {HOST} route add default via {SERVER} dev up0"))?;
        for server in SERVERS {
            tool(&format!("ip -n {OUTSIDE} address add {server}/24 dev eth0"))?;
        }
        tool(&format!("ip -n {OUTSIDE} link set eth0 up"))?;
        let options = Options {
            bpffs: sandbox.bpffs().to_owned(),
            instance: Some(INSTANCE.to_owned()),
            ..Options::default()
        };
        let host = named(HOST)?;
        host.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
        play(&host, &options, async |host| {
            ops::tune(host, &plan.tune).await?;
            let network = NetCreate {
                subnet: Some("10.9.0.0/16".to_owned()),
                uplink: Some("up0".to_owned()),
                ..NetCreate::new(NETWORK)
            };
            ops::net_create(host, &network).await?;
            for container in &containers {
                ops::attach(host, &Attach::new(container, NETWORK)).await?;
            }
            Ok(())
        })?;
        let state = play(&host, &options, async |host| host.state())?;
        let datapath = Datapath::open(&Pins::new(sandbox.bpffs(), INSTANCE))?;
        Ok(Self {
            state,
            datapath,
            options,
            sandbox: PhantomData,
        })
    }

    /// Its programs and maps.
    pub fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// Publishes ports of the host at those of a container, as the command line has them.
    pub fn publish(&self, number: usize, ports: &[&str]) -> Result<()> {
        let request = Ports {
            endpoint: container(number),
            specs: ports.iter().copied().map(str::to_owned).collect(),
            from: Vec::new(),
        };
        play(&named(HOST)?, &self.options, async |host| {
            ops::port_add(host, &request).await.map(drop)
        })
    }

    /// The uplink's MAC.
    pub fn uplink(&self) -> Result<[u8; 6]> {
        let uplink = self.state.uplinks.first().context("there is no uplink")?;
        Ok(uplink.mac.0)
    }

    fn endpoint(&self, number: usize) -> Result<&Endpoint> {
        let name = container(number);
        self.state.endpoint(&name).with_context(|| format!("no {name}"))
    }

    /// The flows on a container's quota.
    pub fn load(&self, number: usize) -> Result<Load> {
        let endpoint = self.endpoint(number)?;
        Ok(self.datapath.tables().load(endpoint.slot)?)
    }

    /// Packets of a container that were dropped.
    pub fn dropped_of(&self, number: usize) -> Result<u64> {
        let endpoint = self.endpoint(number)?;
        Ok(self.datapath.tables().traffic(endpoint.slot)?.drops)
    }

    /// A container as one end of a frame.
    pub fn station(&self, number: usize) -> Result<Station> {
        let endpoint = self.endpoint(number)?;
        let ip = endpoint
            .address()
            .with_context(|| format!("{} has no address", endpoint.name))?;
        Ok(Station {
            mac: endpoint.mac.0,
            ip,
        })
    }

    /// The gateway's MAC.
    pub fn gateway(&self) -> Result<[u8; 6]> {
        let network = self.state.network(NETWORK).context("the network has gone")?;
        Ok(network.mac.0)
    }

    /// A packet socket on a container's interface.
    pub fn wire(&self, number: usize) -> Result<Wire> {
        Wire::open(&named(&container(number))?, "eth0")
    }

    /// Drops so far, those that never happened left out.
    pub fn drops(&self) -> Result<BTreeMap<Reason, u64>> {
        let drops = self.datapath.tables().drops()?.into_iter();
        Ok(drops.filter(|(_, count)| *count > 0).collect())
    }

    /// Drops for a reason so far.
    pub fn dropped(&self, reason: Reason) -> Result<u64> {
        Ok(self.drops()?.get(&reason).copied().unwrap_or_default())
    }
}

/// The name of a container and of its namespace.
pub fn container(number: usize) -> String {
    format!("c{number}")
}

/// The namespace of a container.
pub fn inside(number: usize) -> Result<Netns> {
    named(&container(number))
}

/// The namespace of the servers.
pub fn outside() -> Result<Netns> {
    named(OUTSIDE)
}

/// The servers' addresses.
pub const SERVERS: [Ipv4Addr; 4] = [
    SERVER,
    Ipv4Addr::new(192, 0, 2, 11),
    Ipv4Addr::new(192, 0, 2, 12),
    Ipv4Addr::new(192, 0, 2, 13),
];

/// A namespace by its name.
pub fn named(name: &str) -> Result<Netns> {
    Ok(Netns::open(&name.parse()?)?)
}

fn play<T: Send>(
    host: &Netns,
    options: &Options,
    operation: impl AsyncFnOnce(&Host) -> Result<T, Failure> + Send,
) -> Result<T> {
    in_namespace(host, async |_| {
        let host = Host::open(options)?;
        Ok(operation(&host).await?)
    })
}

/// Waits until what `value` says has not changed for so long, and returns it.
pub fn settled<T: PartialEq>(still: Duration, mut value: impl FnMut() -> Result<T>) -> Result<T> {
    const LIMIT: Duration = Duration::from_secs(20);
    let start = Instant::now();
    let mut last = value()?;
    loop {
        thread::sleep(still);
        let now = value()?;
        if now == last {
            return Ok(now);
        }
        last = now;
        if start.elapsed() > LIMIT {
            bail!("packets still come after {LIMIT:?}");
        }
    }
}
