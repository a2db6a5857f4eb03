//! Builds frames by hand, every checksum complete.

use crate::abi::{Mac, proto};
use crate::wire::{ethernet, icmp, tcp};

use super::Ip;
use super::rewrite::{add, sum};

/// Ethernet and IPv4 headers to be put before a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source MAC.
    pub smac: Mac,
    /// Destination MAC.
    pub dmac: Mac,
    /// Source address.
    pub src: Ip,
    /// Destination address.
    pub dst: Ip,
    /// Time to live.
    pub ttl: u8,
    /// Flags and fragment offset, as the header has them.
    pub fragment: u16,
    /// IP options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Datagram {
    /// A whole datagram without options and with a TTL of 64; a station is a MAC and an address.
    pub const fn new((smac, src): (Mac, Ip), (dmac, dst): (Mac, Ip)) -> Self {
        Self {
            smac,
            dmac,
            src,
            dst,
            ttl: 64,
            fragment: 0,
            options: Vec::new(),
        }
    }

    /// The frame around any payload.
    pub fn frame(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(34 + self.options.len() + payload.len());
        frame.extend_from_slice(&self.dmac);
        frame.extend_from_slice(&self.smac);
        frame.extend_from_slice(&ethernet::IPV4);
        frame.extend_from_slice(&self.packet(protocol, payload));
        frame
    }

    /// The IPv4 packet around any payload: what an ICMP error quotes.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = u8::try_from(length >> 2).unwrap_or(0);
        let total = u16::try_from(length + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let [frag_high, frag_low] = self.fragment.to_be_bytes();
        let mut packet = vec![0x40 | words, 0];
        packet.extend_from_slice(&total);
        packet.extend_from_slice(&[0x12, 0x34, frag_high, frag_low, self.ttl, protocol, 0, 0]);
        packet.extend_from_slice(&self.src);
        packet.extend_from_slice(&self.dst);
        packet.extend_from_slice(&self.options);
        let checksum = !sum(&packet);
        write(&mut packet, 10, checksum);
        packet.extend_from_slice(payload);
        packet
    }

    /// A UDP datagram.
    pub fn udp(&self, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(proto::UDP, &self.udp_segment(sport, dport, payload))
    }

    /// A UDP header and its payload.
    pub fn udp_segment(&self, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        let mut segment = [sport, dport, length, 0].map(u16::to_be_bytes).concat();
        segment.extend_from_slice(payload);
        let checksum = match !add(self.pseudo(proto::UDP, &segment), sum(&segment)) {
            0 => u16::MAX,
            other => other,
        };
        write(&mut segment, 6, checksum);
        segment
    }

    /// A TCP segment with these flags.
    pub fn tcp(&self, sport: u16, dport: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.frame(proto::TCP, &self.tcp_segment(sport, dport, flags, payload))
    }

    /// The first segment of a TCP connection.
    pub fn syn(&self, sport: u16, dport: u16) -> Vec<u8> {
        self.tcp(sport, dport, tcp::SYN, &[])
    }

    /// A TCP header and its payload.
    pub fn tcp_segment(&self, sport: u16, dport: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.tcp_segment_at(sport, dport, flags, (1, 1), payload)
    }

    /// The same with a sequence number and an acknowledgement of its own.
    pub fn tcp_segment_at(&self, sport: u16, dport: u16, flags: u8, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
        let mut segment = [sport, dport].map(u16::to_be_bytes).concat();
        segment.extend_from_slice(&seq.to_be_bytes());
        segment.extend_from_slice(&ack.to_be_bytes());
        segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        let checksum = !add(self.pseudo(proto::TCP, &segment), sum(&segment));
        write(&mut segment, 16, checksum);
        segment
    }

    /// An ICMP echo request or reply.
    pub fn echo(&self, icmp_type: u8, id: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(proto::ICMP, &echo_message(icmp_type, id, payload))
    }

    /// An ICMP error of this type that quotes a packet.
    pub fn error(&self, icmp_type: u8, quote: &[u8]) -> Vec<u8> {
        let mut message = vec![icmp_type, u8::from(icmp_type == icmp::UNREACHABLE), 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(quote);
        let checksum = !sum(&message);
        write(&mut message, 2, checksum);
        self.frame(proto::ICMP, &message)
    }

    fn pseudo(&self, protocol: u8, segment: &[u8]) -> u16 {
        let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        add(add(sum(&self.src), sum(&self.dst)), add(protocol.into(), length))
    }
}

/// An ICMP echo header and its payload.
pub fn echo_message(icmp_type: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![icmp_type, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(payload);
    let checksum = !sum(&message);
    write(&mut message, 2, checksum);
    message
}

/// A broadcast question in the name of `sender`, sent by `smac`, for the owner of `target`.
pub fn arp(smac: Mac, sender: (Mac, Ip), target: Ip) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&smac);
    frame.extend_from_slice(&ethernet::ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&sender.0);
    frame.extend_from_slice(&sender.1);
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&target);
    frame
}

/// An IPv6 frame from one link-local address to another, `next` being what its payload is.
pub fn ipv6(smac: Mac, dmac: Mac, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let address = |last| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut frame = [
        &dmac[..],
        &smac,
        &ethernet::IPV6,
        &[0x60, 0, 0, 0],
        &length,
        &[next, 255],
    ]
    .concat();
    frame.extend_from_slice(&address(1));
    frame.extend_from_slice(&address(2));
    frame.extend_from_slice(payload);
    frame
}

/// The options of a source route over one router: 131 for a loose one, 137 for a strict one.
pub fn source_route(kind: u8, [a, b, c, d]: Ip) -> Vec<u8> {
    vec![kind, 7, 4, a, b, c, d, 0]
}

/// The IP packet of a frame.
pub fn packet_of(frame: &[u8]) -> Vec<u8> {
    frame.get(usize::from(ethernet::LEN)..).unwrap_or_default().to_vec()
}

fn write(bytes: &mut [u8], at: usize, checksum: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}
