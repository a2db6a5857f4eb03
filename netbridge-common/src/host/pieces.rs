//! Cuts IPv4 datagrams into fragments, and puts them together (RFC 791, section 3.2).

use crate::wire::{ethernet, ipv4};

use super::rewrite::sum;

/// Offset of the IPv4 header.
const IP: usize = ethernet::LEN as usize;

/// "More fragments", in the byte of the flags.
const MORE: u8 = 0x20;

/// The fragments of a whole datagram, in order, `len` bytes of its payload in each but the last, each with the header's
/// options. `len` is a multiple of eight.
pub fn cut(frame: &[u8], id: u16, len: usize) -> Vec<Vec<u8>> {
    let start = payload_of(frame).start;
    let (headers, payload) = frame.split_at_checked(start).unwrap_or_default();
    let count = payload.len().div_ceil(len);
    let piece = |(number, payload): (usize, &[u8])| {
        let mut piece = [headers, payload].concat();
        set_place(&mut piece, id, number * len, number + 1 < count);
        piece
    };
    payload.chunks(len).enumerate().map(piece).collect()
}

/// Makes a frame the fragment that begins at `offset` bytes of a datagram's payload, checksum included.
pub fn set_place(frame: &mut [u8], id: u16, offset: usize, more: bool) {
    let total = u16::try_from(frame.len() - IP).unwrap_or(u16::MAX);
    let [high, low] = u16::try_from(offset >> 3).unwrap_or(0).to_be_bytes();
    let flags = high | if more { MORE } else { 0 };
    put(frame, IP + 2, &total.to_be_bytes());
    put(frame, IP + usize::from(ipv4::ID), &id.to_be_bytes());
    put(frame, IP + usize::from(ipv4::FLAGS), &[flags, low]);
    seal(frame);
}

/// Makes the checksum of a frame's IP header right.
pub fn seal(frame: &mut [u8]) {
    put(frame, IP + usize::from(ipv4::CHECKSUM), &[0, 0]);
    let header = frame.get(IP..payload_of(frame).start).map_or(0, sum);
    put(frame, IP + usize::from(ipv4::CHECKSUM), &(!header).to_be_bytes());
}

/// The datagram of these fragments, in any order, as the receiver puts it together; `None` if any byte is missing or there
/// twice, or they are of two datagrams.
pub fn joined(frames: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut frames: Vec<_> = frames.to_vec();
    frames.sort_by_key(|frame| offset_of(frame));
    let mut whole = frames.first().filter(|first| offset_of(first) == 0)?.clone();
    let same = |frame: &[u8]| {
        Some((
            frame.get(18..20)?.to_vec(),
            frame.get(23)?.to_owned(),
            frame.get(26..34)?.to_vec(),
        ))
    };
    let (start, datagram) = (payload_of(&whole).start, same(&whole)?);
    let mut more = has_more(&whole);
    for frame in frames.iter().skip(1) {
        if !more || start + offset_of(frame) != whole.len() || same(frame)? != datagram {
            return None;
        }
        whole.extend_from_slice(frame.get(payload_of(frame))?);
        more = has_more(frame);
    }
    set_place(&mut whole, 0, 0, false);
    (!more).then_some(whole)
}

fn payload_of(frame: &[u8]) -> std::ops::Range<usize> {
    IP + frame.get(IP).map_or(0, |first| usize::from(first & 0x0f) * 4)..frame.len()
}

fn flags_of(frame: &[u8]) -> [u8; 2] {
    let at = IP + usize::from(ipv4::FLAGS);
    frame
        .get(at..at + 2)
        .and_then(|word| word.try_into().ok())
        .unwrap_or_default()
}

fn offset_of(frame: &[u8]) -> usize {
    ipv4::fragment_offset(flags_of(frame)).into()
}

fn has_more(frame: &[u8]) -> bool {
    ipv4::has_more(flags_of(frame))
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
