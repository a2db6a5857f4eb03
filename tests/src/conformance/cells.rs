//! Every segment in every state of a connection: the cells of the kernel's own TCP table (`tcp_conntracks` in
//! `nf_conntrack_proto_tcp.c`), each reached by packets.

use anyhow::{Result, ensure};
use netbridge_common::abi::proto;

use super::known::DIFFERENCES;
use super::packet::flag;
use super::world::{Call, Side, World};

use Side::{Client, Server};

const SYN: u8 = flag::SYN;
const SYN_ACK: u8 = flag::SYN | flag::ACK;
const FIN: u8 = flag::FIN | flag::ACK;
const ACK: u8 = flag::ACK;
const RST: u8 = flag::RST | flag::ACK;

/// The states, as the kernel calls them, and the segments that lead there.
pub const STATES: [(&str, &[(Side, u8)]); 10] = [
    ("NONE", &[]),
    ("SYN_SENT", &[(Client, SYN)]),
    ("SYN_RECV", &[(Client, SYN), (Server, SYN_ACK)]),
    ("ESTABLISHED", &ESTABLISHED),
    ("FIN_WAIT", &FIN_WAIT),
    ("CLOSE_WAIT", &CLOSE_WAIT),
    ("LAST_ACK", &LAST_ACK),
    ("TIME_WAIT", &TIME_WAIT),
    ("CLOSE", &CLOSE),
    ("SYN_SENT2", &[(Client, SYN), (Server, SYN)]),
];

const ESTABLISHED: [(Side, u8); 3] = [(Client, SYN), (Server, SYN_ACK), (Client, ACK)];
const FIN_WAIT: [(Side, u8); 4] = [ESTABLISHED[0], ESTABLISHED[1], ESTABLISHED[2], (Client, FIN)];
const CLOSE_WAIT: [(Side, u8); 5] = [FIN_WAIT[0], FIN_WAIT[1], FIN_WAIT[2], FIN_WAIT[3], (Server, ACK)];
const LAST_ACK: [(Side, u8); 6] = [
    FIN_WAIT[0],
    FIN_WAIT[1],
    FIN_WAIT[2],
    FIN_WAIT[3],
    (Server, ACK),
    (Server, FIN),
];
const TIME_WAIT: [(Side, u8); 7] = [
    FIN_WAIT[0],
    FIN_WAIT[1],
    FIN_WAIT[2],
    FIN_WAIT[3],
    (Server, ACK),
    (Server, FIN),
    (Client, ACK),
];
const CLOSE: [(Side, u8); 4] = [ESTABLISHED[0], ESTABLISHED[1], ESTABLISHED[2], (Client, RST)];

/// The segments.
pub const SEGMENTS: [(&str, u8); 6] = [
    ("SYN", SYN),
    ("SYN+ACK", SYN_ACK),
    ("FIN", FIN),
    ("ACK", ACK),
    ("RST", RST),
    ("none", 0),
];

/// The sides, the opening one first.
pub const SIDES: [Side; 2] = [Client, Server];

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Who sent it.
    pub side: Side,
    /// A state's name.
    pub state: &'static str,
    /// A segment's name.
    pub segment: &'static str,
    /// It arrived at the other side.
    pub forwarded: bool,
}

/// Tries all of them.
pub fn run(world: &mut World<'_>) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for side in SIDES {
        for (state, script) in STATES {
            for (segment, flags) in SEGMENTS {
                world.router.reset()?;
                let mut call = Call::new(proto::TCP, 5000, 80);
                call.play(world, script)?;
                if let Some(is) = world.router.state()? {
                    ensure!(is == state, "the kernel's connection is in {is}, not in {state}");
                }
                cells.push(Cell {
                    side,
                    state,
                    segment,
                    forwarded: call.send(world, side, flags, &[])?,
                });
            }
        }
    }
    Ok(cells)
}

/// The difference that lists a cell: an index into [`DIFFERENCES`].
pub fn listed(cell: &Cell) -> Option<usize> {
    DIFFERENCES.iter().position(|difference| {
        difference.cells.iter().any(|(side, states, segments)| {
            *side == cell.side && states.contains(&cell.state) && segments.contains(&cell.segment)
        })
    })
}
