//! Every packet accounted for: what is sent is received, or counted as dropped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use netbridge::model::Tune;
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_common::host::build::{Datagram, ipv6};

use super::world::{Plan, SERVER, UPLINK, World, inside, outside, settled};
use crate::conformance::stage::{silence, tool};
use crate::frame::Station;
use crate::fuzz::random::Random;
use crate::sandbox::within;
use crate::wire::{Wire, counters};

/// A container's published port, and the container's own.
const PUBLISHED: (u16, u16) = (8080, 80);

/// Packets sent before the drops are looked at again.
const ROUND: u64 = 10_000;

/// What was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Packets sent, by containers and outside.
    pub sent: u64,
    /// Packets that arrived at one of them.
    pub received: u64,
    /// The others, by reason.
    pub drops: BTreeMap<Reason, u64>,
}

/// Sends so many packets of many kinds between containers and outside. Nothing answers by itself, and nothing is for the
/// host. It is an error if a single one is neither received nor counted.
pub fn run(packets: u64) -> Result<Counted> {
    let plan = Plan {
        tune: Tune {
            quota: Some(400),
            ..Tune::default()
        },
        ..Plan::default()
    };
    within(|sandbox| {
        let world = World::build(sandbox, &plan)?;
        world.publish(0, PUBLISHED)?;
        let ends = Ends::open(&world)?;
        let before = (ends.received()?, world.all_drops()?);
        let mut random = Random::new(5);
        let mut sent = 0;
        while sent < packets {
            for _ in 0..ROUND.min(packets - sent) {
                ends.send(&mut random)?;
                sent += 1;
            }
            let (received, dropped) = settled(Duration::from_millis(50), || {
                Ok((ends.received()? - before.0, world.all_drops()? - before.1))
            })?;
            ensure!(
                sent == received + dropped,
                "{sent} packets were sent, {received} received and {dropped} dropped: {:?}",
                world.drops()?
            );
        }
        let counted = Counted {
            sent,
            received: ends.received()? - before.0,
            drops: world.drops()?,
        };
        ensure!(
            counted.received > 0 && counted.drops.len() > 8,
            "too few kinds of packets: {counted:?}"
        );
        Ok(counted)
    })
}

/// The ends that packets go between, their stacks silenced.
struct Ends {
    /// Two containers and the outside.
    wires: [Wire; 3],
    namespaces: [Netns; 3],
    containers: [Station; 2],
    gateway: [u8; 6],
    uplink: [u8; 6],
}

impl Ends {
    fn open(world: &World<'_>) -> Result<Self> {
        let ends = Self {
            wires: [world.wire(0)?, world.wire(1)?, Wire::open(&outside()?, "eth0")?],
            namespaces: [inside(0)?, inside(1)?, outside()?],
            containers: [world.station(0)?, world.station(1)?],
            gateway: world.gateway()?,
            uplink: world.uplink()?,
        };
        for netns in ["c0", "c1", "out"] {
            silence(netns, "eth0")?;
        }
        let server = ends.wires[2].mac().map(|byte| format!("{byte:02x}")).join(":");
        tool(&format!(
            "ip -n H neigh replace {SERVER} lladdr {server} nud permanent dev up0"
        ))?;
        // The host's group reports (IGMPv3: twice within two seconds) are over, then.
        settled(Duration::from_millis(2500), || ends.received())?;
        Ok(ends)
    }

    /// Packets that the three have received.
    fn received(&self) -> Result<u64> {
        let counts = self.namespaces.iter().map(|netns| counters(netns, "eth0"));
        counts.map(|counts| Ok(counts?.rx_packets)).sum()
    }

    fn send(&self, random: &mut Random) -> Result<()> {
        if random.once_in(3) {
            self.wires[2].send(&self.inward(random))
        } else {
            let number = random.below(2);
            self.wires[number].send(&self.outward(random, number))
        }
    }

    /// A container's packet.
    fn outward(&self, random: &mut Random, number: usize) -> Vec<u8> {
        let (own, other) = (self.containers[number], self.containers[1 - number]);
        let from = (own.mac, own.ip.octets());
        let out = Datagram::new(from, (self.gateway, SERVER.octets()));
        let neighbour = Datagram::new(from, (other.mac, other.ip.octets()));
        let port = 4000 + random.word() % 300;
        match random.below(16) {
            0..4 => out.udp(port, 53, b"question"),
            4..7 => neighbour.udp(port, 53, b"neighbour"),
            7 => out.tcp(port, 80, random.pick(&[0x02, 0x02, 0x10, 0x18]), b""),
            8 => out.tcp(port, 80, random.pick(&[0x00, 0x29, 0x03, 0x06]), b""),
            9 => out.echo(random.pick(&[8, 8, 0]), port, b"echo"),
            10 => Datagram {
                src: random.pick(&[other.ip.octets(), [10, 9, 9, 9], [192, 0, 2, 99]]),
                ..out
            }
            .udp(port, 53, b"spoofed"),
            11 => Datagram {
                smac: other.mac,
                ..neighbour
            }
            .udp(port, 53, b"spoofed"),
            12 => Datagram {
                dst: random.pick(&[[127, 0, 0, 1], [240, 0, 0, 1], [0, 0, 0, 9]]),
                ..out
            }
            .udp(port, 53, b"martian"),
            13 => out.frame(random.pick(&[47, 50, 132]), b"no ports"),
            14 => neighbour.udp(67, 68, b"a lease"),
            _ => ipv6(own.mac, other.mac, 17, b"other version"),
        }
    }

    /// A packet from outside.
    fn inward(&self, random: &mut Random) -> Vec<u8> {
        let router = self.wires[2].mac();
        let client = Ipv4Addr::new(192, 0, 2, 10).octets();
        let to_host = Datagram::new((router, client), (self.uplink, UPLINK.octets()));
        let direct = Datagram {
            dst: self.containers[random.below(2)].ip.octets(),
            ..to_host.clone()
        };
        let port = 4000 + random.word() % 300;
        match random.below(8) {
            0..3 => to_host.tcp(port, PUBLISHED.0, random.pick(&[0x02, 0x02, 0x10, 0x12]), b""),
            3 => to_host.tcp(port, PUBLISHED.0, random.pick(&[0x00, 0x29]), b""),
            4 | 5 => direct.udp(port, 53, b"direct"),
            6 => Datagram {
                src: self.containers[1].ip.octets(),
                ..to_host
            }
            .syn(port, PUBLISHED.0),
            _ => Datagram {
                src: random.pick(&[[127, 0, 0, 1], [240, 0, 0, 1]]),
                ..to_host
            }
            .udp(port, 53, b"martian"),
        }
    }
}
