//! Conversations: packets that follow each other as long as they arrive.

use std::net::{Ipv4Addr, SocketAddrV4};

use netbridge_common::abi::proto;

use super::ground::{EXTERNAL, Station};
use crate::conformance::packet::{Ip, Segment, error, flag, icmp, kind, query, tcp, udp};

/// A packet and the way it takes.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Who sends it.
    pub(super) from: Station,
    /// Who gets it, if it passes.
    pub(super) to: Station,
    /// As it is sent.
    pub(super) packet: Ip,
}

/// Packets of which each is sent only if the one before has arrived, as between two that talk.
pub(super) type Talk = Vec<Step>;

/// Two that talk: how each of them calls itself and the other, as translations stand between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// Who begins.
    pub(super) client: Station,
    /// Whom it begins with.
    pub(super) server: Station,
    /// What the client sends from.
    pub(super) own: SocketAddrV4,
    /// Where it sends to.
    pub(super) asked: SocketAddrV4,
    /// Where the server finds the client.
    pub(super) seen: SocketAddrV4,
    /// The server's own address.
    pub(super) serving: SocketAddrV4,
}

impl Pair {
    /// Two neighbours, or a container and a server outside, whose source is replaced and its port kept.
    pub(super) fn new(client: Station, sport: u16, server: Station, dport: u16) -> Self {
        let (own, asked) = (at(client.ip(), sport), at(server.ip(), dport));
        let leaves = client.bridge().is_some() && server.bridge().is_none();
        Self {
            client,
            server,
            own,
            asked,
            seen: if leaves { at(EXTERNAL, sport) } else { own },
            serving: asked,
        }
    }

    /// Somebody who asks for a published port; a neighbour's source is replaced.
    pub(super) fn published(client: Station, sport: u16, host: u16, server: Station, port: u16) -> Self {
        let own = at(client.ip(), sport);
        Self {
            client,
            server,
            own,
            asked: at(EXTERNAL, host),
            seen: if client.bridge().is_some() {
                at(EXTERNAL, sport)
            } else {
                own
            },
            serving: at(server.ip(), port),
        }
    }

    fn there(&self, packet: Ip) -> Step {
        Step {
            from: self.client,
            to: self.server,
            packet,
        }
    }

    fn back(&self, packet: Ip) -> Step {
        Step {
            from: self.server,
            to: self.client,
            packet,
        }
    }

    /// A question, its answer, and so often another question with its answer.
    pub(super) fn datagrams(&self, times: usize) -> Talk {
        let each = |_| {
            [
                self.there(udp(self.own, self.asked, b"question")),
                self.back(udp(self.serving, self.seen, b"the answer")),
            ]
        };
        (0..times).flat_map(each).collect()
    }

    /// Echo requests and replies; the ports are identifiers.
    pub(super) fn echoes(&self, times: usize) -> Talk {
        self.queries(times, kind::ECHO, kind::ECHO_REPLY)
    }

    /// ICMP requests and replies of other types.
    pub(super) fn queries(&self, times: usize, request: u8, reply: u8) -> Talk {
        let each = |_| {
            [
                self.there(query(*self.own.ip(), *self.asked.ip(), request, self.own.port())),
                self.back(query(*self.serving.ip(), *self.seen.ip(), reply, self.own.port())),
            ]
        };
        (0..times).flat_map(each).collect()
    }

    /// A datagram, and what somebody says is wrong with it: the server, or a router on the way to it.
    pub(super) fn refused(&self, by: Station, what: (u8, u8)) -> Talk {
        let question = udp(self.own, self.asked, b"question");
        let arrived = udp(self.seen, self.serving, b"question");
        let complaint = error(by.ip(), *self.seen.ip(), what, 0, &arrived, 8);
        vec![
            self.there(question),
            Step {
                from: by,
                to: self.client,
                packet: complaint,
            },
        ]
    }

    /// A datagram, its answer, and the client's word on that.
    pub(super) fn refused_answer(&self, what: (u8, u8)) -> Talk {
        let mut talk = self.datagrams(1);
        let arrived = udp(self.asked, self.own, b"the answer");
        let complaint = error(*self.own.ip(), *self.asked.ip(), what, 0, &arrived, 8);
        talk.push(self.there(complaint));
        talk
    }

    /// A connection with data both ways, and how it ends.
    pub(super) fn connection(&self, exchanges: usize, end: End) -> Talk {
        let mut line = Line::new(*self, 1_000_000);
        line.open();
        for _ in 0..exchanges {
            line.client(flag::ACK | flag::PSH, b"request");
            line.server(flag::ACK | flag::PSH, b"a response");
            line.client(flag::ACK, b"");
        }
        match end {
            End::Open => {}
            End::Reset => line.client(flag::RST | flag::ACK, b""),
            End::Aborted => line.server(flag::RST | flag::ACK, b""),
            End::Closed => line.close(),
            End::Reopened => {
                line.close();
                let mut again = Line::new(*self, 500_000_000);
                again.open();
                line.talk.append(&mut again.talk);
            }
        }
        line.talk
    }

    /// A first segment that nobody listens for.
    pub(super) fn unheard(&self) -> Talk {
        let mut line = Line::new(*self, 1_000_000);
        line.client(flag::SYN, b"");
        line.seq.1 = 0;
        line.server(flag::RST | flag::ACK, b"");
        line.talk
    }

    /// One segment of no connection.
    pub(super) fn segment(&self, flags: u8) -> Talk {
        let mut line = Line::new(*self, 1_000_000);
        line.client(flags, b"");
        line.talk
    }

    /// A reply that nobody asked for.
    pub(super) fn stray_reply(&self) -> Talk {
        vec![self.there(query(
            *self.own.ip(),
            *self.asked.ip(),
            kind::ECHO_REPLY,
            self.own.port(),
        ))]
    }

    /// An ICMP error about a packet that nobody sent.
    pub(super) fn stray_error(&self, what: (u8, u8)) -> Talk {
        let never = udp(self.asked, self.own, b"never");
        vec![self.there(error(*self.own.ip(), *self.asked.ip(), what, 0, &never, 8))]
    }

    /// Packets of a protocol without ports.
    pub(super) fn other(&self, protocol: u8, times: usize) -> Talk {
        let of = |from: &SocketAddrV4, to: &SocketAddrV4| Ip::new(*from.ip(), *to.ip(), protocol, vec![0x20; 24]);
        let each = |_| {
            [
                self.there(of(&self.own, &self.asked)),
                self.back(of(&self.serving, &self.seen)),
            ]
        };
        (0..times).flat_map(each).collect()
    }

    /// A packet of a protocol, with what is in it.
    pub(super) fn carrying(&self, protocol: u8, payload: &[u8]) -> Step {
        let mut padded = payload.to_vec();
        padded.resize(24, 0);
        self.there(Ip::new(*self.own.ip(), *self.asked.ip(), protocol, padded))
    }

    /// A datagram to everybody on the bridge.
    pub(super) fn broadcast(&self) -> Talk {
        let [a, b, c, _] = self.asked.ip().octets();
        let everybody = at(Ipv4Addr::new(a, b, c, u8::MAX), self.asked.port());
        vec![self.there(udp(self.own, everybody, b"everybody"))]
    }

    /// An ICMP message of a type that is neither a query nor an error.
    pub(super) fn message(&self, kind: u8) -> Talk {
        vec![self.there(icmp(*self.own.ip(), *self.asked.ip(), (kind, 0), [0; 4], b""))]
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// Not at all.
    Open,
    /// The client resets it.
    Reset,
    /// The server does.
    Aborted,
    /// Both close.
    Closed,
    /// Both close, and the client opens another one from the same port.
    Reopened,
}

/// The two ends of a connection.
struct Line {
    pair: Pair,
    talk: Talk,
    /// What each of them sends next.
    seq: (u32, u32),
}

impl Line {
    fn new(pair: Pair, seq: u32) -> Self {
        Self {
            pair,
            talk: Vec::new(),
            seq: (seq, seq + 4_000_000),
        }
    }

    fn open(&mut self) {
        self.client(flag::SYN, b"");
        self.server(flag::SYN | flag::ACK, b"");
        self.client(flag::ACK, b"");
    }

    fn close(&mut self) {
        self.client(flag::FIN | flag::ACK, b"");
        self.server(flag::ACK, b"");
        self.server(flag::FIN | flag::ACK, b"");
        self.client(flag::ACK, b"");
    }

    fn client(&mut self, flags: u8, data: &[u8]) {
        let packet = tcp(self.pair.own, self.pair.asked, segment(flags, self.seq, data));
        self.seq.0 += taken(flags, data);
        self.talk.push(self.pair.there(packet));
    }

    fn server(&mut self, flags: u8, data: &[u8]) {
        let (client, server) = self.seq;
        let packet = tcp(
            self.pair.serving,
            self.pair.seen,
            segment(flags, (server, client), data),
        );
        self.seq.1 += taken(flags, data);
        self.talk.push(self.pair.back(packet));
    }
}

/// A segment with these numbers, the sender's first.
fn segment(flags: u8, (seq, ack): (u32, u32), data: &[u8]) -> Segment<'_> {
    Segment {
        flags,
        seq,
        ack: if flags & flag::ACK == 0 { 0 } else { ack },
        options: &[],
        data,
    }
}

/// Sequence numbers that a segment takes.
fn taken(flags: u8, data: &[u8]) -> u32 {
    let marks = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
    marks + data.iter().map(|_| 1).sum::<u32>()
}

const fn at(ip: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip, port)
}

/// True if the packet is the first of its conversation that a connection table hears of, or may be.
pub(super) fn is_question(step: &Step) -> bool {
    match step.packet.proto {
        proto::TCP => step.packet.flags() & (flag::SYN | flag::ACK) == flag::SYN,
        _ => true,
    }
}
