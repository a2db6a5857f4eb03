//! What the generator sends.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::traffic::{HEADERS, MARK, Plan};
use crate::frame::{self, Station};

/// Bytes of a frame: the least that Ethernet allows, its checksum not counted.
const FRAME: usize = 60;

/// How many flows there are, and which one a frame belongs to. A flow is known by its source port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// One.
    One,
    /// So many, one after the other, and again from the first: as long as there are fewer frames than flows, every
    /// frame is the first of its flow.
    InOrder(u32),
    /// So many; each frame's is drawn.
    Scattered(u32),
}

impl Flows {
    /// How many.
    pub const fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::InOrder(count) | Self::Scattered(count) => count,
        }
    }
}

/// UDP frames of 60 bytes that differ in the source port alone, checksums valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Source MAC.
    pub smac: [u8; 6],
    /// Destination MAC.
    pub dmac: [u8; 6],
    /// Source; the port is that of the first flow.
    pub src: SocketAddrV4,
    /// Destination.
    pub dst: SocketAddrV4,
    /// The flows.
    pub flows: Flows,
}

impl Stream {
    /// The same with other flows.
    #[must_use]
    pub const fn with_flows(self, flows: Flows) -> Self {
        Self { flows, ..self }
    }

    /// The first frame.
    pub(super) fn frame(&self) -> Result<Vec<u8>> {
        let mut payload = MARK.to_vec();
        payload.resize(FRAME - HEADERS, 0);
        let station = |mac, end: SocketAddrV4| Station { mac, ip: *end.ip() };
        frame::udp(
            station(self.smac, self.src),
            station(self.dmac, self.dst),
            (self.src.port(), self.dst.port()),
            &payload,
        )
    }

    /// What makes the program write this, beginning with frame number `next`.
    pub(super) fn plan(&self, next: u32) -> Result<Plan> {
        let count = self.flows.count();
        ensure!(
            count.is_power_of_two() && u32::from(self.src.port()) + count <= 0x1_0000,
            "there are no {count} source ports, in a power of two, from {} on",
            self.src.port()
        );
        let frame = self.frame()?;
        let mut headers = [0; HEADERS];
        headers.copy_from_slice(&frame[..HEADERS]);
        // All that the checksum covers, save itself and the source port: addresses, destination port, twice the
        // length (it is in the pseudo-header too), the protocol, and the payload.
        let length = u32::from(u16::from_be_bytes([frame[38], frame[39]]));
        let sum = words(&frame[26..34]) + words(&frame[36..38]) + 2 * length + u32::from(frame[23]);
        Ok(Plan {
            next,
            flows_mask: count - 1,
            scattered: u32::from(matches!(self.flows, Flows::Scattered(_))),
            sum: sum + words(&frame[HEADERS..]),
            first_port: self.src.port(),
            headers,
        })
    }
}

/// The sum of 16-bit words.
fn words(bytes: &[u8]) -> u32 {
    bytes
        .chunks_exact(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::numbering;
    use super::*;

    fn stream(flows: Flows) -> Stream {
        Stream {
            smac: [2, 0, 0, 0, 0, 1],
            dmac: [2, 0, 0, 0, 0, 2],
            src: "10.77.0.2:32768".parse().unwrap(),
            dst: "10.77.0.3:9000".parse().unwrap(),
            flows,
        }
    }

    /// The frames as the program would write them.
    fn frames(flows: Flows, count: usize) -> Vec<Vec<u8>> {
        let mut plan = stream(flows).plan(0).unwrap();
        let frame = stream(flows).frame().unwrap();
        (0..count)
            .map(|_| {
                numbering::advance(&mut plan);
                let mut written = frame.clone();
                written[..HEADERS].copy_from_slice(&plan.headers);
                written
            })
            .collect()
    }

    #[test]
    fn a_frame_is_complete_and_every_checksum_right() {
        for flows in [Flows::One, Flows::InOrder(16_384), Flows::Scattered(16_384)] {
            for frame in frames(flows, 20_000) {
                assert_eq!(frame.len(), FRAME);
                frame::verify(&frame).unwrap();
                assert_ne!(frame[40..42], [0, 0], "a checksum of nought means that there is none");
            }
        }
        assert_eq!(frames(Flows::One, 1)[0], stream(Flows::One).frame().unwrap());
    }

    #[test]
    fn in_order_no_flow_comes_twice_before_all_have_come() {
        let frames = frames(Flows::InOrder(16_384), 32_768);
        let (first, second) = frames.split_at(16_384);
        assert_eq!(first, second);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 16_384);
    }

    #[test]
    fn scattered_flows_are_the_same_flows_in_no_order() {
        let ordered: HashSet<_> = frames(Flows::InOrder(256), 256).into_iter().collect();
        let scattered = frames(Flows::Scattered(256), 8192);
        let seen: HashSet<_> = scattered.iter().cloned().collect();
        assert_eq!(seen, ordered);
        let neighbours = scattered.windows(2).filter(|pair| {
            let port = |frame: &Vec<u8>| u16::from_be_bytes([frame[34], frame[35]]);
            port(&pair[1]) == port(&pair[0]) + 1
        });
        assert!(neighbours.count() < 100);
    }

    #[test]
    fn flows_that_no_port_numbers_are_refused() {
        for flows in [Flows::InOrder(0), Flows::InOrder(3), Flows::InOrder(65_536)] {
            stream(flows).plan(0).unwrap_err();
        }
    }
}
