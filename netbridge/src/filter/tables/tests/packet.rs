//! Packets as the rules see them, in words of their own: the datapath's form is made of them, never the other way.

use std::net::Ipv4Addr;

use netbridge_common::abi::{CtState, Mac, axis, proto};
use netbridge_common::datapath::filter::Subject;

/// A packet on its way through `FORWARD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) input: Device,
    pub(super) output: Device,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) mac: Mac,
    pub(super) payload: Payload,
    /// None for a packet that connection tracking calls invalid.
    pub(super) flow: Option<Flow>,
}

/// An interface, 0 if it is not known, and the network it is of, 0 for the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) ifindex: u32,
    pub(super) network: u16,
}

/// What the IP header is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Tcp { sport: u16, dport: u16, flags: u8 },
    Udp { sport: u16, dport: u16 },
    Icmp { kind: u8, code: u8 },
    Other(u8),
}

/// What connection tracking says of a packet that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) stage: Stage,
    pub(super) reply: bool,
    pub(super) snat: bool,
    pub(super) dnat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    Established,
    Related,
}

impl Packet {
    pub(super) fn protocol(&self) -> u8 {
        match self.payload {
            Payload::Tcp { .. } => proto::TCP,
            Payload::Udp { .. } => proto::UDP,
            Payload::Icmp { .. } => proto::ICMP,
            Payload::Other(number) => number,
        }
    }

    /// Source and destination port of TCP or UDP.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        match self.payload {
            Payload::Tcp { sport, dport, .. } | Payload::Udp { sport, dport } => Some((sport, dport)),
            Payload::Icmp { .. } | Payload::Other(_) => None,
        }
    }

    /// As the datapath is asked about it.
    pub(super) fn subject(&self) -> Subject<[u8; 4]> {
        let (sport, dport) = match self.payload {
            Payload::Tcp { sport, dport, .. } | Payload::Udp { sport, dport } => (sport.into(), dport.into()),
            Payload::Icmp { kind, code } => (axis::NO_PORT, axis::ICMP + u32::from(u16::from_be_bytes([kind, code]))),
            Payload::Other(_) => (axis::NO_PORT, axis::NO_PORT),
        };
        let tcp = match self.payload {
            Payload::Tcp { flags, .. } => flags,
            _ => 0,
        };
        let state = self.flow.map_or(CtState::INVALID, |flow| {
            let bit = |set: bool, bit: u8| if set { bit } else { 0 };
            let stage = match flow.stage {
                Stage::New => CtState::NEW,
                Stage::Established => CtState::ESTABLISHED,
                Stage::Related => CtState::RELATED,
            };
            stage | bit(flow.reply, CtState::REPLY) | bit(flow.snat, CtState::SNAT) | bit(flow.dnat, CtState::DNAT)
        });
        Subject {
            in_ifindex: self.input.ifindex,
            in_net: self.input.network.into(),
            out_ifindex: self.output.ifindex,
            out_net: self.output.network.into(),
            src: self.source.octets(),
            dst: self.destination.octets(),
            sport,
            dport,
            mac: self.mac,
            proto: self.protocol(),
            state,
            tcp,
            bytes: 100,
        }
    }
}
