//! The kernel as a router: a bridge, and nftables with masquerade, a stateful `FORWARD` chain and DNAT.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::model::MacAddr;
use netbridge::netns::Netns;

use super::router::{Column, Port, Router, Setting};
use super::stage::{ETH0, EXTERNAL, GATEWAY, Stage, Station, UPLINK, server_mac, silence, tool};
use crate::{command, conntrack};

/// Its namespace.
const HOST: &str = "host";
/// The containers' bridge.
const BRIDGE: &str = "br0";
/// The bridge's MAC.
const BRIDGE_MAC: MacAddr = MacAddr([2, 0, 10, 9, 1, 1]);
/// The uplink's MAC.
const UPLINK_MAC: MacAddr = MacAddr([2, 0, 192, 0, 2, 1]);
/// What keeps a namespace from sending packets of its own: no IPv6, no report of the group that a bridge joins.
const QUIET: [&str; 3] = [
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
    "net.ipv4.igmp_link_local_mcast_reports=0",
];
/// Longest time that is truly waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// A connection's seconds are read this long after its last packet: within the first second of them.
const READING: Duration = Duration::from_millis(40);

/// States of a connection that is half open.
const OPENING: [&str; 2] = ["syn_sent", "syn_recv"];
/// States of one that is half closed.
const CLOSING: [&str; 4] = ["fin_wait", "close_wait", "last_ack", "time_wait"];

/// The rules without any setting.
const RULES: &str = "
table ip conformance {
    map published { type inet_proto . inet_service : ipv4_addr . inet_service; }
    chain denied { }
    chain limits { }
    chain mangle { }
    chain forward {
        type filter hook forward priority filter; policy drop;
        jump mangle
        jump denied
        ct state invalid drop
        ct state established,related accept
        jump limits
        iif br0 accept
        ct status dnat accept
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local dnat ip to meta l4proto . th dport map @published
    }
    chain source { }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.9.1.0/24 oif != br0 jump source
        ip saddr 10.9.1.0/24 oif != br0 masquerade
    }
}
";

/// The kernel's router.
pub struct Netfilter {
    host: Netns,
    stage: Stage,
    /// The timers as they were.
    timers: Vec<(String, String)>,
}

impl Netfilter {
    /// Builds it in the calling thread's sandbox.
    pub fn build() -> Result<Self> {
        let nodes = Station::PORTS.map(Station::node);
        for node in [HOST, "outside"].iter().chain(&nodes) {
            tool(&format!("ip netns add {node}"))?;
            let quiet = QUIET.join(" ");
            tool(&format!("ip netns exec {node} sysctl -qw {quiet}"))?;
        }
        let mut batch = format!(
            "link add {BRIDGE} address {BRIDGE_MAC} type bridge\n\
             link set lo up\n\
             link set {BRIDGE} up\n\
             address add {GATEWAY}/24 dev {BRIDGE}\n\
             link add {UPLINK} address {UPLINK_MAC} type veth peer name {ETH0} netns outside\n\
             link set {UPLINK} up\n\
             address add {EXTERNAL}/24 dev {UPLINK}\n"
        );
        for node in nodes {
            write!(
                batch,
                "link add {node} type veth peer name {ETH0} netns {node}\n\
                 link set {node} master {BRIDGE}\n\
                 link set {node} up\n"
            )?;
        }
        command::feed("ip", &["-n", HOST, "-batch", "-"], &batch)?;
        for node in ["outside"].iter().chain(&nodes) {
            tool(&format!("ip -n {node} link set {ETH0} up"))?;
            silence(node, ETH0)?;
        }
        let host = Netns::open(&HOST.parse()?)?;
        host.run(|| -> Result<()> {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            fs::write(super::stage::ICMP_RATE, "0")?;
            fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0")?;
            command::feed("nft", &["-f", "-"], RULES).map(drop)
        })??;
        let stage = Stage::open(|node| Ok(Netns::open(&node.parse()?)?), BRIDGE_MAC.0, UPLINK_MAC.0)?;
        introduce(HOST, BRIDGE, &stage)?;
        crate::wire::finish_checksums(&host, UPLINK)?;
        crate::wire::finish_checksums(&host, BRIDGE)?;
        let timers = host.run(timers)??;
        Ok(Self { host, stage, timers })
    }

    fn nft(&self, text: &str) -> Result<()> {
        self.host.run(|| command::feed("nft", &["-f", "-"], text))??;
        Ok(())
    }

    /// The lines of `conntrack -L`.
    fn entries(&self) -> Result<Vec<String>> {
        let listed = self.host.run(|| command::call("conntrack", &["-L"]))??;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// The only connection, in words: protocol, its number, seconds left, for TCP the state, and more.
    fn only(&self) -> Result<Option<Vec<String>>> {
        let entries = self.entries()?;
        ensure!(entries.len() <= 1, "more than one connection: {entries:?}");
        Ok(entries
            .first()
            .map(|line| line.split_whitespace().map(str::to_owned).collect()))
    }
}

/// The TCP timers of the calling thread's namespace that a setting changes.
fn timers() -> Result<Vec<(String, String)>> {
    OPENING
        .iter()
        .chain(&CLOSING)
        .map(|name| {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{name}");
            let value = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            Ok((path, value))
        })
        .collect()
}

/// Makes the router know its neighbours for good.
pub(super) fn introduce(host: &str, bridge: &str, stage: &Stage) -> Result<()> {
    let mut batch = String::new();
    let mut add = |ip: Ipv4Addr, mac: [u8; 6], dev: &str| {
        writeln!(
            batch,
            "neighbour replace {ip} lladdr {} dev {dev} nud permanent",
            MacAddr(mac)
        )
    };
    for station in Station::PORTS {
        add(station.ip(), stage.mac(station), bridge)?;
    }
    for station in [Station::S1, Station::S2] {
        add(station.ip(), server_mac(station), UPLINK)?;
    }
    command::feed("ip", &["-n", host, "-batch", "-"], &batch).map(drop)
}

impl Router for Netfilter {
    fn column(&self) -> Column {
        Column::Netfilter
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }

    fn reset(&mut self) -> Result<()> {
        self.host.run(|| -> Result<()> {
            command::feed("nft", &["-f", "-"], &format!("delete table ip conformance\n{RULES}"))?;
            let batch = Station::PORTS
                .iter()
                .fold(format!("link set {UPLINK} mtu 1500\n"), |batch, station| {
                    batch + &format!("link set {} type bridge_slave isolated off fdb_flush\n", station.node())
                });
            command::feed("ip", &["-batch", "-"], &batch)?;
            for (path, value) in &self.timers {
                fs::write(path, value).with_context(|| format!("cannot write {path}"))?;
            }
            conntrack::flush()
        })??;
        self.stage.arrived()?;
        Ok(())
    }

    fn publish(&mut self, port: Port) -> Result<()> {
        self.nft(&format!(
            "add element ip conformance published {{ {} . {} : {} . {} }}\n",
            port.transport,
            port.host,
            port.station.ip(),
            port.container
        ))?;
        // Who asked in vain before has a connection to the host, and would keep it: container engines end those too.
        let asked = format!("dport={}", port.host);
        let is_stale = |line: &String| line.split_whitespace().find(|word| word.starts_with("dport=")) == Some(&asked);
        if self.entries()?.iter().any(is_stale) {
            let (transport, host) = (port.transport.to_string(), port.host.to_string());
            let stale = ["-D", "-p", &transport, "--orig-port-dst", &host];
            self.host.run(|| command::call("conntrack", &stale))??;
        }
        Ok(())
    }

    fn withdraw(&mut self, port: Port) -> Result<()> {
        self.nft(&format!(
            "delete element ip conformance published {{ {} . {} }}\n",
            port.transport, port.host
        ))
    }

    fn deny(&mut self, ports: &[u16]) -> Result<()> {
        let rules = ports.iter().fold(String::new(), |rules, port| {
            rules + &format!("add rule ip conformance denied meta l4proto {{ tcp, udp }} th dport {port} drop\n")
        });
        self.nft(&format!("flush chain ip conformance denied\n{rules}"))
    }

    fn set(&mut self, setting: Setting) -> Result<bool> {
        match setting {
            // Conntrack knows a packet by all of its tuple, or not at all; what is nobody's is the host's.
            Setting::AcceptFromAnyone | Setting::Silent => return Ok(false),
            Setting::KernelTimers => {}
            Setting::UplinkMtu(mtu) => {
                tool(&format!("ip -n {HOST} link set {UPLINK} mtu {mtu}"))?;
            }
            Setting::Ports(first, last) => {
                let rule = "add rule ip conformance source meta l4proto { tcp, udp } masquerade to";
                self.nft(&format!("{rule} :{first}-{last}\n"))?;
            }
            Setting::Limit(count) => self.nft(&format!(
                "add set ip conformance counted {{ type ipv4_addr; size 65535; flags dynamic; }}\n\
                 add rule ip conformance limits ct state new iif br0 add @counted {{ ip saddr ct count over {count} }} drop\n"
            ))?,
            Setting::ClampSegments => self.nft(
                "add rule ip conformance mangle tcp flags syn tcp option maxseg size set rt mtu\n",
            )?,
            Setting::Isolate(station) => {
                tool(&format!("ip -n {HOST} link set {} type bridge_slave isolated on", station.node()))?;
            }
            Setting::Pin(station) => {
                let mac = MacAddr(self.stage.mac(station));
                tool(&format!(
                    "bridge -n {HOST} fdb replace {mac} dev {} master static sticky",
                    station.node()
                ))?;
            }
            Setting::Transitory { opening, closing } => self.host.run(|| {
                let seconds = OPENING.map(|_| opening).into_iter().chain(CLOSING.map(|_| closing));
                self.timers.iter().zip(seconds).try_for_each(|((path, _), seconds)| {
                    fs::write(path, seconds.to_string()).with_context(|| format!("cannot write {path}"))
                })
            })??,
        }
        Ok(true)
    }

    fn overlap(&mut self) -> Result<bool> {
        for verb in ["add", "del"] {
            tool(&format!("ip -n {HOST} address {verb} 192.0.2.129/25 dev {BRIDGE}"))?;
        }
        Ok(true)
    }

    fn connections(&self) -> Result<usize> {
        let count = self.host.run(|| fs::read_to_string(conntrack::COUNT))??;
        Ok(count.trim().parse()?)
    }

    fn show(&self) -> Result<String> {
        Ok(self.entries()?.join("\n"))
    }

    fn refusals(&self) -> Result<Option<u64>> {
        // `insert_failed` and `drop` of `conntrack -S` count other causes too, and a NAT without ports counts none.
        Ok(None)
    }

    fn state(&self) -> Result<Option<String>> {
        Ok(self.only()?.and_then(|words| words.get(3).cloned()))
    }

    fn told_lifetime(&self) -> Result<Option<u32>> {
        // Whole seconds are told, cut off: read a moment after the packet, one less than the connection was given.
        thread::sleep(READING);
        let words = self.only()?.context("no connection")?;
        let left: u32 = words.get(2).context("no lifetime is told")?.parse()?;
        Ok(Some(left + 1))
    }

    fn told_ageing(&self) -> Result<Option<u32>> {
        let path = format!("/sys/class/net/{BRIDGE}/bridge/ageing_time");
        let told = tool(&format!("ip netns exec {HOST} cat {path}"))?;
        let centiseconds: u32 = told.trim().parse()?;
        Ok(Some(centiseconds / 100))
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        ensure!(
            time <= LONGEST_WAIT,
            "the kernel's clock cannot be put forward by {time:?}"
        );
        thread::sleep(time);
        Ok(())
    }

    fn expire(&mut self, _lifetime: u32) -> Result<()> {
        self.host.run(conntrack::flush)?
    }
}

/// The rules, for the report.
pub fn rules() -> &'static str {
    RULES.trim()
}
