//! The loads of the benchmark over a veth pair: what they count, and that nothing makes them hang.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail, ensure};
use netbridge::netns::{Netns, NetnsSpec};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::crosscheck::{Check, Outcome, checks};
use netbridge_tests::bench::latency::Latency;
use netbridge_tests::bench::load::{Load, Measured, Route, Timing};
use netbridge_tests::bench::series::{Metric, Sample};
use netbridge_tests::bench::sockets::cases_of;
use netbridge_tests::bench::world::{Able, Layout, Place};
use netbridge_tests::sandbox::within;
use netbridge_tests::wait::wait_until;

use super::bench_worlds::Way;
use super::command::{refused, shows, tool};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PORT: u16 = 9000;

const ALL: [Load; 6] = [
    Load::TcpStream { flows: 1 },
    Load::TcpStream { flows: 4 },
    Load::UdpFlood,
    Load::TcpExchange,
    Load::UdpExchange,
    Load::TcpConnect,
];

const SHORT: Timing = Timing {
    warm_up: Duration::from_millis(5),
    window: Duration::from_millis(50),
    silence: Duration::from_secs(3),
};

/// Far longer than any test waits: only an error ends it in time.
const ENDLESS: Timing = Timing {
    warm_up: Duration::ZERO,
    window: Duration::from_mins(10),
    silence: Duration::from_secs(1),
};

/// Two namespaces and the pair between them.
struct Pair {
    client: Netns,
    server: Netns,
}

impl Pair {
    fn make() -> Result<Self> {
        let (client, server) = (Netns::create_named("client")?, Netns::create_named("server")?);
        tool("ip -n client link add eth0 type veth peer name eth0 netns server")?;
        for (name, address) in [("client", CLIENT), ("server", SERVER)] {
            tool(&format!("ip -n {name} address add {address}/24 dev eth0"))?;
            tool(&format!("ip -n {name} link set eth0 up"))?;
        }
        Ok(Self { client, server })
    }

    fn run(&self, load: Load, timing: Timing) -> Result<Measured> {
        self.run_to(SocketAddrV4::new(SERVER, PORT), load, timing)
    }

    fn run_to(&self, dial: SocketAddrV4, load: Load, timing: Timing) -> Result<Measured> {
        let route = Route {
            client: &self.client,
            server: &self.server,
            listen: PORT,
            dial,
        };
        load.run(&route, timing)
    }

    /// Sockets of the client that talk to the server, each with its details.
    fn sockets(&self) -> Result<Vec<String>> {
        let text = self
            .client
            .run(|| tool(&format!("ss --tcp --udp --info --no-header --oneline dst {SERVER}")))??;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// Packets that reached the server.
fn arrived() -> Result<u64> {
    let link = shows("ip -n server -j -s link show eth0")?;
    link["stats64"]["rx"]["packets"].as_u64().context("no packet counter")
}

#[test]
fn every_load_arrives_and_is_counted() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        // Twice: nothing that a round leaves behind stands in the way of the next.
        for load in ALL.iter().chain(&ALL) {
            let measured = pair.run(*load, SHORT)?;
            assert!(measured.count > 0, "{load:?}: {measured:?}");
            assert!(measured.sent >= measured.received, "{load:?}: {measured:?}");
            assert!(measured.received >= measured.count, "{load:?}: {measured:?}");
            assert!(measured.used.window >= SHORT.window, "{load:?}: {measured:?}");
            assert_eq!(*measured.peer.ip(), CLIENT, "{load:?}");
            let timed = measured.latency.as_ref().map(Latency::count);
            match load {
                Load::TcpStream { .. } | Load::UdpFlood => assert_eq!(timed, None),
                // The one that ends as the counters are read may be in one count alone.
                _ => assert!(
                    timed.is_some_and(|timed| timed.abs_diff(measured.count) <= 1),
                    "{load:?}: {timed:?} of {measured:?}"
                ),
            }
        }
        Ok(())
    })
}

#[test]
fn connections_that_were_closed_take_no_port_of_the_client() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        pair.client
            .run(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40049"))??;
        let mut connections = 0;
        for _ in 0..100 {
            connections += pair.run(Load::TcpConnect, SHORT)?.sent;
            if connections > 150 {
                return Ok(());
            }
        }
        bail!("only {connections} connections with 50 ports")
    })
}

#[test]
fn tcp_runs_over_cubic_whatever_the_machine_prefers() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        let timing = Timing {
            window: Duration::from_millis(700),
            ..SHORT
        };
        for (load, flows) in [(Load::TcpStream { flows: 4 }, 4), (Load::TcpExchange, 1)] {
            thread::scope(|scope| {
                let running = scope.spawn(|| pair.run(load, timing));
                let mut seen = Vec::new();
                wait_until("established connections", timing.window, || {
                    seen = pair.sockets()?;
                    Ok(seen.iter().filter(|socket| socket.contains("ESTAB")).count() == flows)
                })?;
                for socket in seen {
                    assert!(socket.contains(" cubic "), "{load:?}: {socket}");
                    assert!(!socket.contains("bbr"), "{load:?}: {socket}");
                }
                running.join().expect("the load panicked").map(drop)
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_vanishes_is_an_error_and_not_a_wait() -> Result<()> {
    for load in ALL {
        within(|_| {
            let pair = Pair::make()?;
            let error = cut_off(&pair, load).with_context(|| format!("{load:?}"))?;
            let text = format!("{error:#}");
            assert!(text.contains(" for 1s"), "{load:?}: {text}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The error of a load whose server is taken away while it works.
///
/// A packet may be lost before that: the queue of a CPU is one for all namespaces, and a SYN is repeated after as long
/// as `ENDLESS` stands silence. What ends by itself is begun again.
fn cut_off(pair: &Pair, load: Load) -> Result<Error> {
    let mut ended = Vec::new();
    for _ in 0..5 {
        tool("ip -n server link set eth0 up")?;
        let before = arrived()?;
        let (worked, outcome) = thread::scope(|scope| {
            let running = scope.spawn(|| pair.run(load, ENDLESS));
            let traffic = wait_until("traffic", Duration::from_secs(10), || {
                Ok(running.is_finished() || arrived()? > before + 1000)
            });
            let worked = !running.is_finished();
            // Whatever has happened: nothing else ends it.
            tool("ip -n server link set eth0 down")?;
            let Ok(outcome) = running.join() else {
                bail!("the load panicked")
            };
            traffic.map(|()| (worked, outcome))
        })?;
        let error = refused(outcome)?;
        if worked {
            return Ok(error);
        }
        ended.push(format!("{error:#}"));
    }
    bail!("it never worked: {ended:#?}")
}

#[test]
fn other_tools_are_asked_the_same() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        let place = |name: &str, ip| -> Result<Place> {
            Ok(Place {
                netns: Netns::open(&NetnsSpec::Name(name.to_owned()))?,
                ifname: "eth0".to_owned(),
                ifindex: 2,
                mac: [0; 6],
                ip,
            })
        };
        let layout = Layout {
            a: place("client", CLIENT)?,
            b: place("server", SERVER)?,
            outside: place("server", SERVER)?,
            host: None,
        };
        let absent = |tool: &str| format!("{tool} is not installed");
        let gave_up = |check: &Check| matches!(&check.outcome, Outcome::Absent(why) if *why != absent(&check.tool));
        let mut asked = checks(Contestant::RawPair, &layout, 1)?;
        // On a busy machine sockperf gives up now and then.
        for _ in 0..2 {
            if asked.iter().any(gave_up) {
                asked = checks(Contestant::RawPair, &layout, 1)?;
            }
        }
        assert_eq!(asked.len(), 3);
        for check in asked {
            match check.outcome {
                Outcome::Compared {
                    theirs, ours, ratio, ..
                } => assert!(theirs > 0.0 && ours > 0.0 && ratio > 0.0),
                Outcome::Absent(reason) => assert_eq!(reason, absent(&check.tool)),
            }
        }
        for (name, namespace) in [("client", &pair.client), ("server", &pair.server)] {
            let left = tool(&format!("ip netns pids {name}"))?;
            assert!(left.is_empty(), "processes are left in {namespace}: {left}");
        }
        Ok(())
    })
}

#[test]
fn a_way_that_is_blocked_is_an_error_and_not_a_wait() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        // Nothing that the server sends arrives.
        tool(&format!("ip -n server route add blackhole {CLIENT}/32"))?;
        for load in ALL {
            let error = refused(pair.run(load, ENDLESS)).with_context(|| format!("{load:?}"))?;
            let text = format!("{error:#}");
            assert!(text.contains("the client failed"), "{load:?}: {text}");
        }
        tool(&format!("ip -n server route del blackhole {CLIENT}/32"))?;
        // Nobody listens where the client calls.
        for load in ALL {
            let mut text = String::new();
            // Here too a packet may be lost.
            for _ in 0..5 {
                let error = refused(pair.run_to(SocketAddrV4::new(SERVER, PORT + 1), load, ENDLESS))?;
                text = format!("{error:#}");
                if text.contains("Connection refused") {
                    break;
                }
            }
            assert!(text.contains("Connection refused"), "{load:?}: {text}");
        }
        Ok(())
    })
}

#[test]
fn a_port_that_is_taken_is_named() -> Result<()> {
    within(|_| {
        let pair = Pair::make()?;
        let (_tcp, _udp) = pair.server.run(|| -> Result<_> {
            Ok((
                std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?,
                std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?,
            ))
        })??;
        for load in ALL {
            let error = refused(pair.run(load, ENDLESS))?;
            let text = format!("{error:#}");
            assert!(text.contains("port 9000"), "{load:?}: {text}");
        }
        Ok(())
    })
}

#[test]
fn every_case_has_a_figure_or_a_reason_for_every_contestant() -> Result<()> {
    within(|sandbox| {
        let mut worlds = Vec::new();
        for contestant in Contestant::ALL {
            worlds.push(build(contestant, sandbox)?);
        }
        for case in cases_of(SHORT) {
            for world in &mut worlds {
                let (id, contestant) = (case.id(), world.contestant());
                let what = || format!("{id}, {contestant}");
                let able = case.prepare(world.as_mut()).with_context(what)?;
                let translates = world.translates() == Able::Done;
                assert_eq!(
                    able == Able::Done,
                    contestant.same_without_rules().is_none() && (id.ends_with("/local") || translates),
                    "{}: {able:?}",
                    what()
                );
                if able == Able::Done {
                    // One case tells whose way packets take; to look is slow.
                    let watched = id.starts_with("sockets/tcp-rr/");
                    let way = watched
                        .then(|| Way::of(world.as_ref()))
                        .transpose()
                        .with_context(what)?;
                    for _ in 0..2 {
                        let sample = case.measure(world.as_mut()).with_context(what)?;
                        judge(&id, &sample).with_context(what)?;
                    }
                    if let Some(way) = way {
                        way.was_taken(world.as_ref(), 2).with_context(what)?;
                    }
                }
                case.finish(world.as_mut()).with_context(what)?;
            }
        }
        Ok(())
    })
}

/// A sample has the yardsticks of its case, each of them once, and each a figure. CPU time is left out: the round is
/// too short for it.
fn judge(id: &str, sample: &Sample) -> Result<()> {
    let metrics: BTreeMap<Metric, f64> = sample.figures().iter().copied().collect();
    ensure!(
        metrics.len() == sample.figures().len(),
        "a metric comes twice: {sample:?}"
    );
    let rate = if id.contains("tcp-stream") {
        Metric::GbitPerSecond
    } else if id.contains("udp-64") {
        Metric::PacketsPerSecond
    } else {
        Metric::PerSecond
    };
    ensure!(metrics.get(&rate).is_some_and(|value| *value > 0.0), "{sample:?}");
    ensure!(
        metrics.contains_key(&Metric::LossPercent) == (rate == Metric::PacketsPerSecond),
        "{sample:?}"
    );
    ensure!(
        metrics.values().all(|value| value.is_finite() && *value >= 0.0),
        "{sample:?}"
    );
    ensure!(sample.latency().is_some() == (rate == Metric::PerSecond), "{sample:?}");
    ensure!(!metrics.contains_key(&Metric::CpuNsPerGib) && !metrics.contains_key(&Metric::CpuNsPerPacket));
    Ok(())
}
