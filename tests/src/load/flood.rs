//! A container that opens connections to anywhere as fast as it can, while another goes about its business.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use netbridge::model::Tune;
use netbridge_common::abi::Reason;

use super::world::{Plan, SERVER, World, inside, outside};
use crate::frame::{Station, tcp_syn};
use crate::fuzz::random::Random;
use crate::sandbox::within;
use crate::tcp::{TcpServer, connect};
use crate::wire::Wire;

const PORT: u16 = 8000;

/// The most that the flood sends in a second.
const RATE: u32 = 50_000;

/// Half-open flows that the flooder may have.
const HALF_OPEN: u32 = 4096;

/// Packets sent at once.
const BURST: u32 = 50;

/// How long a connection of the other container may take.
const LIMIT: Duration = Duration::from_secs(3);

/// What became of both.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    /// SYNs sent.
    pub sent: u64,
    /// Over this time.
    pub time: Duration,
    /// Of these, refused by the quota; most take the place of one before them.
    pub refused: u64,
    /// Connections that the other container tried.
    pub tried: u32,
    /// Of these, opened.
    pub opened: u32,
}

/// Floods from one container for the time, and connects from another all the while.
pub fn run(time: Duration) -> Result<Flooded> {
    within(|sandbox| {
        let plan = Plan {
            tune: Tune {
                half_open: Some(HALF_OPEN),
                ..Tune::default()
            },
            ..Plan::default()
        };
        let world = World::build(sandbox, &plan)?;
        let _server = TcpServer::start(&outside()?, PORT)?;
        let (wire, from, gateway) = (world.wire(0)?, world.station(0)?, world.gateway()?);
        let over = AtomicBool::new(false);
        let (sent, (tried, opened)) = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&wire, from, gateway, &over));
            let counts = connections(time);
            over.store(true, Ordering::Relaxed);
            let sent = flood.join().map_err(|_panic| anyhow!("the flood panicked"))??;
            anyhow::Ok((sent, counts?))
        })?;
        let refused = world.dropped(Reason::QuotaExceeded)?;
        let flooded = Flooded {
            sent,
            time,
            refused,
            tried,
            opened,
        };
        // A full queue may lose a SYN and what is sent in its place; netbridge drops none.
        ensure!(
            u64::from(opened) * 100 >= u64::from(tried) * 99 && tried > 0,
            "too few connections: {flooded:?}"
        );
        let dropped = world.dropped_of(1)?;
        ensure!(
            dropped == 0,
            "{dropped} packets of the other were dropped: {flooded:?}, {:?}",
            world.drops()?
        );
        let load = world.load(0)?;
        // The quota is what stops it, and nothing before. CPUs that open flows at the very same moment may both find the
        // last place.
        let allowed = i32::try_from(HALF_OPEN)?;
        ensure!(
            (allowed / 10 * 9..=allowed + 8).contains(&load.half_open),
            "{load:?}, with {HALF_OPEN} half-open flows allowed"
        );
        Ok(flooded)
    })
}

/// Sends SYNs to random addresses and ports, evenly, until it is over; how many.
fn flood(wire: &Wire, from: Station, gateway: [u8; 6], over: &AtomicBool) -> Result<u64> {
    let mut random = Random::new(1);
    let start = Instant::now();
    let mut sent = 0_u32;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            let ip = Ipv4Addr::new(203, 0, 113, random.byte());
            let to = Station { mac: gateway, ip };
            wire.send(&tcp_syn(from, to, (random.word() | 1024, random.word()))?)?;
        }
        sent += BURST;
        let due = Duration::from_secs(1) * sent / RATE;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(sent.into())
}

/// Opens one connection after the other until the time is over: tries and successes.
fn connections(time: Duration) -> Result<(u32, u32)> {
    let from = inside(1)?;
    let start = Instant::now();
    let (mut tried, mut opened) = (0, 0);
    while start.elapsed() < time {
        tried += 1;
        opened += u32::from(connect(&from, SocketAddrV4::new(SERVER, PORT), LIMIT).is_ok());
        thread::sleep(Duration::from_millis(2));
    }
    Ok((tried, opened))
}
