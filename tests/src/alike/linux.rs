//! The kernel as a host: bridges whose packets pass netfilter, connection tracking, masquerade and published ports, as
//! Docker sets them up. What netbridge does outside its filter is in a table of its own here, so that `FORWARD` holds what is
//! compared and nothing else.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netbridge::filter::syntax;
use netbridge::model::MacAddr;
use netbridge::netns::Netns;

use super::ground::{BRIDGES, ETH0, EXTERNAL, Ground, NODES, Station, UPLINK, introduce};
use super::host::{Backend, Counters, Files, Host};
use crate::conformance::stage::{silence, tool};
use crate::wait::wait_until;
use crate::{command, conntrack, wire};

/// Its namespace.
const HOST: &str = "host";
/// The uplink's MAC.
const UPLINK_MAC: MacAddr = MacAddr([2, 0, 192, 0, 2, 1]);
/// Settings of the host, by file: the bridge's packets pass netfilter; a segment in the middle of a connection that is not
/// known is invalid; ICMP errors are never too many.
const SETTINGS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/netfilter/nf_conntrack_tcp_loose", "0"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "0"),
];

/// What netbridge does before its filter or behind it: nobody outside reaches a container's own address; ports are
/// published, and a neighbour that asks for one comes from the external address; what leaves is masqueraded; networks do
/// not reach each other.
const LAB: &str = "
table ip lab {
    chain direct {
        type filter hook prerouting priority raw; policy accept;
        iifname up0 ip daddr 10.9.0.0/16 drop
    }
    chain published {
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr 192.0.2.1 tcp dport 8080 dnat to 10.9.1.2:80
        ip daddr 192.0.2.1 tcp dport 8443 dnat to 10.9.1.3:443
        ip daddr 192.0.2.1 udp dport 5353 dnat to 10.9.1.3:53
    }
    chain source {
        type nat hook postrouting priority srcnat; policy accept;
        oifname up0 ip saddr 10.9.0.0/16 masquerade
        oifname front ip saddr 10.9.1.0/24 ct status dnat snat to 192.0.2.1
    }
    chain isolated {
        type filter hook forward priority filter + 10; policy accept;
        iifname front oifname back drop
        iifname back oifname front drop
    }
}
";

/// How long the kernel may hold what nobody names any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// No rules.
const NOTHING: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

impl Backend {
    /// A program of it.
    fn program(self, what: &str) -> String {
        match self {
            Self::Legacy => format!("iptables-legacy{what}"),
            Self::Nft => format!("iptables-nft{what}"),
        }
    }
}

/// The kernel's host.
pub(super) struct Linux {
    host: Netns,
    ground: Ground,
    /// What has loaded the rules.
    backend: Backend,
    /// The sets that are there.
    sets: String,
}

impl Linux {
    /// Builds it in the calling thread's sandbox.
    pub(super) fn build() -> Result<Self> {
        for node in NODES.iter().chain([&HOST]) {
            tool(&format!("ip netns add {node}"))?;
            tool(&format!(
                "ip netns exec {node} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
                 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.igmp_link_local_mcast_reports=0"
            ))?;
        }
        let mut batch = String::from("link set lo up\n");
        for bridge in BRIDGES {
            let (name, gateway, mac) = (bridge.name, bridge.gateway, gateway_mac(bridge.gateway));
            write!(
                batch,
                "link add {name} address {mac} type bridge mcast_snooping 0\n\
                 link set {name} up\n\
                 address add {gateway}/24 dev {name}\n"
            )?;
        }
        write!(
            batch,
            "link add {UPLINK} address {UPLINK_MAC} type veth peer name {ETH0} netns outside\n\
             link set {UPLINK} up\n\
             address add {EXTERNAL}/24 dev {UPLINK}\n"
        )?;
        for station in Station::CONTAINERS {
            let (node, mac) = (station.node(), station.mac());
            let bridge = station.bridge().map_or("", |bridge| BRIDGES[bridge].name);
            write!(
                batch,
                "link add {node} type veth peer name {ETH0} address {mac} netns {node}\n\
                 link set {node} master {bridge}\n\
                 link set {node} up\n"
            )?;
        }
        command::feed("ip", &["-n", HOST, "-batch", "-"], &batch)?;
        for node in NODES {
            tool(&format!("ip -n {node} link set {ETH0} up"))?;
            silence(node, ETH0)?;
        }
        let host = Netns::open(&HOST.parse()?)?;
        host.run(|| -> Result<()> {
            // Connections are tracked, and the settings of that are there, once a rule asks for it.
            command::feed("nft", &["-f", "-"], LAB)?;
            for (file, value) in SETTINGS {
                let path = format!("/proc/sys/{file}");
                fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
            }
            Ok(())
        })??;
        introduce(HOST, BRIDGES.map(|bridge| bridge.name))?;
        let bridges = BRIDGES.map(|bridge| bridge.name);
        let ports = Station::CONTAINERS.map(Station::node);
        for interface in bridges.iter().chain(&ports).chain([&UPLINK]) {
            wire::finish_checksums(&host, interface)?;
        }
        let macs = BRIDGES.map(|bridge| gateway_mac(bridge.gateway).0);
        let ground = Ground::open(|node| Ok(Netns::open(&node.parse()?)?), macs, UPLINK_MAC.0)?;
        Ok(Self {
            host,
            ground,
            backend: Backend::Legacy,
            sets: String::new(),
        })
    }
}

/// The MAC of a bridge.
fn gateway_mac(gateway: std::net::Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = gateway.octets();
    MacAddr([2, 0, a, b, c, d])
}

impl Host for Linux {
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn load(&mut self, files: &Files) -> Result<()> {
        let (before, restore) = (self.backend.program("-restore"), files.backend.program("-restore"));
        let new_sets = self.sets != files.sets;
        self.host.run(|| -> Result<()> {
            if !files.goes_on {
                command::feed(&before, &[], NOTHING)?;
            }
            if new_sets {
                // Rules hold the sets that they name, some of them for a moment longer than they live, and sets their members.
                command::call("ipset", &["flush"])?;
                let free = || Ok(command::call("ipset", &["destroy"]).is_ok());
                wait_until("sets that no rule names", PATIENCE, free)?;
                command::feed("ipset", &["restore"], &files.sets)?;
            }
            command::feed(&restore, &["-c"], &files.rules)?;
            conntrack::flush()
        })??;
        (self.backend, self.sets) = (files.backend, files.sets.clone());
        self.ground.announce()
    }

    fn counters(&self) -> Result<Counters> {
        let save = self.backend.program("-save");
        let text = self.host.run(|| command::call(&save, &["-c", "-t", "filter"]))??;
        read(&text)
    }

    fn show(&self) -> Result<String> {
        let save = self.backend.program("-save");
        self.host.run(|| -> Result<String> {
            let rules = command::call(&save, &["-c", "-t", "filter"])?;
            Ok(rules + &command::call("conntrack", &["-L"])?)
        })?
    }
}

/// The counters of `iptables-save -c`.
fn read(text: &str) -> Result<Counters> {
    let mut counters = Counters::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut policy = (0, 0);
    let pair = |word: &str| -> Option<(u64, u64)> {
        let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
        Some((packets.parse().ok()?, bytes.parse().ok()?))
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        match words[..] {
            [":FORWARD", _, counted] => policy = pair(counted).with_context(|| format!("no counters in {line}"))?,
            [counted, "-A", chain] => {
                let place = places.entry(chain).or_default();
                let counted = pair(counted).with_context(|| format!("no counters in {line}"))?;
                counters.insert((chain.to_owned(), *place), counted);
                *place += 1;
            }
            _ => {}
        }
    }
    let last = places.get("FORWARD").copied().unwrap_or(0);
    counters.insert(("FORWARD".to_owned(), last), policy);
    counters.retain(|_, counted| *counted != (0, 0));
    Ok(counters)
}

/// The same where a file's chains beside those that `FORWARD` reaches do not count: what netbridge does not read.
pub(super) fn of_reached(counters: &mut Counters, rules: &syntax::Ruleset) {
    counters.retain(|(chain, _), _| rules.chains.iter().any(|reached| reached.name == *chain));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_rules_and_of_the_policy() {
        let text = "*filter\n:FORWARD DROP [3:252]\n:a - [0:0]\n[1:84] -A FORWARD -j a\n[0:0] -A FORWARD -j DROP\n\
             [1:84] -A a -s 10.0.0.1/32\nCOMMIT\n";
        let counted = read(text).unwrap();
        let rule = |chain: &str, place| (chain.to_owned(), place);
        let expected = [
            (rule("FORWARD", 0), (1, 84)),
            (rule("FORWARD", 2), (3, 252)),
            (rule("a", 0), (1, 84)),
        ];
        assert_eq!(counted, expected.into_iter().collect());
    }
}
