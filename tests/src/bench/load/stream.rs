//! A TCP stream: as many bytes as go through.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV4, TcpListener};
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::stage::{Herald, Stage, play};
use super::{Measured, Route, Timing, socket};

/// Bytes written or read per call: what iperf3 takes.
const CHUNK: usize = 128 * 1024;

/// What a server received, and from whom.
struct Received {
    bytes: u64,
    peer: SocketAddrV4,
}

pub(super) fn run(route: &Route<'_>, timing: Timing, flows: u16) -> Result<Measured> {
    let flows = NonZeroU16::new(flows).context("a stream has at least one flow")?;
    let listener = route.server.run(|| socket::listen(route.listen))??;
    let played = play(
        route,
        timing,
        flows,
        |stage, herald| send(route, timing, stage, herald),
        |stage| receive(&listener, timing, stage),
    )?;
    Ok(Measured {
        count: played.count,
        used: played.used,
        latency: None,
        sent: played.clients.iter().sum(),
        received: played.servers.iter().map(|server| server.bytes).sum(),
        peer: played.servers.first().context("no server")?.peer,
    })
}

/// Writes until it is told to stop; returns the bytes written.
fn send(route: &Route<'_>, timing: Timing, stage: &Stage, herald: &Herald) -> Result<u64> {
    let mut stream = socket::connect(route.dial, timing.silence)?;
    herald.ready();
    let chunk = vec![0x5a; CHUNK];
    let mut sent = 0;
    while stage.clients_work() {
        let written = socket::in_time(stream.write(&chunk), timing.silence).context("cannot send")?;
        sent += written as u64;
    }
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    // The server closes once it has read everything: what is on its way is not cut off.
    let answer = socket::in_time(stream.read(&mut [0]), timing.silence);
    let answer = answer.context("the server did not take the end of the stream")?;
    ensure!(answer == 0, "the server answered a stream");
    Ok(sent)
}

/// Accepts one connection and reads it to its end; adds the bytes read.
fn receive(listener: &TcpListener, timing: Timing, stage: &Stage) -> Result<Received> {
    let (mut stream, peer) = socket::await_client(listener, timing.silence, || stage.servers_work())?;
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    let mut silent_for = Duration::ZERO;
    loop {
        match socket::awaited(stream.read(&mut chunk)).context("cannot receive")? {
            Some(0) => return Ok(Received { bytes, peer }),
            Some(length) => {
                bytes += length as u64;
                stage.add(length as u64);
                silent_for = Duration::ZERO;
            }
            None if !stage.servers_work() => bail!("the stream has no end"),
            None if silent_for > timing.silence => bail!("nothing came for {:?}", timing.silence),
            None => silent_for += socket::GLANCE,
        }
    }
}
