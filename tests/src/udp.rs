//! A UDP service that answers with the address it saw and the data it got, and its client.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;

use crate::wait::when_free;

/// A UDP service inside a namespace, on a thread of its own, until it is dropped.
pub struct UdpServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// Listens on `port` of every address of `namespace`.
    pub fn start(namespace: &Netns, port: u16) -> Result<Self> {
        Self::start_at(namespace, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
    }

    /// Listens on one address of `namespace`.
    pub fn start_at(namespace: &Netns, at: SocketAddrV4) -> Result<Self> {
        let socket = namespace
            .run(|| when_free(|| UdpSocket::bind(at)))?
            .with_context(|| format!("cannot listen on {at} over UDP"))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                // A client that gets no answer reports that itself.
                let _ = answer(&socket, &mut buffer);
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for UdpServer {
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
pub struct Answer {
    /// The client's address as the server saw it.
    pub seen_as: SocketAddrV4,
    /// Round trip.
    pub elapsed: Duration,
}

/// A client's socket: its port, and with it its flow, stays the same from call to call.
pub struct UdpClient {
    socket: UdpSocket,
    to: SocketAddrV4,
}

impl UdpClient {
    /// Opens a socket in `from` that talks to `to` alone.
    pub fn open(from: &Netns, to: SocketAddrV4, limit: Duration) -> Result<Self> {
        let socket = from
            .run(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(to)?;
                io::Result::Ok(socket)
            })?
            .with_context(|| format!("cannot open a UDP socket to {to}"))?;
        let client = Self { socket, to };
        client.wait(limit)?;
        Ok(client)
    }

    /// Waits so long for answers from now on.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        Ok(self.socket.set_read_timeout(Some(limit))?)
    }

    /// Sends `payload` once and waits for the answer of a [`UdpServer`].
    pub fn ask(&self, payload: &[u8]) -> Result<Answer> {
        let start = Instant::now();
        self.socket
            .send(payload)
            .with_context(|| format!("cannot send to {} over UDP", self.to))?;
        let mut buffer = vec![0; 65_536];
        let length = self
            .socket
            .recv(&mut buffer)
            .with_context(|| format!("no UDP answer from {}", self.to))?;
        let elapsed = start.elapsed();
        ensure!(
            length == payload.len() + 6,
            "{} answered {length} bytes to {}",
            self.to,
            payload.len()
        );
        ensure!(&buffer[6..length] == payload, "{} answered with other data", self.to);
        let seen_as = SocketAddrV4::new(
            Ipv4Addr::new(buffer[0], buffer[1], buffer[2], buffer[3]),
            u16::from_be_bytes([buffer[4], buffer[5]]),
        );
        Ok(Answer { seen_as, elapsed })
    }
}

/// A socket at a port of `from`, which everybody may send to.
pub fn bound(from: &Netns, port: u16, limit: Duration) -> Result<UdpSocket> {
    let socket = from
        .run(|| when_free(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))))?
        .with_context(|| format!("cannot bind UDP port {port}"))?;
    socket.set_read_timeout(Some(limit))?;
    Ok(socket)
}

/// Asks the [`UdpServer`] at `to` from such a socket; how the server saw it.
pub fn seen_by(socket: &UdpSocket, to: SocketAddrV4) -> Result<SocketAddrV4> {
    socket.send_to(b"who am I?", to)?;
    let mut buffer = [0; 64];
    let (length, sender) = socket
        .recv_from(&mut buffer)
        .with_context(|| format!("no UDP answer from {to}"))?;
    ensure!(sender == to.into(), "{sender} answers for {to}");
    ensure!(length == 15, "{to} answered {length} bytes");
    Ok(SocketAddrV4::new(
        Ipv4Addr::new(buffer[0], buffer[1], buffer[2], buffer[3]),
        u16::from_be_bytes([buffer[4], buffer[5]]),
    ))
}

/// One question, one answer.
pub fn ask(from: &Netns, to: SocketAddrV4, payload: &[u8], limit: Duration) -> Result<Answer> {
    UdpClient::open(from, to, limit)?.ask(payload)
}

fn answer(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    let (length, peer) = socket.recv_from(buffer)?;
    let SocketAddr::V4(peer) = peer else { return Ok(()) };
    let mut reply = Vec::with_capacity(length + 6);
    reply.extend_from_slice(&peer.ip().octets());
    reply.extend_from_slice(&peer.port().to_be_bytes());
    reply.extend_from_slice(&buffer[..length]);
    socket.send_to(&reply, peer).map(drop)
}
