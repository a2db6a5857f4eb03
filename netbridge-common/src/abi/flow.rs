//! The flow table: one entry per direction, its value the finished action.

use bytemuck::{Pod, Zeroable};

use super::record;

/// Zone of packets that arrive on an uplink; every other zone is a network's id.
pub const ZONE_UPLINK: u16 = 0;

/// No traffic slot: the peer is not an endpoint.
pub const NO_SLOT: u32 = u32::MAX;

/// IP protocol numbers (IANA) that the datapath tracks.
pub mod proto {
    /// ICMP, RFC 792.
    pub const ICMP: u8 = 1;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// IPv4 in IPv4, RFC 2003.
    pub const IPIP: u8 = 4;
    /// IPv6 in IPv4, RFC 4213.
    pub const IPV6: u8 = 41;
    /// GRE, RFC 2784.
    pub const GRE: u8 = 47;
    /// ESP, RFC 4303.
    pub const ESP: u8 = 50;
    /// DCCP, RFC 4340.
    pub const DCCP: u8 = 33;
    /// AH, RFC 4302.
    pub const AH: u8 = 51;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;
    /// UDP-Lite, RFC 3828.
    pub const UDPLITE: u8 = 136;

    /// True for protocols whose flows are known by their addresses alone: a new address breaks none of their
    /// checksums. That of UDP-Lite and DCCP covers the addresses, and AH signs them.
    pub const fn is_portless(protocol: u8) -> bool {
        matches!(protocol, IPIP | IPV6 | GRE | ESP | SCTP)
    }

    /// Where in its header a protocol that is not tracked by ports has four bytes that the kernel takes for a pair of them: ports,
    /// or the index of a security association (`proto_ports_offset`, `include/linux/ip.h`).
    pub const fn labels(protocol: u8) -> Option<u16> {
        match protocol {
            DCCP | ESP | SCTP | UDPLITE => Some(0),
            AH => Some(4),
            _ => None,
        }
    }
}

/// A packet's tuple as it is seen where it arrives.
///
/// `A` is four or sixteen bytes. ICMP requests carry their identifier as the source port, replies as
/// the destination port, and `icmp` tells them apart.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey<A: Pod> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, network order.
    pub sport: [u8; 2],
    /// Destination port, network order.
    pub dport: [u8; 2],
    /// The network the packet comes from (native order), or [`ZONE_UPLINK`].
    pub zone: [u8; 2],
    /// IP protocol.
    pub proto: u8,
    /// ICMP type (8 or 0, 13 or 14) where `proto` is ICMP, else 0.
    pub icmp: u8,
}

/// Where the list of keys begins in a frame that asks to end flows, bytes.
pub const LISTED_AT: u16 = 14;

/// Most keys that one frame lists.
pub const MOST_LISTED: u32 = 128;

/// What to do with a flow's packets, see [`FlowHead::action`].
pub mod flow_action {
    /// Hand to the container behind `ifindex`.
    pub const DELIVER: u8 = 1;
    /// Send out of the uplink `ifindex`.
    pub const UPLINK: u8 = 2;
}

/// Bits of [`FlowHead::flags`], which never change.
pub mod flow_flags {
    /// Replace the source address and port.
    pub const SRC: u8 = 1;
    /// Replace the destination address and port.
    pub const DST: u8 = 2;
    /// The MACs are known: a packet that came by way of the gateway leaves with them and a lower TTL.
    pub const ROUTED: u8 = 4;
    /// This half sees the packets that answer the flow's first.
    pub const REPLY: u8 = 8;
    /// The container's side of the translation is a [`crate::abi::Binding`], which lives as long as the flow.
    pub const BOUND: u8 = 16;
    /// Packets of this half pass once one has come the other way.
    pub const AWAITS: u8 = 32;
    /// TCP between neighbours: the flow was taken up in the middle. A SYN of either of them opens another.
    pub const MIDST: u8 = 64;
}

/// How far a flow has come; decides its lifetime. Both halves say the same. Protocols without
/// connections go from [`Opening`](Self::Opening) to [`Established`](Self::Established) with the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FlowState {
    /// Not answered yet.
    Opening = 0,
    /// TCP: answered, and the one who opened it has not acknowledged that yet.
    Answered = 1,
    /// Both sides have agreed.
    Established = 2,
    /// TCP: the one who opened it has closed.
    ForwardClosed = 3,
    /// TCP: the one who answered has closed.
    ReplyClosed = 4,
    /// TCP: both have closed.
    Closing = 5,
    /// TCP: an RST was seen, and nothing since.
    Reset = 6,
    /// Ended by the controller. No packet finds it; it keeps its port from others for a while.
    Ended = 7,
}

impl FlowState {
    /// The state with this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Opening,
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::ForwardClosed,
            4 => Self::ReplyClosed,
            5 => Self::Closing,
            6 => Self::Reset,
            7 => Self::Ended,
            _ => return None,
        })
    }

    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Answered => "answered",
            Self::Established => "established",
            Self::ForwardClosed | Self::ReplyClosed => "half-closed",
            Self::Closing => "closing",
            Self::Reset => "reset",
            Self::Ended => "ended",
        }
    }
}

/// The part of half a flow that both families share.
///
/// Written by the datapath on creation, and when the way or the filter's answer changes, always as a whole
/// entry: the kernel swaps hash elements atomically, so a reader on another CPU sees the old or the new half.
/// Two CPUs that update the same half lose one of the updates; both carry the same finished action,
/// so the loss costs a refresh. `seen`, `resolved`, `state` and an `epoch` of 0 are written in place: the kernel
/// may have given the element to another flow by then, which a wrong value of these does no lasting harm.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowHead {
    /// [`super::Config::generation`] for which `reason` holds; another value means "ask the filter again".
    pub epoch: u32,
    /// Ticks of the last packet, up to a second late.
    pub seen: u32,
    /// Ticks at which `ifindex` and the MACs were last resolved; of a TCP sender that has closed, ticks of its FIN.
    pub resolved: u32,
    /// The interface to leave by.
    pub ifindex: u32,
    /// Traffic slot of the endpoint that receives, or [`NO_SLOT`].
    pub slot: u32,
    /// MAC of the receiver or the next hop; all zero while that is not resolved.
    pub dmac: [u8; 6],
    /// Source MAC of a packet that is routed to it.
    pub smac: [u8; 6],
    /// One of [`flow_action`].
    pub action: u8,
    /// Bits of [`flow_flags`].
    pub flags: u8,
    /// A [`FlowState`].
    pub state: u8,
    /// The filter's answer: a [`super::Reason`], 0 to accept.
    pub reason: u8,
    /// Zone of the other half's key.
    pub peer_zone: u16,
    /// IP packets longer than this do not fit the way out, bytes; 0 for no limit.
    pub mtu: u16,
    /// Traffic slot of the endpoint on whose quota the flow is, or [`NO_SLOT`].
    pub owner: u32,
    /// Which rules of the filter have matched, or [`super::NO_PATH`]: what its packets are counted on.
    pub path: u32,
}

/// The tuple as it leaves: equal to the key where nothing is rewritten. Reversed, and with
/// [`FlowHead::peer_zone`], it is the key of the other half.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Nat<A: Pod> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, network order.
    pub sport: [u8; 2],
    /// Destination port, network order.
    pub dport: [u8; 2],
}

record! {
    /// Half a flow.
    FlowV4, FlowV6 = FlowHead + Nat
}
