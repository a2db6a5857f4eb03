//! From bytes to a packet the rest of the core can ask.

use bytemuck::{Pod, Zeroable};

use crate::abi::{Addr, FlowKey, Hook, MacKey, Reason, V4, proto};
use crate::wire::{arp, ethernet, icmp, ipv4, tcp, udp};

use super::env::{AddrOf, Env};
use super::options;

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
    /// IP, and wrong: [`Packet::fault`] says what. Not every hook drops it.
    Faulty = 3,
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
    /// A later one whose first is known: it has the ports of that, and no layer-4 header.
    Rest = 2,
    /// A later one: it has none.
    Later = 3,
}

/// The first bytes of a frame, read at once: Ethernet, an IPv4 header and the fixed part of TCP's.
///
/// Frames lie at even addresses, and the programs read halfwords where bytes would cost them a load, a shift and an
/// addition each.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, packed(2))]
pub struct Head {
    /// The Ethernet header.
    pub ethernet: [u16; 7],
    /// The IPv4 header, or an IPv6 header's first half.
    pub ip: [u32; 5],
    /// What follows.
    pub l4: [u32; 5],
}

/// A parsed frame. Aligned and laid out for whole-word access, as [`Head`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Packet<A: Addr> {
    /// Its key in the flow table: addresses, protocol, ports (an ICMP request's identifier as the source port, a
    /// reply's as the destination port) and ICMP type, 0 for other protocols; the zone is filled in when it
    /// is known.
    pub key: FlowKey<A>,
    /// Destination MAC; the zone is filled in when it is known.
    pub to: MacKey,
    /// Source MAC; the zone is filled in when it is known.
    pub from: MacKey,
    /// `EtherType`.
    pub ethertype: [u8; 2],
    /// IP header checksum as it stands.
    pub ip_sum: [u8; 2],
    /// Offset of the layer-4 header.
    pub l4: u16,
    /// Length of a TCP or UDP header, bytes; 0 for other protocols.
    pub l4_len: u16,
    /// Offset of the datagram's end: padding may follow.
    pub end: u16,
    /// What kind of frame.
    pub kind: Kind,
    /// Which part of a datagram.
    pub fragment: Fragment,
    /// TCP flags, 0 for other protocols.
    pub tcp: u8,
    /// TTL.
    pub ttl: u8,
    /// ICMP code, 0 for other protocols and for later fragments.
    pub code: u8,
    /// What is wrong with a frame of kind [`Kind::Faulty`]; [`Reason::None`] for all others.
    pub fault: Reason,
}

impl<A: Addr> Packet<A> {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        key: FlowKey {
            src: A::UNSPECIFIED,
            dst: A::UNSPECIFIED,
            sport: [0; 2],
            dport: [0; 2],
            zone: [0; 2],
            proto: 0,
            icmp: 0,
        },
        to: MacKey { mac: [0; 6], net: 0 },
        from: MacKey { mac: [0; 6], net: 0 },
        ethertype: [0; 2],
        ip_sum: [0; 2],
        l4: 0,
        l4_len: 0,
        end: 0,
        kind: Kind::Faulty,
        fragment: Fragment::Whole,
        tcp: 0,
        ttl: 0,
        code: 0,
        fault: Reason::Malformed,
    };

    /// True if an IP header was read, and with it the addresses.
    pub const fn is_ip(&self) -> bool {
        self.l4 != 0
    }

    /// True if the packet is a whole datagram.
    pub fn is_whole(&self) -> bool {
        self.fragment as u8 == Fragment::Whole as u8
    }

    /// True if the packet belongs to a flow the datapath tracks: TCP, UDP, ICMP echo and timestamp, and what is known by
    /// its addresses alone; whole, or a fragment whose ports are known.
    pub fn is_tracked(&self) -> bool {
        self.fragment as u8 != Fragment::Later as u8
            && match self.key.proto {
                proto::TCP | proto::UDP => true,
                proto::ICMP => icmp::is_request(self.key.icmp) || icmp::is_reply(self.key.icmp),
                other => proto::is_portless(other),
            }
    }

    /// True if the ICMP type is known.
    pub const fn is_icmp(&self) -> bool {
        self.key.proto == proto::ICMP && self.fragment as u8 != Fragment::Later as u8
    }

    /// True if the packet is an ICMP error that quotes another.
    pub fn is_icmp_error(&self) -> bool {
        self.key.proto == proto::ICMP && self.is_whole() && icmp::is_error(self.key.icmp)
    }

    /// True if the packet answers an ICMP query: it opens no flow.
    pub const fn is_icmp_reply(&self) -> bool {
        self.key.proto == proto::ICMP && self.fragment as u8 != Fragment::Later as u8 && icmp::is_reply(self.key.icmp)
    }

    /// True if the source and destination ports mean something.
    pub fn has_ports(&self) -> bool {
        (self.key.proto == proto::TCP || self.key.proto == proto::UDP) && self.fragment as u8 != Fragment::Later as u8
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
}

/// A family the core can parse.
pub trait Parse: Addr {
    /// The `EtherType`.
    const ETHERTYPE: [u8; 2];

    /// Fills in what lies behind the Ethernet header; what is wrong with it, [`Reason::None`] if nothing.
    fn parse_ip<E: Env>(env: &E, hook: Hook, head: &Head, packet: &mut Packet<Self>) -> Reason;
}

/// Parses the frame that `hook` sees into `packet`.
#[inline(always)]
pub fn parse<E: Env>(env: &E, hook: Hook, room: &mut Head, packet: &mut Packet<AddrOf<E>>)
where
    AddrOf<E>: Parse,
{
    *packet = Packet::EMPTY;
    let head = env.head(room);
    if env.frame_len() < u32::from(ethernet::LEN) {
        return;
    }
    let header = ethernet::Header::new(head.ethernet);
    packet.to.mac = header.dst;
    packet.from.mac = header.src;
    packet.ethertype = header.ethertype;
    packet.kind = Kind::Other;
    packet.fault = Reason::None;
    if header.ethertype == <AddrOf<E> as Parse>::ETHERTYPE && !env.tagged() {
        let fault = Parse::parse_ip(env, hook, head, packet);
        packet.fault = fault;
        packet.kind = if fault as u8 == Reason::None as u8 {
            Kind::Ip
        } else {
            Kind::Faulty
        };
    } else if env.tagged() || header.ethertype == ethernet::VLAN || header.ethertype == ethernet::SERVICE_VLAN {
        packet.kind = Kind::Tagged;
    } else if header.ethertype == ethernet::ARP {
        packet.kind = Kind::Arp;
    } else if header.ethertype == ethernet::IPV6 {
        packet.kind = Kind::Faulty;
        packet.fault = Reason::Ipv6;
    }
}

/// What a frame of kind [`Kind::Arp`] says; `None` if it is no request or reply of IPv4 over Ethernet.
#[inline(always)]
pub fn arp_message<E: Env>(env: &E) -> Option<arp::Message> {
    env.load::<{ arp::LEN }>(ethernet::LEN).and_then(arp::Message::new)
}

impl Parse for <V4 as crate::abi::Family>::Addr {
    const ETHERTYPE: [u8; 2] = ethernet::IPV4;

    #[inline(always)]
    fn parse_ip<E: Env>(env: &E, hook: Hook, head: &Head, packet: &mut Packet<Self>) -> Reason {
        let frame = env.frame_len();
        let Some(header) = ipv4::Header::new(head.ip) else {
            return Reason::Malformed;
        };
        if frame < u32::from(ipv4::PLAIN_END) {
            return Reason::Malformed;
        }
        packet.key.src = header.src;
        packet.key.dst = header.dst;
        packet.key.proto = header.proto;
        packet.ttl = header.ttl;
        packet.ip_sum = header.checksum;
        packet.l4 = ethernet::LEN + header.header_len;
        packet.fragment = match (header.offset != 0, header.more_fragments) {
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
        let complete = if header.total_len == 0 {
            env.gso_size() != 0
        } else {
            header.total_len >= header.header_len && u32::from(ethernet::LEN + header.total_len.min(0xfff1)) <= frame
        };
        if !complete {
            return Reason::Malformed;
        }
        // Not of what the host's stack or its bridge has seen. A sender may leave a checksum to a device, at a place of its
        // choice: what the device writes there would make a header sound that was not, with another address in it.
        let enters = hook.is_entry();
        let mut sum = 0;
        let mut l4 = head.l4;
        if packet.l4 != ipv4::PLAIN_END {
            // A total length of 0 says nothing about where the header ends.
            if u32::from(packet.l4) > frame {
                return Reason::Malformed;
            }
            let fault = options::fault(env, packet.l4);
            if fault as u8 != Reason::None as u8 {
                return fault;
            }
            behind_options(env, packet.l4, bytemuck::cast_mut(&mut l4));
            if enters {
                sum = options::sum(env, packet.l4);
            }
        }
        let fault = if header.offset == 0 {
            parse_l4(hook, l4, frame, packet, payload)
        } else {
            // A datagram cannot be longer than its length can say.
            match header.offset.checked_add(header.total_len) {
                Some(_) if header.total_len != 0 => Reason::None,
                _ => Reason::Malformed,
            }
        };
        if fault as u8 == Reason::None as u8 && enters && !ipv4::is_sound(head.ip, sum) {
            Reason::BadChecksum
        } else {
            fault
        }
    }
}

/// Reads the layer-4 header of a packet with IP options, as far as it is needed and there.
#[inline(never)]
fn behind_options<E: Env>(env: &E, at: u16, into: &mut [u8; 20]) {
    if let (Some(bytes), Some(place)) = (env.load(at), into.first_chunk_mut::<14>()) {
        *place = bytes;
    } else if let (Some(bytes), Some(place)) = (env.load(at), into.first_chunk_mut::<8>()) {
        *place = bytes;
    }
}

/// Reads ports, flags and type. A header that is cut short is malformed, in first fragments too (RFC 1858: a first
/// fragment without the whole header hides it from filters).
#[inline(always)]
fn parse_l4<A: Addr>(
    hook: Hook,
    [first, second, _, fourth, _]: [u32; 5],
    frame: u32,
    packet: &mut Packet<A>,
    payload: u16,
) -> Reason {
    let ([sport, dport], [id, _]): ([[u8; 2]; 2], [[u8; 2]; 2]) = (bytemuck::cast(first), bytemuck::cast(second));
    let ([icmp_type, code, ..], [offset, flags, ..]) = (first.to_ne_bytes(), fourth.to_ne_bytes());
    let there = frame.saturating_sub(u32::from(packet.l4));
    let whole = match packet.key.proto {
        proto::TCP => {
            packet.key.sport = sport;
            packet.key.dport = dport;
            packet.tcp = flags;
            packet.l4_len = u16::from(offset >> 4) << 2;
            let whole = there >= 14 && packet.l4_len >= tcp::MIN_LEN && payload >= packet.l4_len;
            if whole && !tcp::is_valid(flags) {
                return Reason::BadFlags;
            }
            whole
        }
        proto::UDP => {
            packet.key.sport = sport;
            packet.key.dport = dport;
            packet.l4_len = udp::LEN;
            // A first fragment tells the length of all of them.
            let length = u16::from_be_bytes(id);
            let fits = length <= payload || packet.fragment as u8 != Fragment::Whole as u8;
            let whole = there >= u32::from(udp::LEN) && payload >= udp::LEN && length >= udp::LEN && fits;
            if whole && hook as u8 == Hook::FromContainer as u8 && first == udp::DHCP_ANSWER {
                return Reason::DhcpServer;
            }
            whole
        }
        proto::ICMP => {
            packet.key.icmp = icmp_type;
            packet.code = code;
            if icmp::is_request(icmp_type) {
                packet.key.sport = id;
            } else if icmp::is_reply(icmp_type) {
                packet.key.dport = id;
            }
            there >= u32::from(icmp::LEN) && payload >= icmp::LEN
        }
        _ => true,
    };
    if whole {
        return Reason::None;
    }
    if there < u32::from(udp::LEN) {
        // What was read in their place is another frame's.
        (packet.key.sport, packet.key.dport) = ([0; 2], [0; 2]);
    }
    Reason::Malformed
}
