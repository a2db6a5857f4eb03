//! iptables as Docker uses it: its chains, its rules, its calls.
//!
//! The layout, the order of the rules and the calls for each port are those of a real daemon (20.10); a test compares
//! them with what `iptables-save` shows there. Docker's userland proxies, one process a port and address family,
//! are left out: no packet of these measurements takes them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::super::rule::{Rule, Target};
use super::super::world::{Able, Published};
use super::bridged::{BRIDGE, Firewall};
use super::syntax::Matches;
use super::{B, command};

/// What the daemon sets up for its default bridge.
const LAYOUT: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.77.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
";

/// The chain that Docker leaves to the operator.
pub(super) const USER: &str = "DOCKER-USER";

/// Which iptables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tool {
    /// On top of nftables.
    Nft,
    /// On top of `ip_tables`.
    Legacy,
}

impl Tool {
    /// The programs: of single rules, of whole tables, and the one that prints them.
    pub(super) const fn programs(self) -> [&'static str; 3] {
        match self {
            Self::Nft => ["iptables-nft", "iptables-nft-restore", "iptables-nft-save"],
            Self::Legacy => ["iptables-legacy", "iptables-legacy-restore", "iptables-legacy-save"],
        }
    }

    fn change(self, arguments: &[&str]) -> Result<()> {
        let [iptables, ..] = self.programs();
        command::call(iptables, &[&["--wait"], arguments].concat()).map(drop)
    }

    fn restore(self, text: &str) -> Result<()> {
        let [_, restore, _] = self.programs();
        command::feed(restore, &["--wait", "--noflush"], text).map(drop)
    }
}

/// Docker's rules on a host.
pub(super) struct Docker {
    tool: Tool,
    /// Published one by one.
    ports: Vec<Published>,
    /// Published as a range.
    ranges: Vec<(Published, u16)>,
}

impl Docker {
    /// No ports yet.
    pub(super) fn new(tool: Tool) -> Self {
        Self {
            tool,
            ports: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Puts lines of rules in place of the operator's.
    pub(super) fn replace_user(&self, lines: &str) -> Result<()> {
        // With --noflush, to name a chain empties it, and it alone.
        let text = format!("*filter\n:{USER} - [0:0]\n{lines}-A {USER} -j RETURN\nCOMMIT\n");
        self.tool.restore(&text)
    }

    /// The daemon's calls for a port: for each of three rules it looks (`-C`) before it leaps.
    fn daemon(&self, port: Published, leap: Leap) -> Result<()> {
        let [iptables, ..] = self.tool.programs();
        for (table, chain, rule) in rules_of(port) {
            let mut arguments = vec!["--wait", "-t", table, "-C", chain];
            arguments.extend(rule.split_whitespace());
            let there = command::holds(iptables, &arguments)?;
            if there == matches!(leap, Leap::Delete) {
                arguments[3] = leap.option();
                command::call(iptables, &arguments)?;
            }
        }
        Ok(())
    }
}

/// What the daemon does after it looked.
#[derive(Debug, Clone, Copy)]
enum Leap {
    Append,
    Delete,
}

impl Leap {
    const fn option(self) -> &'static str {
        match self {
            Self::Append => "-A",
            Self::Delete => "-D",
        }
    }
}

impl Firewall for Docker {
    fn set_up(&self) -> Result<()> {
        self.tool.restore(LAYOUT)
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        let mut text = String::new();
        for rule in rules {
            writeln!(text, "-A {USER}{} -j {}", Matches(rule), target(rule.target))?;
        }
        self.replace_user(&text)?;
        Ok(Able::Done)
    }

    fn insert_rule(&mut self, _rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        let number = (index + 1).to_string();
        let matches = Matches(rule).to_string();
        let mut arguments = vec!["-t", "filter", "-I", USER, &number];
        arguments.extend(matches.split_whitespace());
        arguments.extend(["-j", target(rule.target)]);
        self.tool.change(&arguments)?;
        Ok(Able::Done)
    }

    fn delete_rule(&mut self, _rules: &[Rule], index: usize) -> Result<Able> {
        let number = (index + 1).to_string();
        self.tool.change(&["-t", "filter", "-D", USER, &number])?;
        Ok(Able::Done)
    }

    fn publish(&mut self, ports: &[Published]) -> Result<()> {
        for port in ports {
            self.ports.push(*port);
            self.daemon(*port, Leap::Append)?;
        }
        Ok(())
    }

    fn publish_range(&mut self, first: Published, count: u16) -> Result<()> {
        self.ranges.push((first, count));
        self.tool.restore(&range(first, count, Leap::Append)?)
    }

    fn unpublish(&mut self) -> Result<()> {
        for port in std::mem::take(&mut self.ports) {
            self.daemon(port, Leap::Delete)?;
        }
        for (first, count) in std::mem::take(&mut self.ranges) {
            self.tool.restore(&range(first, count, Leap::Delete)?)?;
        }
        Ok(())
    }

    fn forwarded(&self) -> Result<u64> {
        let [_, _, save] = self.tool.programs();
        let saved = command::call(save, &["-c", "-t", "filter"])?;
        // Every forwarded packet meets the first rule.
        saved
            .lines()
            .find(|line| line.ends_with("-A FORWARD -j DOCKER-USER"))
            .and_then(|line| line.strip_prefix('[')?.split(':').next()?.parse().ok())
            .with_context(|| format!("{save} shows no counter of the rule that leads to DOCKER-USER"))
    }
}

/// How a target is called in DOCKER-USER: there, to accept would skip what Docker does behind it.
pub(super) const fn target(target: Target) -> &'static str {
    match target {
        Target::Drop => "DROP",
        Target::Accept => "RETURN",
    }
}

const fn protocol(proto: u8) -> &'static str {
    match proto {
        6 => "tcp",
        _ => "udp",
    }
}

/// Table, chain and rule of what the daemon adds for a port, in its order and its words.
fn rules_of(port: Published) -> [(&'static str, &'static str, String); 3] {
    let Published { host, container, .. } = port;
    let proto = protocol(port.proto);
    [
        (
            "nat",
            "DOCKER",
            format!("-p {proto} -d 0/0 --dport {host} -j DNAT --to-destination {B}:{container} ! -i {BRIDGE}"),
        ),
        (
            "filter",
            "DOCKER",
            format!("! -i {BRIDGE} -o {BRIDGE} -p {proto} -d {B} --dport {container} -j ACCEPT"),
        ),
        (
            "nat",
            "POSTROUTING",
            format!("-p {proto} -s {B} -d {B} --dport {container} -j MASQUERADE"),
        ),
    ]
}

/// The same for a range of ports: one rule each, and DNAT shifts the port by the distance of the ranges.
fn range(first: Published, count: u16, leap: Leap) -> Result<String> {
    let last = |first: u16| {
        first
            .checked_add(count.saturating_sub(1))
            .with_context(|| format!("{count} ports from {first} are more than there are"))
    };
    let (host, container) = (first.host, first.container);
    let (host_last, container_last) = (last(host)?, last(container)?);
    let (proto, option) = (protocol(first.proto), leap.option());
    Ok(format!(
        "*nat\n\
         {option} DOCKER ! -i {BRIDGE} -p {proto} -m {proto} --dport {host}:{host_last} \
         -j DNAT --to-destination {B}:{container}-{container_last}/{host}\n\
         {option} POSTROUTING -s {B}/32 -d {B}/32 -p {proto} -m {proto} --dport {container}:{container_last} \
         -j MASQUERADE\n\
         COMMIT\n\
         *filter\n\
         {option} DOCKER -d {B}/32 ! -i {BRIDGE} -o {BRIDGE} -p {proto} -m {proto} \
         --dport {container}:{container_last} -j ACCEPT\n\
         COMMIT\n"
    ))
}
