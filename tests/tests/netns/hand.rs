//! The command line driven by hand over namespaces that `ip netns add` made.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_tests::icmp::ping;
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{TcpServer, transfer};
use netbridge_tests::wait::wait_until;

use super::LIMIT;
use super::command::{json, says, tool};

/// A process in a network namespace of its own, ended when dropped.
pub(crate) struct Loner(Child);

impl Loner {
    /// Starts one and waits until it is where it should be.
    pub(crate) fn start() -> Result<Self> {
        let child = Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .spawn()
            .context("cannot run unshare")?;
        let loner = Self(child);
        let own = Netns::current()?;
        wait_until("a process in a namespace of its own", LIMIT, || {
            Ok(!loner.netns()?.is_same(&own))
        })?;
        Ok(loner)
    }

    /// How the command line names its namespace.
    pub(crate) fn name(&self) -> String {
        format!("pid:{}", self.0.id())
    }

    /// Its namespace.
    pub(crate) fn netns(&self) -> Result<Netns> {
        Ok(Netns::open(&self.name().parse()?)?)
    }
}

impl Drop for Loner {
    fn drop(&mut self) {
        // A process that has ended already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn named(name: &str) -> Result<Netns> {
    Ok(Netns::open(&name.parse()?)?)
}

/// Addresses of [`world`]: the host's by its uplink, and that of `out`.
pub(crate) const UPLINK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A host `H` with an uplink `up0` (192.0.2.1) to `out` (192.0.2.2), and namespaces `red` and `blue`.
pub(crate) fn world() -> Result<()> {
    for name in ["H", "out", "red", "blue"] {
        tool(&format!("ip netns add {name}"))?;
    }
    tool("ip -n H link add up0 type veth peer name eth0 netns out")?;
    for (namespace, interface, address) in [("H", "up0", "192.0.2.1/24"), ("out", "eth0", "192.0.2.2/24")] {
        tool(&format!("ip -n {namespace} address add {address} dev {interface}"))?;
        tool(&format!("ip -n {namespace} link set {interface} up"))?;
    }
    named("H")?.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    Ok(())
}

#[test]
fn by_name_by_path_and_by_process() -> Result<()> {
    within(|_| {
        world()?;
        let loner = Loner::start()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --ip 10.9.0.10")?;
        says("-n H attach /run/netns/blue --net web --name blue --ip 10.9.0.20 --ifname lan0")?;
        says(&format!(
            "-n H attach {} --net web --name late --ip 10.9.0.30/24@10.9.0.1",
            loner.name()
        ))?;
        ping(&named("red")?, Ipv4Addr::new(10, 9, 0, 20), 56, LIMIT)?;
        ping(&loner.netns()?, Ipv4Addr::new(10, 9, 0, 10), 56, LIMIT)?;
        ping(&loner.netns()?, OUTSIDE, 56, LIMIT)?;
        ensure!(tool("ip -n blue -o address show dev lan0")?.contains("10.9.0.20/24"));
        says("-n H port add red 8080:80 9000-9002:90-92/udp")?;
        let _server = TcpServer::start(&named("red")?, 80)?;
        let seen = transfer(&named("out")?, SocketAddrV4::new(UPLINK, 8080), 1 << 20)?.seen_as;
        ensure!(*seen.ip() == OUTSIDE, "the server sees {seen}");
        let listed = json("-n H ep ls")?;
        ensure!(
            listed.as_array().is_some_and(|endpoints| endpoints.len() == 3),
            "{listed}"
        );
        let flows = json("-n H ct ls")?;
        ensure!(flows.as_array().is_some_and(|flows| !flows.is_empty()), "{flows}");
        says("-n H stats")?;
        says("-n H fdb ls")?;
        says("-n H port rm red --all")?;
        ensure!(json("-n H port ls")? == serde_json::json!([]));
        says("-n H detach red blue late")?;
        says("-n H net rm web")?;
        let links = tool("ip -n H -o link")?;
        ensure!(links.lines().count() == 2, "left behind: {links}");
        Ok(())
    })
}

#[test]
fn two_hosts_never_meet() -> Result<()> {
    within(|_| {
        for host in ["H1", "H2"] {
            tool(&format!("ip netns add {host}"))?;
            for node in ["a", "b"] {
                tool(&format!("ip netns add {host}{node}"))?;
            }
            says(&format!("-n {host} net create web --subnet 10.9.0.0/24"))?;
            says(&format!("-n {host} attach {host}a --net web --name a --ip 10.9.0.2"))?;
            says(&format!("-n {host} attach {host}b --net web --name b --ip 10.9.0.3"))?;
        }
        let reaches = |node: &str| ping(&named(node)?, Ipv4Addr::new(10, 9, 0, 3), 56, LIMIT);
        reaches("H1a")?;
        reaches("H2a")?;
        says("-n H1 net rm web --force")?;
        reaches("H2a")?;
        says("-n H2 net rm web --force")?;
        Ok(())
    })
}
