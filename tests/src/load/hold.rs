//! Many TCP connections through SNAT, held, with data both ways on each.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netbridge::model::Tune;
use netbridge_common::abi::{FlowState, proto};

use super::peer::Peer;
use super::world::{Plan, SERVERS, World, container};
use crate::sandbox::within;
use crate::wait::wait_until;

/// Most connections of one process.
const EACH: usize = 12_500;

/// Where the servers listen, each at an address of its own.
const PORT: u16 = 8000;

/// What was held.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Connections.
    pub connections: usize,
    /// How long it took to open them.
    pub opening: Duration,
    /// How long data went over them.
    pub holding: Duration,
    /// Answers that came, all that were asked for.
    pub answers: u64,
}

/// Opens the connections from several containers, and asks and answers on each for the time. It is an error if one fails,
/// or if a packet is dropped.
pub fn run(program: &Path, connections: usize, time: Duration) -> Result<Held> {
    let pairs = connections.div_ceil(EACH).max(2);
    let plan = Plan {
        containers: pairs,
        // With a port outside for each.
        local_ports: (1024, 2047),
        tune: Tune {
            flows: Some(u32::try_from(2 * connections)?.max(1024)),
            quota: Some(u32::try_from(connections)?),
            half_open: Some(u32::try_from(connections)?),
            ..Tune::default()
        },
    };
    within(|sandbox| {
        let world = World::build(sandbox, &plan)?;
        let mut peers = Vec::new();
        for address in SERVERS {
            let words = ["serve", "out", &address.to_string(), &PORT.to_string()];
            let mut peer = Peer::start(program, &words.map(str::to_owned))?;
            peer.says()?;
            peers.push(peer);
        }
        let start = Instant::now();
        let mut clients = Vec::new();
        for (number, address) in (0..pairs).zip(SERVERS.into_iter().cycle()) {
            let share = connections / pairs + usize::from(number < connections % pairs);
            let words = [
                "hold".to_owned(),
                container(number),
                address.to_string(),
                PORT.to_string(),
                share.to_string(),
                time.as_secs().to_string(),
            ];
            clients.push(Peer::start(program, &words)?);
        }
        let mut opened = 0;
        for client in &mut clients {
            opened += client.says()?;
        }
        ensure!(opened == connections as u64, "{opened} of {connections} were opened");
        let opening = start.elapsed();
        // A client's connect() returns before the datapath sees the last packet of the handshake.
        let mut established = 0;
        wait_until("all connections to be established", Duration::from_secs(10), || {
            let flows = world.datapath().tables().flows()?.into_iter();
            let halves =
                flows.filter(|(key, flow)| key.proto == proto::TCP && flow.head.state == FlowState::Established as u8);
            established = halves.count();
            Ok(established == 2 * connections)
        })
        .with_context(|| format!("{established} established halves of {connections} connections"))?;
        let start = Instant::now();
        clients.iter_mut().try_for_each(Peer::goes_on)?;
        let mut answers = 0;
        for client in &mut clients {
            answers += client.says()?;
        }
        let drops = world.drops()?;
        ensure!(drops.is_empty(), "packets were dropped: {drops:?}");
        Ok(Held {
            connections,
            opening,
            holding: start.elapsed(),
            answers,
        })
    })
}
