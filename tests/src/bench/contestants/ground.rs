//! The namespaces of one world.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use netbridge::netlink::in_namespace;
use netbridge::netns::{Netns, NetnsSpec};

use super::super::contestant::Contestant;

/// Whether bridged packets visit netfilter, in a namespace.
pub(super) const BRIDGE_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// Whether a namespace routes.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// What keeps a namespace from sending packets of its own: no IPv6, on the interfaces there are and on those still to
/// come, and no report of the group that a bridge joins to snoop on multicast.
const QUIET: [(&str, bool); 3] = [
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", true),
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", true),
    ("/proc/sys/net/ipv4/igmp_link_local_mcast_reports", false),
];

/// What the host's namespace does with packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostSettings {
    /// It routes.
    pub(super) forwarding: bool,
    /// Bridged packets visit netfilter.
    pub(super) bridge_netfilter: bool,
}

/// The namespaces of one world, called `CONTESTANT-NODE`; they go when it is dropped.
pub(super) struct Ground {
    contestant: String,
    nodes: Vec<String>,
}

impl Ground {
    /// None yet.
    pub(super) fn new(contestant: Contestant) -> Result<Self> {
        let name = contestant.to_possible_value().context("a contestant without a name")?;
        Ok(Self {
            contestant: name.get_name().to_owned(),
            nodes: Vec::new(),
        })
    }

    /// What `ip netns` calls a node's namespace.
    pub(super) fn name(&self, node: &str) -> String {
        format!("{}-{node}", self.contestant)
    }

    /// Makes a quiet namespace, its `lo` up.
    pub(super) fn add(&mut self, node: &str) -> Result<Netns> {
        let netns = Netns::create_named(&self.name(node))?;
        self.nodes.push(node.to_owned());
        let ready = || {
            netns.run(|| QUIET.iter().try_for_each(|(path, on)| set(path, *on)))??;
            in_namespace(&netns, async |netlink| {
                let lo = netlink.link("lo").await?.context("a namespace without lo")?;
                Ok(netlink.set_up(lo.index).await?)
            })
        };
        if let Err(error) = ready() {
            // The first failure is the one to report; what is left goes with the world.
            let _ = self.remove(node);
            return Err(error.context(format!("cannot prepare namespace {netns}")));
        }
        Ok(netns)
    }

    /// Makes the namespace that plays the host.
    pub(super) fn add_host(&mut self, settings: HostSettings) -> Result<Netns> {
        let host = self.add("host")?;
        host.run(|| {
            set(FORWARDING, settings.forwarding)?;
            set(BRIDGE_NETFILTER, settings.bridge_netfilter)
        })??;
        Ok(host)
    }

    /// Opens a namespace again.
    pub(super) fn open(&self, node: &str) -> Result<Netns> {
        Ok(Netns::open(&NetnsSpec::Name(self.name(node)))?)
    }

    /// Removes a namespace.
    pub(super) fn remove(&mut self, node: &str) -> Result<()> {
        Netns::remove_named(&self.name(node))?;
        self.nodes.retain(|known| known != node);
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for node in &self.nodes {
            if let Err(error) = Netns::remove_named(&self.name(node)) {
                eprintln!("{error}");
            }
        }
    }
}

/// Writes a switch of the calling thread's namespace. A kernel without it is quiet, and has nothing to be turned off.
fn set(path: &str, on: bool) -> Result<()> {
    match fs::write(path, if on { "1" } else { "0" }) {
        Err(error) if error.kind() == ErrorKind::NotFound && (!on || QUIET.contains(&(path, on))) => Ok(()),
        written => written.with_context(|| format!("cannot write {path}")),
    }
}
