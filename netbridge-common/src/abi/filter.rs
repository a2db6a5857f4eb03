//! The FORWARD filter: two banks of rules, one in force, the other being written.

use bytemuck::{Pod, Zeroable};

use super::record;

/// Banks of rules; the one in force is the low bit of [`super::Config::generation`].
pub const BANKS: u32 = 2;

/// Rules that a bank holds.
pub const MAX_RULES: u32 = 64;

/// An interface or network that no packet has: a rule that names something gone never matches.
pub const NO_INTERFACE: u32 = u32::MAX;

/// What a rule or the policy says.
pub mod verdict {
    /// Let pass.
    pub const ACCEPT: u8 = 0;
    /// Drop.
    pub const DROP: u8 = 1;
}

/// What the sender of a packet is told that a rule rejects.
pub mod reject {
    /// Nothing.
    pub const NONE: u8 = 0;
    /// ICMP "destination unreachable" (RFC 792) of code c is this number and c: 1 to [`CODES`].
    pub const UNREACHABLE: u8 = 1;
    /// How many codes there are (RFC 1812, section 5.2.7.1).
    pub const CODES: u8 = 16;
    /// A TCP reset (RFC 9293, section 3.10.7.1); nothing if the packet is not TCP.
    pub const TCP_RESET: u8 = 255;
}

/// Connection states as `-m conntrack --ctstate` names them; a rule holds a set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtState;

impl CtState {
    /// Belongs to no flow and cannot start one.
    pub const INVALID: u8 = 1;
    /// Of a flow that was answered, or the answer itself.
    pub const ESTABLISHED: u8 = 2;
    /// An ICMP error about a tracked flow.
    pub const RELATED: u8 = 4;
    /// Of a flow not answered yet.
    pub const NEW: u8 = 8;
    /// Any state: the rule does not ask.
    pub const ANY: u8 = 15;
}

/// Bits of [`RuleHead::flags`].
pub mod rule_flags {
    /// `! -i`.
    pub const NOT_IN: u8 = 1;
    /// `! -o`.
    pub const NOT_OUT: u8 = 2;
    /// `! -s`.
    pub const NOT_SRC: u8 = 4;
    /// `! -d`.
    pub const NOT_DST: u8 = 8;
    /// The rule asks for ports: a packet without them (a later fragment) does not match.
    pub const PORTS: u8 = 16;
}

/// Head of a bank.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Policy {
    /// Rules in the bank, at most [`MAX_RULES`].
    pub rules: u32,
    /// What happens to a packet that no rule matches, one of [`verdict`].
    pub policy: u8,
    /// Zero if there is no rule and the policy accepts: nothing to ask, nothing to track.
    pub active: u8,
    /// Zero.
    pub pad: u16,
}

/// The part of a rule that both families share. An interface is compared by ifindex, a network by
/// its id; 0 in both leaves it open.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RuleHead {
    /// `-i` as an interface.
    pub in_ifindex: u32,
    /// `-i` as a network.
    pub in_net: u32,
    /// `-o` as an interface.
    pub out_ifindex: u32,
    /// `-o` as a network.
    pub out_net: u32,
    /// `--sport`, first; host order.
    pub sport_min: u16,
    /// `--sport`, last.
    pub sport_max: u16,
    /// `--dport`, first.
    pub dport_min: u16,
    /// `--dport`, last.
    pub dport_max: u16,
    /// `-p`; 0 for any.
    pub proto: u8,
    /// Set of [`CtState`].
    pub states: u8,
    /// Bits of [`rule_flags`].
    pub flags: u8,
    /// One of [`verdict`].
    pub verdict: u8,
}

/// `-s` and `-d`; a zero mask leaves it open.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RuleAddrs<A: Pod> {
    /// Source network.
    pub src: A,
    /// Its mask.
    pub src_mask: A,
    /// Destination network.
    pub dst: A,
    /// Its mask.
    pub dst_mask: A,
}

record! {
    /// One filter rule.
    RuleV4, RuleV6 = RuleHead + RuleAddrs
}
