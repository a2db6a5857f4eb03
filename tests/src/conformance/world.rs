//! What rows do with a router: datagrams out and in, connections, lifetimes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::model::Transport;
use netbridge_common::abi::proto;

use super::packet::{Ip, Segment, flag, tcp, udp};
use super::router::{Column, Port, Router, Setting};
use super::stage::{EXTERNAL, Seen, Stage, Station};

/// Longest lifetime that is searched for, half seconds: 12 days.
const LONGEST: u64 = 1 << 21;

/// How often a measurement is repeated that took too long.
const ATTEMPTS: usize = 50;
/// Longest true time that a measurement in put-forward time may take.
const MARGIN: Duration = Duration::from_millis(200);

/// A router, and what rows ask of it.
pub struct World<'a> {
    /// The router.
    pub router: Box<dyn Router + 'a>,
}

/// The address of a station, with a port.
pub fn at(station: Station, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(station.ip(), port)
}

/// The router's external address, with a port.
pub fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// The packets that arrived at a station.
pub fn of(seen: &[Seen], station: Station) -> impl Iterator<Item = Ip> {
    seen.iter().filter(move |seen| seen.at == station).filter_map(Seen::ip)
}

/// Where packets arrived.
pub fn places(seen: &[Seen]) -> Vec<Station> {
    let mut places: Vec<_> = seen
        .iter()
        .filter(|seen| seen.ip().is_some())
        .map(|seen| seen.at)
        .collect();
    places.sort_unstable();
    places
}

impl World<'_> {
    /// Its stations.
    pub fn stage(&self) -> &Stage {
        self.router.stage()
    }

    /// Sends a packet and waits for what comes of it.
    pub fn exchange(&self, from: Station, packet: &Ip) -> Result<Vec<Seen>> {
        self.stage().exchange(from, packet)
    }

    /// The first packet that arrives at `to` when `packet` is sent.
    pub fn carry(&self, from: Station, packet: &Ip, to: Station) -> Result<Option<Ip>> {
        let seen = self.exchange(from, packet)?;
        Ok(of(&seen, to).next())
    }

    /// True if the packet, or what the router makes of it, arrives at `to`.
    pub fn reaches(&self, from: Station, packet: &Ip, to: Station) -> Result<bool> {
        Ok(self.carry(from, packet, to)?.is_some())
    }

    /// Sends a datagram to a server; the source that the server sees, if it arrives.
    pub fn udp_out(&self, from: (Station, u16), to: (Station, u16)) -> Result<Option<SocketAddrV4>> {
        let datagram = udp(at(from.0, from.1), at(to.0, to.1), b"question");
        Ok(self.carry(from.0, &datagram, to.0)?.map(|packet| packet.from()))
    }

    /// The same where it must arrive.
    pub fn mapped(&self, from: (Station, u16), to: (Station, u16)) -> Result<SocketAddrV4> {
        self.udp_out(from, to)?.context("a datagram to a server did not arrive")
    }

    /// Sends a datagram from a server to an external port; the container that gets it.
    pub fn udp_in(&self, from: (Station, u16), to: SocketAddrV4) -> Result<Option<Station>> {
        let seen = self.exchange(from.0, &udp(at(from.0, from.1), to, b"answer"))?;
        let ports = seen
            .iter()
            .filter(|seen| Station::PORTS.contains(&seen.at) && seen.ip().is_some());
        Ok(ports.map(|seen| seen.at).next())
    }

    /// Sends a first segment to a server; the source that the server sees, if it arrives.
    pub fn syn_out(&self, from: (Station, u16), to: (Station, u16)) -> Result<Option<SocketAddrV4>> {
        let syn = syn(at(from.0, from.1), at(to.0, to.1), 1000);
        Ok(self.carry(from.0, &syn, to.0)?.map(|packet| packet.from()))
    }

    /// Publishes a port of a container under another number.
    pub fn publish(&mut self, transport: Transport, host: u16, station: Station, container: u16) -> Result<()> {
        self.router.publish(Port {
            transport,
            host,
            station,
            container,
        })
    }

    /// Applies a setting; false if the router has none like it.
    pub fn set(&mut self, setting: Setting) -> Result<bool> {
        self.router.set(setting)
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        self.router.pass(time)
    }

    /// True for netbridge.
    pub fn is_netbridge(&self) -> bool {
        self.router.column() == Column::Netbridge
    }

    /// Seconds that a connection lives which `open` makes and nobody uses any more. `alive` tells, after some time,
    /// whether it still does; it starts from nothing every time.
    pub fn lifetime(
        &mut self,
        mut open: impl FnMut(&mut Self) -> Result<Call>,
        mut alive: impl FnMut(&mut Self, &mut Call) -> Result<bool>,
    ) -> Result<u32> {
        for _ in 0..ATTEMPTS {
            self.router.reset()?;
            let mut call = open(self)?;
            let start = Instant::now();
            let Some(told) = self.router.told_lifetime()? else {
                break;
            };
            // Whole seconds are told: read within the first one, they are those that the connection was given.
            if start.elapsed() < Duration::from_millis(800) {
                ensure!(alive(self, &mut call)?, "the connection does not live at all");
                return Ok(told);
            }
        }
        self.search(
            |world| {
                world.router.reset()?;
                open(world)
            },
            &mut alive,
        )
    }

    /// Seconds that a learned station lives.
    pub fn ageing(
        &mut self,
        mut learn: impl FnMut(&mut Self) -> Result<()>,
        mut known: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<u32> {
        if let Some(told) = self.router.told_ageing()? {
            return Ok(told);
        }
        self.search(
            |world| {
                world.router.reset()?;
                learn(world)
            },
            &mut |world, ()| known(world),
        )
    }

    /// The shortest time, in seconds, after which something that was made is gone: it lives half a second less, and is
    /// gone half a second later.
    fn search<T>(
        &mut self,
        mut make: impl FnMut(&mut Self) -> Result<T>,
        alive: &mut impl FnMut(&mut Self, &mut T) -> Result<bool>,
    ) -> Result<u32> {
        let mut after = |world: &mut Self, halves: u64| {
            // True time passes too: where more of it did than a lifetime's margin, it is done again.
            for _ in 0..ATTEMPTS {
                let start = Instant::now();
                let mut made = make(world)?;
                world.router.pass(Duration::from_millis(halves * 500))?;
                let lives = alive(world, &mut made)?;
                if start.elapsed() < MARGIN {
                    return Ok(lives);
                }
            }
            bail!("the machine is too busy to measure a lifetime")
        };
        ensure!(after(self, 0)?, "what was made does not live at all");
        let (mut lives, mut gone) = (0, LONGEST + 1);
        ensure!(!after(self, gone)?, "something lives for ever");
        // Odd numbers of half seconds: a lifetime of whole seconds lies between.
        while gone - lives > 2 {
            let middle = u64::midpoint(lives, gone) | 1;
            let middle = if middle >= gone { gone - 2 } else { middle };
            if middle <= lives {
                break;
            }
            if after(self, middle)? {
                lives = middle;
            } else {
                gone = middle;
            }
        }
        Ok(u32::try_from(gone / 2)?)
    }
}

/// A first segment.
pub fn syn(from: SocketAddrV4, to: SocketAddrV4, seq: u32) -> Ip {
    let segment = Segment {
        flags: flag::SYN,
        seq,
        ack: 0,
        options: &[],
        data: &[],
    };
    tcp(from, to, segment)
}

/// One end of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Who.
    pub station: Station,
    /// Its own address and port.
    pub own: SocketAddrV4,
    /// Where it finds the other.
    pub other: SocketAddrV4,
    /// Its next sequence number.
    pub seq: u32,
}

/// A conversation of a container and a server, TCP or UDP, as their two ends hold it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The container.
    pub client: End,
    /// The server.
    pub server: End,
    proto: u8,
}

/// Who of the two sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The container.
    Client,
    /// The server.
    Server,
}

use Side::{Client, Server};

impl Call {
    /// Between C1 and S1; nothing has been sent.
    pub fn new(proto: u8, sport: u16, dport: u16) -> Self {
        Self::between(proto, (Station::C1, sport), (Station::S1, dport))
    }

    /// Between a container and a server; nothing has been sent, and the container's port is taken to be kept.
    pub fn between(proto: u8, client: (Station, u16), server: (Station, u16)) -> Self {
        let (own, other) = (at(client.0, client.1), at(server.0, server.1));
        Self {
            client: End {
                station: client.0,
                own,
                other,
                seq: 1_000_000,
            },
            server: End {
                station: server.0,
                own: other,
                other: external(client.1),
                seq: 5_000_000,
            },
            proto,
        }
    }

    fn ends(&mut self, side: Side) -> (&mut End, &mut End) {
        match side {
            Client => (&mut self.client, &mut self.server),
            Server => (&mut self.server, &mut self.client),
        }
    }

    /// Whether an answer of the server's arrives that passes a connection which is there in whatever state, and no other: the
    /// second segment of a handshake, if that is where it stands, else an ACK.
    pub fn answers(&mut self, world: &World<'_>, handshake: bool) -> Result<bool> {
        let flags = if handshake { flag::SYN | flag::ACK } else { flag::ACK };
        self.send(world, Server, flags, &[])
    }

    /// The next segment or datagram of a side.
    pub fn next(&mut self, side: Side, flags: u8, data: &[u8]) -> Ip {
        let proto = self.proto;
        let (from, to) = self.ends(side);
        if proto == proto::UDP {
            return udp(from.own, from.other, data);
        }
        let segment = Segment {
            flags,
            seq: from.seq,
            ack: if flags & flag::ACK == 0 { 0 } else { to.seq },
            options: &[],
            data,
        };
        let packet = tcp(from.own, from.other, segment);
        let counted = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        from.seq += counted + u32::try_from(data.len()).unwrap_or(0);
        packet
    }

    /// Sends a packet of a side; what arrives at the other.
    pub fn carry(&mut self, world: &World<'_>, side: Side, packet: &Ip) -> Result<Option<Ip>> {
        let (from, to) = self.ends(side);
        let arrived = world.carry(from.station, packet, to.station)?;
        if let (Client, Some(packet)) = (side, &arrived) {
            to.other = packet.from();
        }
        Ok(arrived)
    }

    /// Sends the next packet of a side; whether it arrives at the other.
    pub fn send(&mut self, world: &World<'_>, side: Side, flags: u8, data: &[u8]) -> Result<bool> {
        let packet = self.next(side, flags, data);
        Ok(self.carry(world, side, &packet)?.is_some())
    }

    /// Sends packets that must arrive.
    pub fn play(&mut self, world: &World<'_>, script: &[(Side, u8)]) -> Result<()> {
        for (side, flags) in script {
            ensure!(
                self.send(world, *side, *flags, &[])?,
                "{side:?} sent flags {flags:#04x}, which did not arrive"
            );
        }
        Ok(())
    }

    /// Opens a TCP connection.
    pub fn open(&mut self, world: &World<'_>) -> Result<()> {
        self.play(world, &OPENING)
    }

    /// Sends data of both sides, and acknowledges them; all must arrive.
    pub fn converse(&mut self, world: &World<'_>) -> Result<()> {
        for (side, data) in [(Client, &[1; 200][..]), (Server, &[2; 200]), (Client, &[])] {
            let arrived = self.send(world, side, flag::ACK | flag::PSH, data)?;
            ensure!(arrived, "data of the {side:?} did not arrive");
        }
        Ok(())
    }

    /// True if data of both sides arrive.
    pub fn talks(&mut self, world: &World<'_>) -> Result<bool> {
        let up = self.send(world, Client, flag::ACK | flag::PSH, b"up")?;
        let down = self.send(world, Server, flag::ACK | flag::PSH, b"down")?;
        Ok(up && down)
    }

    /// True if data of the server arrive.
    pub fn hears(&mut self, world: &World<'_>) -> Result<bool> {
        self.send(world, Server, flag::ACK | flag::PSH, b"down")
    }
}

/// The three segments that open a connection.
pub const OPENING: [(Side, u8); 3] = [
    (Client, flag::SYN),
    (Server, flag::SYN | flag::ACK),
    (Client, flag::ACK),
];

/// An established connection of C1 to port 80 of S1.
pub fn connected(world: &World<'_>) -> Result<Call> {
    let mut call = Call::new(proto::TCP, 5000, 80);
    call.open(world)?;
    Ok(call)
}

/// An address nobody here has.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
