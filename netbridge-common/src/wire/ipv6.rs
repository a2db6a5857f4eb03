//! IPv6 (RFC 8200), as far as frames that are not carried must be told apart.

/// Header length, bytes.
pub const LEN: u16 = 40;

/// Offset of the protocol of what follows the header.
pub const NEXT: u16 = 6;

/// Extension headers and protocols (IANA).
pub mod next {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Authentication (RFC 4302): its length counts words of four bytes, less two.
    pub const AUTHENTICATION: u8 = 51;
    /// `ICMPv6`.
    pub const ICMP: u8 = 58;
    /// Nothing.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Mobility (RFC 6275).
    pub const MOBILITY: u8 = 135;
    /// Host identity (RFC 7401).
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6 (RFC 5533).
    pub const SHIM6: u8 = 140;
}

/// `ICMPv6` type of a Router Advertisement (RFC 4861).
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// `ICMPv6` type of a Redirect (RFC 4861).
pub const REDIRECT: u8 = 137;
