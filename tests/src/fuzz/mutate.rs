//! Fields of sound packets changed: most of what is nearly valid is one decision away from what is.

use netbridge_common::abi::proto;
use netbridge_common::host::Frame;
use netbridge_common::host::build::source_route;
use netbridge_common::host::lab::{A, B, D, E, GATEWAYS, HOST, REMOTE, ROUTER, ifindex};
use netbridge_common::host::rewrite::{add, sum};

use super::random::Random;
use super::traffic::{LOOPBACK, PORTS, destination, layer_4, remote};

/// Offset of the IPv4 header.
const IP: usize = 14;

/// Changes one field; what covers it is mended in most cases, so that nothing else is wrong.
pub(super) fn mutate(random: &mut Random, frame: &mut Frame) {
    let bytes = &mut frame.bytes;
    match bytes.get(12..14) {
        Some([8, 0]) if bytes.len() >= 34 => {}
        Some(_) => return any_field(random, bytes),
        None => return,
    }
    let l4 = layer_4(bytes);
    match random.below(20) {
        0 => link(random, frame),
        1..7 => header(random, bytes),
        7 => options(random, bytes),
        8..11 => ports(random, bytes, l4),
        11..16 => transport(random, bytes, l4),
        16 => length(random, bytes),
        17 if bytes[23] == proto::ICMP => quote(random, bytes, l4 + 8),
        18 => {
            frame.gso_size = random.pick(&[1, 1000, 1448, 1460, 1461, 4000]);
        }
        _ => any_field(random, bytes),
    }
    if !random.once_in(4) {
        mend(&mut frame.bytes);
    }
}

/// Who and where on the link.
fn link(random: &mut Random, frame: &mut Frame) {
    let last = random.byte() & 15;
    let macs = [
        A.0,
        B.0,
        D.0,
        HOST.0,
        ROUTER.0,
        GATEWAYS[0].0,
        [0xff; 6],
        [0; 6],
        [1, 0, 0x5e, 0, 0, 1],
        [2, 0, 0, 0, 1, last],
    ];
    let mac = random.pick(&macs);
    match random.below(5) {
        0 => put(&mut frame.bytes, 0, &mac),
        1 => put(&mut frame.bytes, 6, &mac),
        2 => {
            let tag = random.pick(&[[0x81, 0, 0, 0], [0x88, 0xa8, 0, 1], [0x81, 0, 0x20, 5]]);
            drop(frame.bytes.splice(12..12, tag));
        }
        3 => {
            frame.ifindex = random.pick(&[
                ifindex::A,
                ifindex::TRUNK,
                ifindex::E,
                ifindex::UPLINK,
                ifindex::OTHER,
                ifindex::BRIDGES[0],
                LOOPBACK,
            ]);
        }
        _ => {
            frame.ingress = random.pick(&[
                0,
                ifindex::A,
                ifindex::UPLINK,
                ifindex::BRIDGES[0],
                ifindex::BRIDGES[1],
                ifindex::BRIDGES[2],
            ]);
        }
    }
}

/// A field of the IPv4 header.
fn header(random: &mut Random, bytes: &mut [u8]) {
    match random.below(10) {
        0 => bytes[IP] = random.pick(&[0x44, 0x46, 0x4f, 0x40, 0x65, 0x55, 0x05]),
        1 => {
            let total = u16::from_be_bytes([bytes[16], bytes[17]]);
            let more = random.pick(&[1, 8, 0xffff, 0xfff8, 20, 1500]);
            let total = random.pick(&[total.wrapping_add(more), 0, 19, 20, 28, u16::MAX]);
            put(bytes, 16, &total.to_be_bytes());
        }
        2..4 => {
            let fragment = random.pick(&[
                0x2000_u16, 0x2001, 0x0001, 0x0003, 0x1fff, 0x8000, 0x6000, 0xa000, 0x4001,
            ]);
            put(bytes, 20, &fragment.to_be_bytes());
        }
        4 => bytes[22] = random.pick(&[0, 1, 2, 255]),
        5 => bytes[23] = random.pick(&[1, 6, 17, 2, 4, 41, 47, 50, 58, 132, 255, 0]),
        6 => bytes[24 + random.below(2)] ^= 1 << random.below(8),
        7 => {
            let src = address(random);
            put(bytes, 26, &src);
        }
        8 => {
            let dst = address(random);
            put(bytes, 30, &dst);
        }
        _ => bytes[26 + random.below(8)] ^= 1 << random.below(8),
    }
}

/// Options in the header, which grows by them.
fn options(random: &mut Random, bytes: &mut Vec<u8>) {
    let options = match random.below(4) {
        0 => source_route(random.pick(&[131, 137, 7]), REMOTE),
        // Kinds and lengths of any kind.
        1 => (0..8).map(|_| random.byte() & random.byte() & 0x8f).collect(),
        2 => vec![0; 4],
        _ => vec![1; random.pick(&[4, 8, 40])],
    };
    if bytes[IP] != 0x45 {
        return;
    }
    let total = u16::from_be_bytes([bytes[16], bytes[17]]);
    let (words, length) = (options.len() >> 2, options.len());
    bytes[IP] = 0x45 + u8::try_from(words).unwrap_or(0);
    let total = total.wrapping_add(u16::try_from(length).unwrap_or(0));
    put(bytes, 16, &total.to_be_bytes());
    drop(bytes.splice(34..34, options));
}

fn any_port(random: &mut Random) -> u16 {
    if random.once_in(2) {
        random.word()
    } else {
        random.pick(&PORTS)
    }
}

/// The least, the greatest, or any.
fn extreme(random: &mut Random) -> u16 {
    let any = random.word();
    random.pick(&[0, u16::MAX, any])
}

fn ports(random: &mut Random, bytes: &mut [u8], l4: usize) {
    let port = any_port(random);
    put(bytes, l4 + 2 * random.below(2), &port.to_be_bytes());
}

/// A field of the TCP, UDP or ICMP header.
fn transport(random: &mut Random, bytes: &mut [u8], l4: usize) {
    if bytes.len() < l4 + 8 {
        return;
    }
    match bytes[23] {
        proto::TCP if bytes.len() >= l4 + 20 => match random.below(6) {
            0..3 => bytes[l4 + 13] = random.byte(),
            3 => {
                let known = [0x02, 0x12, 0x10, 0x11, 0x14, 0x04, 0x18, 0x29, 0x03, 0x06, 0x00, 0xc2];
                bytes[l4 + 13] = random.pick(&known);
            }
            4 => bytes[l4 + 12] = random.pick(&[0x00, 0x40, 0x60, 0xf0, 0x5f]),
            _ => {
                let checksum = extreme(random);
                put(bytes, l4 + 16, &checksum.to_be_bytes());
            }
        },
        proto::UDP => {
            let value = if random.once_in(2) {
                random.pick(&[7, 8, 9])
            } else {
                extreme(random)
            };
            let field = random.pick(&[4, 6, 6]);
            put(bytes, l4 + field, &value.to_be_bytes());
        }
        proto::ICMP => match random.below(4) {
            0 => bytes[l4] = random.pick(&[0, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 40, 255]),
            1 => bytes[l4 + 1] = random.pick(&[0, 1, 4, 13, 255]),
            2 => {
                let id = any_port(random);
                put(bytes, l4 + 4, &id.to_be_bytes());
            }
            _ => bytes[l4 + 2] ^= 1 << random.below(8),
        },
        _ => bytes[l4 + random.below(8)] = random.byte(),
    }
}

/// A field of the packet that an ICMP error quotes, or of a query's payload.
fn quote(random: &mut Random, bytes: &mut [u8], at: usize) {
    if bytes.len() < at + 28 {
        return;
    }
    match random.below(8) {
        0 => bytes[at] = random.pick(&[0x44, 0x46, 0x4f, 0x65]),
        1 => bytes[at + 9] = random.pick(&[1, 6, 17, 47]),
        2 => bytes[at + 2 + random.below(2)] = random.byte(),
        3 => bytes[at + 6] = random.pick(&[0x20, 0x40, 0x00, 0x80]),
        4 => bytes[at + 7] = random.pick(&[0, 1, 3]),
        5 => {
            let address = address(random);
            put(bytes, at + 12 + 4 * random.below(2), &address);
        }
        6 => bytes[at + 20 + random.below(8)] = random.byte(),
        _ => bytes[at + 10] ^= 1 << random.below(8),
    }
    if random.once_in(2) {
        put(bytes, at + 10, &[0, 0]);
        let checksum = !sum(&bytes[at..at + 20]);
        put(bytes, at + 10, &checksum.to_be_bytes());
    }
}

/// The frame is shorter or longer than the packet says.
fn length(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.once_in(2) {
        bytes.truncate(bytes.len().saturating_sub(1 + random.below(20)));
    } else {
        bytes.resize(bytes.len() + 1 + random.below(20), 0);
    }
}

/// One byte or one bit, most likely of a header.
pub(super) fn any_field(random: &mut Random, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    let within = random.pick(&[54, 82, 2000]);
    let place = random.below(bytes.len().min(within));
    if random.once_in(2) {
        bytes[place] = random.byte();
    } else {
        bytes[place] ^= 1 << random.below(8);
    }
}

fn address(random: &mut Random) -> [u8; 4] {
    let usual = [A.1, B.1, D.1, E.1, GATEWAYS[0].1, GATEWAYS[2].1, HOST.1];
    match random.below(3) {
        0 => random.pick(&usual),
        1 => remote(random),
        _ => destination(random),
    }
}

/// Makes the checksums of a whole datagram right: the header's, and that of UDP (where there is one), TCP or ICMP.
pub(super) fn mend(bytes: &mut [u8]) {
    let l4 = layer_4(bytes);
    if bytes.get(12..14) != Some(&[8, 0]) || bytes.len() < l4 || l4 < IP + 20 {
        return;
    }
    put(bytes, 24, &[0, 0]);
    let checksum = !sum(&bytes[IP..l4]);
    put(bytes, 24, &checksum.to_be_bytes());
    let end = IP + usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let fragment = u16::from_be_bytes([bytes[20], bytes[21]]) & 0x3fff;
    let (at, pseudo) = match bytes[23] {
        proto::TCP => (l4 + 16, true),
        proto::UDP if bytes.get(l4 + 6..l4 + 8) != Some(&[0, 0]) => (l4 + 6, true),
        proto::ICMP => (l4 + 2, false),
        _ => return,
    };
    if fragment != 0 || end > bytes.len() || at + 2 > end {
        return;
    }
    put(bytes, at, &[0, 0]);
    let mut folded = sum(&bytes[l4..end]);
    if pseudo {
        let length = u16::try_from(end - l4).unwrap_or(0);
        folded = add(add(folded, sum(&bytes[26..34])), add(length, bytes[23].into()));
    }
    let checksum = match !folded {
        0 if bytes[23] == proto::UDP => u16::MAX,
        checksum => checksum,
    };
    put(bytes, at, &checksum.to_be_bytes());
}

/// Writes bytes, if there is room for them.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
