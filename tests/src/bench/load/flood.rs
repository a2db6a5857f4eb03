//! A flood of datagrams: as many as the client can send, and as many of them as arrive.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::stage::{Herald, Stage, play};
use super::{MESSAGE, Measured, Route, Timing, socket};

/// What a server received, and from whom.
struct Received {
    datagrams: u64,
    peer: SocketAddrV4,
}

pub(super) fn run(route: &Route<'_>, timing: Timing) -> Result<Measured> {
    let server = route.server.run(|| socket::datagrams(route.listen, socket::GLANCE))??;
    let played = play(
        route,
        timing,
        NonZeroU16::MIN,
        |stage, herald| send(route, timing, stage, herald),
        |stage| receive(&server, timing, stage),
    )?;
    let received = played.servers.first().context("no server")?;
    Ok(Measured {
        count: played.count,
        used: played.used,
        latency: None,
        sent: played.clients.iter().sum(),
        received: received.datagrams,
        peer: received.peer,
    })
}

/// Sends until it is told to stop; returns the datagrams sent after the first exchange.
fn send(route: &Route<'_>, timing: Timing, stage: &Stage, herald: &Herald) -> Result<u64> {
    let client = socket::datagrams(0, timing.silence)?;
    client.connect(route.dial).context("cannot choose a route")?;
    let message = [0x5a; MESSAGE];
    client.send(&message).context("cannot send")?;
    client
        .recv(&mut [0; MESSAGE])
        .context("no answer to the first datagram")?;
    herald.ready();
    let mut sent = 0;
    while stage.clients_work() {
        socket::in_time(client.send(&message), timing.silence).context("cannot send")?;
        sent += 1;
    }
    Ok(sent)
}

/// Answers the first datagram and counts the others of its sender, until none comes any more.
fn receive(server: &UdpSocket, timing: Timing, stage: &Stage) -> Result<Received> {
    let peer = greet(server, stage)?;
    let mut datagrams = 0;
    let mut silent_for = Duration::ZERO;
    let mut message = [0; MESSAGE + 1];
    loop {
        match socket::awaited(server.recv(&mut message)).context("cannot receive")? {
            Some(MESSAGE) => {
                datagrams += 1;
                stage.add(1);
                silent_for = Duration::ZERO;
            }
            Some(length) => bail!("a datagram of {length} bytes came"),
            None if !stage.servers_work() => return Ok(Received { datagrams, peer }),
            // The client does not notice that nothing arrives.
            None if silent_for > timing.silence => bail!("nothing came for {:?}", timing.silence),
            None => silent_for += socket::GLANCE,
        }
    }
}

/// Waits for the first datagram, answers it, and hears only its sender from then on.
pub(super) fn greet(server: &UdpSocket, stage: &Stage) -> Result<SocketAddrV4> {
    let mut message = [0; MESSAGE];
    loop {
        match socket::awaited(server.recv_from(&mut message)).context("cannot receive")? {
            Some((length, SocketAddr::V4(peer))) => {
                server.connect(peer).with_context(|| format!("cannot answer {peer}"))?;
                server
                    .send(&message[..length])
                    .with_context(|| format!("cannot answer {peer}"))?;
                return Ok(peer);
            }
            Some((_, SocketAddr::V6(peer))) => bail!("{peer} is no IPv4 address"),
            None if !stage.servers_work() => bail!("no client came"),
            None => {}
        }
    }
}
