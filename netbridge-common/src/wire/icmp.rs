//! ICMP (RFC 792).

/// Header length, bytes; an error quotes the offending packet behind it.
pub const LEN: u16 = 8;

/// Offset of the checksum.
pub const CHECKSUM: u16 = 2;

/// Offset of the identifier of a query.
pub const ID: u16 = 4;

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Source quench, deprecated (RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Timestamp request.
pub const TIMESTAMP_REQUEST: u8 = 13;
/// Timestamp reply.
pub const TIMESTAMP_REPLY: u8 = 14;
/// Information request, deprecated (RFC 6918).
pub const INFORMATION_REQUEST: u8 = 15;
/// Address mask request, deprecated (RFC 6918).
pub const ADDRESS_MASK_REQUEST: u8 = 17;

/// Code of "destination unreachable": fragmentation needed and DF set. The next hop's MTU is in the header's last
/// two bytes (RFC 1191, section 4).
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// True for the types that report on a packet and quote it.
pub const fn is_error(icmp_type: u8) -> bool {
    is_carried(icmp_type) || matches!(icmp_type, SOURCE_QUENCH | REDIRECT)
}

/// True for the errors that are carried through NAT. Source quench and redirects are not among them: the one is
/// deprecated, the other is about the link it is sent on.
pub const fn is_carried(icmp_type: u8) -> bool {
    matches!(icmp_type, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// True for the queries that are tracked (RFC 5508, section 3), which all have the same header. Of the others, RFC 6918
/// has deprecated all that could be.
pub const fn is_request(icmp_type: u8) -> bool {
    matches!(icmp_type, ECHO_REQUEST | TIMESTAMP_REQUEST)
}

/// True for the answers to them.
pub const fn is_reply(icmp_type: u8) -> bool {
    matches!(icmp_type, ECHO_REPLY | TIMESTAMP_REPLY)
}

/// True for the queries of RFC 792 and RFC 950: all other messages are about something, or for nobody in particular.
pub const fn is_query(icmp_type: u8) -> bool {
    is_request(icmp_type) || matches!(icmp_type, INFORMATION_REQUEST | ADDRESS_MASK_REQUEST)
}

/// True for the queries and replies of RFC 792 and RFC 950, which an error may be about. Of a type that is not known one
/// cannot say that it is no error itself (RFC 1122, section 3.2.2), and Linux does not answer it either.
pub const fn is_query_or_reply(icmp_type: u8) -> bool {
    matches!(icmp_type, ECHO_REPLY | ECHO_REQUEST | TIMESTAMP_REQUEST..=18)
}

/// The type of the other direction: a request's reply, and a reply's request.
pub const fn counterpart(icmp_type: u8) -> u8 {
    match icmp_type {
        ECHO_REQUEST => ECHO_REPLY,
        ECHO_REPLY => ECHO_REQUEST,
        TIMESTAMP_REQUEST => TIMESTAMP_REPLY,
        _ => TIMESTAMP_REQUEST,
    }
}
