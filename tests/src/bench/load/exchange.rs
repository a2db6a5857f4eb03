//! Request and response, one at a time, over one TCP connection or between two UDP sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU16;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::flood::greet;
use super::stage::{Herald, Played, Stage, play};
use super::{MESSAGE, Measured, Route, Timing, socket};
use crate::bench::latency::Latency;

/// What a client asked.
pub(super) struct Asked {
    pub(super) transactions: u64,
    pub(super) latency: Latency,
}

/// What a server answered, and whom.
pub(super) struct Answered {
    pub(super) transactions: u64,
    pub(super) peer: SocketAddrV4,
}

pub(super) fn over_tcp(route: &Route<'_>, timing: Timing) -> Result<Measured> {
    let listener = route.server.run(|| socket::listen(route.listen))??;
    let played = play(
        route,
        timing,
        NonZeroU16::MIN,
        |stage, herald| {
            let mut stream = socket::connect(route.dial, timing.silence)?;
            ask(stage, herald, |request, response| {
                socket::in_time(stream.write_all(request), timing.silence)?;
                socket::in_time(stream.read_exact(response), timing.silence)
            })
        },
        |stage| answer_stream(&listener, timing, stage),
    )?;
    measured(played)
}

pub(super) fn over_udp(route: &Route<'_>, timing: Timing) -> Result<Measured> {
    let server = route.server.run(|| socket::datagrams(route.listen, socket::GLANCE))??;
    let played = play(
        route,
        timing,
        NonZeroU16::MIN,
        |stage, herald| {
            let client = socket::datagrams(0, timing.silence)?;
            client.connect(route.dial).context("cannot choose a route")?;
            ask(stage, herald, |request, response| {
                socket::in_time(client.send(request), timing.silence)?;
                socket::in_time(client.recv(response), timing.silence).map(drop)
            })
        },
        |stage| answer_datagrams(&server, stage),
    )?;
    measured(played)
}

/// The one client's and the one server's account.
pub(super) fn measured(mut played: Played<Asked, Answered>) -> Result<Measured> {
    let client = played.clients.pop().context("no client")?;
    let server = played.servers.pop().context("no server")?;
    Ok(Measured {
        count: played.count,
        used: played.used,
        latency: Some(client.latency),
        sent: client.transactions,
        received: server.transactions,
        peer: server.peer,
    })
}

/// Makes transactions until it is told to stop; each response must be its request. The first one proves the way.
pub(super) fn ask(
    stage: &Stage,
    herald: &Herald,
    mut transact: impl FnMut(&[u8; MESSAGE], &mut [u8; MESSAGE]) -> Result<()>,
) -> Result<Asked> {
    let mut latency = Latency::new()?;
    let mut transactions: u64 = 0;
    let mut request = [0x5a; MESSAGE];
    let mut response = [0; MESSAGE];
    let mut begun = Instant::now();
    while stage.clients_work() {
        request[..8].copy_from_slice(&transactions.to_ne_bytes());
        transact(&request, &mut response).with_context(|| format!("transaction {transactions} failed"))?;
        ensure!(
            response == request,
            "transaction {transactions} was answered with other data"
        );
        if transactions == 0 {
            herald.ready();
        }
        transactions += 1;
        let done = Instant::now();
        if stage.counts() {
            stage.add(1);
            latency.record(done - begun);
        }
        begun = done;
    }
    Ok(Asked { transactions, latency })
}

/// Accepts one connection and answers it to its end.
fn answer_stream(listener: &TcpListener, timing: Timing, stage: &Stage) -> Result<Answered> {
    let (mut stream, peer) = socket::await_client(listener, timing.silence, || stage.servers_work())?;
    let mut transactions = 0;
    while let Some(request) = read_request(&mut stream, stage)? {
        stream.write_all(&request).context("cannot answer")?;
        transactions += 1;
    }
    Ok(Answered { transactions, peer })
}

/// The next request of a connection; none at its end.
pub(super) fn read_request(stream: &mut TcpStream, stage: &Stage) -> Result<Option<[u8; MESSAGE]>> {
    let mut request = [0; MESSAGE];
    let mut filled = 0;
    while filled < MESSAGE {
        match socket::awaited(stream.read(&mut request[filled..])).context("cannot receive")? {
            Some(0) if filled == 0 => return Ok(None),
            Some(0) => bail!("the client left after {filled} of {MESSAGE} bytes"),
            Some(length) => filled += length,
            None if !stage.servers_work() => bail!("the connection has no end"),
            None => {}
        }
    }
    Ok(Some(request))
}

/// Answers the first client's datagrams until none comes any more.
fn answer_datagrams(server: &UdpSocket, stage: &Stage) -> Result<Answered> {
    let peer = greet(server, stage)?;
    let mut transactions = 1;
    let mut message = [0; MESSAGE + 1];
    loop {
        match socket::awaited(server.recv(&mut message)).context("cannot receive")? {
            Some(length) => {
                server.send(&message[..length]).context("cannot answer")?;
                transactions += 1;
            }
            None if !stage.servers_work() => return Ok(Answered { transactions, peer }),
            None => {}
        }
    }
}
