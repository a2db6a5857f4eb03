//! Packets at the edges of what rules ask for.

use std::net::Ipv4Addr;

use netbridge_common::abi::Mac;

use super::packet::{Device, Flow, Packet, Payload, Stage};
use crate::filter::syntax::{AddressRange, Extension, Part, Ports, Prefix, Protocol, Ruleset};
use crate::filter::tables::World;

/// Numbers that a seed determines (Steele et al., "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below another.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of a list that is not empty.
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The values that rules name, and those beside them.
pub(super) struct Pool {
    addresses: Vec<u32>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    icmp: Vec<(u8, u8)>,
    macs: Vec<Mac>,
    devices: Vec<Device>,
}

impl Pool {
    pub(super) fn of(rules: &Ruleset, world: &World) -> Self {
        let mut pool = Self {
            addresses: vec![0, u32::MAX, 0x7f00_0001, 0x7fff_ffff, 0xe000_0001, 0x0a00_0002],
            ports: vec![0, 1, 80, u16::MAX],
            protocols: vec![0, 2, 47, 132, 255],
            icmp: vec![(0, 0), (3, 3), (8, 0), (255, 255)],
            macs: vec![[2, 0x42, 10, 0, 0, 9], [0xfe; 6]],
            devices: vec![Device { ifindex: 0, network: 0 }],
        };
        for address in world.local.iter().chain(&world.broadcast) {
            pool.addresses(address.to_bits(), address.to_bits());
        }
        for known in &world.interfaces {
            let (ifindex, network) = (known.ifindex, known.network);
            pool.devices.push(Device { ifindex, network });
            // One that came when the rules were compiled already.
            pool.devices.push(Device { ifindex: 999, network });
        }
        for rule in rules.chains.iter().flat_map(|chain| &chain.rules) {
            for asks in [&rule.source, &rule.destination].into_iter().flatten() {
                pool.prefix(asks.value);
            }
            pool.protocols
                .extend(rule.protocol.iter().map(|asks| asks.value.number()));
            for extension in &rule.matches {
                pool.extension(extension);
            }
        }
        for part in rules
            .sets
            .0
            .values()
            .flat_map(|set| &set.elements)
            .flat_map(|element| &element.parts)
        {
            match part {
                Part::Network(prefix) => pool.prefix(*prefix),
                Part::Range(range) => pool.range(range),
                Part::Mac(mac) => pool.macs.push(*mac),
                Part::Set(_) => {}
                Part::Port { protocol, ports } => {
                    pool.ports(*ports);
                    pool.protocols.extend(protocol.map(Protocol::number));
                    let [kind, code] = ports.first.to_be_bytes();
                    pool.icmp.push((kind, code));
                }
            }
        }
        pool.ports.sort_unstable();
        pool.ports.dedup();
        pool.addresses.sort_unstable();
        pool.addresses.dedup();
        pool
    }

    fn addresses(&mut self, first: u32, last: u32) {
        let edges = [
            first,
            last,
            first.wrapping_sub(1),
            last.wrapping_add(1),
            first / 2 + last / 2,
        ];
        self.addresses.extend(edges);
    }

    fn prefix(&mut self, prefix: Prefix) {
        let (first, mask) = (prefix.addr().to_bits(), prefix.mask().to_bits());
        self.addresses(first, first | !mask);
        // Another way to fill in the bits that a mask with holes leaves open.
        self.addresses.push(first | (!mask & 0x5555_5555));
    }

    fn range(&mut self, range: &AddressRange) {
        self.addresses(range.first.to_bits(), range.last.to_bits());
    }

    fn ports(&mut self, ports: Ports) {
        let edges = [
            ports.first,
            ports.last,
            ports.first.wrapping_sub(1),
            ports.last.wrapping_add(1),
        ];
        self.ports.extend(edges);
    }

    fn extension(&mut self, extension: &Extension) {
        match extension {
            Extension::Tcp { sport, dport, .. } | Extension::Udp { sport, dport } => {
                for asks in [sport, dport].into_iter().flatten() {
                    self.ports(asks.value);
                }
            }
            Extension::Multiport { ports, .. } => ports.value.iter().for_each(|ports| self.ports(*ports)),
            Extension::Icmp(asks) => {
                let (kind, code) = (asks.value.kind.unwrap_or(8), asks.value.code.unwrap_or(0));
                self.icmp
                    .extend([(kind, code), (kind, code.wrapping_add(1)), (kind.wrapping_add(1), code)]);
            }
            Extension::Mac(asks) => self.macs.push(asks.value),
            Extension::IpRange { source, destination } => {
                for asks in [source, destination].into_iter().flatten() {
                    self.range(&asks.value);
                }
            }
            _ => {}
        }
    }

    pub(super) fn packet(&self, dice: &mut Dice) -> Packet {
        let address = |dice: &mut Dice| {
            let anywhere = dice.one_in(20).then(|| dice.next() as u32);
            Ipv4Addr::from_bits(anywhere.unwrap_or_else(|| dice.one(&self.addresses)))
        };
        let port = |dice: &mut Dice| {
            let any = dice.one_in(20).then(|| dice.next() as u16);
            any.unwrap_or_else(|| dice.one(&self.ports))
        };
        let payload = match dice.below(10) {
            0..4 => Payload::Tcp {
                sport: port(dice),
                dport: port(dice),
                flags: if dice.one_in(3) { 2 } else { dice.next() as u8 },
            },
            4..7 => Payload::Udp {
                sport: port(dice),
                dport: port(dice),
            },
            7..9 => {
                let (kind, code) = dice.one(&self.icmp);
                Payload::Icmp { kind, code }
            }
            _ => match dice.one(&self.protocols) {
                1 | 6 | 17 => Payload::Other(50),
                other => Payload::Other(other),
            },
        };
        let flow = (!dice.one_in(8)).then(|| {
            let stage = dice.one(&[Stage::New, Stage::Established, Stage::Related]);
            Flow {
                stage,
                reply: stage != Stage::New && dice.one_in(2),
                snat: dice.one_in(4),
                dnat: dice.one_in(4),
            }
        });
        Packet {
            input: dice.one(&self.devices),
            output: dice.one(&self.devices),
            source: address(dice),
            destination: address(dice),
            mac: dice.one(&self.macs),
            payload,
            flow,
        }
    }
}
