//! What applications see: streams, datagrams, requests and connections, in every direction.

use std::cell::OnceCell;
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
    /// The idle control, taken before anybody is prepared; empty where CPU time is no yardstick.
    idle: OnceCell<Idle>,
}

/// Every load in every direction; `quick` rounds are shorter.
pub fn cases(quick: bool) -> Vec<Box<dyn Case>> {
    cases_of(timing(quick))
}

/// Long enough for a stream to open its windows, and for a few thousand transactions.
fn timing(quick: bool) -> Timing {
    let (warm_up, window) = if quick { (50, 200) } else { (100, 500) };
    Timing {
        warm_up: Duration::from_millis(warm_up),
        window: Duration::from_millis(window),
        silence: Duration::from_secs(3),
    }
}

/// Every load in every direction, in rounds of this length.
pub fn cases_of(timing: Timing) -> Vec<Box<dyn Case>> {
    let case = |(id, title, load), direction| -> Box<dyn Case> {
        Box::new(Sockets {
            id,
            title,
            load,
            direction,
            timing,
            idle: OnceCell::new(),
        })
    };
    LOADS
        .into_iter()
        .flat_map(|load| Direction::ALL.map(|direction| case(load, direction)))
        .collect()
}

impl Case for Sockets {
    fn id(&self) -> String {
        format!("sockets/{}/{}", self.id, self.direction.id())
    }

    fn title(&self) -> String {
        format!("{}, {}", self.title, self.direction.title())
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        if let Some(reason) = world.contestant().same_without_rules() {
            return Ok(Able::Cannot(reason.to_owned()));
        }
        if cpu_metric(self.load).is_some() && self.idle.get().is_none() {
            let _raced = self.idle.set(Idle::watch()?);
        }
        match (self.direction, world.contestant()) {
            (Direction::Local, _) => Ok(Able::Done),
            (_, Contestant::Loopback | Contestant::RawPair) => {
                Ok(Able::Cannot("a limit has one direction: see local".to_owned()))
            }
            (Direction::Outbound, _) => Ok(world.translates()),
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
        Ok(sample(self.load, &measured, self.idle.get().copied()))
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        if self.direction == Direction::Published {
            world.unpublish()?;
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        // Servers notice the end with their next glance; of the eight there are seven, beyond the network four.
        let share = if self.direction == Direction::Local {
            7.0 / 8.0
        } else {
            4.0 / 8.0
        };
        ((self.timing.warm_up + self.timing.window).as_secs_f64() + 0.1) * share
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
            // To an address of its own a namespace talks from the same address.
            Self::Local if layout.a.netns.is_same(&layout.b.netns) => layout.b.ip,
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

/// What of a load CPU time is told by, and the bytes or packets of one unit of it.
fn cpu_metric(load: Load) -> Option<(Metric, f64)> {
    match load {
        Load::TcpStream { .. } => Some((Metric::CpuNsPerGib, f64::from(1 << 30))),
        Load::UdpFlood => Some((Metric::CpuNsPerPacket, 1.0)),
        Load::TcpExchange | Load::UdpExchange | Load::TcpConnect => None,
    }
}

/// The yardsticks of a load.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn sample(load: Load, measured: &Measured, idle: Option<Idle>) -> Sample {
    let mut sample = match load {
        Load::TcpStream { .. } => Sample::from([(Metric::GbitPerSecond, measured.per_second() * 8.0 / 1e9)]),
        Load::UdpFlood => Sample::from([
            (Metric::PacketsPerSecond, measured.per_second()),
            (Metric::LossPercent, measured.loss_percent()),
        ]),
        Load::TcpExchange | Load::UdpExchange | Load::TcpConnect => {
            Sample::from([(Metric::PerSecond, measured.per_second())])
        }
    };
    if let (Some((metric, unit)), Some(idle)) = (cpu_metric(load), idle) {
        sample.put(metric, measured.used.nanos_per(measured.count as f64 / unit, idle));
        sample.put(Metric::OtherWorkPercent, Ok::<_, String>(idle.share() * 100.0));
    }
    if let Some(latency) = &measured.latency {
        for (metric, name, share) in [
            (Metric::P50Micros, "p50", 0.5),
            (Metric::P90Micros, "p90", 0.9),
            (Metric::P99Micros, "p99", 0.99),
        ] {
            let micros = latency.micros_at(share);
            sample.put(
                metric,
                micros.ok_or_else(|| format!("fewer than 10 transactions a round beyond {name}")),
            );
        }
        sample.put_latency(latency.clone());
    }
    sample
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::bench::cpu::{LEAST_WINDOW, Used};

    #[test]
    fn every_load_has_every_direction_under_a_name_of_its_own() {
        let ids: HashSet<_> = cases(true).iter().map(|case| case.id()).collect();
        assert_eq!(ids.len(), LOADS.len() * Direction::ALL.len());
        for id in ids {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/-".contains(c);
            assert!(id.starts_with("sockets/") && id.chars().all(allowed), "{id}");
        }
    }

    #[test]
    fn a_quick_round_is_long_enough_for_cpu_time() {
        for quick in [true, false] {
            assert!(timing(quick).window >= LEAST_WINDOW);
        }
    }

    #[test]
    fn a_sample_is_in_the_units_of_its_metrics() {
        let mut measured = Measured {
            count: 1 << 30,
            used: Used {
                window: Duration::from_secs(2),
                busy: Duration::from_secs(3),
            },
            latency: None,
            sent: 1 << 31,
            received: 1 << 31,
            peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
        };
        let stream = sample(Load::TcpStream { flows: 1 }, &measured, Some(Idle::NOTHING));
        assert_eq!(
            stream.figures(),
            [
                (Metric::GbitPerSecond, 4.294_967_296),
                (Metric::CpuNsPerGib, 3e9),
                (Metric::OtherWorkPercent, 0.0)
            ]
        );
        measured.count = 1_000_000;
        (measured.sent, measured.received) = (4_000_000, 3_000_000);
        let flood = sample(Load::UdpFlood, &measured, Some(Idle::NOTHING));
        let expected = [
            (Metric::PacketsPerSecond, 500_000.0),
            (Metric::LossPercent, 25.0),
            (Metric::CpuNsPerPacket, 3_000.0),
            (Metric::OtherWorkPercent, 0.0),
        ];
        assert_eq!(flood.figures(), expected);
        measured.used.busy = Duration::ZERO;
        let nothing = sample(Load::UdpFlood, &measured, Some(Idle::NOTHING));
        assert_eq!(
            nothing.lacks().first().map(|(metric, _)| *metric),
            Some(Metric::CpuNsPerPacket)
        );
    }
}
