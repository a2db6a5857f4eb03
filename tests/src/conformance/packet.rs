//! IPv4 packets by hand: written field by field, right unless a row makes them wrong, and read back.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use netbridge_common::abi::proto;

use crate::frame::{ones_sum, verify};

/// Bytes of an IPv4 header without options, and of a TCP header.
const HEADER: usize = 20;
/// Bytes of an ICMP or UDP header.
const SHORT_HEADER: usize = 8;
/// The flag "don't fragment" in the word of the fragment offset, RFC 791.
const DONT_FRAGMENT: u16 = 0x4000;
/// The flag "more fragments".
const MORE_FRAGMENTS: u16 = 0x2000;

/// TCP flags, RFC 9293.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number means something.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer means something.
    pub const URG: u8 = 0x20;
}

/// ICMP types, RFC 792 and RFC 950.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Router solicitation.
    pub const SOLICITATION: u8 = 10;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER: u8 = 12;
    /// Timestamp request.
    pub const TIMESTAMP: u8 = 13;
    /// Address mask request.
    pub const MASK: u8 = 17;
    /// Address mask reply.
    pub const MASK_REPLY: u8 = 18;
}

/// An IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments follow.
    pub more: bool,
    /// Fragment offset, bytes.
    pub offset: u16,
    /// Protocol.
    pub proto: u8,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A TCP segment's own fields.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// See [`flag`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// Data.
    pub data: &'a [u8],
}

impl Ip {
    /// A whole packet.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, body: Vec<u8>) -> Self {
        Self {
            src,
            dst,
            ttl: 64,
            id: 0x1000,
            df: false,
            more: false,
            offset: 0,
            proto,
            options: Vec::new(),
            body,
        }
    }

    /// As it is on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let header = HEADER + self.options.len();
        let mut bytes = vec![0x40 | low(header / 4), 0];
        bytes.extend(short(header + self.body.len()).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        let flags = if self.df { DONT_FRAGMENT } else { 0 } | if self.more { MORE_FRAGMENTS } else { 0 };
        bytes.extend((flags | (self.offset / 8)).to_be_bytes());
        bytes.extend([self.ttl, self.proto, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(&self.options);
        let sum = !folded(0, &bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.body);
        bytes
    }

    /// Reads a packet, as much of it as is there; none if that is not even a header.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
        let first = *bytes.first()?;
        let header = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header < HEADER {
            return None;
        }
        let fragment = word(6)?;
        let end = usize::from(word(2)?).min(bytes.len());
        Some(Self {
            src: address(12)?,
            dst: address(16)?,
            ttl: *bytes.get(8)?,
            id: word(4)?,
            df: fragment & DONT_FRAGMENT != 0,
            more: fragment & MORE_FRAGMENTS != 0,
            offset: (fragment & 0x1fff) * 8,
            proto: *bytes.get(9)?,
            options: bytes.get(HEADER..header)?.to_vec(),
            body: bytes.get(header..end)?.to_vec(),
        })
    }

    /// What is wrong with a frame's checksums, if anything; those of a fragment's content are not looked at.
    pub fn check(frame: &[u8]) -> Result<()> {
        verify(frame)
    }

    /// True if its checksums are right, as they are written now.
    pub fn is_sound(&self) -> bool {
        Self::check(&[&[0; 12][..], &[8, 0], &self.bytes()].concat()).is_ok()
    }

    /// A 16-bit word of the body.
    fn word(&self, at: usize) -> u16 {
        match self.body.get(at..at + 2) {
            Some(word) => u16::from_be_bytes([word[0], word[1]]),
            None => 0,
        }
    }

    /// A 32-bit word of the body.
    fn long(&self, at: usize) -> u32 {
        u32::from(self.word(at)) << 16 | u32::from(self.word(at + 2))
    }

    /// The port it comes from, an ICMP query's identifier.
    pub fn sport(&self) -> u16 {
        if self.proto == proto::ICMP {
            self.word(4)
        } else {
            self.word(0)
        }
    }

    /// The port it goes to.
    pub fn dport(&self) -> u16 {
        self.word(2)
    }

    /// Source address and port.
    pub fn from(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.src, self.sport())
    }

    /// TCP flags.
    pub fn flags(&self) -> u8 {
        self.body.get(13).copied().unwrap_or(0)
    }

    /// The TCP sequence number.
    pub fn seq(&self) -> u32 {
        self.long(4)
    }

    /// ICMP type and code.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        (self.proto == proto::ICMP).then(|| (self.word(0).to_be_bytes()[0], self.word(0).to_be_bytes()[1]))
    }

    /// True for an ICMP error, which quotes a packet.
    pub fn is_error(&self) -> bool {
        let errors = [
            kind::UNREACHABLE,
            kind::SOURCE_QUENCH,
            kind::REDIRECT,
            kind::TIME_EXCEEDED,
            kind::PARAMETER,
        ];
        self.offset == 0 && self.icmp().is_some_and(|(kind, _)| errors.contains(&kind))
    }

    /// The next hop's MTU in an ICMP "fragmentation needed", RFC 1191.
    pub fn next_hop_mtu(&self) -> u16 {
        self.word(6)
    }

    /// The packet that an ICMP error quotes.
    pub fn quoted(&self) -> Option<Self> {
        Self::read(self.body.get(SHORT_HEADER..)?)
    }

    /// A UDP datagram's or ICMP message's data.
    pub fn data(&self) -> &[u8] {
        let from = if self.proto == proto::TCP {
            usize::from(self.body.get(12).copied().unwrap_or(0) >> 4) * 4
        } else {
            SHORT_HEADER
        };
        self.body.get(from..).unwrap_or_default()
    }

    /// The UDP checksum.
    pub fn udp_sum(&self) -> u16 {
        self.word(6)
    }

    /// The packet that fragments make, in whatever order they come, some of them more than once; none if a part is missing,
    /// if two say different things of one part, or if they are not of one packet.
    pub fn put_together(pieces: &[Self]) -> Option<Self> {
        let first = pieces.iter().find(|piece| piece.offset == 0)?;
        let last = pieces.iter().find(|piece| !piece.more)?;
        let mut body = vec![None; usize::from(last.offset) + last.body.len()];
        for piece in pieces {
            let of_one = (piece.src, piece.dst, piece.proto, piece.id) == (first.src, first.dst, first.proto, first.id);
            let from = usize::from(piece.offset);
            let places = body.get_mut(from..from + piece.body.len()).filter(|_| of_one)?;
            for (place, byte) in places.iter_mut().zip(&piece.body) {
                if place.replace(*byte).is_some_and(|before| before != *byte) {
                    return None;
                }
            }
        }
        Some(Self {
            more: false,
            body: body.into_iter().collect::<Option<_>>()?,
            ..first.clone()
        })
    }

    /// Cuts it into fragments whose content is `size` bytes, a multiple of eight.
    pub fn fragments(&self, size: u16) -> Vec<Self> {
        let pieces = self.body.chunks(size.into()).zip((0..).step_by(size.into()));
        let last = short(self.body.len());
        pieces
            .map(|(piece, offset)| Self {
                offset,
                more: offset + short(piece.len()) < last,
                body: piece.to_vec(),
                ..self.clone()
            })
            .collect()
    }
}

/// A UDP datagram.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> Ip {
    let mut body = Vec::new();
    body.extend(from.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    body.extend(short(SHORT_HEADER + data.len()).to_be_bytes());
    body.extend([0, 0]);
    body.extend(data);
    let mut packet = Ip::new(*from.ip(), *to.ip(), proto::UDP, body);
    seal(&mut packet, 6);
    packet
}

/// A TCP segment with a window of 65 535 bytes.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4, segment: Segment<'_>) -> Ip {
    let mut body = Vec::new();
    body.extend(from.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    body.extend(segment.seq.to_be_bytes());
    body.extend(segment.ack.to_be_bytes());
    body.extend([
        low((HEADER + segment.options.len()) / 4) << 4,
        segment.flags,
        0xff,
        0xff,
    ]);
    body.extend([0; 4]);
    body.extend(segment.options);
    body.extend(segment.data);
    let mut packet = Ip::new(*from.ip(), *to.ip(), proto::TCP, body);
    packet.df = true;
    seal(&mut packet, 16);
    packet
}

/// An ICMP message; `rest` is the second word of its header.
pub fn icmp(from: Ipv4Addr, to: Ipv4Addr, (kind, code): (u8, u8), rest: [u8; 4], data: &[u8]) -> Ip {
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest);
    body.extend(data);
    let mut packet = Ip::new(from, to, proto::ICMP, body);
    seal(&mut packet, 2);
    packet
}

/// An ICMP query of a type that has an identifier.
pub fn query(from: Ipv4Addr, to: Ipv4Addr, kind: u8, id: u16) -> Ip {
    let [high, low] = id.to_be_bytes();
    // A timestamp message has twelve bytes of data, and other kinds may have.
    icmp(from, to, (kind, 0), [high, low, 0, 1], b"0123456789ab")
}

/// An ICMP error that quotes a packet: its header and `quote` bytes of what follows. `mtu` is the next hop's, 0 for none.
pub fn error(from: Ipv4Addr, to: Ipv4Addr, what: (u8, u8), mtu: u16, about: &Ip, quote: usize) -> Ip {
    let quoted = about.bytes();
    let end = (HEADER + about.options.len() + quote).min(quoted.len());
    let [high, low] = mtu.to_be_bytes();
    icmp(from, to, what, [0, 0, high, low], &quoted[..end])
}

/// So many bytes that are not where others are.
pub fn data(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// Writes the layer-4 checksum at `at` of the body.
pub fn seal(packet: &mut Ip, at: usize) {
    packet.body[at..at + 2].fill(0);
    let seed = if packet.proto == proto::ICMP {
        0
    } else {
        ones_sum(0, &packet.src.octets())
            + ones_sum(0, &packet.dst.octets())
            + u32::from(packet.proto)
            + u32::from(short(packet.body.len()))
    };
    let sum = match !folded(seed, &packet.body) {
        0 if packet.proto == proto::UDP => 0xffff,
        sum => sum,
    };
    packet.body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn folded(seed: u32, bytes: &[u8]) -> u16 {
    // The sum is folded to 16 bits.
    u16::try_from(ones_sum(seed, bytes)).unwrap_or(u16::MAX)
}

/// A length as a field of a header holds it.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn low(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1000);
    const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 2000);

    fn framed(packet: &Ip) -> Vec<u8> {
        [&[0; 12][..], &[8, 0], &packet.bytes()].concat()
    }

    #[test]
    fn what_is_written_is_right_and_read_back() {
        let segment = Segment {
            flags: flag::SYN,
            seq: 7,
            ack: 0,
            options: &[2, 4, 5, 0xb4],
            data: b"odd",
        };
        let datagram = udp(A, B, b"even");
        for packet in [
            datagram.clone(),
            tcp(A, B, segment),
            query(*A.ip(), *B.ip(), kind::ECHO, 9),
            error(*B.ip(), *A.ip(), (kind::UNREACHABLE, 3), 0, &datagram, 8),
        ] {
            Ip::check(&framed(&packet)).unwrap();
            assert_eq!(Ip::read(&packet.bytes()).unwrap(), packet);
        }
    }

    #[test]
    fn fragments_are_the_whole() {
        let whole = udp(A, B, &data(61));
        let pieces = whole.fragments(32);
        assert_eq!(
            pieces
                .iter()
                .map(|piece| (piece.offset, piece.more))
                .collect::<Vec<_>>(),
            [(0, true), (32, true), (64, false)]
        );
        assert_eq!(
            pieces.iter().flat_map(|piece| piece.body.clone()).collect::<Vec<_>>(),
            whole.body
        );
        let [first, second, third] = &pieces[..] else {
            panic!("not three")
        };
        let together = |pieces: &[&Ip]| Ip::put_together(&pieces.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(together(&[third, second, second, first]).unwrap(), whole);
        assert_eq!(together(&[third, second]), None);
        assert_eq!(together(&[first, third]), None);
        assert_eq!(together(&[first, second]), None);
        let mut other = second.clone();
        other.body[0] ^= 1;
        assert_eq!(together(&[first, second, &other, third]), None);
        let mut other = second.clone();
        other.id += 1;
        assert_eq!(together(&[first, &other, third]), None);
    }
}
