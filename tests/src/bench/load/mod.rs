//! Small load programs over real sockets: the same code at both ends of every contestant.
//!
//! The two ends are threads that enter the namespaces of a [`Route`], each pinned to a CPU of its own. Threads and not
//! processes: they share one clock and one counter, none outlives a failure, and in rounds taken in turn processes
//! measured the same within the quartiles. Client and server open their sockets, prove the way with a first exchange,
//! and work from then on; after a warm-up the counters are read twice, a window apart, and what lies between is the
//! result. Then the client stops, the server takes what is still on its way, and the totals of both must agree.
//!
//! Every call on a socket is bounded, so that a peer that vanishes is an error and not a benchmark that hangs.

mod connect;
mod exchange;
mod flood;
mod socket;
mod stage;
mod stream;

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;

use super::cpu::Used;
use super::latency::Latency;

/// Payload of a datagram, of a request and of a response, bytes.
pub const MESSAGE: usize = 64;

/// What is sent over a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Bytes from client to server over this many TCP connections at once.
    TcpStream {
        /// Connections.
        flows: u16,
    },
    /// Datagrams of [`MESSAGE`] bytes from client to server, one a call, as fast as the client can.
    UdpFlood,
    /// One request and one response of [`MESSAGE`] bytes after the other over one TCP connection.
    TcpExchange,
    /// The same over UDP.
    UdpExchange,
    /// A TCP connection for each request and response. The server closes first, as an HTTP/1.0 server does: so it is
    /// the server that keeps `TIME_WAIT`, where it takes none of the client's ports.
    TcpConnect,
}

/// From where to where.
pub struct Route<'a> {
    /// Where the client is.
    pub client: &'a Netns,
    /// Where the server is.
    pub server: &'a Netns,
    /// The port on which the server listens.
    pub listen: u16,
    /// What the client is told to talk to: the server, or what leads to it.
    pub dial: SocketAddrV4,
}

/// How long a measurement takes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// What is not counted at the beginning.
    pub warm_up: Duration,
    /// What is counted.
    pub window: Duration,
    /// The longest that either end waits for the other before it gives up.
    pub silence: Duration,
}

/// What went over a route.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What arrived in the window: bytes of payload of a stream, datagrams of a flood, else transactions.
    pub count: u64,
    /// The window as it came to be, and the CPU time used in it.
    pub used: Used,
    /// How long the window's transactions took, for loads that have them.
    pub latency: Option<Latency>,
    /// What the client sent from the first to the last, in the unit of `count`.
    pub sent: u64,
    /// What the server received of that; it is less than `sent` only for a flood.
    pub received: u64,
    /// The client's address as the server saw it.
    pub peer: SocketAddrV4,
}

impl Measured {
    /// Arrivals per second of the window.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.used.window.as_secs_f64()
    }

    /// Share of what was sent that did not arrive, per cent.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
    pub fn loss_percent(&self) -> f64 {
        100.0 * (self.sent - self.received) as f64 / self.sent as f64
    }
}

impl Load {
    /// The number of its protocol: 6 (TCP) or 17 (UDP).
    pub const fn protocol(self) -> u8 {
        match self {
            Self::TcpStream { .. } | Self::TcpExchange | Self::TcpConnect => 6,
            Self::UdpFlood | Self::UdpExchange => 17,
        }
    }

    /// Puts the load on a route. It is an error if an end fails, if nothing arrives, or if the ends' counts disagree.
    pub fn run(self, route: &Route<'_>, timing: Timing) -> Result<Measured> {
        let measured = match self {
            Self::TcpStream { flows } => stream::run(route, timing, flows),
            Self::UdpFlood => flood::run(route, timing),
            Self::TcpExchange => exchange::over_tcp(route, timing),
            Self::UdpExchange => exchange::over_udp(route, timing),
            Self::TcpConnect => connect::run(route, timing),
        };
        measured
            .and_then(|measured| self.check(measured))
            .with_context(|| format!("{self:?} from {} to {} in {}", route.client, route.dial, route.server))
    }

    fn check(self, measured: Measured) -> Result<Measured> {
        let Measured {
            count, sent, received, ..
        } = measured;
        ensure!(count > 0, "nothing arrived in the window");
        ensure!(received <= sent, "{received} arrived of {sent} that were sent");
        ensure!(
            received == sent || self == Self::UdpFlood,
            "only {received} arrived of {sent} that were sent"
        );
        Ok(measured)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn measured(count: u64, sent: u64, received: u64) -> Measured {
        Measured {
            count,
            used: Used {
                window: Duration::from_millis(500),
                busy: Duration::from_millis(700),
            },
            latency: None,
            sent,
            received,
            peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
        }
    }

    #[test]
    fn rates_and_losses_are_what_the_counts_say() {
        let measured = measured(1_000, 2_000, 1_500);
        assert!((measured.per_second() - 2_000.0).abs() < 1e-9);
        assert!((measured.loss_percent() - 25.0).abs() < 1e-9);
    }

    #[test]
    fn counts_that_disagree_are_an_error() {
        let all = [
            Load::TcpStream { flows: 1 },
            Load::UdpFlood,
            Load::TcpExchange,
            Load::UdpExchange,
            Load::TcpConnect,
        ];
        for load in all {
            assert!(load.check(measured(1, 2, 2)).is_ok());
            assert!(
                load.check(measured(0, 2, 2)).is_err(),
                "{load:?}: nothing in the window"
            );
            assert!(load.check(measured(1, 2, 3)).is_err(), "{load:?}: more than was sent");
            assert_eq!(
                load.check(measured(1, 3, 2)).is_ok(),
                load == Load::UdpFlood,
                "{load:?}: less than was sent"
            );
        }
    }
}
