//! A filter rule that every contestant can be given in its own language.

use ipnet::Ipv4Net;

/// What a matching packet meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It is dropped.
    Drop,
    /// It goes on, whatever the rules after this one say.
    Accept,
}

/// A rule of the operator: all that it names must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Source, `0.0.0.0/0` for any.
    pub src: Ipv4Net,
    /// Destination, `0.0.0.0/0` for any.
    pub dst: Ipv4Net,
    /// `tcp` (6), `udp` (17) or any (0).
    pub proto: u8,
    /// Destination ports, both ends included; needs a protocol.
    pub dports: Option<(u16, u16)>,
    /// What a matching packet meets.
    pub target: Target,
}
