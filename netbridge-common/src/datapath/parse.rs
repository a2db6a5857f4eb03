//! From bytes to a packet the rest of the core can ask.

use crate::abi::{Addr, FlowKey, Mac, V4, proto};
use crate::wire::{arp, ethernet, icmp, ipv4, tcp, udp};

use super::env::{AddrOf, Env};

/// What kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing the core knows. Only the MACs are valid.
    Other = 0,
    /// ARP. Only the MACs are valid; the guard reads the rest.
    Arp = 1,
    /// IP.
    Ip = 2,
    /// Cut short or contradicting itself.
    Malformed = 3,
    /// An 802.1Q or 802.1ad tag before everything else. Only the MACs are valid.
    Tagged = 4,
}

/// Which part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// All of it.
    Whole = 0,
    /// The first fragment: it has the ports.
    First = 1,
    /// A later one: it has none.
    Later = 2,
}

/// A parsed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet<A> {
    /// What kind of frame.
    pub kind: Kind,
    /// Which part of a datagram.
    pub fragment: Fragment,
    /// IP protocol.
    pub proto: u8,
    /// ICMP type, 0 for other protocols.
    pub icmp: u8,
    /// TCP flags, 0 for other protocols.
    pub tcp: u8,
    /// TTL.
    pub ttl: u8,
    /// IP header checksum as it stands.
    pub ip_sum: [u8; 2],
    /// Offset of the layer-4 header.
    pub l4: u16,
    /// Length of a TCP or UDP header, bytes; 0 for other protocols.
    pub l4_len: u16,
    /// Offset of the datagram's end: padding may follow.
    pub end: u16,
    /// `EtherType`.
    pub ethertype: [u8; 2],
    /// Source port; an echo request's identifier.
    pub sport: [u8; 2],
    /// Destination port; an echo reply's identifier.
    pub dport: [u8; 2],
    /// Destination MAC.
    pub dmac: Mac,
    /// Source MAC.
    pub smac: Mac,
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
}

impl<A: Addr> Packet<A> {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        kind: Kind::Malformed,
        fragment: Fragment::Whole,
        proto: 0,
        icmp: 0,
        tcp: 0,
        ttl: 0,
        ip_sum: [0; 2],
        l4: 0,
        l4_len: 0,
        end: 0,
        ethertype: [0; 2],
        sport: [0; 2],
        dport: [0; 2],
        dmac: [0; 6],
        smac: [0; 6],
        src: A::UNSPECIFIED,
        dst: A::UNSPECIFIED,
    };

    /// True if the packet is a whole datagram.
    pub fn is_whole(&self) -> bool {
        self.fragment as u8 == Fragment::Whole as u8
    }

    /// True if the packet belongs to a flow the datapath tracks: TCP, UDP and ICMP echo, whole or
    /// first fragment.
    pub fn is_tracked(&self) -> bool {
        self.fragment as u8 != Fragment::Later as u8
            && match self.proto {
                proto::TCP | proto::UDP => true,
                proto::ICMP => self.icmp == icmp::ECHO_REQUEST || self.icmp == icmp::ECHO_REPLY,
                _ => false,
            }
    }

    /// True if the packet is an ICMP error that quotes another.
    pub fn is_icmp_error(&self) -> bool {
        self.proto == proto::ICMP && self.is_whole() && icmp::is_error(self.icmp)
    }

    /// True if the source and destination ports mean something.
    pub fn has_ports(&self) -> bool {
        (self.proto == proto::TCP || self.proto == proto::UDP) && self.fragment as u8 != Fragment::Later as u8
    }

    /// True if every IP packet that the frame stands for fits `mtu`: a GSO frame is cut up later.
    pub fn fits<E: Env>(&self, env: &E, mtu: u32) -> bool {
        let gso = env.gso_size();
        let headers = self.l4.wrapping_add(self.l4_len).wrapping_sub(ethernet::LEN);
        let longest = if gso == 0 {
            env.frame_len().wrapping_sub(u32::from(ethernet::LEN))
        } else {
            gso.wrapping_add(u32::from(headers))
        };
        longest <= mtu
    }

    /// The packet's key in the flow table.
    pub fn key(&self, zone: u16) -> FlowKey<A> {
        FlowKey {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            zone: zone.to_ne_bytes(),
            proto: self.proto,
            icmp: self.icmp,
        }
    }
}

/// A family the core can parse.
pub trait Parse: Addr {
    /// The `EtherType`.
    const ETHERTYPE: [u8; 2];

    /// Fills in what lies behind the Ethernet header; false if it is malformed.
    fn parse_ip<E: Env>(env: &E, packet: &mut Packet<Self>) -> bool;
}

/// Parses the frame into `packet`. A function of its own in the object, so that its buffers are gone
/// from the stack when the decision begins.
#[inline(never)]
pub fn parse<E: Env>(env: &E, packet: &mut Packet<AddrOf<E>>)
where
    AddrOf<E>: Parse,
{
    *packet = Packet::EMPTY;
    let Some(bytes) = env.load::<14>(0) else {
        return;
    };
    let header = ethernet::Header::new(bytes);
    packet.dmac = header.dst;
    packet.smac = header.src;
    packet.ethertype = header.ethertype;
    packet.kind = Kind::Other;
    if env.tagged() || header.ethertype == ethernet::VLAN || header.ethertype == ethernet::SERVICE_VLAN {
        packet.kind = Kind::Tagged;
    } else if header.ethertype == ethernet::ARP {
        packet.kind = Kind::Arp;
    } else if header.ethertype == <AddrOf<E> as Parse>::ETHERTYPE {
        let sound = Parse::parse_ip(env, packet);
        packet.kind = if sound { Kind::Ip } else { Kind::Malformed };
    }
}

/// The ARP sender of a frame of kind [`Kind::Arp`]; `None` if it is not IPv4 over Ethernet.
#[inline(always)]
pub fn arp_sender<E: Env>(env: &E) -> Option<arp::Sender> {
    env.load::<{ arp::LEN }>(ethernet::LEN).and_then(arp::Sender::new)
}

impl Parse for <V4 as crate::abi::Family>::Addr {
    const ETHERTYPE: [u8; 2] = ethernet::IPV4;

    #[inline(always)]
    fn parse_ip<E: Env>(env: &E, packet: &mut Packet<Self>) -> bool {
        let Some(bytes) = env.load::<20>(ethernet::LEN) else {
            return false;
        };
        let Some(header) = ipv4::Header::new(bytes) else {
            return false;
        };
        packet.src = header.src;
        packet.dst = header.dst;
        packet.proto = header.proto;
        packet.ttl = header.ttl;
        packet.ip_sum = header.checksum;
        packet.l4 = ethernet::LEN + header.header_len;
        packet.fragment = match (header.later_fragment, header.more_fragments) {
            (true, _) => Fragment::Later,
            (false, true) => Fragment::First,
            (false, false) => Fragment::Whole,
        };
        // A GSO frame beyond 64 KiB (BIG TCP) has a total length of 0; its payload is surely there.
        let payload = if header.total_len == 0 {
            u16::MAX
        } else {
            header.total_len.wrapping_sub(header.header_len)
        };
        packet.end = if header.total_len == 0 {
            u16::MAX
        } else {
            ethernet::LEN.saturating_add(header.total_len)
        };
        let frame = env.frame_len();
        if header.total_len != 0
            && (header.total_len < header.header_len || u32::from(ethernet::LEN + header.total_len.min(0xfff1)) > frame)
        {
            return false;
        }
        if header.later_fragment {
            return true;
        }
        parse_l4(env, packet, payload)
    }
}

/// Reads ports, flags and type; false if the header is cut short, first fragments included
/// (RFC 1858: a first fragment without the whole header hides it from filters).
#[inline(always)]
fn parse_l4<E: Env, A: Addr>(env: &E, packet: &mut Packet<A>, payload: u16) -> bool {
    match packet.proto {
        proto::TCP => {
            let Some([a, b, c, d, _, _, _, _, _, _, _, _, offset, flags]) = env.load::<14>(packet.l4) else {
                return false;
            };
            packet.sport = [a, b];
            packet.dport = [c, d];
            packet.tcp = flags;
            packet.l4_len = u16::from(offset >> 4) << 2;
            packet.l4_len >= tcp::MIN_LEN && payload >= packet.l4_len
        }
        proto::UDP => {
            let Some([a, b, c, d, ..]) = env.load::<8>(packet.l4) else {
                return false;
            };
            packet.sport = [a, b];
            packet.dport = [c, d];
            packet.l4_len = udp::LEN;
            payload >= udp::LEN
        }
        proto::ICMP => {
            let Some([icmp_type, _, _, _, a, b, _, _]) = env.load::<8>(packet.l4) else {
                return false;
            };
            packet.icmp = icmp_type;
            if icmp_type == icmp::ECHO_REQUEST {
                packet.sport = [a, b];
            } else if icmp_type == icmp::ECHO_REPLY {
                packet.dport = [a, b];
            }
            payload >= icmp::LEN
        }
        _ => true,
    }
}
