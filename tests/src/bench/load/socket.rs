//! Sockets of a load: every call on them ends in bounded time, and TCP runs over cubic.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

/// Congestion control of every TCP socket: the machine's default may want a queue that paces, which a veth has not.
const CONGESTION_CONTROL: &str = "cubic";

/// How long a server waits at most before it looks whether it shall go on.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// How long a port may be held by a process that is about to execute another program, and how often it is tried.
const RELEASE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens for TCP on a port of every address of the calling thread's namespace; to accept lasts [`GLANCE`] at most.
pub(super) fn listen(port: u16) -> Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Connections of an earlier round may still be in TIME_WAIT on this port.
        socket.set_reuse_address(true)?;
        socket.set_read_timeout(Some(GLANCE))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        // What is accepted inherits it.
        set_congestion_control(&socket)?;
        socket.listen(BACKLOG)?;
        io::Result::Ok(socket.into())
    };
    once_free(listen).with_context(|| format!("cannot listen on TCP port {port}"))
}

/// Accepts a connection, if one comes within [`GLANCE`]; reads of it last [`GLANCE`] too, writes `silence`.
pub(super) fn accept(listener: &TcpListener, silence: Duration) -> Result<Option<(TcpStream, SocketAddrV4)>> {
    let Some((stream, peer)) = awaited(listener.accept()).context("cannot accept a connection")? else {
        return Ok(None);
    };
    let SocketAddr::V4(peer) = peer else {
        bail!("{peer} is no IPv4 address")
    };
    ready(&stream, GLANCE, silence).with_context(|| format!("cannot prepare the connection of {peer}"))?;
    Ok(Some((stream, peer)))
}

/// Waits for a connection as long as the server shall `go_on`.
pub(super) fn await_client(
    listener: &TcpListener,
    silence: Duration,
    go_on: impl Fn() -> bool,
) -> Result<(TcpStream, SocketAddrV4)> {
    loop {
        if let Some(accepted) = accept(listener, silence)? {
            return Ok(accepted);
        }
        ensure!(go_on(), "no client came");
    }
}

/// Connects from the calling thread's namespace; each call on the connection lasts `silence` at most.
pub(super) fn connect(to: SocketAddrV4, silence: Duration) -> Result<TcpStream> {
    let connect = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // This bounds the connect below too, which then ends with EINPROGRESS.
        socket.set_write_timeout(Some(silence))?;
        set_congestion_control(&socket)?;
        socket.connect(&to.into()).map_err(|error| match error.raw_os_error() {
            Some(libc::EINPROGRESS) => io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {silence:?}")),
            _ => error,
        })?;
        io::Result::Ok(TcpStream::from(socket))
    };
    let stream = connect().with_context(|| format!("cannot connect to {to} over TCP"))?;
    ready(&stream, silence, silence).with_context(|| format!("cannot prepare the connection to {to}"))?;
    Ok(stream)
}

/// A UDP socket on a port (0: any) of every address of the calling thread's namespace; a read lasts `patience` at most.
pub(super) fn datagrams(port: u16, patience: Duration) -> Result<UdpSocket> {
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        io::Result::Ok(socket)
    };
    once_free(open).with_context(|| format!("cannot open UDP port {port}"))
}

/// Opens a socket on a port that a closed one may still hold: a process that another thread starts has this process's
/// sockets too, from its fork until it executes its program.
fn once_free<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + RELEASE;
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
}

/// What a call that may time out gave; none if it did.
pub(super) fn awaited<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a call gave that must give something within `silence`.
pub(super) fn in_time<T>(result: io::Result<T>, silence: Duration) -> Result<T> {
    awaited(result)?.with_context(|| format!("the peer did not move for {silence:?}"))
}

fn set_congestion_control(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::TcpCongestion, &CONGESTION_CONTROL.into())?)
}

/// Bounds a connection's calls, sends what is written at once, and makes sure of its congestion control.
fn ready(stream: &TcpStream, read: Duration, write: Duration) -> Result<()> {
    stream.set_read_timeout(Some(read))?;
    stream.set_write_timeout(Some(write))?;
    stream.set_nodelay(true)?;
    let taken = getsockopt(stream, sockopt::TcpCongestion)?;
    ensure!(
        taken == CONGESTION_CONTROL,
        "the congestion control is {}, not {CONGESTION_CONTROL}",
        taken.display()
    );
    Ok(())
}
