//! The events of the differential run, and their generator.

use fastrand::Rng;
use netbridge::model::Transport;
use netbridge_common::abi::proto;

use super::super::packet::{flag, kind};
use super::super::router::Port;
use super::super::stage::Station::{self, C1, C2, S1, S2};
use super::super::world::Side;

use Side::{Client, Server};

/// A station and a port of it.
pub(super) type At = (Station, u16);

/// Who talks to whom through the router: a container and a server, and a protocol. The container's port is its own, an
/// echo's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Flow {
    /// Protocol.
    pub(super) proto: u8,
    /// The container.
    pub(super) client: At,
    /// The server.
    pub(super) server: At,
}

/// Something to do to a router.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A container's datagram or echo request.
    Ask(Flow),
    /// The server's answer to one.
    Answer(Flow),
    /// A packet to a flow's external port from somebody who was not asked.
    Stranger(Flow, At),
    /// An ICMP error about a flow's last packet.
    Error(Flow, (u8, u8), Station),
    /// A container's ICMP error about the last answer of a flow.
    Refuse(Flow, (u8, u8)),
    /// A TCP call begins, by the container, or by the server at a published port.
    Call(Flow, Option<usize>),
    /// A segment of one.
    Segment(Flow, Side, u8, bool),
    /// A server's datagram to an external port.
    Knock(At, u16),
    /// The container's answer to what came by a published port.
    Reply(At, usize),
    /// A packet between containers.
    Neighbour(u16),
    /// A container's packet to the router's external address.
    Hairpin(At, u16),
    /// A container's datagram with another's source.
    Forged(Station, usize),
    /// A server's packet for a container's own address.
    Direct(At, Station),
    /// A datagram or segment with something odd.
    Odd(Odd, At, At),
    /// Publishes a port of [`PORTS`].
    Publish(usize),
    /// Withdraws it, and ends all flows.
    Withdraw(usize),
    /// Packets to these ports are not forwarded any more, all others are.
    Deny(Vec<u16>),
    /// Flows' time is over.
    Expire,
    /// The router's connections are shown.
    Show,
}

/// What is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// A wrong UDP checksum.
    BadSum,
    /// No UDP checksum.
    NoSum,
    /// A TTL that ends at the router.
    LastHop,
    /// No protocol with ports.
    Protocol(u8),
    /// TCP flags that no TCP sends.
    Flags(u8),
    /// A segment of no connection.
    MidStream,
    /// Cut into fragments, which are sent in this order.
    Fragments([u8; PIECES]),
    /// An ICMP message of this type.
    Message(u8),
    /// Shorter than its headers say.
    Cut,
    /// IP options.
    Options,
}

/// Fragments that a datagram is cut into.
pub(super) const PIECES: usize = 3;

/// What may be published.
pub(super) const PORTS: [Port; 4] = [
    port(Transport::Tcp, 8080, C1, 80),
    port(Transport::Tcp, 8081, C2, 81),
    port(Transport::Udp, 8053, C2, 53),
    port(Transport::Udp, 8054, C1, 54),
];

const fn port(transport: Transport, host: u16, station: Station, container: u16) -> Port {
    Port {
        transport,
        host,
        station,
        container,
    }
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opened,
    Answered,
    Established,
    /// One side has closed, and the other has not said so yet.
    Closing(Side),
    /// The other side knows, and closes next.
    HalfClosed(Side),
    /// Both have closed.
    Last(Side),
}

struct Talk {
    flow: Flow,
    /// Who began.
    opener: Side,
    phase: Phase,
}

/// Makes events from a seed and from what came of them.
pub(super) struct Generator {
    random: Rng,
    flows: Vec<Flow>,
    /// Flows with an answer.
    answered: Vec<Flow>,
    talks: Vec<Talk>,
    /// Who came by which published port.
    visits: Vec<(At, usize)>,
    published: [bool; PORTS.len()],
}

fn other(side: Side) -> Side {
    match side {
        Client => Server,
        Server => Client,
    }
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            flows: Vec::new(),
            answered: Vec::new(),
            talks: Vec::new(),
            visits: Vec::new(),
            published: [false; PORTS.len()],
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn client(&mut self) -> At {
        // Ports that are kept, ports that the host may use itself, and few, so that containers' ports meet.
        (
            self.pick(&[C1, C2]),
            self.pick(&[5000, 5001, 5002, 40_000, 40_001, 40_002]),
        )
    }

    fn server(&mut self) -> At {
        (self.pick(&[S1, S2]), self.pick(&[7000, 7001, 7002]))
    }

    fn flow(&mut self) -> Option<Flow> {
        (!self.flows.is_empty()).then(|| self.flows[self.random.usize(..self.flows.len())])
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Event {
        loop {
            let event = match self.random.u32(..1000) {
                0..160 => Some(self.ask()),
                160..320 => self.flow().map(Event::Answer),
                320..340 => self.stranger(),
                340..380 => self.error(),
                380..390 => self.refuse(),
                390..480 => self.call(),
                480..800 => self.segment(),
                800..850 => Some(self.knock()),
                850..880 => self.reply(),
                880..900 => Some(Event::Neighbour(self.random.u16(9000..9004))),
                900..910 => Some(Event::Hairpin(self.client(), self.pick(&[8053, 8054, 9999]))),
                910..920 => Some(Event::Forged(self.pick(&[C1, C2]), self.random.usize(..3))),
                920..930 => Some(Event::Direct(self.server(), self.pick(&[C1, C2]))),
                930..985 => Some(self.odd()),
                985..994 => Some(self.publish()),
                994..997 => Some(self.deny()),
                _ => Some(Event::Expire),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn ask(&mut self) -> Event {
        let proto = self.pick(&[proto::UDP, proto::UDP, proto::ICMP]);
        let mut flow = Flow {
            proto,
            client: self.client(),
            server: self.server(),
        };
        if proto == proto::ICMP {
            flow.server.1 = 0;
        }
        Event::Ask(flow)
    }

    /// Somebody whom no flow of the protocol leads to: what is another flow's port to one router may be none to the other.
    fn stranger(&mut self) -> Option<Event> {
        let flow = self.flow()?;
        let from = self.server();
        let known = self.flows.iter().any(|other| {
            other.proto == flow.proto
                && other.server.0 == from.0
                && (other.server.1 == from.1 || flow.proto == proto::ICMP)
        });
        (!known).then_some(Event::Stranger(flow, from))
    }

    fn error(&mut self) -> Option<Event> {
        let what = self.pick(&[
            (kind::UNREACHABLE, 1),
            (kind::UNREACHABLE, 3),
            (kind::UNREACHABLE, 4),
            (kind::TIME_EXCEEDED, 0),
            (kind::PARAMETER, 0),
            (kind::REDIRECT, 1),
            (kind::SOURCE_QUENCH, 0),
        ]);
        let by = self.pick(&[S1, S2]);
        let calls = self.talks.iter().filter(|talk| talk.opener == Client);
        let flows: Vec<_> = calls.map(|talk| talk.flow).chain(self.flows.iter().copied()).collect();
        (!flows.is_empty()).then(|| Event::Error(self.pick(&flows), what, by))
    }

    fn refuse(&mut self) -> Option<Event> {
        let what = self.pick(&[(kind::UNREACHABLE, 2), (kind::UNREACHABLE, 3), (kind::REDIRECT, 1)]);
        let index = self.random.usize(..self.answered.len().max(1));
        self.answered.get(index).map(|flow| Event::Refuse(*flow, what))
    }

    fn call(&mut self) -> Option<Event> {
        let published = self.random.usize(..4);
        // What is refused ends all flows, so few calls are.
        if published < 2 && !self.published[published] && self.random.u32(..8) > 0 {
            return None;
        }
        let flow = if published < 2 {
            let Port { station, container, .. } = PORTS[published];
            Flow {
                proto: proto::TCP,
                client: (station, container),
                server: (self.pick(&[S1, S2]), self.random.u16(6000..6004)),
            }
        } else {
            let mut flow = Flow {
                proto: proto::TCP,
                client: self.client(),
                server: self.server(),
            };
            flow.server.1 -= 6920;
            flow
        };
        let free = self.talks.iter().all(|talk| talk.flow != flow);
        free.then_some(Event::Call(flow, (published < 2).then_some(published)))
    }

    fn segment(&mut self) -> Option<Event> {
        if self.talks.is_empty() {
            return None;
        }
        let index = self.random.usize(..self.talks.len());
        let Talk { flow, opener, phase } = self.talks[index];
        let chance = self.random.u32(..100);
        let either = self.pick(&[Client, Server]);
        let data = flag::ACK | flag::PSH;
        let (side, flags, carries) = match phase {
            Phase::Opened if chance < 8 => (other(opener), flag::RST | flag::ACK, false),
            Phase::Opened if chance < 14 => (opener, flag::SYN, false),
            Phase::Opened => (other(opener), flag::SYN | flag::ACK, false),
            Phase::Answered => (opener, flag::ACK, false),
            Phase::Established if chance < 75 => (either, data, true),
            Phase::Established if chance < 78 => (either, flag::RST | flag::ACK, false),
            Phase::Established => (either, flag::FIN | flag::ACK, false),
            Phase::Closing(side) | Phase::Last(side) => (other(side), flag::ACK, false),
            Phase::HalfClosed(side) if chance < 40 => (other(side), data, true),
            Phase::HalfClosed(side) => (other(side), flag::FIN | flag::ACK, false),
        };
        Some(Event::Segment(flow, side, flags, carries))
    }

    fn knock(&mut self) -> Event {
        let from = self.server();
        Event::Knock(from, self.pick(&[8053, 8054, 9999, 20_000]))
    }

    fn reply(&mut self) -> Option<Event> {
        if self.visits.is_empty() {
            return None;
        }
        let (who, port) = self.visits[self.random.usize(..self.visits.len())];
        Some(Event::Reply(who, port))
    }

    fn odd(&mut self) -> Event {
        let mut order = [0, 1, 2];
        self.random.shuffle(&mut order);
        let odd = self.pick(&[
            Odd::BadSum,
            Odd::NoSum,
            Odd::LastHop,
            Odd::Protocol(47),
            Odd::Protocol(50),
            Odd::Flags(0),
            Odd::Flags(flag::FIN | flag::PSH | flag::URG),
            Odd::Flags(flag::SYN | flag::FIN),
            Odd::MidStream,
            Odd::Fragments(order),
            Odd::Message(kind::TIMESTAMP),
            Odd::Message(kind::SOLICITATION),
            Odd::Cut,
            Odd::Options,
        ]);
        // Ports of their own: what is odd meets no flow.
        let from = (self.pick(&[C1, C2]), self.random.u16(5100..5200));
        Event::Odd(odd, from, self.server())
    }

    fn publish(&mut self) -> Event {
        let index = self.random.usize(..PORTS.len());
        if self.published[index] {
            Event::Withdraw(index)
        } else {
            Event::Publish(index)
        }
    }

    fn deny(&mut self) -> Event {
        Event::Deny(self.pick(&[&[][..], &[7001, 81], &[7002, 53, 80]]).to_vec())
    }

    /// Takes note of what came of an event, the same at both routers; `through` if its packet reached who it was for.
    pub(super) fn learn(&mut self, event: &Event, through: bool) {
        match event {
            Event::Ask(flow) if through && !self.flows.contains(flow) => self.flows.push(*flow),
            Event::Answer(flow) if through && !self.answered.contains(flow) => self.answered.push(*flow),
            Event::Call(flow, published) if through => self.talks.push(Talk {
                flow: *flow,
                opener: if published.is_some() { Server } else { Client },
                phase: Phase::Opened,
            }),
            Event::Segment(flow, side, flags, _) => self.step(flow, *side, *flags, through),
            Event::Knock(from, port) if through => {
                let index = PORTS.iter().position(|published| published.host == *port);
                self.visits.extend(index.map(|index| (*from, index)));
            }
            Event::Publish(index) => self.published[*index] = true,
            Event::Withdraw(index) => {
                self.published[*index] = false;
                self.forget();
            }
            Event::Expire => self.forget(),
            _ => {}
        }
    }

    /// No flow lives any more.
    pub(super) fn forget(&mut self) {
        self.flows.clear();
        self.answered.clear();
        self.talks.clear();
        self.visits.clear();
    }

    fn step(&mut self, flow: &Flow, side: Side, flags: u8, through: bool) {
        let Some(index) = self.talks.iter().position(|talk| talk.flow == *flow) else {
            return;
        };
        let talk = &mut self.talks[index];
        let ends = !through || flags & flag::RST != 0 || matches!(talk.phase, Phase::Last(_));
        if ends {
            self.talks.swap_remove(index);
            return;
        }
        talk.phase = match talk.phase {
            Phase::Opened if flags & flag::ACK != 0 => Phase::Answered,
            Phase::Answered => Phase::Established,
            Phase::Established if flags & flag::FIN != 0 => Phase::Closing(side),
            Phase::Closing(closer) => Phase::HalfClosed(closer),
            Phase::HalfClosed(_) if flags & flag::FIN != 0 => Phase::Last(side),
            phase => phase,
        };
    }
}
