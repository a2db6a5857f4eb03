//! A TCP service that hashes what it gets and sends as much back, and its client.
//!
//! Both sides make their data from a seed and compare SHA-256 sums, so a byte that is lost, moved or
//! changed on the way in either direction is noticed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use nix::sys::socket::{setsockopt, sockopt};
use sha2::{Digest as _, Sha256};
use socket2::{Domain, SockRef, Socket, Type};

use crate::wait::when_free;

/// Bytes moved per call.
const CHUNK: usize = 64 * 1024;

/// Longest silence that either side accepts.
const SILENCE: Duration = Duration::from_secs(10);

/// A TCP service inside a namespace, on a thread of its own, until it is dropped.
pub struct TcpServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    /// Listens on `port` of every address of `namespace`.
    pub fn start(namespace: &Netns, port: u16) -> Result<Self> {
        let listener = namespace
            .run(|| listen(port))?
            .with_context(|| format!("cannot listen on TCP port {port}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A client that goes away in the middle reports that itself.
                if let Ok((stream, SocketAddr::V4(peer))) = listener.accept() {
                    thread::spawn(move || serve(&stream, peer));
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread cannot fail in a way that a drop could report.
            let _ = thread.join();
        }
    }
}

/// What a client measured.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    /// The client's address as the server saw it.
    pub seen_as: SocketAddrV4,
    /// From the first byte sent to the last one received.
    pub elapsed: Duration,
}

/// Connects and closes.
pub fn connect(from: &Netns, to: SocketAddrV4, limit: Duration) -> Result<TcpStream> {
    let stream = from
        .run(|| TcpStream::connect_timeout(&to.into(), limit))?
        .with_context(|| format!("cannot connect to {to} over TCP"))?;
    tune(&stream)?;
    Ok(stream)
}

/// Connects from a certain port, which other connections may have too.
pub fn connect_from(from: &Netns, port: u16, to: SocketAddrV4, limit: Duration) -> Result<TcpStream> {
    let stream = from
        .run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            socket.connect_timeout(&SocketAddr::from(to).into(), limit)?;
            io::Result::Ok(TcpStream::from(socket))
        })?
        .with_context(|| format!("cannot connect from port {port} to {to} over TCP"))?;
    tune(&stream)?;
    Ok(stream)
}

/// Both ends of a connection.
#[derive(Debug)]
pub struct Connection {
    /// Who opened it.
    pub near: TcpStream,
    /// Who accepted it.
    pub far: TcpStream,
}

impl Connection {
    /// Connects `from` to `to`, which leads to `port` of `at`.
    pub fn open(from: &Netns, to: SocketAddrV4, (at, port): (&Netns, u16)) -> Result<Self> {
        let listener = at.run(|| listen(port))??;
        let near = connect(from, to, Duration::from_secs(3))?;
        let (far, _) = listener.accept().context("nobody was accepted")?;
        tune(&far)?;
        Ok(Self { near, far })
    }

    /// Carries data in both directions, other data at each call.
    pub fn talk(&self) -> Result<()> {
        /// Fits the buffers of a socket: one thread writes it all before it reads.
        const BYTES: u64 = 16 * 1024;
        static SEED: AtomicU64 = AtomicU64::new(UP_SEED);
        for (mut from, mut to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let seed = SEED.fetch_add(2, Ordering::Relaxed);
            let sent = send_stream(&mut from, seed, BYTES)?;
            let received = receive_stream(&mut to, BYTES).context("the connection has stopped")?;
            ensure!(received == sent, "other bytes arrived than were sent");
        }
        Ok(())
    }
}

/// Sends `bytes` to a [`TcpServer`], receives as many, and compares the hashes of both directions.
pub fn transfer(from: &Netns, to: SocketAddrV4, bytes: u64) -> Result<Transfer> {
    exchange(&mut connect(from, to, Duration::from_secs(3))?, to, bytes)
}

/// [`transfer`] over a fresh connection to `to`.
pub fn exchange(stream: &mut TcpStream, to: SocketAddrV4, bytes: u64) -> Result<Transfer> {
    let start = Instant::now();
    stream.write_all(&bytes.to_be_bytes())?;
    let sent = send_stream(stream, UP_SEED, bytes).with_context(|| format!("sending to {to}"))?;
    let mut reply = [0; 38];
    stream
        .read_exact(&mut reply)
        .with_context(|| format!("waiting for the report of {to}"))?;
    let received = receive_stream(stream, bytes).with_context(|| format!("receiving from {to}"))?;
    let elapsed = start.elapsed();
    stream.shutdown(Shutdown::Both).ok();
    ensure!(reply[..32] == sent, "{to} received other bytes than were sent to it");
    ensure!(
        received == hash_of(DOWN_SEED, bytes),
        "other bytes arrived than {to} sent"
    );
    let seen_as = SocketAddrV4::new(
        Ipv4Addr::new(reply[32], reply[33], reply[34], reply[35]),
        u16::from_be_bytes([reply[36], reply[37]]),
    );
    Ok(Transfer { seen_as, elapsed })
}

const UP_SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const DOWN_SEED: u64 = 0xd1b5_4a32_d192_ed03;

fn listen(port: u16) -> io::Result<TcpListener> {
    when_free(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Lets the accepting thread look at its stop flag.
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        // That somebody listens there may show here already, or only below.
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        socket.listen(64)?;
        Ok(socket.into())
    })
}

/// Cubic instead of the machine's default, which may be a congestion control that needs a pacing qdisc.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let _ = setsockopt(stream, sockopt::TcpCongestion, &"cubic".into());
    let socket = SockRef::from(stream);
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))
}

fn serve(mut stream: &TcpStream, peer: SocketAddrV4) -> io::Result<()> {
    tune(stream)?;
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let bytes = u64::from_be_bytes(length);
    let received = receive_stream(&mut stream, bytes)?;
    stream.write_all(&received)?;
    stream.write_all(&peer.ip().octets())?;
    stream.write_all(&peer.port().to_be_bytes())?;
    send_stream(&mut stream, DOWN_SEED, bytes).map(drop)
}

fn send_stream(to: &mut impl Write, seed: u64, bytes: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for_each_chunk(seed, bytes, |chunk| {
        hash.update(chunk);
        to.write_all(chunk)
    })?;
    Ok(hash.finalize().into())
}

fn receive_stream(from: &mut impl Read, bytes: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut source = from.take(bytes);
    let mut total = 0;
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        total += length as u64;
    }
    if total < bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{total} of {bytes} bytes arrived"),
        ));
    }
    Ok(hash.finalize().into())
}

fn hash_of(seed: u64, bytes: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The closure cannot fail.
    let _ = for_each_chunk(seed, bytes, |chunk| {
        hash.update(chunk);
        Ok(())
    });
    hash.finalize().into()
}

/// Makes `bytes` bytes that differ from chunk to chunk (xorshift64) and hands them out piece by piece.
fn for_each_chunk(seed: u64, bytes: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut state = seed;
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_ne_bytes());
        }
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        each(&chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}
