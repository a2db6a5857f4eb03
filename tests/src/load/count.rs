//! Every packet accounted for: what is sent is received, or counted as dropped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::model::Tune;
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_common::host::build::{Datagram, ipv6};
use netbridge_common::host::pieces::cut;

use super::world::{Plan, SERVER, UPLINK, World, inside, outside, settled};
use crate::conformance::stage::{silence, tool};
use crate::frame::Station;
use crate::fuzz::random::Random;
use crate::sandbox::within;
use crate::wait::wait_until;
use crate::wire::{Wire, counters};

/// A container's published ports: of TCP, and of UDP.
const TCP: u16 = 8080;
const UDP: u16 = 5353;

/// Packets sent before the drops are looked at again, or a few more.
const ROUND: u64 = 10_000;

/// How long packets may be under way, and how long the counts are watched when they match.
const LIMIT: Duration = Duration::from_secs(20);
const STILL: Duration = Duration::from_millis(50);

/// Bytes of a datagram in one of its fragments.
const PIECE: usize = 400;

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Packets sent, by containers and outside.
    pub sent: u64,
    /// Answers of netbridge's own to some of them (ICMP time exceeded).
    pub answers: u64,
    /// Packets that arrived at one of them, answers among them.
    pub received: u64,
    /// The others, by reason.
    pub drops: BTreeMap<Reason, u64>,
}

/// Sends so many packets of many kinds between containers and outside. Nothing but netbridge answers, and nothing is for the
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
        world.publish(0, &[&format!("{TCP}:80"), &format!("{UDP}:53/udp")])?;
        let ends = Ends::open(&world)?;
        let before = ends.received()?;
        let mut random = Random::new(5);
        let mut counted = Counted::default();
        while counted.sent < packets {
            let until = packets.min(counted.sent + ROUND);
            while counted.sent < until {
                counted.sent += ends.send(&mut random)?;
            }
            let mut look = || {
                counted.answers += ends.answers()?;
                counted.received = ends.received()? - before;
                counted.drops = world.drops()?;
                Ok(counted.balance())
            };
            let all = wait_until("every packet to arrive or to be counted", LIMIT, || Ok(look()? == 0));
            let still = settled(STILL, look)?;
            all.with_context(|| format!("{counted:?}"))?;
            ensure!(still == 0, "more came than were sent: {counted:?}");
        }
        ensure!(
            counted.received > 0 && counted.answers > 0 && counted.drops.len() > 8,
            "too few kinds of packets: {counted:?}"
        );
        Ok(counted)
    })
}

impl Counted {
    /// Packets that were sent and of which nothing is known, or, below 0, those that came out of nothing.
    fn balance(&self) -> i64 {
        let dropped: u64 = self.drops.values().sum();
        (self.sent + self.answers).cast_signed() - (self.received + dropped).cast_signed()
    }
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
        for wire in &ends.wires {
            wire.ignore_outgoing()?;
        }
        Ok(ends)
    }

    /// Packets that the three have received.
    fn received(&self) -> Result<u64> {
        let counts = self.namespaces.iter().map(|netns| counters(netns, "eth0"));
        counts.map(|counts| Ok(counts?.rx_packets)).sum()
    }

    /// Answers of netbridge's that the three have got since this was last asked.
    fn answers(&self) -> Result<u64> {
        let mut answers = 0;
        for wire in &self.wires {
            let frames = wire.waiting()?;
            answers += frames.iter().filter(|frame| is_time_exceeded(frame)).count() as u64;
        }
        Ok(answers)
    }

    /// Sends a packet, or a datagram in fragments; how many packets that were.
    fn send(&self, random: &mut Random) -> Result<u64> {
        let (number, frame) = if random.once_in(3) {
            (2, self.inward(random))
        } else {
            let number = random.below(2);
            (number, self.outward(random, number))
        };
        let mut frames = if frame.len() > PIECE {
            cut(&frame, random.word(), PIECE)
        } else {
            vec![frame]
        };
        if random.once_in(2) {
            frames.reverse();
        }
        frames.iter().try_for_each(|frame| self.wires[number].send(frame))?;
        Ok(frames.len() as u64)
    }

    /// A container's packet.
    fn outward(&self, random: &mut Random, number: usize) -> Vec<u8> {
        let (own, other) = (self.containers[number], self.containers[1 - number]);
        let from = (own.mac, own.ip.octets());
        let out = Datagram::new(from, (self.gateway, SERVER.octets()));
        let neighbour = Datagram::new(from, (other.mac, other.ip.octets()));
        let port = 4000 + random.word() % 300;
        match random.below(20) {
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
            15 => out.udp(port, 53, &[0x5a; 3 * PIECE]),
            16 => out.tcp(port, 80, 0x02, &[0x5a; 2 * PIECE]),
            17 => neighbour.udp(port, 53, &[0x5a; 2 * PIECE]),
            18 => Datagram { ttl: 1, ..out }.udp(port, 53, b"a step too far"),
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
        match random.below(11) {
            0..3 => to_host.tcp(port, TCP, random.pick(&[0x02, 0x02, 0x10, 0x12]), b""),
            3 => to_host.tcp(port, TCP, random.pick(&[0x00, 0x29]), b""),
            4 | 5 => direct.udp(port, 53, b"direct"),
            6 => Datagram {
                src: self.containers[1].ip.octets(),
                ..to_host
            }
            .syn(port, TCP),
            7 => to_host.udp(port, UDP, &[0x5a; 3 * PIECE]),
            8 => direct.udp(port, 53, &[0x5a; 2 * PIECE]),
            9 => Datagram { ttl: 1, ..to_host }.udp(port, UDP, b"a step too far"),
            _ => Datagram {
                src: random.pick(&[[127, 0, 0, 1], [240, 0, 0, 1]]),
                ..to_host
            }
            .udp(port, 53, b"martian"),
        }
    }
}

/// True for an ICMP error that says so (RFC 792: type 11).
fn is_time_exceeded(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1) && frame.get(34) == Some(&11)
}
