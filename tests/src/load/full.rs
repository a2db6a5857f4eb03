//! A table that is full, a quota that is used up, and no port left: what is refused, and what goes on.

use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use netbridge::model::Tune;
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;

use super::world::{Plan, SERVER, World, inside, outside};
use crate::frame::{Station, udp};
use crate::sandbox::within;
use crate::tcp::{TcpServer, connect, transfer};
use crate::wait::wait_until;

const PORT: u16 = 8000;

/// How long a connection may take that must come about, and how long one is given that must not.
const LIMIT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_millis(300);

/// Flows in a small table.
const SMALL: u16 = 512;

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(SERVER, PORT)
}

/// Opens this many connections from a container.
fn open(from: &Netns, count: u16) -> Result<Vec<TcpStream>> {
    (0..count).map(|_| connect(from, server(), LIMIT)).collect()
}

/// Sends one datagram from each of `ports` of a container to a server, through its own packet socket.
fn datagrams(world: &World<'_>, number: usize, ports: std::ops::Range<u16>) -> Result<()> {
    let wire = world.wire(number)?;
    let from = world.station(number)?;
    let to = Station {
        mac: world.gateway()?,
        ip: SERVER,
    };
    for port in ports {
        wire.send(&udp(from, to, (port, 9), b"one")?)?;
    }
    Ok(())
}

/// Established connections fill the table; nobody can open another; those that there are go on; one that closes makes room.
pub fn table() -> Result<()> {
    let plan = Plan {
        tune: Tune {
            flows: Some(SMALL.into()),
            quota: Some(SMALL.into()),
            half_open: Some(SMALL.into()),
            timeouts: vec!["tcp-closing=2".to_owned()],
            ..Tune::default()
        },
        containers: 3,
        ..Plan::default()
    };
    within(|sandbox| {
        let world = World::build(sandbox, &plan)?;
        let _server = TcpServer::start(&outside()?, PORT)?;
        let (one, two, other) = (inside(0)?, inside(1)?, inside(2)?);
        let mut held = open(&one, SMALL / 2)?;
        held.extend(open(&two, SMALL / 2)?);
        refused(&world, &other, Reason::FlowTableFull)?;
        refused(&world, &one, Reason::FlowTableFull)?;
        alive(&mut held)?;
        drop(held);
        wait_until("room in the table", Duration::from_secs(30), || {
            Ok(connect(&other, server(), PATIENCE).is_ok())
        })
    })
}

/// One container uses its quota up; its own new connections are refused, those of another are not, and its old ones go on.
pub fn quota() -> Result<()> {
    const QUOTA: u16 = 200;
    let plan = Plan {
        tune: Tune {
            quota: Some(QUOTA.into()),
            half_open: Some(50),
            timeouts: vec!["tcp-closing=2".to_owned()],
            ..Tune::default()
        },
        ..Plan::default()
    };
    within(|sandbox| {
        let world = World::build(sandbox, &plan)?;
        let _server = TcpServer::start(&outside()?, PORT)?;
        let (one, other) = (inside(0)?, inside(1)?);
        let mut held = open(&one, QUOTA)?;
        refused(&world, &one, Reason::QuotaExceeded)?;
        transfer(&other, server(), 10_000)?;
        alive(&mut held)?;
        drop(held);
        wait_until("room in the quota", Duration::from_mins(1), || {
            Ok(connect(&one, server(), PATIENCE).is_ok())
        })
    })
}

/// SNAT has as few ports as it starts with, and one container takes them all with datagrams; nobody hangs: what asks for
/// another port to the same place is refused and counted, and what has one goes on.
pub fn ports() -> Result<()> {
    let plan = Plan {
        // Leaves 1024 to 2047.
        local_ports: (2048, 65_535),
        ..Plan::default()
    };
    within(|sandbox| {
        let world = World::build(sandbox, &plan)?;
        let _server = TcpServer::start(&outside()?, PORT)?;
        let (one, other) = (inside(0)?, inside(1)?);
        let mut held = open(&other, 10)?;
        datagrams(&world, 0, 3000..6000)?;
        wait_until("the last port to be taken", LIMIT, || {
            Ok(world.dropped(Reason::NatExhausted)? > 0)
        })?;
        // Of another protocol there are ports still.
        transfer(&one, server(), 10_000)?;
        alive(&mut held)?;
        let before = world.dropped(Reason::NatExhausted)?;
        datagrams(&world, 1, 3000..3100)?;
        wait_until("another container to be refused", LIMIT, || {
            Ok(world.dropped(Reason::NatExhausted)? > before)
        })?;
        let drops = world.drops()?;
        ensure!(drops.keys().all(|reason| *reason == Reason::NatExhausted), "{drops:?}");
        Ok(())
    })
}

/// A new connection does not come about, for this reason.
fn refused(world: &World<'_>, from: &Netns, reason: Reason) -> Result<()> {
    let before = world.dropped(reason)?;
    ensure!(
        connect(from, server(), PATIENCE).is_err(),
        "a connection was opened where there is no room"
    );
    let after = world.dropped(reason)?;
    ensure!(after > before, "nothing was counted: {:?}", world.drops()?);
    Ok(())
}

/// Data goes over every connection, both ways.
fn alive(held: &mut [TcpStream]) -> Result<()> {
    use std::io::{Read as _, Write as _};

    const BYTES: u64 = 8;
    for stream in held {
        // What the service hashes and sends back: its length first.
        stream.write_all(&BYTES.to_be_bytes())?;
        stream.write_all(&[7; 8])?;
        let mut report = [0; 38 + 8];
        stream.read_exact(&mut report)?;
    }
    Ok(())
}
