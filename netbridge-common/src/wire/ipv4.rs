//! IPv4 (RFC 791).

use super::ethernet;

/// Length of a header without options, bytes.
pub const MIN_LEN: u16 = 20;

/// Offset in a frame of what follows a header without options.
pub const PLAIN_END: u16 = ethernet::LEN + MIN_LEN;

/// Offset of the identification, which the flags and the fragment offset follow.
pub const ID: u16 = 4;

/// Offset of the flags, above the fragment offset.
pub const FLAGS: u16 = 6;

/// Offset of the TTL; from here to the end of a plain header is what a router rewrites.
pub const TTL: u16 = 8;

/// Offset of the source address.
pub const SRC: u16 = 12;

/// Offset of the header checksum.
pub const CHECKSUM: u16 = 10;

/// Options.
pub mod option {
    /// The last one.
    pub const END: u8 = 0;
    /// One byte that says nothing.
    pub const NOTHING: u8 = 1;
    /// Loose source route.
    pub const LOOSE_ROUTE: u8 = 131;
    /// Strict source route.
    pub const STRICT_ROUTE: u8 = 137;
    /// Length of the shortest option but [`END`] and [`NOTHING`]: its kind and its length.
    pub const MIN_LEN: u16 = 2;
}

/// The header without options.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Header length with options, bytes: 20 to 60.
    pub header_len: u16,
    /// Length of header and payload, bytes; 0 in a GSO frame beyond 64 KiB.
    pub total_len: u16,
    /// Where the payload begins in that of the datagram, bytes; 0 but for later fragments.
    pub offset: u16,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum as it stands.
    pub checksum: [u8; 2],
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

impl Header {
    /// Reads the header from the words it has in memory; `None` if the version is not 4 or the header length is
    /// below 20.
    pub const fn new([first, second, third, src, dst]: [u32; 5]) -> Option<Self> {
        let [version_ihl, _, len_hi, len_lo] = first.to_ne_bytes();
        let [_, _, frag_hi, frag_lo] = second.to_ne_bytes();
        let [ttl, proto, ck0, ck1] = third.to_ne_bytes();
        let header_len = ((version_ihl & 0x0f) << 2) as u16;
        if version_ihl >> 4 != 4 || header_len < MIN_LEN {
            return None;
        }
        Some(Self {
            header_len,
            total_len: u16::from_be_bytes([len_hi, len_lo]),
            offset: fragment_offset([frag_hi, frag_lo]),
            more_fragments: has_more([frag_hi, frag_lo]),
            ttl,
            proto,
            checksum: [ck0, ck1],
            src: src.to_ne_bytes(),
            dst: dst.to_ne_bytes(),
        })
    }
}

/// True if the checksum of a header is right (RFC 1071), by its words in memory and the one's complement sum of its options.
pub const fn is_sound([first, second, third, src, dst]: [u32; 5], options: u16) -> bool {
    let sum = first as u64 + second as u64 + third as u64 + src as u64 + dst as u64 + options as u64;
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    let twice = (once & 0xffff) + (once >> 16);
    (twice & 0xffff) + (twice >> 16) == 0xffff
}

/// The fragment offset, bytes, of the word that begins at [`FLAGS`].
pub const fn fragment_offset(word: [u8; 2]) -> u16 {
    u16::from_be_bytes(word) << 3
}

/// True if more fragments follow, by the same word.
pub const fn has_more([flags, _]: [u8; 2]) -> bool {
    flags & 0x20 != 0
}
