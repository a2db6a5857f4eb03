//! Echo requests over raw sockets.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, SlicedPacket, TransportSlice};
use netbridge::netns::Netns;
use socket2::{Domain, Protocol, Socket, Type};

/// Identifiers differ between pings so that no reply is taken for another's.
static NEXT_ID: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);

/// Sends one echo request with `payload` bytes of data and returns the round-trip time; fails when no
/// answer comes within `limit`.
pub fn ping(from: &Netns, to: Ipv4Addr, payload: usize, limit: Duration) -> Result<Duration> {
    let socket = from.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)))??;
    socket.set_read_timeout(Some(limit))?;
    let id = NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let data = vec![0x5a; payload];
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id, seq: 1 });
    let mut message = Icmpv4Header::with_checksum(echo, &data).to_bytes().to_vec();
    message.extend_from_slice(&data);
    let start = Instant::now();
    socket
        .send_to(&message, &SocketAddr::from((to, 0)).into())
        .with_context(|| format!("cannot send an echo request to {to}"))?;
    let mut buffer = vec![0; 65_536];
    while start.elapsed() < limit {
        let length = match (&socket).read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("cannot receive an echo reply"),
        };
        let packet = SlicedPacket::from_ip(&buffer[..length]).context("the kernel delivered no IP packet")?;
        if let Some(TransportSlice::Icmpv4(reply)) = packet.transport
            && answers(&reply, id)
        {
            if reply.payload() != data {
                bail!("the echo reply of {to} carries other data than the request");
            }
            return Ok(start.elapsed());
        }
    }
    bail!("no echo reply from {to} within {limit:?}")
}

fn answers(reply: &Icmpv4Slice<'_>, id: u16) -> bool {
    matches!(reply.icmp_type(), Icmpv4Type::EchoReply(header) if header.id == id && header.seq == 1)
}
