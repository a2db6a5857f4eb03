//! A connection for each request and response: connect, ask, answer, close.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener};
use std::num::NonZeroU16;

use anyhow::{Context as _, Result, ensure};

use super::exchange::{Answered, ask, measured, read_request};
use super::stage::{Stage, play};
use super::{MESSAGE, Measured, Route, Timing, socket};

pub(super) fn run(route: &Route<'_>, timing: Timing) -> Result<Measured> {
    let listener = route.server.run(|| socket::listen(route.listen))??;
    let played = play(
        route,
        timing,
        NonZeroU16::MIN,
        |stage, herald| {
            ask(stage, herald, |request, response| {
                transact(route.dial, timing, request, response)
            })
        },
        |stage| answer(&listener, timing, stage),
    )?;
    measured(played)
}

/// One connection, from its first packet to the server's last.
fn transact(to: SocketAddrV4, timing: Timing, request: &[u8; MESSAGE], response: &mut [u8; MESSAGE]) -> Result<()> {
    let mut stream = socket::connect(to, timing.silence)?;
    stream.write_all(request)?;
    socket::in_time(stream.read_exact(response), timing.silence)?;
    // The server closes first. To close before its FIN is here would leave TIME_WAIT, and with it the port, to us.
    let more = socket::in_time(stream.read(&mut [0]), timing.silence)?;
    ensure!(more == 0, "more than a response came");
    Ok(())
}

/// Answers one connection after the other.
fn answer(listener: &TcpListener, timing: Timing, stage: &Stage) -> Result<Answered> {
    let mut transactions = 0;
    let mut last = None;
    while stage.servers_work() {
        let Some((mut stream, peer)) = socket::accept(listener, timing.silence)? else {
            continue;
        };
        let request = read_request(&mut stream, stage)?;
        let request = request.with_context(|| format!("{peer} connected and asked nothing"))?;
        stream
            .write_all(&request)
            .with_context(|| format!("cannot answer {peer}"))?;
        transactions += 1;
        last = Some(peer);
    }
    ensure!(transactions > 0, "no client came");
    Ok(Answered {
        transactions,
        peer: last.context("no client came")?,
    })
}
