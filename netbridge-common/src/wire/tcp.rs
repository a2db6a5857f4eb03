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
/// URG.
pub const URG: u8 = 32;
/// The six flags of RFC 793, which filters know by name.
pub const NAMED: u8 = 63;

/// What an endpoint without a connection resets one by: sequence number, acknowledgement and flags of its answer to a
/// segment with these flags, numbers and so many bytes of payload (RFC 9293, section 3.10.7.1).
pub const fn reset(flags: u8, (seq, ack): (u32, u32), payload: u32) -> (u32, u32, u8) {
    if flags & ACK != 0 {
        return (ack, 0, RST);
    }
    let control = (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
    (0, seq.wrapping_add(payload).wrapping_add(control), RST | ACK)
}

/// Combinations of [`FIN`], [`SYN`], [`RST`], [`ACK`] and [`URG`] that a segment can have, one bit each.
const VALID: u64 = 1 << SYN
    | 1 << (SYN | URG)
    | 1 << (SYN | ACK)
    | 1 << RST
    | 1 << (RST | ACK)
    | 1 << (FIN | ACK)
    | 1 << (FIN | ACK | URG)
    | 1 << ACK
    | 1 << (ACK | URG);

/// True if RFC 9293 knows a segment with these flags; PSH, ECE and CWR go with all. As `tcp_valid_flags` of Linux's
/// connection tracking has it.
pub const fn is_valid(flags: u8) -> bool {
    VALID >> (flags & (FIN | SYN | RST | ACK | URG)) & 1 != 0
}
