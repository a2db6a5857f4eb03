//! A seeded source of packets: what containers and the outside send, answers and errors to what came
//! through before, and all of it damaged now and then.

use netbridge_common::abi::{Hook, proto};
use netbridge_common::host::build::{Datagram, arp, ipv6, packet_of, source_route};
use netbridge_common::host::lab::{
    A, B, BEHIND_TRUNK, D, E, ELSEWHERE, GATEWAYS, HOST, Node, REMOTE, ROUTER, UNREACHABLE, UNRESOLVED, ifindex,
};
use netbridge_common::host::pieces::{cut, set_place};
use netbridge_common::host::{Frame, Ip};

/// Packets remembered, to be answered.
const MEMORY: usize = 256;

/// Container, gateway, interface, number of its network.
const NODES: [(Node, Node, u32, u32); 6] = [
    (A, GATEWAYS[0], ifindex::A, 1),
    (B, GATEWAYS[0], ifindex::B, 1),
    (D, GATEWAYS[1], ifindex::D, 2),
    (E, GATEWAYS[2], ifindex::E, 3),
    (BEHIND_TRUNK, GATEWAYS[0], ifindex::TRUNK, 1),
    (BEHIND_TRUNK, GATEWAYS[0], ifindex::OTHER, 1),
];

/// Ports that meet: published ones, the ends of ranges and what is beside them, ephemeral ones, well-known ones, the
/// extremes.
const PORTS: [u16; 22] = [
    0, 22, 53, 67, 68, 80, 1023, 1024, 5351, 5352, 5353, 6999, 7000, 8080, 8081, 8999, 9000, 32_768, 39_999, 40_000,
    60_999, 65_535,
];

/// xorshift64*, good enough to pick packets and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The source.
pub(crate) struct Traffic {
    random: Random,
    seen: Vec<Frame>,
    pieces: Vec<(Hook, Frame)>,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            seen: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Remembers a frame as a program left it; answers to it may follow.
    pub(crate) fn remember(&mut self, frame: Frame) {
        if self.seen.len() < MEMORY {
            self.seen.push(frame);
        } else {
            let place = self.random.below(MEMORY);
            self.seen[place] = frame;
        }
    }

    /// The next packet and where it appears.
    pub(crate) fn next(&mut self) -> (Hook, Frame) {
        let (hook, mut frame) = match self.random.below(100) {
            0..20 => self.outgoing(),
            20..30 => self.piece(),
            30..45 => self.incoming(),
            45..75 => self.answer(),
            75..85 => self.error(),
            85..89 => self.resolution(),
            89 => self.other_version(),
            90..96 => self.slow_path(),
            96..99 => self.handed_over(),
            _ => {
                let (hook, frame) = self.outgoing();
                let bridge = ifindex::BRIDGES[0];
                (
                    hook,
                    Frame {
                        ifindex: bridge,
                        ..frame
                    },
                )
            }
        };
        if self.random.once_in(5) {
            self.damage(&mut frame.bytes);
        }
        if self.random.once_in(20) {
            frame.gso_size = self.random.pick(&[1, 1000, 1448, 1460, 1461, 4000]);
        }
        // The kernel refuses to test-run an IP frame without a whole header.
        let least = if frame.bytes.get(12..14) == Some(&[0x86, 0xdd]) {
            54
        } else {
            34
        };
        if frame.bytes.len() < least {
            frame.bytes.resize(least, 0);
        }
        (hook, frame)
    }

    fn outgoing(&mut self) -> (Hook, Frame) {
        let (mut node, gateway, index, net) = self.random.pick(&NODES);
        if node.0 == BEHIND_TRUNK.0 && self.random.once_in(2) {
            // More stations than a trunk may have.
            let last = self.random.byte() & 7;
            node = ([2, 0, 0, 0, 1, last], [10, 1, 0, 80 + last]);
        }
        let neighbour = self.random.pick(&[A, B, BEHIND_TRUNK]);
        let (dmac, dst) = match self.random.below(10) {
            0..3 if net == 1 => neighbour,
            3 => (gateway.0, neighbour.1),
            4 => (gateway.0, self.destination()),
            5 => (
                self.random.pick(&[
                    [0xff; 6],
                    [1, 0, 0x5e, 0, 0, 1],
                    [2, 9, 9, 9, 9, 9],
                    [1, 0x80, 0xc2, 0, 0, 0],
                ]),
                neighbour.1,
            ),
            _ => (gateway.0, self.remote()),
        };
        let datagram = Datagram::new(node, (dmac, dst));
        (Hook::FromContainer, at(index, index, self.packet(datagram)))
    }

    fn incoming(&mut self) -> (Hook, Frame) {
        let dst = self.random.pick(&[HOST.1, HOST.1, HOST.1, A.1, E.1, [192, 0, 2, 255]]);
        let mut src = self.remote();
        if self.random.once_in(30) {
            src = self.random.pick(&[
                [127, 0, 0, 1],
                [0; 4],
                [0, 0, 0, 7],
                [224, 0, 0, 1],
                [240, 0, 0, 1],
                [255; 4],
            ]);
        }
        let dst = if self.random.once_in(30) {
            self.destination()
        } else {
            dst
        };
        let dmac = if self.random.once_in(20) { [0xff; 6] } else { HOST.0 };
        let datagram = Datagram::new((ROUTER.0, src), (dmac, dst));
        (
            Hook::FromUplink,
            at(ifindex::UPLINK, ifindex::UPLINK, self.packet(datagram)),
        )
    }

    /// The reverse of a packet that came through.
    fn answer(&mut self) -> (Hook, Frame) {
        let Some(mut frame) = self.recall() else {
            return self.incoming();
        };
        let bytes = &mut frame.bytes;
        swap(bytes, 0, 6, 6);
        swap(bytes, 26, 30, 4);
        let l4 = 14 + usize::from(bytes[14] & 0x0f) * 4;
        if matches!(bytes[23], proto::TCP | proto::UDP) && bytes.len() >= l4 + 14 {
            swap(bytes, l4, l4 + 2, 2);
            if bytes[23] == proto::TCP {
                // Flags are covered by the checksum; a wrong one must survive, and now and then there is one.
                bytes[l4 + 13] = self.random.pick(&[0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x02]);
            }
        } else if bytes[23] == proto::ICMP && bytes.len() > l4 {
            // Timestamps have 13 and 14.
            bytes[l4] ^= if bytes[l4] > 12 { 3 } else { 8 };
        }
        Self::opposite(frame)
    }

    /// An error about a packet that came through, from its receiver or from someone on the way.
    fn error(&mut self) -> (Hook, Frame) {
        let Some(frame) = self.recall() else {
            return self.outgoing();
        };
        let bytes = &frame.bytes;
        let address = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let mac = |at: usize| {
            [
                bytes[at],
                bytes[at + 1],
                bytes[at + 2],
                bytes[at + 3],
                bytes[at + 4],
                bytes[at + 5],
            ]
        };
        let from = if self.random.once_in(3) {
            [198, 51, 100, 1]
        } else {
            address(30)
        };
        let to = if self.random.once_in(10) { REMOTE } else { address(26) };
        let datagram = Datagram {
            ttl: self.random.pick(&[64, 64, 64, 1, 2]),
            options: self.options(),
            ..Datagram::new((mac(0), from), (mac(6), to))
        };
        let mut quote = packet_of(bytes);
        let header = usize::from(quote[0] & 0x0f) * 4;
        let length = self
            .random
            .pick(&[header + 8, header + 8, header + 16, header + 20, 9000, 27, header]);
        quote.truncate(length);
        let icmp_type = self.random.pick(&[3, 3, 3, 11, 11, 12, 12, 5, 4]);
        let error = datagram.error(icmp_type, &quote);
        Self::opposite(Frame { bytes: error, ..frame })
    }

    /// A fragment of a datagram whose others come soon, before it or after.
    fn piece(&mut self) -> (Hook, Frame) {
        while self.pieces.len() < 12 {
            let (hook, frame) = match self.random.below(8) {
                0..4 => self.outgoing(),
                4 | 5 => self.incoming(),
                6 => self.answer(),
                _ => self.slow_path(),
            };
            self.take_apart(hook, &frame);
        }
        // Mostly in order.
        let place = if self.random.once_in(3) {
            self.random.below(self.pieces.len())
        } else {
            0
        };
        let piece = if self.random.once_in(12) {
            self.pieces[place].clone()
        } else {
            self.pieces.remove(place)
        };
        let lost = !self.pieces.is_empty() && self.random.once_in(16);
        if lost { self.pieces.remove(0) } else { piece }
    }

    /// Cuts a datagram up, the other way round now and then, and with a fragment that overlaps others.
    fn take_apart(&mut self, hook: Hook, frame: &Frame) {
        let mut whole = frame.bytes.clone();
        let more = self.random.pick(&[0, 20, 60, 100]);
        whole.resize(whole.len() + more, 0x5a);
        // Few, so that they are used again.
        let id = self.random.pick(&[1, 1, 2, 3, 4, 5, 6, 7]);
        let len = self.random.pick(&[8, 16, 24, 24, 32, 40, 64]);
        let mut pieces = cut(&whole, id, len);
        // What has no payload is one piece, or none.
        if !pieces.is_empty() && self.random.once_in(6) {
            let place = self.random.below(pieces.len());
            let offset = self.random.pick(&[0, 8, 16, 24, 1000, 65_504]);
            set_place(&mut pieces[place], id, offset, self.random.once_in(2));
        }
        if self.random.once_in(3) {
            pieces.reverse();
        }
        let frames = pieces.into_iter().map(|bytes| Frame { bytes, ..frame.clone() });
        self.pieces.extend(frames.map(|frame| (hook, frame)));
    }

    fn resolution(&mut self) -> (Hook, Frame) {
        let (node, gateway, index, _) = self.random.pick(&NODES);
        let claimed = self
            .random
            .pick(&[node, node, node, A, gateway, (node.0, [0; 4]), (node.0, B.1)]);
        let target = self
            .random
            .pick(&[gateway.1, gateway.1, node.1, B.1, [0; 4], D.1, REMOTE, [10, 1, 0, 255]]);
        let mut bytes = arp(node.0, claimed, target);
        bytes[21] = self.random.pick(&[1, 1, 2, 3]);
        (Hook::FromContainer, at(index, index, bytes))
    }

    /// IPv6, which is not carried: chains of extension headers, an `ICMPv6` message at the end of some.
    fn other_version(&mut self) -> (Hook, Frame) {
        let (node, gateway, index, _) = self.random.pick(&NODES);
        let random = &mut self.random;
        let mut chain: Vec<u8> = (0..random.below(11))
            .map(|_| random.pick(&[0, 43, 51, 60, 60, 135, 139, 140, 44]))
            .collect();
        chain.push(random.pick(&[58, 58, 58, 17]));
        let mut payload = Vec::new();
        for next in &chain[1..] {
            payload.extend_from_slice(&[*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        payload.extend_from_slice(&[random.pick(&[134, 137, 135, 128]), 0, 0, 0]);
        let dmac = random.pick(&[gateway.0, B.0, [0x33, 0x33, 0, 0, 0, 1]]);
        let bytes = ipv6(node.0, dmac, chain[0], &payload);
        let hook = random.pick(&[
            Hook::FromContainer,
            Hook::FromContainer,
            Hook::ToContainer,
            Hook::FromUplink,
        ]);
        let index = if hook == Hook::FromUplink {
            ifindex::UPLINK
        } else {
            index
        };
        (hook, at(index, index, bytes))
    }

    /// What the host's stack sends out for a container.
    fn slow_path(&mut self) -> (Hook, Frame) {
        let (node, _, index, net) = self.random.pick(&NODES);
        let datagram = Datagram::new((HOST.0, node.1), (ROUTER.0, self.remote()));
        let bridge = ifindex::BRIDGES[net as usize - 1];
        let ingress = self.random.pick(&[bridge, bridge, bridge, 0, index, ifindex::UPLINK]);
        let out = if self.random.once_in(20) {
            ifindex::OTHER
        } else {
            ifindex::UPLINK
        };
        (Hook::ToUplink, at(out, ingress, self.packet(datagram)))
    }

    /// What the host's stack or the kernel bridge hands to a container.
    fn handed_over(&mut self) -> (Hook, Frame) {
        let (node, gateway, index, _) = self.random.pick(&NODES);
        let src = self.random.pick(&[gateway.1, A.1, B.1, D.1, REMOTE, HOST.1]);
        let datagram = Datagram::new((gateway.0, src), node);
        (Hook::ToContainer, at(index, ifindex::UPLINK, self.packet(datagram)))
    }

    /// Any payload in this datagram.
    fn packet(&mut self, datagram: Datagram) -> Vec<u8> {
        let random = &mut self.random;
        let mut datagram = Datagram {
            ttl: random.pick(&[64, 64, 64, 64, 64, 64, 64, 255, 2, 1, 0]),
            ..datagram
        };
        datagram.options = self.options();
        let random = &mut self.random;
        if random.once_in(15) {
            datagram.fragment = random.pick(&[0x2000, 0x2001, 0x0003]);
        } else if random.once_in(2) {
            datagram.fragment = 0x4000;
        }
        let length = if random.once_in(20) {
            1440 + random.below(100)
        } else {
            random.below(64)
        };
        let payload: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        let (sport, dport) = (random.pick(&PORTS), random.pick(&PORTS));
        let dport = if datagram.dst == HOST.1 {
            random.pick(&[8080, 5353, dport])
        } else {
            dport
        };
        match random.below(20) {
            0..8 => datagram.udp(sport, dport, &payload),
            8..15 => {
                let flags = random.pick(&[0x02, 0x02, 0x02, 0x10, 0x12, 0x11, 0x04, 0x00, 0xff]);
                datagram.tcp(sport, dport, flags, &payload)
            }
            15..18 => datagram.echo(random.pick(&[8, 8, 8, 8, 0, 13, 13, 14, 15, 17]), sport, &payload),
            18 => datagram.frame(random.pick(&[47, 50, 132, 2]), &payload),
            _ => datagram.frame(random.pick(&[1, 6, 17]), &payload),
        }
    }

    fn options(&mut self) -> Vec<u8> {
        if !self.random.once_in(10) {
            return Vec::new();
        }
        match self.random.below(4) {
            0 => {
                let kind = self.random.pick(&[131, 137, 7]);
                source_route(kind, REMOTE)
            }
            // Kinds and lengths of any kind.
            1 => (0..8).map(|_| self.random.byte() & self.random.byte() & 0x8f).collect(),
            _ => vec![1; self.random.pick(&[4, 8, 40])],
        }
    }

    /// A few addresses of the outside, so that flows meet.
    fn remote(&mut self) -> Ip {
        let [a, b, c, d] = REMOTE;
        let last = self.random.below(4);
        [a, b, c, d + u8::try_from(last).unwrap_or(0)]
    }

    fn destination(&mut self) -> Ip {
        let unusual = [
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
        ];
        self.random.pick(&unusual)
    }

    fn recall(&mut self) -> Option<Frame> {
        let place = self.random.below(MEMORY);
        self.seen.get(place).cloned()
    }

    /// Where the answers to a frame appear: a container's neighbours and the outside
    /// are told apart by the MAC that sends now.
    fn opposite(frame: Frame) -> (Hook, Frame) {
        let sender: [u8; 6] = frame.bytes[6..12].try_into().unwrap_or_default();
        match NODES.iter().find(|(node, ..)| node.0 == sender) {
            Some((_, _, index, _)) => (Hook::FromContainer, at(*index, *index, frame.bytes)),
            None => (Hook::FromUplink, at(ifindex::UPLINK, ifindex::UPLINK, frame.bytes)),
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        match random.below(8) {
            0 => bytes.truncate(14 + random.below(bytes.len())),
            1 => bytes.resize(bytes.len() + random.below(20), 0),
            2 if bytes.len() > 42 => bytes[40..42].fill(0),
            4 => drop(bytes.splice(12..12, random.pick(&[[0x81, 0, 0, 0], [0x88, 0xa8, 0, 1]]))),
            3 => {
                // A header field: where a decision is most likely to turn on it.
                let place = random.below(bytes.len().min(54));
                bytes[place] = random.byte();
            }
            _ => {
                let place = random.below(bytes.len());
                bytes[place] ^= 1 << random.below(8);
            }
        }
    }
}

fn at(ifindex: u32, ingress: u32, bytes: Vec<u8>) -> Frame {
    Frame {
        bytes,
        ifindex,
        ingress,
        ..Frame::default()
    }
}

fn swap(bytes: &mut [u8], a: usize, b: usize, length: usize) {
    for place in 0..length {
        bytes.swap(a + place, b + place);
    }
}
