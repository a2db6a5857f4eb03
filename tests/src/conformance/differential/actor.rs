//! Carries out events on one router, and says what arrived in words that do not depend on the ports it chose.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
use netbridge_common::abi::proto;

use super::super::packet::{Ip, Segment, data, error, flag, icmp, kind, query, seal, tcp, udp};
use super::super::stage::Seen as Arrival;
use super::super::stage::Station::{self, C1, C2, S1, S2, T1, T2};
use super::super::stage::{EXTERNAL, GATEWAY, frame};
use super::super::world::{Call, Side, World, at, external};
use super::event::{At, Event, Flow, Odd, PIECES, PORTS};

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// In words, in order.
    pub(super) arrivals: Vec<String>,
    /// Whether the event's own packet reached who it was for.
    pub(super) through: bool,
}

/// A router, and the flows through it.
pub(super) struct Actor<'a> {
    world: World<'a>,
    /// External ports.
    ports: HashMap<Flow, u16>,
    /// Flows' last packets as servers saw them.
    last: HashMap<Flow, Ip>,
    /// Flows' last answers as containers saw them.
    answers: HashMap<Flow, Ip>,
    calls: HashMap<Flow, Call>,
    /// Calls that end: their ports may be used again.
    ending: HashSet<Flow>,
    /// The last identification of a datagram in fragments.
    id: u16,
    /// Calls since flows were last forgotten: each one's numbers are higher than those before.
    opened: u32,
}

/// What an odd datagram says.
pub(super) const ODD: &[u8] = b"odd";
/// Longer than any flow lives, seconds.
const LONG: u32 = 1 << 20;
/// Numbers between two calls' first ones.
const APART: u32 = 1_000_000;

impl<'a> Actor<'a> {
    pub(super) fn new(world: World<'a>) -> Result<Self> {
        let actor = Self {
            world,
            ports: HashMap::new(),
            last: HashMap::new(),
            answers: HashMap::new(),
            calls: HashMap::new(),
            ending: HashSet::new(),
            id: 0,
            opened: 0,
        };
        actor.announce()?;
        Ok(actor)
    }

    /// Carries out an event.
    pub(super) fn act(&mut self, event: &Event) -> Result<Seen> {
        match event {
            Event::Ask(flow) => {
                let packet = if flow.proto == proto::ICMP {
                    query(flow.client.0.ip(), flow.server.0.ip(), kind::ECHO, flow.client.1)
                } else {
                    udp(of(flow.client), of(flow.server), b"question")
                };
                self.outwards(*flow, &packet)
            }
            Event::Answer(flow) => {
                let to = self.external(flow)?;
                let packet = if flow.proto == proto::ICMP {
                    query(flow.server.0.ip(), EXTERNAL, kind::ECHO_REPLY, to.port())
                } else {
                    udp(of(flow.server), to, b"answer")
                };
                let seen = self.world.exchange(flow.server.0, &packet)?;
                let arrived = seen.iter().find(|seen| seen.at == flow.client.0).and_then(Arrival::ip);
                self.answers.extend(arrived.map(|packet| (*flow, packet)));
                Ok(self.tell(&seen, flow.client.0))
            }
            Event::Stranger(flow, from) => {
                let to = self.external(flow)?;
                let packet = if flow.proto == proto::ICMP {
                    query(from.0.ip(), EXTERNAL, kind::ECHO_REPLY, to.port())
                } else {
                    udp(of(*from), to, b"stranger")
                };
                self.send(from.0, &packet, flow.client.0)
            }
            Event::Error(flow, what, by) => {
                let about = self.last.get(flow).context("no packet to be in error")?;
                let message = error(by.ip(), EXTERNAL, *what, 1400, about, 8);
                self.send(*by, &message, flow.client.0)
            }
            Event::Refuse(flow, what) => {
                let about = self.answers.get(flow).context("no answer to be in error")?;
                let message = error(flow.client.0.ip(), flow.server.0.ip(), *what, 0, about, 8);
                self.send(flow.client.0, &message, flow.server.0)
            }
            Event::Call(flow, published) => self.call(*flow, *published),
            Event::Segment(flow, side, flags, data) => self.segment(flow, *side, *flags, *data),
            Event::Knock(from, port) => {
                let whose = PORTS.iter().find(|published| published.host == *port);
                let whose = whose.map_or(C1, |published| published.station);
                self.send(from.0, &udp(of(*from), external(*port), b"knock"), whose)
            }
            Event::Reply(who, index) => {
                let port = PORTS[*index];
                let packet = udp(at(port.station, port.container), of(*who), b"reply");
                self.send(port.station, &packet, who.0)
            }
            Event::Neighbour(dport) => self.send(C1, &udp(at(C1, 9000), at(C2, *dport), b"neighbour"), C2),
            Event::Hairpin(from, port) => {
                let whose = PORTS.iter().find(|published| published.host == *port);
                let server = whose.map_or((C1, *port), |published| (published.station, published.container));
                let flow = Flow {
                    proto: proto::UDP,
                    client: *from,
                    server,
                };
                self.outwards(flow, &udp(of(*from), external(*port), b"hairpin"))
            }
            Event::Forged(from, which) => {
                let mut packet = udp(at(*from, 5300), at(S1, 7000), b"forged");
                packet.src = [Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::LOCALHOST, S2.ip()][*which];
                seal(&mut packet, 6);
                self.send(*from, &packet, S1)
            }
            Event::Direct(from, to) => self.send(from.0, &udp(of(*from), at(*to, 80), b"direct"), *to),
            Event::Odd(odd, from, to) => self.odd(*odd, *from, *to),
            Event::Publish(index) => self.world.router.publish(PORTS[*index]).map(|()| Seen::default()),
            Event::Withdraw(index) => {
                self.world.router.withdraw(PORTS[*index])?;
                self.expire()
            }
            Event::Deny(ports) => self.world.router.deny(ports).map(|()| Seen::default()),
            Event::Expire => self.expire(),
            Event::Show => Ok(Seen {
                arrivals: vec![self.world.router.show()?],
                through: false,
            }),
        }
    }

    fn expire(&mut self) -> Result<Seen> {
        self.ports.clear();
        self.last.clear();
        self.answers.clear();
        self.calls.clear();
        self.ending.clear();
        self.opened = 0;
        self.world.router.expire(LONG)?;
        self.announce()?;
        Ok(Seen::default())
    }

    /// Lets the bridge hear of every station, so that it knows where they are.
    fn announce(&self) -> Result<()> {
        let stage = self.world.stage();
        for station in Station::PORTS {
            stage.send_frame(station, &frame([0xff; 6], stage.mac(station), [0x88, 0xb5], &[0; 46]))?;
        }
        stage.arrived().map(drop)
    }

    fn external(&self, flow: &Flow) -> Result<SocketAddrV4> {
        Ok(external(*self.ports.get(flow).context("a flow without a port")?))
    }

    /// Sends a packet of a flow to its server, and takes note of the port that it leaves from.
    fn outwards(&mut self, flow: Flow, packet: &Ip) -> Result<Seen> {
        let seen = self.world.exchange(flow.client.0, packet)?;
        let remarks = self.note(flow, &seen);
        let mut told = self.tell(&seen, flow.server.0);
        told.arrivals.extend(remarks);
        Ok(told)
    }

    /// Takes note of the port that a flow's packet leaves from, if it arrived at the server; what is wrong with that port.
    fn note(&mut self, flow: Flow, seen: &[Arrival]) -> Vec<String> {
        let mut remarks = Vec::new();
        let arrived = seen.iter().find(|seen| seen.at == flow.server.0).and_then(Arrival::ip);
        let Some(packet) = arrived.filter(|packet| packet.proto == flow.proto && packet.offset == 0) else {
            return remarks;
        };
        let port = packet.sport();
        if self.ports.insert(flow, port).is_some_and(|before| before != port) {
            remarks.push(format!("{flow:?} has moved"));
        }
        let same = |other: &Flow, theirs: u16| {
            *other != flow && other.proto == flow.proto && other.server == flow.server && theirs == port
        };
        // The port of a call that ends may be used again, and then stands for it no more.
        let ending = &self.ending;
        self.ports
            .retain(|other, theirs| !(same(other, *theirs) && ending.contains(other)));
        if self.ports.iter().any(|(other, theirs)| same(other, *theirs)) {
            remarks.push(format!("{flow:?} shares its port"));
        }
        let hairpins = Station::PORTS.contains(&flow.server.0) && packet.src == EXTERNAL;
        let moved =
            |other: &Flow, theirs: u16| other.proto == flow.proto && other.client == flow.client && theirs != port;
        if hairpins && self.ports.iter().any(|(other, theirs)| moved(other, *theirs)) {
            remarks.push(format!("{flow:?} has another port than its client"));
        }
        self.last.insert(flow, packet);
        remarks
    }

    fn send(&mut self, from: Station, packet: &Ip, to: Station) -> Result<Seen> {
        let seen = self.world.exchange(from, packet)?;
        Ok(self.tell(&seen, to))
    }

    fn call(&mut self, flow: Flow, published: Option<usize>) -> Result<Seen> {
        let mut call = Call::between(proto::TCP, flow.client, flow.server);
        self.opened += 1;
        // What an earlier call of the same ports left says nothing about this one.
        self.ending.remove(&flow);
        self.ports.remove(&flow);
        self.last.remove(&flow);
        call.client.seq += self.opened * APART;
        call.server.seq += self.opened * APART;
        if let Some(index) = published {
            call.server.other = external(PORTS[index].host);
        }
        self.calls.insert(flow, call);
        let side = if published.is_some() {
            Side::Server
        } else {
            Side::Client
        };
        self.segment(&flow, side, flag::SYN, false)
    }

    fn segment(&mut self, flow: &Flow, side: Side, flags: u8, data: bool) -> Result<Seen> {
        let mut call = *self.calls.get(flow).context("no such call")?;
        if flags == flag::SYN && self.last.contains_key(flow) && side == Side::Client {
            // Sent again.
            call.client.seq -= 1;
        }
        if flags & (flag::FIN | flag::RST) != 0 {
            self.ending.insert(*flow);
        }
        let packet = call.next(side, flags, if data { b"some data" } else { &[] });
        let seen = match side {
            Side::Client if call.server.other.port() >= 8080 && call.server.other.port() <= 8081 => {
                self.send(flow.client.0, &packet, flow.server.0)?
            }
            Side::Client => {
                let seen = self.outwards(*flow, &packet)?;
                if let Some(port) = self.ports.get(flow) {
                    call.server.other = external(*port);
                }
                seen
            }
            Side::Server => self.send(flow.server.0, &packet, flow.client.0)?,
        };
        self.calls.insert(*flow, call);
        Ok(seen)
    }

    fn odd(&mut self, odd: Odd, from: At, to: At) -> Result<Seen> {
        let mut packet = udp(of(from), of(to), ODD);
        let segment = |flags| Segment {
            flags,
            seq: 77,
            ack: 99,
            options: &[],
            data: &[],
        };
        match odd {
            Odd::BadSum => packet.body[6] ^= 0x55,
            Odd::NoSum => packet.body[6..8].fill(0),
            Odd::LastHop => packet.ttl = 1,
            Odd::Protocol(number) => packet = Ip::new(packet.src, packet.dst, number, vec![0; 24]),
            Odd::Flags(flags) => packet = tcp(of(from), of(to), segment(flags)),
            Odd::MidStream => packet = tcp(of(from), of(to), segment(flag::ACK)),
            Odd::Fragments(order) => return self.fragments(from, to, order),
            Odd::Message(kind) => {
                packet = icmp(packet.src, packet.dst, (kind, 0), [0, 1, 0, 1], &[0; 12]);
            }
            Odd::Cut => packet.body.truncate(6),
            Odd::Options => packet.options = vec![1; 4],
        }
        let mut flow = Flow {
            proto: packet.proto,
            client: from,
            server: to,
        };
        if packet.proto == proto::ICMP {
            flow.client.1 = 1;
            flow.server.1 = 0;
        }
        self.outwards(flow, &packet)
    }

    /// Sends a datagram in three fragments, in whatever order.
    fn fragments(&mut self, from: At, to: At, order: [u8; PIECES]) -> Result<Seen> {
        let mut packet = udp(of(from), of(to), &data(1000));
        // What a router remembers of one datagram is to say nothing of the next.
        self.id = self.id.wrapping_add(1);
        packet.id = self.id;
        let pieces = packet.fragments(400);
        let flow = Flow {
            proto: proto::UDP,
            client: from,
            server: to,
        };
        let (mut all, mut arrived) = (Seen::default(), Vec::new());
        for index in order {
            let piece = pieces.get(usize::from(index)).context("no such fragment")?;
            let seen = self.world.exchange(from.0, piece)?;
            all.arrivals.extend(self.note(flow, &seen));
            arrived.extend(seen.iter().filter(|seen| seen.at == to.0).filter_map(Arrival::ip));
            let told = self.tell(&seen, to.0);
            all.through |= told.through;
            all.arrivals.extend(told.arrivals);
        }
        // The kernel lets none go before it has all.
        all.arrivals.sort_unstable();
        let sound = Ip::put_together(&arrived).map(|whole| whole.is_sound());
        all.arrivals.push(format!("together sound: {sound:?}"));
        Ok(all)
    }

    /// What arrived, in words.
    fn tell(&self, seen: &[Arrival], to: Station) -> Seen {
        let packets = seen.iter().filter_map(|seen| Some((seen, seen.ip()?)));
        let mut arrivals: Vec<String> = packets
            .map(|(seen, packet)| {
                let sum = sum(&seen.frame, &packet);
                format!("{:?}: {}, {sum}", seen.at, self.words(&packet, true))
            })
            .collect();
        arrivals.sort_unstable();
        // An error of the router's own is no arrival of the event's packet.
        let through = seen.iter().any(|seen| {
            seen.at == to
                && seen
                    .ip()
                    .is_some_and(|packet| packet.src != GATEWAY && packet.src != to.ip())
        });
        Seen { arrivals, through }
    }

    fn words(&self, packet: &Ip, outer: bool) -> String {
        let address = |ip: Ipv4Addr| match ip {
            EXTERNAL => "R".to_owned(),
            GATEWAY => "G".to_owned(),
            ip => [C1, C2, T1, T2, S1, S2]
                .into_iter()
                .find(|station| station.ip() == ip)
                .map_or(ip.to_string(), |station| format!("{station:?}")),
        };
        let (mut from, mut to) = (address(packet.src), address(packet.dst));
        let mut rest = Vec::new();
        match packet.proto {
            proto::TCP | proto::UDP if packet.offset == 0 => {
                let named = |ip, own: u16, other: SocketAddrV4| self.named(packet.proto, ip, own, other);
                let (sport, dport) = (packet.sport(), packet.dport());
                from += &named(packet.src, sport, SocketAddrV4::new(packet.dst, dport));
                to += &named(packet.dst, dport, SocketAddrV4::new(packet.src, sport));
                if packet.proto == proto::TCP && outer {
                    rest.push(format!("flags {:#04x} seq {}", packet.flags(), packet.seq()));
                }
            }
            proto::ICMP if packet.offset == 0 => {
                let (kind, code) = packet.icmp().unwrap_or_default();
                rest.push(format!("icmp {kind}/{code}"));
                let query = [kind::ECHO, kind::ECHO_REPLY].contains(&kind);
                if query {
                    let (own, remote) = if packet.src == EXTERNAL {
                        (packet.src, packet.dst)
                    } else {
                        (packet.dst, packet.src)
                    };
                    rest.push(self.named(proto::ICMP, own, packet.sport(), SocketAddrV4::new(remote, 0)));
                } else if let Some(quoted) = packet.quoted().filter(|_| outer) {
                    rest.push(format!("about ({})", self.words(&quoted, false)));
                }
            }
            number => rest.push(format!("protocol {number}")),
        }
        if outer {
            if packet.more || packet.offset != 0 {
                rest.push(format!("from {}, more {}", packet.offset, packet.more));
            }
            rest.push(format!(
                "ttl {} length {} {}",
                packet.ttl,
                packet.body.len(),
                content(packet)
            ));
        }
        [&[format!("{from} > {to}")], &rest[..]].concat().join(" ")
    }

    /// A port of an address: the router's is named after the flow it stands for.
    fn named(&self, proto: u8, ip: Ipv4Addr, port: u16, remote: SocketAddrV4) -> String {
        let stands_for = |flow: &Flow, own: u16| {
            flow.proto == proto
                && own == port
                && flow.server.0.ip() == *remote.ip()
                && (flow.server.1 == remote.port() || proto == proto::ICMP)
        };
        let flows = self
            .ports
            .iter()
            .filter(|(flow, own)| ip == EXTERNAL && stands_for(flow, **own));
        // One that ends and one that has its port now may both be there.
        match flows
            .map(|(flow, _)| flow)
            .min_by_key(|flow| self.ending.contains(flow))
        {
            Some(flow) => format!("[{:?}:{}]", flow.client.0, flow.client.1),
            // A stranger was sent to the port of a flow of somebody else's.
            None if ip == EXTERNAL && self.ports.iter().any(|(flow, own)| flow.proto == proto && *own == port) => {
                "[another's]".to_owned()
            }
            None => format!(":{port}"),
        }
    }
}

/// What a packet carries, in a word. A router changes no byte of it: in an error, of what follows the eight bytes behind the
/// quoted header.
fn content(packet: &Ip) -> String {
    let quoted = packet.quoted().filter(|_| packet.is_error());
    let data = match &quoted {
        Some(quoted) => quoted.body.get(8..).unwrap_or_default(),
        None if packet.offset == 0 && [proto::TCP, proto::UDP, proto::ICMP].contains(&packet.proto) => packet.data(),
        None => &packet.body,
    };
    digest(data)
}

/// Bytes in a word.
pub(super) fn digest(data: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    format!("data {:08x}", hasher.finish() >> 32)
}

/// How it is with a packet's checksums.
fn sum(frame: &[u8], packet: &Ip) -> &'static str {
    if Ip::check(frame).is_err() {
        "wrong sum"
    } else if packet.proto == proto::UDP && packet.offset == 0 && packet.udp_sum() == 0 {
        "no sum"
    } else {
        "right sum"
    }
}

/// An address and port.
fn of((station, port): At) -> SocketAddrV4 {
    at(station, port)
}
