//! UDP (RFC 768).

/// Header length, bytes.
pub const LEN: u16 = 8;

/// Offset of the checksum; a checksum of zero means "none".
pub const CHECKSUM: u16 = 6;
