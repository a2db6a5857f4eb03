//! Carries a verdict's edits out on a byte vector: the oracle for the programs' rewriting.
//!
//! It takes from the verdict what the packet shall say, and none of the checksum arithmetic: every
//! checksum is computed over all it covers (RFC 1071), before and after. One that was wrong by some
//! amount stays wrong by it, as it must: a router that repaired it would hide the damage.

use core::ops::Range;

use crate::abi::proto;
use crate::datapath::verdict::{Action, Verdict, checksum_offset, edits};
use crate::wire::{ethernet, icmp, ipv4, tcp, udp};

use super::Ip;

/// Offset of the IPv4 header.
const IP: usize = ethernet::LEN as usize;

/// Rewrites the frame as the verdict says, or puts the answer in its place; a dropped one stays as it is. Where the
/// frame is too short for an edit, which a verdict on this very frame never asks for, the edit is left out.
pub fn apply(verdict: &Verdict<Ip>, frame: &mut Vec<u8>) {
    if verdict.action == Action::Drop {
        return;
    }
    if verdict.action == Action::Answer {
        *frame = answer(verdict, frame);
        return;
    }
    let before = frame.clone();
    if verdict.edits & edits::MACS != 0 {
        put(frame, 0, &verdict.dmac);
        put(frame, 6, &verdict.smac);
    }
    if verdict.edits & edits::IP != 0 {
        put(frame, IP + usize::from(ipv4::TTL), &[verdict.ttl]);
        put_addresses(frame, IP, verdict.src, verdict.dst);
    }
    if verdict.edits & edits::L4 != 0 {
        put_ports(frame, verdict.l4.into(), verdict.proto, verdict.ports);
    }
    if verdict.edits & edits::INNER != 0 {
        put_addresses(frame, verdict.inner.into(), verdict.inner_src, verdict.inner_dst);
        resum_ip(&before, frame, verdict.inner.into());
        if !proto::is_portless(verdict.inner_proto) {
            put_ports(frame, verdict.inner_l4.into(), verdict.inner_proto, verdict.inner_ports);
            let inner = verdict.inner.into()..end_of(frame, IP);
            let (l4, protocol) = (verdict.inner_l4.into(), verdict.inner_proto);
            resum_l4(&before, frame, inner, l4, protocol, protocol == proto::UDP);
        }
    }
    if verdict.edits & edits::IP != 0 {
        resum_ip(&before, frame, IP);
    }
    if verdict.edits & (edits::L4 | edits::INNER) != 0 {
        let datagram = IP..end_of(frame, IP);
        resum_l4(
            &before,
            frame,
            datagram,
            verdict.l4.into(),
            verdict.proto,
            verdict.never_zero(),
        );
    }
}

/// The answer to a frame: the verdict's headers but their checksums, and as much of the packet as they cover.
fn answer(verdict: &Verdict<Ip>, frame: &[u8]) -> Vec<u8> {
    let mut answer = bytemuck::bytes_of(&verdict.answer).to_vec();
    let payload = usize::from(ethernet::LEN + ipv4::MIN_LEN);
    let mut pseudo = 0;
    let checksum = if verdict.quote == 0 {
        let addresses = answer.get(IP + usize::from(ipv4::SRC)..payload).map_or(0, sum);
        pseudo = add(addresses, u16::from(proto::TCP) + tcp::MIN_LEN);
        tcp::CHECKSUM
    } else {
        answer.truncate(payload + usize::from(icmp::LEN));
        answer.extend(frame.iter().skip(IP).take(verdict.quote.into()));
        icmp::CHECKSUM
    };
    for (covered, at, more) in [
        (IP..payload, ipv4::CHECKSUM, 0),
        (payload..answer.len(), checksum, pseudo),
    ] {
        let place = covered.start + usize::from(at);
        put(&mut answer, place, &[0, 0]);
        let checksum = !add(answer.get(covered).map_or(0, sum), more);
        put(&mut answer, place, &checksum.to_be_bytes());
    }
    answer
}

/// Where the datagram at `at` ends within the frame.
fn end_of(frame: &[u8], at: usize) -> usize {
    let total = frame.get(at + 2..at + 4).map_or(0, |bytes| sum(bytes).into());
    // A GSO frame beyond 64 KiB says 0.
    if total == 0 {
        frame.len()
    } else {
        frame.len().min(at + total)
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_addresses(frame: &mut [u8], header: usize, src: Ip, dst: Ip) {
    put(frame, header + usize::from(ipv4::SRC), &src);
    put(frame, header + usize::from(ipv4::SRC) + 4, &dst);
}

fn put_ports(frame: &mut [u8], l4: usize, protocol: u8, ports: [u8; 4]) {
    if protocol == proto::ICMP {
        let [a, b, ..] = ports;
        put(frame, l4 + usize::from(icmp::ID), &[a, b]);
    } else {
        put(frame, l4, &ports);
    }
}

fn resum_ip(before: &[u8], after: &mut [u8], header: usize) {
    let length = after.get(header).map_or(0, |first| usize::from(first & 0x0f) * 4);
    let covered = header..header + length;
    resum(before, after, &[covered], header + usize::from(ipv4::CHECKSUM), false);
}

/// Of the datagram in `ip`, whose layer-4 header is at `l4`. A quote may end before its checksum.
fn resum_l4(before: &[u8], after: &mut [u8], ip: Range<usize>, l4: usize, protocol: u8, never_zero: bool) {
    let at = l4 + usize::from(checksum_offset(protocol));
    if at + 2 > ip.end || (protocol == proto::UDP && before.get(at..at + 2) == Some(&[0, 0])) {
        return;
    }
    let payload = l4..ip.end;
    if protocol == proto::ICMP {
        resum(before, after, &[payload], at, never_zero);
    } else {
        // Protocol and length belong to the pseudo-header too, but neither ever changes.
        let addresses = ip.start + usize::from(ipv4::SRC)..ip.start + usize::from(ipv4::SRC) + 8;
        resum(before, after, &[addresses, payload], at, never_zero);
    }
}

/// Writes the checksum at `at` so that the sum over `covered` is off by as much as it was before:
/// not at all, if the frame was sound. `never_zero`: zero is written as 0xffff.
fn resum(before: &[u8], after: &mut [u8], covered: &[Range<usize>], at: usize, never_zero: bool) {
    let total = |frame: &[u8]| {
        covered
            .iter()
            .fold(0, |folded, range| add(folded, frame.get(range.clone()).map_or(0, sum)))
    };
    let error = total(before);
    put(after, at, &[0, 0]);
    let checksum = !add(total(after), !error);
    let checksum = if never_zero && checksum == 0 {
        u16::MAX
    } else {
        checksum
    };
    put(after, at, &checksum.to_be_bytes());
}

/// The one's complement sum of big-endian words, the last padded with zero (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut folded = 0;
    for word in &mut words {
        if let [high, low] = word {
            folded = add(folded, u16::from_be_bytes([*high, *low]));
        }
    }
    match words.remainder() {
        [last] => add(folded, u16::from_be_bytes([*last, 0])),
        _ => folded,
    }
}

/// One's complement addition.
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// What is wrong with the IPv4, TCP, UDP or ICMP checksums of a frame that holds a whole datagram,
/// in words; `None` if nothing is.
pub fn fault(frame: &[u8]) -> Option<&'static str> {
    let header = usize::from(frame.get(IP)? & 0x0f) * 4;
    let end = end_of(frame, IP);
    if frame.get(IP..IP + header).map(sum) != Some(u16::MAX) {
        return Some("IPv4 header checksum");
    }
    let protocol = *frame.get(IP + 9)?;
    let payload = frame.get(IP + header..end)?;
    let offset = usize::from(udp::CHECKSUM);
    if protocol == proto::UDP && payload.get(offset..offset + 2) == Some(&[0, 0]) {
        return None;
    }
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let pseudo = frame
        .get(IP + 12..IP + 20)
        .map(sum)
        .map(|addrs| add(add(addrs, length), protocol.into()))?;
    match protocol {
        proto::ICMP if sum(payload) != u16::MAX => Some("ICMP checksum"),
        proto::TCP if add(pseudo, sum(payload)) != u16::MAX => Some("TCP checksum"),
        proto::UDP if add(pseudo, sum(payload)) != u16::MAX => Some("UDP checksum"),
        _ => None,
    }
}
