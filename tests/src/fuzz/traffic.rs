//! Sound packets, by the program that sees them: what containers, the outside and the host's stack send, answers and
//! errors to what came through before.

use netbridge_common::abi::{Hook, proto};
use netbridge_common::host::build::{Datagram, arp, packet_of};
use netbridge_common::host::lab::{
    A, B, BEHIND_TRUNK, D, E, ELSEWHERE, GATEWAYS, HOST, Node, REMOTE, ROUTER, UNREACHABLE, UNRESOLVED, ifindex,
};
use netbridge_common::host::pieces::{cut, set_place};
use netbridge_common::host::{Frame, Ip};

use super::random::Random;

/// An interface that is none of netbridge's: one that is not there the kernel does not run a program for.
pub(super) const LOOPBACK: u32 = 1;

/// Packets remembered of each kind, to be answered.
const MEMORY: usize = 256;

/// Container, gateway, interface, number of its network.
pub(super) const NODES: [(Node, Node, u32, u32); 6] = [
    (A, GATEWAYS[0], ifindex::A, 1),
    (B, GATEWAYS[0], ifindex::B, 1),
    (D, GATEWAYS[1], ifindex::D, 2),
    (E, GATEWAYS[2], ifindex::E, 3),
    (BEHIND_TRUNK, GATEWAYS[0], ifindex::TRUNK, 1),
    (BEHIND_TRUNK, GATEWAYS[0], ifindex::OTHER, 1),
];

/// Ports that meet: published ones, the ends of ranges and what is beside them, ephemeral ones, well-known ones, the
/// extremes.
pub(super) const PORTS: [u16; 22] = [
    0, 22, 53, 67, 68, 80, 1023, 1024, 5351, 5352, 5353, 6999, 7000, 8080, 8081, 8999, 9000, 32_768, 39_999, 40_000,
    60_999, 65_535,
];

/// The source of sound packets, and the memory of those that came through.
#[derive(Debug, Default)]
pub struct Traffic {
    /// What containers may answer.
    inward: Vec<Frame>,
    /// What the outside may answer.
    outward: Vec<Frame>,
    /// Fragments that are on their way, by program.
    pieces: [Vec<Frame>; 4],
}

impl Traffic {
    /// Remembers a frame as a program left it; answers to it may follow.
    pub fn remember(&mut self, random: &mut Random, frame: Frame) {
        let receiver = mac(&frame.bytes, 0);
        let memory = if NODES.iter().any(|(node, ..)| node.0 == receiver) {
            &mut self.inward
        } else {
            &mut self.outward
        };
        if memory.len() < MEMORY {
            memory.push(frame);
        } else {
            memory[random.below(MEMORY)] = frame;
        }
    }

    /// A packet for a program, or a piece of one.
    pub fn packet(&mut self, random: &mut Random, hook: Hook) -> Frame {
        if random.once_in(9) {
            self.piece(random, hook)
        } else {
            self.whole(random, hook)
        }
    }

    /// A fragment of a datagram whose others come soon, before it or after.
    fn piece(&mut self, random: &mut Random, hook: Hook) -> Frame {
        let queue = hook as usize - 1;
        while self.pieces[queue].len() < 12 {
            let whole = self.whole(random, hook);
            let cut_up = take_apart(random, &whole);
            self.pieces[queue].extend(cut_up);
        }
        let pieces = &mut self.pieces[queue];
        // Mostly in order.
        let place = if random.once_in(3) {
            random.below(pieces.len())
        } else {
            0
        };
        let piece = if random.once_in(12) {
            pieces[place].clone()
        } else {
            pieces.remove(place)
        };
        let lost = !pieces.is_empty() && random.once_in(16);
        if lost { pieces.remove(0) } else { piece }
    }

    fn whole(&self, random: &mut Random, hook: Hook) -> Frame {
        match (hook, random.below(20)) {
            (Hook::FromContainer, 0..9) => outgoing(random),
            (Hook::FromContainer, 9..16) => self.answer(random, hook).unwrap_or_else(|| outgoing(random)),
            (Hook::FromContainer, 16..18) => self.error(random, hook).unwrap_or_else(|| outgoing(random)),
            (Hook::FromContainer, _) => resolution(random),
            (Hook::FromUplink, 0..7) => incoming(random),
            (Hook::FromUplink, 7..16) => self.answer(random, hook).unwrap_or_else(|| incoming(random)),
            (Hook::FromUplink, _) => self.error(random, hook).unwrap_or_else(|| incoming(random)),
            (Hook::ToUplink, 0..14) => slow_path(random),
            (Hook::ToUplink, _) => self.leaving(random).unwrap_or_else(|| slow_path(random)),
            (Hook::ToContainer, 0..14) => handed_over(random),
            (Hook::ToContainer, _) => self.arriving(random).unwrap_or_else(|| handed_over(random)),
        }
    }

    /// The reverse of a packet that came through.
    fn answer(&self, random: &mut Random, hook: Hook) -> Option<Frame> {
        let mut bytes = self.recall(random, hook)?.bytes;
        swap(&mut bytes, 0, 6, 6);
        swap(&mut bytes, 26, 30, 4);
        let l4 = layer_4(&bytes);
        if matches!(bytes[23], proto::TCP | proto::UDP) && bytes.len() >= l4 + 14 {
            swap(&mut bytes, l4, l4 + 2, 2);
            if bytes[23] == proto::TCP {
                bytes[l4 + 13] = random.pick(&[0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x02]);
            }
        } else if bytes[23] == proto::ICMP && bytes.len() > l4 {
            // Timestamps have 13 and 14.
            bytes[l4] ^= if bytes[l4] > 12 { 3 } else { 8 };
        }
        Some(arrived(hook, bytes))
    }

    /// An error about a packet that came through, from its receiver or from someone on the way.
    fn error(&self, random: &mut Random, hook: Hook) -> Option<Frame> {
        let bytes = self.recall(random, hook)?.bytes;
        let address = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let from = if random.once_in(3) {
            [198, 51, 100, 1]
        } else {
            address(30)
        };
        let to = if random.once_in(10) { REMOTE } else { address(26) };
        let datagram = Datagram {
            ttl: random.pick(&[64, 64, 64, 1, 2]),
            ..Datagram::new((mac(&bytes, 0), from), (mac(&bytes, 6), to))
        };
        let mut quote = packet_of(&bytes);
        let header = usize::from(quote[0] & 0x0f) * 4;
        quote.truncate(random.pick(&[header + 8, header + 8, header + 16, header + 20, 9000, 27, header]));
        let icmp_type = random.pick(&[3, 3, 3, 11, 11, 12, 12, 5, 4]);
        Some(arrived(hook, datagram.error(icmp_type, &quote)))
    }

    /// What came through to the outside, from the host's stack once more.
    fn leaving(&self, random: &mut Random) -> Option<Frame> {
        let bytes = self.recall(random, Hook::FromUplink)?.bytes;
        let bridge = random.pick(&ifindex::BRIDGES);
        let ingress = random.pick(&[bridge, bridge, 0, ifindex::UPLINK]);
        Some(at(ifindex::UPLINK, ingress, bytes))
    }

    /// What came through to a container, from the host's stack once more.
    fn arriving(&self, random: &mut Random) -> Option<Frame> {
        let bytes = self.recall(random, Hook::FromContainer)?.bytes;
        let receiver = mac(&bytes, 0);
        let (_, _, index, net) = NODES.iter().find(|(node, ..)| node.0 == receiver)?;
        let bridge = ifindex::BRIDGES[*net as usize - 1];
        Some(at(*index, random.pick(&[0, bridge, bridge, ifindex::UPLINK]), bytes))
    }

    /// Something that this program's senders may answer.
    pub(super) fn recall(&self, random: &mut Random, hook: Hook) -> Option<Frame> {
        let memory = if hook == Hook::FromContainer {
            &self.inward
        } else {
            &self.outward
        };
        memory.get(random.below(MEMORY)).cloned()
    }
}

/// Cuts a datagram up, the other way round now and then, and with a fragment that overlaps others.
fn take_apart(random: &mut Random, frame: &Frame) -> Vec<Frame> {
    let mut whole = frame.bytes.clone();
    let more = random.pick(&[0, 20, 60, 100]);
    whole.resize(whole.len() + more, 0x5a);
    // Few, so that they are used again.
    let id = random.pick(&[1, 1, 2, 3, 4, 5, 6, 7]);
    let len = random.pick(&[8, 16, 24, 24, 32, 40, 64]);
    let mut pieces = cut(&whole, id, len);
    // What has no payload is one piece, or none.
    if !pieces.is_empty() && random.once_in(6) {
        let place = random.below(pieces.len());
        let offset = random.pick(&[0, 8, 16, 24, 1000, 65_504]);
        set_place(&mut pieces[place], id, offset, random.once_in(2));
    }
    if random.once_in(3) {
        pieces.reverse();
    }
    let frames = pieces.into_iter().map(|bytes| Frame { bytes, ..frame.clone() });
    frames.collect()
}

/// Where a frame of this sender appears.
fn arrived(hook: Hook, bytes: Vec<u8>) -> Frame {
    let sender = mac(&bytes, 6);
    let node = NODES.iter().find(|(node, ..)| node.0 == sender);
    let index = match node {
        Some((_, _, index, _)) if hook == Hook::FromContainer => *index,
        _ => ifindex::UPLINK,
    };
    at(index, index, bytes)
}

fn outgoing(random: &mut Random) -> Frame {
    let (mut node, gateway, index, net) = random.pick(&NODES);
    if node.0 == BEHIND_TRUNK.0 && random.once_in(2) {
        // More stations than a trunk may have.
        let last = random.byte() & 7;
        node = ([2, 0, 0, 0, 1, last], [10, 1, 0, 80 + last]);
    }
    let neighbour = random.pick(&[A, B, BEHIND_TRUNK]);
    let (dmac, dst) = match random.below(10) {
        0..3 if net == 1 => neighbour,
        3 => (gateway.0, neighbour.1),
        4 => (gateway.0, destination(random)),
        5 => {
            let everybody = [
                [0xff; 6],
                [1, 0, 0x5e, 0, 0, 1],
                [2, 9, 9, 9, 9, 9],
                [1, 0x80, 0xc2, 0, 0, 0],
            ];
            (random.pick(&everybody), neighbour.1)
        }
        _ => (gateway.0, remote(random)),
    };
    at(index, index, payload(random, Datagram::new(node, (dmac, dst))))
}

fn incoming(random: &mut Random) -> Frame {
    let dst = random.pick(&[HOST.1, HOST.1, HOST.1, A.1, E.1, [192, 0, 2, 255]]);
    let dst = if random.once_in(30) { destination(random) } else { dst };
    let datagram = Datagram::new((ROUTER.0, remote(random)), (HOST.0, dst));
    at(ifindex::UPLINK, ifindex::UPLINK, payload(random, datagram))
}

fn resolution(random: &mut Random) -> Frame {
    let (node, gateway, index, _) = random.pick(&NODES);
    let claimed = random.pick(&[node, node, node, node, (node.0, [0; 4])]);
    let target = random.pick(&[gateway.1, gateway.1, node.1, B.1]);
    let mut bytes = arp(node.0, claimed, target);
    bytes[21] = random.pick(&[1, 1, 2]);
    at(index, index, bytes)
}

/// What the host's stack sends out for a container.
fn slow_path(random: &mut Random) -> Frame {
    let (node, _, index, net) = random.pick(&NODES);
    let datagram = Datagram::new((HOST.0, node.1), (ROUTER.0, remote(random)));
    let bridge = ifindex::BRIDGES[net as usize - 1];
    let ingress = random.pick(&[bridge, bridge, bridge, bridge, bridge, 0, index]);
    at(ifindex::UPLINK, ingress, payload(random, datagram))
}

/// What the host's stack or the kernel bridge hands to a container.
fn handed_over(random: &mut Random) -> Frame {
    let (node, gateway, index, net) = random.pick(&NODES);
    let bridge = ifindex::BRIDGES[net as usize - 1];
    let (from, ingress) = match random.below(8) {
        0..3 => (random.pick(&[gateway, (gateway.0, HOST.1)]), 0),
        3..7 => (random.pick(&[A, B, BEHIND_TRUNK, D]), bridge),
        _ => {
            let src = random.pick(&[gateway.1, A.1, B.1, D.1, REMOTE, HOST.1]);
            ((gateway.0, src), random.pick(&[ifindex::UPLINK, bridge]))
        }
    };
    at(index, ingress, payload(random, Datagram::new(from, node)))
}

/// A whole packet of any protocol in this datagram.
pub(super) fn payload(random: &mut Random, datagram: Datagram) -> Vec<u8> {
    let datagram = Datagram {
        ttl: random.pick(&[64, 64, 64, 64, 64, 64, 64, 64, 64, 255, 2, 1]),
        fragment: random.pick(&[0, 0x4000]),
        ..datagram
    };
    let length = if random.once_in(20) {
        1440 + random.below(100)
    } else {
        random.below(64)
    };
    let payload = random.bytes(length);
    let (sport, dport) = (random.pick(&PORTS), random.pick(&PORTS));
    let dport = if datagram.dst == HOST.1 {
        random.pick(&[8080, 5353, dport])
    } else {
        dport
    };
    match random.below(20) {
        0..8 => datagram.udp(sport, dport, &payload),
        8..15 => {
            let flags = random.pick(&[0x02, 0x02, 0x02, 0x10, 0x12, 0x11, 0x04]);
            datagram.tcp(sport, dport, flags, &payload)
        }
        15..19 => datagram.echo(random.pick(&[8, 8, 8, 8, 0, 13, 13, 14]), sport, &payload),
        _ => datagram.frame(random.pick(&[47, 50, 132, 2]), &payload),
    }
}

/// A few addresses of the outside, so that flows meet.
pub(super) fn remote(random: &mut Random) -> Ip {
    let [a, b, c, d] = REMOTE;
    [a, b, c, d + random.pick(&[0, 1, 2, 3])]
}

/// An address that is special in some way.
pub(super) fn destination(random: &mut Random) -> Ip {
    random.pick(&[
        UNRESOLVED,
        ELSEWHERE,
        UNREACHABLE,
        HOST.1,
        ROUTER.1,
        A.1,
        D.1,
        E.1,
        [10, 1, 0, 1],
        [10, 2, 0, 1],
        [10, 1, 0, 255],
        [224, 0, 0, 1],
        [255; 4],
        [127, 0, 0, 1],
        [240, 0, 0, 1],
        [0; 4],
        [0, 0, 0, 7],
    ])
}

/// A frame that came in by `ingress`, in front of the program of `ifindex`.
pub(super) fn at(ifindex: u32, ingress: u32, bytes: Vec<u8>) -> Frame {
    Frame {
        bytes,
        ifindex,
        ingress,
        ..Frame::default()
    }
}

/// The MAC at an offset of a frame.
pub(super) fn mac(bytes: &[u8], at: usize) -> [u8; 6] {
    let mac = bytes.get(at..at + 6).and_then(|mac| mac.try_into().ok());
    mac.unwrap_or_default()
}

/// Where the header behind the IPv4 header is.
pub(super) fn layer_4(bytes: &[u8]) -> usize {
    14 + bytes.get(14).map_or(0, |first| usize::from(first & 0x0f) * 4)
}

fn swap(bytes: &mut [u8], a: usize, b: usize, length: usize) {
    for place in 0..length {
        bytes.swap(a + place, b + place);
    }
}
