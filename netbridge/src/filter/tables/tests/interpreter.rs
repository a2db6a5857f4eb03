//! The rules, asked one after another as netfilter asks them: slow, and plain enough to be believed.
//!
//! Written from iptables(8), iptables-extensions(8), ipset(8) and the kernel's `ipt_do_table` and matches, and not from the
//! compiler that it judges.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use netbridge_common::abi::CtState;

use super::lookup::in_set;
use super::packet::{Device, Packet, Payload, Stage};
use crate::filter::syntax::{
    AddressRange, AddressTypes, Direction, Extension, HashLimit, IcmpType, Interface, Match, Policy, Ports, Prefix,
    Rate, RejectWith, Rule, Ruleset, States, Target, TcpFlags, Which,
};
use crate::filter::tables::{RuleId, World};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Reject(RejectWith),
}

/// What the rules say of a packet, and those of them that count it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) counted: Vec<RuleId>,
}

/// The rules in force, and the buckets of their limits.
pub(super) struct Interpreter<'a> {
    rules: &'a Ruleset,
    world: &'a World,
    /// Ticks of the kernel's in a second.
    hz: u64,
    /// The kernel's tick.
    pub(super) now: u64,
    buckets: HashMap<Key, Bucket>,
}

/// Whose bucket: a rule's own, or that of a name and whom it is for.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Own(RuleId, usize),
    Shared(String, [u32; 4]),
}

/// Tokens, as many units of 2⁻¹⁶ ticks as they take to come.
struct Bucket {
    credit: u64,
    at: u64,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(rules: &'a Ruleset, world: &'a World, hz: u64) -> Self {
        Self {
            rules,
            world,
            hz,
            now: 0,
            buckets: HashMap::new(),
        }
    }

    /// `ipt_do_table` (net/ipv4/netfilter/ip_tables.c).
    pub(super) fn ask(&mut self, packet: &Packet) -> Answer {
        let rules = self.rules;
        let mut counted = Vec::new();
        let mut stack: Vec<(usize, usize)> = Vec::new();
        let (mut chain, mut next) = (0, 0);
        let chain_named = |name: &str| rules.chains.iter().position(|chain| chain.name == name);
        let verdict = loop {
            let id = RuleId {
                chain: chain as u32,
                rule: next as u32,
            };
            let Some(rule) = rules.chains[chain].rules.get(next) else {
                let Some(behind) = stack.pop() else {
                    break self.policy(&mut counted);
                };
                (chain, next) = behind;
                continue;
            };
            next += 1;
            if !self.matches(rule, id, packet) {
                continue;
            }
            counted.push(id);
            match &rule.target {
                Target::Accept => break Verdict::Accept,
                Target::Drop => break Verdict::Drop,
                Target::Reject(with) => break Verdict::Reject(*with),
                Target::Count | Target::Log(_) => {}
                Target::Return => match stack.pop() {
                    Some(behind) => (chain, next) = behind,
                    None => break self.policy(&mut counted),
                },
                Target::Jump(name) => {
                    stack.push((chain, next));
                    (chain, next) = (chain_named(name).unwrap(), 0);
                }
                Target::Goto(name) => (chain, next) = (chain_named(name).unwrap(), 0),
            }
        };
        Answer { verdict, counted }
    }

    fn policy(&self, counted: &mut Vec<RuleId>) -> Verdict {
        counted.push(RuleId {
            chain: 0,
            rule: self.rules.chains[0].rules.len() as u32,
        });
        match self.rules.policy {
            Policy::Accept => Verdict::Accept,
            Policy::Drop => Verdict::Drop,
        }
    }

    /// `ip_packet_match`, then the matches in the order of the line up to the first that fails.
    fn matches(&mut self, rule: &Rule, id: RuleId, packet: &Packet) -> bool {
        asked(rule.source.as_ref(), |prefix| within(*prefix, packet.source))
            && asked(rule.destination.as_ref(), |prefix| within(*prefix, packet.destination))
            && asked(rule.in_interface.as_ref(), |name| self.named(name, packet.input))
            && asked(rule.out_interface.as_ref(), |name| self.named(name, packet.output))
            && asked(rule.protocol.as_ref(), |protocol| {
                protocol.number() == packet.protocol()
            })
            && rule
                .matches
                .iter()
                .enumerate()
                .all(|(place, extension)| self.extension(extension, (id, place), packet))
    }

    fn extension(&mut self, extension: &Extension, (id, place): (RuleId, usize), packet: &Packet) -> bool {
        match extension {
            Extension::Tcp { sport, dport, flags } => {
                let Payload::Tcp {
                    sport: from,
                    dport: to,
                    flags: set,
                } = packet.payload
                else {
                    return false;
                };
                asked(sport.as_ref(), |ports| port_in(*ports, from))
                    && asked(dport.as_ref(), |ports| port_in(*ports, to))
                    && asked(flags.as_ref(), |TcpFlags { mask, set: wanted }| set & mask == *wanted)
            }
            Extension::Udp { sport, dport } => {
                let Payload::Udp { sport: from, dport: to } = packet.payload else {
                    return false;
                };
                asked(sport.as_ref(), |ports| port_in(*ports, from))
                    && asked(dport.as_ref(), |ports| port_in(*ports, to))
            }
            Extension::Icmp(asks) => {
                let Payload::Icmp { kind, code } = packet.payload else {
                    return false;
                };
                asked(Some(asks), |IcmpType { kind: of, code: with }| {
                    of.is_none_or(|of| of == kind) && with.is_none_or(|with| with == code)
                })
            }
            Extension::Multiport { which, ports } => {
                let Some((from, to)) = packet.ports() else { return false };
                let any = |port: u16| move |ports: &Ports| port_in(*ports, port);
                asked(Some(ports), |ports| match which {
                    Which::Source => ports.iter().any(any(from)),
                    Which::Destination => ports.iter().any(any(to)),
                    Which::Either => ports.iter().any(any(from)) || ports.iter().any(any(to)),
                })
            }
            Extension::Conntrack { states, direction } => conntrack(states.as_ref(), *direction, packet),
            Extension::State(states) => conntrack(Some(states), None, packet),
            Extension::Mac(asks) => asked(Some(asks), |mac| *mac == packet.mac),
            Extension::IpRange { source, destination } => {
                let within = |AddressRange { first, last }: &AddressRange, address| (*first..=*last).contains(&address);
                asked(source.as_ref(), |range| within(range, packet.source))
                    && asked(destination.as_ref(), |range| within(range, packet.destination))
            }
            Extension::AddrType { source, destination } => {
                asked(source.as_ref(), |types| types.0 & self.address_type(packet.source) != 0)
                    && asked(destination.as_ref(), |types| {
                        types.0 & self.address_type(packet.destination) != 0
                    })
            }
            Extension::Set(asks) => asked(Some(asks), |set| in_set(&self.rules.sets, set, packet)),
            Extension::Mark(asks) => asked(Some(asks), |mark| mark.value == 0),
            Extension::Comment(_) => true,
            Extension::Limit(rate) => self.token(Key::Own(id, place), *rate),
            Extension::HashLimit(limit) => self.token(key(limit, packet), limit.rate) != limit.above,
        }
    }

    /// Whether a name after `-i` or `-o` stands for an interface: a network's for all of its interfaces, and then for no
    /// interface that has it too; a name with `+` for all that begin so.
    fn named(&self, name: &Interface, device: Device) -> bool {
        let fits = |candidate: &str| {
            if name.wildcard {
                candidate.starts_with(&name.name)
            } else {
                candidate == name.name
            }
        };
        let networks: Vec<u16> = self
            .world
            .networks
            .iter()
            .filter(|(name, _)| fits(name))
            .map(|(_, id)| *id)
            .collect();
        if networks.contains(&device.network) {
            return true;
        }
        if !name.wildcard && !networks.is_empty() {
            return false;
        }
        let known = self.world.interfaces.iter();
        let mut same = known.filter(|known| known.ifindex != 0 && known.ifindex == device.ifindex);
        same.any(|known| known.names.iter().any(|name| fits(name)))
    }

    /// `inet_addr_type` (net/ipv4/fib_frontend.c), as a bit of [`AddressTypes`].
    fn address_type(&self, address: Ipv4Addr) -> u8 {
        if address.is_unspecified() || address.is_broadcast() {
            AddressTypes::BROADCAST
        } else if address.is_multicast() {
            AddressTypes::MULTICAST
        } else if self.world.local.contains(&address) {
            AddressTypes::LOCAL
        } else if self.world.broadcast.contains(&address) || address == Ipv4Addr::new(127, 255, 255, 255) {
            AddressTypes::BROADCAST
        } else if address.is_loopback() {
            AddressTypes::LOCAL
        } else {
            AddressTypes::UNICAST
        }
    }

    /// A token bucket (`limit_mt`, net/netfilter/xt_limit.c): full at first, filled up with time, a packet takes a token.
    fn token(&mut self, key: Key, rate: Rate) -> bool {
        let cost = ((u64::from(rate.seconds) * self.hz) << 16) / u64::from(rate.packets);
        let full = cost * u64::from(rate.burst);
        let now = self.now << 16;
        let bucket = self.buckets.entry(key).or_insert(Bucket { credit: full, at: now });
        bucket.credit = (bucket.credit + (now - bucket.at)).min(full);
        bucket.at = now;
        let has = bucket.credit >= cost;
        if has {
            bucket.credit -= cost;
        }
        has
    }
}

/// Whether a packet is what an option asks for, if it is given.
fn asked<T>(asks: Option<&Match<T>>, is: impl FnOnce(&T) -> bool) -> bool {
    asks.is_none_or(|Match { value, negated }| is(value) != *negated)
}

pub(super) fn within(prefix: Prefix, address: Ipv4Addr) -> bool {
    address & prefix.mask() == prefix.addr()
}

pub(super) fn port_in(ports: Ports, port: u16) -> bool {
    (ports.first..=ports.last).contains(&port)
}

/// `conntrack_mt` (net/netfilter/xt_conntrack.c): what belongs to no flow matches by its state alone.
fn conntrack(states: Option<&Match<States>>, direction: Option<Direction>, packet: &Packet) -> bool {
    let bits = packet.flow.map_or(CtState::INVALID, |flow| {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let stage = match flow.stage {
            Stage::New => CtState::NEW,
            Stage::Established => CtState::ESTABLISHED,
            Stage::Related => CtState::RELATED,
        };
        stage | bit(flow.snat, States::SNAT) | bit(flow.dnat, States::DNAT)
    });
    if !asked(states, |states| states.bits() & bits != 0) {
        return false;
    }
    match packet.flow {
        None => states.is_some(),
        Some(flow) => direction.is_none_or(|direction| (direction == Direction::Reply) == flow.reply),
    }
}

/// Whose bucket a packet takes a token of: `hashlimit_init_dst` (net/netfilter/xt_hashlimit.c).
fn key(limit: &HashLimit, packet: &Packet) -> Key {
    let masked = |address: Ipv4Addr, length: u8| {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        address.to_bits() & mask
    };
    let (sport, dport) = packet.ports().unwrap_or((0, 0));
    let asked = |asked: bool, port: u16| if asked { u32::from(port) } else { 0 };
    Key::Shared(
        limit.name.clone(),
        [
            masked(packet.source, limit.key.source),
            masked(packet.destination, limit.key.destination),
            asked(limit.key.sport, sport),
            asked(limit.key.dport, dport),
        ],
    )
}
