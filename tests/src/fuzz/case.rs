//! A course of steps in a world, and what it comes to; kept as a file when the two sides do not agree about it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge_common::abi::{Hook, Reason, verdict};
use netbridge_common::datapath::verdict::Action;
use netbridge_common::host::filter::{RuleAddrs, RuleHead, RuleV4};
use netbridge_common::host::{Frame, HostEnv, Ip};

use super::generator::PROGRAMS;
use super::kernel::{Kernel, Outcome};
use super::pair::{Divergence, Pair};
use super::step::{Change, Ports, Step};
use super::worlds::{FLOWS, world};

/// A world and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it is about; of one that was found, how.
    pub about: Vec<String>,
    /// Number of the world.
    pub world: usize,
    /// Room in the flow table, halves.
    pub flows: usize,
    /// What happens.
    pub steps: Vec<Step>,
    /// What a packet, by its place among the steps, must come to, where that is known: an action and, of a drop, why.
    pub expected: Vec<(usize, String)>,
}

impl Case {
    /// An empty course in a world.
    pub fn new(world: usize) -> Self {
        Self {
            about: Vec::new(),
            world,
            flows: FLOWS,
            steps: Vec::new(),
            expected: Vec::new(),
        }
    }

    /// Takes all steps on both sides, the host's with a fault, and compares everything.
    pub fn replay(&self, kernel: &mut Kernel, fault: fn(&mut HostEnv)) -> Result<()> {
        let mut pair = Pair::new(kernel, world(self.world, self.flows), fault)?;
        let mut expected = self.expected.iter().peekable();
        for (place, step) in self.steps.iter().enumerate() {
            let outcome = pair.take(step)?;
            if let Some((_, wanted)) = expected.next_if(|(at, _)| *at == place) {
                let came_to = outcome.map(|outcome| named(&outcome)).unwrap_or_default();
                ensure!(
                    came_to == *wanted,
                    "step {} came to `{came_to}`, not to `{wanted}`",
                    place + 1
                );
            }
        }
        if let Some((place, wanted)) = expected.next() {
            bail!(
                "`expect {wanted}` belongs to no packet: step {} has one already",
                place + 1
            );
        }
        pair.tables_agree()?;
        pair.counters_agree()
    }

    /// True if the two sides do not agree about it.
    pub fn diverges(&self, kernel: &mut Kernel, fault: fn(&mut HostEnv)) -> Result<bool> {
        match self.replay(kernel, fault) {
            Ok(()) => Ok(false),
            Err(error) if error.is::<Divergence>() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        for line in &self.about {
            writeln!(text, "# {line}")?;
        }
        writeln!(text, "world {}\nflows {}", self.world, self.flows)?;
        let mut expected = self.expected.iter().peekable();
        for (place, step) in self.steps.iter().enumerate() {
            match step {
                Step::Packet(hook, frame) => write_packet(&mut text, *hook, frame)?,
                Step::Change(change) => write_change(&mut text, change)?,
            }
            if let Some((_, wanted)) = expected.next_if(|(at, _)| *at == place) {
                writeln!(text, "expect {wanted}")?;
            }
        }
        Ok(text)
    }

    /// Reads a file's text.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut case = Self::new(0);
        for (number, line) in text.lines().enumerate() {
            case.read_line(line.trim())
                .with_context(|| format!("line {}: `{line}`", number + 1))?;
        }
        Ok(case)
    }

    fn read_line(&mut self, line: &str) -> Result<()> {
        if let Some(about) = line.strip_prefix('#') {
            self.about.push(about.trim().to_owned());
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["world", number] => self.world = number.parse()?,
            ["flows", halves] => self.flows = halves.parse()?,
            ["expect", ..] => {
                let place = self.steps.len().checked_sub(1).context("nothing has happened yet")?;
                self.expected.push((place, words[1..].join(" ")));
            }
            ["rule", ..] => match self.steps.last_mut() {
                Some(Step::Change(Change::Filter(_, rules))) => rules.push(read_rule(&words[1..])?),
                _ => bail!("a rule belongs behind a filter"),
            },
            [program, ifindex, ingress, gso_size, bytes] if program_named(program).is_some() => {
                let hook = program_named(program).context("no such program")?;
                let frame = Frame {
                    bytes: from_hex(bytes)?,
                    ifindex: ifindex.parse()?,
                    ingress: ingress.parse()?,
                    gso_size: gso_size.parse()?,
                    tagged: false,
                };
                self.steps.push(Step::Packet(hook, frame));
            }
            _ => self.steps.push(Step::Change(read_change(&words)?)),
        }
        Ok(())
    }
}

/// An action and, of a drop, its reason, as a file has them.
fn named(outcome: &Outcome) -> String {
    let action = Action::ALL.into_iter().find(|action| *action as u8 == outcome.action);
    let mut name = action.map_or("?".into(), |action| format!("{action:?}").to_lowercase());
    if outcome.reason != Reason::None as u8 {
        name.push(' ');
        name.push_str(Reason::from_u8(outcome.reason).map_or("?", Reason::name));
    }
    name
}

/// The program of this name.
pub fn program_named(name: &str) -> Option<Hook> {
    PROGRAMS.into_iter().find(|hook| hook.name() == name)
}

fn write_packet(text: &mut String, hook: Hook, frame: &Frame) -> Result<()> {
    write!(
        text,
        "{} {} {} {} ",
        hook.name(),
        frame.ifindex,
        frame.ingress,
        frame.gso_size
    )?;
    for byte in &frame.bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(writeln!(text)?)
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

fn write_change(text: &mut String, change: &Change) -> Result<()> {
    match change {
        Change::Time(ticks) => writeln!(text, "time {ticks}")?,
        Change::Filter(policy, rules) => {
            let policy = if *policy == verdict::DROP { "drop" } else { "accept" };
            writeln!(text, "filter {policy}")?;
            for rule in rules {
                write_rule(text, rule)?;
            }
        }
        Change::Answers(limit) => writeln!(text, "answers {limit}")?,
        Change::Quotas(flows, half_open) => writeln!(text, "quotas {flows} {half_open}")?,
        Change::Limits(learned, floods) => writeln!(text, "limits {learned} {floods}")?,
        Change::Pickup(on) => writeln!(text, "pickup {on}")?,
        Change::Flags(net, flags) => writeln!(text, "flags {net} {flags}")?,
        Change::Mtu(net, mtu) => writeln!(text, "mtu {net} {mtu}")?,
        Change::Publish(ports) => write_ports(text, "publish", ports)?,
        Change::Unpublish(ports) => write_ports(text, "unpublish", ports)?,
    }
    Ok(())
}

fn read_change(words: &[&str]) -> Result<Change> {
    Ok(match *words {
        ["time", ticks] => Change::Time(ticks.parse()?),
        ["filter", policy] => Change::Filter(
            if policy == "drop" {
                verdict::DROP
            } else {
                verdict::ACCEPT
            },
            vec![],
        ),
        ["answers", limit] => Change::Answers(limit.parse()?),
        ["quotas", flows, half_open] => Change::Quotas(flows.parse()?, half_open.parse()?),
        ["limits", learned, floods] => Change::Limits(learned.parse()?, floods.parse()?),
        ["pickup", on] => Change::Pickup(on.parse()?),
        ["flags", net, flags] => Change::Flags(net.parse()?, flags.parse()?),
        ["mtu", net, mtu] => Change::Mtu(net.parse()?, mtu.parse()?),
        ["publish", ..] => Change::Publish(read_ports(&words[1..])?),
        ["unpublish", ..] => Change::Unpublish(read_ports(&words[1..])?),
        _ => bail!("no such step"),
    })
}

/// Protocol, the host's address, its ports, the container, its first port.
fn write_ports(text: &mut String, word: &str, ports: &Ports) -> Result<()> {
    let Ports {
        proto,
        addr,
        ports: (first, last),
        to_b,
        target,
    } = *ports;
    let container = if to_b { "b" } else { "a" };
    let addr = std::net::Ipv4Addr::from(addr);
    Ok(writeln!(
        text,
        "{word} {proto} {addr} {first} {last} {container} {target}"
    )?)
}

fn read_ports(words: &[&str]) -> Result<Ports> {
    let [proto, addr, first, last, container, target] = *words else {
        bail!("ports are six words");
    };
    Ok(Ports {
        proto: proto.parse()?,
        addr: address(addr)?,
        ports: (first.parse()?, last.parse()?),
        to_b: container == "b",
        target: target.parse()?,
    })
}

/// Verdict, protocol, interface and network in, interface and network out, states, flags, source ports, destination
/// ports, source and its mask, destination and its mask, how a rejected packet's sender is told.
fn write_rule(text: &mut String, rule: &RuleV4) -> Result<()> {
    let (head, tail) = (&rule.head, &rule.tail);
    let address = |address: Ip| std::net::Ipv4Addr::from(address);
    Ok(writeln!(
        text,
        "rule {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
        head.verdict,
        head.proto,
        head.in_ifindex,
        head.in_net,
        head.out_ifindex,
        head.out_net,
        head.states,
        head.flags,
        head.sport_min,
        head.sport_max,
        head.dport_min,
        head.dport_max,
        address(tail.src),
        address(tail.src_mask),
        address(tail.dst),
        address(tail.dst_mask),
        head.with
    )?)
}

fn read_rule(words: &[&str]) -> Result<RuleV4> {
    let [
        verdict,
        proto,
        in_ifindex,
        in_net,
        out_ifindex,
        out_net,
        states,
        flags,
        sport_min,
        sport_max,
        dport_min,
        dport_max,
        src,
        src_mask,
        dst,
        dst_mask,
        with,
    ] = *words
    else {
        bail!("a rule is seventeen words");
    };
    Ok(RuleV4 {
        head: RuleHead {
            in_ifindex: in_ifindex.parse()?,
            in_net: in_net.parse()?,
            out_ifindex: out_ifindex.parse()?,
            out_net: out_net.parse()?,
            sport_min: sport_min.parse()?,
            sport_max: sport_max.parse()?,
            dport_min: dport_min.parse()?,
            dport_max: dport_max.parse()?,
            proto: proto.parse()?,
            states: states.parse()?,
            flags: flags.parse()?,
            verdict: verdict.parse()?,
            with: with.parse()?,
        },
        tail: RuleAddrs {
            src: address(src)?,
            src_mask: address(src_mask)?,
            dst: address(dst)?,
            dst_mask: address(dst_mask)?,
        },
    })
}

fn address(text: &str) -> Result<Ip> {
    Ok(text.parse::<std::net::Ipv4Addr>()?.octets())
}
