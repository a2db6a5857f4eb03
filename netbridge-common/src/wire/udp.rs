//! UDP (RFC 768).

/// Header length, bytes.
pub const LEN: u16 = 8;

/// Offset of the checksum; a checksum of zero means "none".
pub const CHECKSUM: u16 = 6;

/// The first word of the header of a DHCP server's message to a client (RFC 2131): from port 67 to port 68.
pub const DHCP_ANSWER: u32 = u32::from_ne_bytes([0, 67, 0, 68]);
