//! ICMP (RFC 792).

/// Header length, bytes; an error quotes the offending packet behind it.
pub const LEN: u16 = 8;

/// Offset of the checksum.
pub const CHECKSUM: u16 = 2;

/// Offset of the identifier of an echo.
pub const ID: u16 = 4;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// True for the errors that are carried through NAT: source quench (deprecated, RFC 6633) and
/// redirects are not among them.
pub const fn is_error(icmp_type: u8) -> bool {
    matches!(icmp_type, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
}
