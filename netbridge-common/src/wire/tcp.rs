//! TCP (RFC 9293).

/// Length of a header without options, bytes.
pub const MIN_LEN: u16 = 20;

/// Offset of the checksum.
pub const CHECKSUM: u16 = 16;

/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// ACK.
pub const ACK: u8 = 16;
