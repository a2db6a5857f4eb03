//! What applications see: streams, datagrams, requests and connections, in every direction.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::case::Case;
use super::contestant::Contestant;
use super::cpu::Idle;
use super::load::{Load, Measured, Route, Timing};
use super::series::{Metric, Sample};
use super::world::{Able, Host, Layout, Published, World};

/// Where the server listens, in container B or in the outside.
const PORT: u16 = 9000;

/// The host's port that leads to container B's [`PORT`].
const PUBLISHED_PORT: u16 = 8080;

/// The loads by the names that case ids give them.
const LOADS: [(&str, &str, Load); 6] = [
    ("tcp-stream-1", "TCP stream", Load::TcpStream { flows: 1 }),
    ("tcp-stream-4", "TCP stream, 4 flows", Load::TcpStream { flows: 4 }),
    ("udp-64", "UDP, 64 bytes", Load::UdpFlood),
    ("tcp-rr", "TCP request/response", Load::TcpExchange),
    ("udp-rr", "UDP request/response", Load::UdpExchange),
    ("tcp-crr", "TCP connect/request/close", Load::TcpConnect),
];

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Container A to container B.
    Local,
    /// Container A to the outside, which sees the host's address.
    Outbound,
    /// The outside to a port of the host that is published for container B.
    Published,
}

impl Direction {
    const ALL: [Self; 3] = [Self::Local, Self::Outbound, Self::Published];

    const fn id(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Outbound => "outbound",
            Self::Published => "published",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Local => "container to container",
            Self::Outbound => "container to outside",
            Self::Published => "outside to published port",
        }
    }
}

/// One load in one direction.
struct Sockets {
    id: &'static str,
    title: &'static str,
    load: Load,
    direction: Direction,
    timing: Timing,
}

/// Every load in every direction; `quick` rounds are shorter.
pub fn cases(quick: bool) -> Vec<Box<dyn Case>> {
    let timing = timing(quick);
    let case = |(id, title, load), direction| -> Box<dyn Case> {
        Box::new(Sockets {
            id,
            title,
            load,
            direction,
            timing,
        })
    };
    LOADS
        .into_iter()
        .flat_map(|load| Direction::ALL.map(|direction| case(load, direction)))
        .collect()
}

/// A round: long enough for a stream to open its windows, and for a few thousand transactions.
fn timing(quick: bool) -> Timing {
    let (warm_up, window) = if quick { (50, 200) } else { (100, 500) };
    Timing {
        warm_up: Duration::from_millis(warm_up),
        window: Duration::from_millis(window),
        silence: Duration::from_secs(3),
    }
}

impl Case for Sockets {
    fn id(&self) -> String {
        format!("sockets/{}/{}", self.id, self.direction.id())
    }

    fn title(&self) -> String {
        format!("{}, {}", self.title, self.direction.title())
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        // The idle control comes before any round.
        Idle::of_this_run()?;
        match (self.direction, world.contestant()) {
            (Direction::Local, _) => Ok(Able::Done),
            (_, Contestant::Loopback | Contestant::RawPair) => {
                Ok(Able::Cannot("the limit has one direction: see local".to_owned()))
            }
            (_, Contestant::Bridge) => Ok(Able::Cannot("a bridge alone translates nothing".to_owned())),
            (Direction::Outbound, _) => Ok(Able::Done),
            (Direction::Published, _) => world.publish(&[Published {
                proto: self.load.protocol(),
                host: PUBLISHED_PORT,
                container: PORT,
            }]),
        }
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        if self.load == Load::TcpConnect {
            // Every round starts with empty tables: a short round must not pay for the connections of the last.
            world.forget_flows()?;
        }
        let layout = world.layout();
        let measured = self.load.run(&self.direction.route(layout)?, self.timing)?;
        self.direction.check(layout, measured.peer)?;
        Ok(sample(self.load, &measured, Idle::of_this_run()?))
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        if self.direction == Direction::Published {
            world.unpublish()?;
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        // Servers notice the end with their next glance.
        (self.timing.warm_up + self.timing.window).as_secs_f64() + 0.1
    }
}

impl Direction {
    fn route(self, layout: &Layout) -> Result<Route<'_>> {
        let (client, server, dial) = match self {
            Self::Local => (&layout.a, &layout.b, SocketAddrV4::new(layout.b.ip, PORT)),
            Self::Outbound => (&layout.a, &layout.outside, SocketAddrV4::new(layout.outside.ip, PORT)),
            Self::Published => (
                &layout.outside,
                &layout.b,
                SocketAddrV4::new(host(layout)?.uplink.ip, PUBLISHED_PORT),
            ),
        };
        Ok(Route {
            client: &client.netns,
            server: &server.netns,
            listen: PORT,
            dial,
        })
    }

    /// Makes sure that the server saw the client as this direction shows it: else the traffic took another way.
    fn check(self, layout: &Layout, peer: SocketAddrV4) -> Result<()> {
        let expected = match self {
            Self::Local => layout.a.ip,
            Self::Outbound => host(layout)?.uplink.ip,
            Self::Published => layout.outside.ip,
        };
        ensure!(
            *peer.ip() == expected,
            "the server saw its client as {peer}, and not with the address {expected}"
        );
        Ok(())
    }
}

fn host(layout: &Layout) -> Result<&Host> {
    layout.host.as_ref().context("this contestant has no host")
}

/// The yardsticks of a load.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn sample(load: Load, measured: &Measured, idle: Idle) -> Sample {
    const GIB: f64 = (1_u64 << 30) as f64;
    let count = measured.count as f64;
    let mut sample = match load {
        Load::TcpStream { .. } => vec![(Metric::GbitPerSecond, measured.per_second() * 8.0 / 1e9)],
        Load::UdpFlood => vec![
            (Metric::PacketsPerSecond, measured.per_second()),
            (Metric::LossPercent, measured.loss_percent()),
        ],
        Load::TcpExchange | Load::UdpExchange | Load::TcpConnect => {
            vec![(Metric::PerSecond, measured.per_second())]
        }
    };
    let cpu = match load {
        Load::TcpStream { .. } => Some((Metric::CpuNsPerGib, count / GIB)),
        Load::UdpFlood => Some((Metric::CpuNsPerPacket, count)),
        _ => None,
    };
    sample.extend(cpu.and_then(|(metric, items)| Some((metric, measured.used.nanos_per(items, idle)?))));
    if let Some(latency) = &measured.latency {
        let percentiles = [
            (Metric::P50Micros, 0.5),
            (Metric::P90Micros, 0.9),
            (Metric::P99Micros, 0.99),
            (Metric::P999Micros, 0.999),
        ];
        sample.extend(
            percentiles
                .iter()
                .filter_map(|(metric, share)| Some((*metric, latency.micros_at(*share)?))),
        );
    }
    sample
}
