//! Our loads beside iperf3 and sockperf, over the same route and on the same CPUs: do they measure the same?
//!
//! A stream is checked against `iperf3 -C cubic`, request/response against `sockperf ping-pong` (the whole round trip,
//! messages of the same size). sockperf takes the machine's own congestion control, which 64 bytes at a time do not
//! notice.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netbridge::netns::Netns;
use serde::{Deserialize, Serialize};

use super::contestant::Contestant;
use super::load::{Load, MESSAGE, Route, Timing};
use super::results::portable;
use super::series::Metric;
use super::statistics::median;
use super::world::{Layout, Place};
use crate::processors::{keep_to, two};
use crate::wait::wait_until;

/// Where iperf3 listens.
const IPERF3_PORT: u16 = 9010;

/// Where sockperf listens: it does not take a port on which connections of another are in `TIME_WAIT`.
const SOCKPERF_PORT: u16 = 9011;

/// Where ours listens.
const OUR_PORT: u16 = 9000;

/// Seconds of a measurement, theirs and ours.
const SECONDS: u64 = 1;

/// Seconds after which their client is given up.
const PATIENCE: u64 = 15;

/// One figure, measured by another tool and by us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The other tool.
    pub tool: String,
    /// What was measured: `TCP stream`.
    pub what: String,
    /// Over whose route, container A to container B.
    pub contestant: Contestant,
    /// The yardstick.
    pub metric: Metric,
    /// How the two compare.
    pub outcome: Outcome,
}

/// How the two compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Both measured.
    Compared {
        /// The other tool's figure.
        theirs: f64,
        /// Ours.
        ours: f64,
        /// Ours by theirs.
        ratio: f64,
        /// How many rounds the other tool measured; ours measured in all of them.
        rounds: usize,
    },
    /// The other tool gave no figure, and why: `iperf3 is not installed`.
    Absent(String),
}

/// Another tool's measurement.
struct Peer {
    tool: &'static str,
    what: &'static str,
    metric: Metric,
    load: Load,
    port: u16,
    server: fn(Ipv4Addr) -> Vec<String>,
    client: fn(Ipv4Addr) -> Vec<String>,
    read: fn(&str) -> Result<f64>,
}

const PEERS: [Peer; 3] = [
    Peer {
        tool: "iperf3",
        what: "TCP stream",
        metric: Metric::GbitPerSecond,
        load: Load::TcpStream { flows: 1 },
        port: IPERF3_PORT,
        server: |ip| words(&format!("--server --one-off --bind {ip} --port {IPERF3_PORT}")),
        client: |ip| {
            words(&format!(
                "--client {ip} --port {IPERF3_PORT} --congestion cubic --json --omit 1 --time {SECONDS}"
            ))
        },
        read: iperf3_gbits,
    },
    Peer {
        tool: "sockperf",
        what: "TCP request/response",
        metric: Metric::P50Micros,
        load: Load::TcpExchange,
        port: SOCKPERF_PORT,
        server: |ip| words(&format!("server --tcp --ip {ip} --port {SOCKPERF_PORT}")),
        client: |ip| [ping_pong(ip), words("--tcp")].concat(),
        read: sockperf_p50,
    },
    Peer {
        tool: "sockperf",
        what: "UDP request/response",
        metric: Metric::P50Micros,
        load: Load::UdpExchange,
        port: SOCKPERF_PORT,
        server: |ip| words(&format!("server --ip {ip} --port {SOCKPERF_PORT}")),
        client: ping_pong,
        read: sockperf_p50,
    },
];

/// Measures container A to container B with the other tools and with our own loads in turn, `rounds` times, and
/// compares the medians. A round takes some ten seconds.
///
/// A tool that is missing or fails is told in its [`Outcome`]; an error is a failure of our own load.
pub fn checks(contestant: Contestant, layout: &Layout, rounds: usize) -> Result<Vec<Check>> {
    let check = |peer: &Peer| {
        Ok(Check {
            tool: peer.tool.to_owned(),
            what: peer.what.to_owned(),
            contestant,
            metric: peer.metric,
            outcome: compare(peer, &layout.a, &layout.b, rounds)?,
        })
    };
    PEERS.iter().map(check).collect()
}

fn compare(peer: &Peer, a: &Place, b: &Place, rounds: usize) -> Result<Outcome> {
    let (mut all_theirs, mut all_ours) = (Vec::new(), Vec::new());
    let mut reason = "no rounds".to_owned();
    for _ in 0..rounds {
        match theirs(peer, a, b) {
            Ok(theirs) => all_theirs.push(theirs),
            // On a busy machine sockperf gives up now and then.
            Err(error) => reason = format!("{error:#}"),
        }
        all_ours.push(ours(peer, a, b)?);
    }
    let (Some(theirs), Some(ours)) = (median(&all_theirs), median(&all_ours)) else {
        return Ok(Outcome::Absent(portable(&reason)));
    };
    Ok(Outcome::Compared {
        theirs,
        ours,
        ratio: ours / theirs,
        rounds: all_theirs.len(),
    })
}

fn ours(peer: &Peer, a: &Place, b: &Place) -> Result<f64> {
    let route = Route {
        client: &a.netns,
        server: &b.netns,
        listen: OUR_PORT,
        dial: SocketAddrV4::new(b.ip, OUR_PORT),
    };
    let timing = Timing {
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(SECONDS),
        silence: Duration::from_secs(3),
    };
    let measured = peer.load.run(&route, timing)?;
    match &measured.latency {
        Some(latency) => latency.micros_at(0.5).context("too few transactions"),
        None => Ok(measured.per_second() * 8.0 / 1e9),
    }
}

fn theirs(peer: &Peer, a: &Place, b: &Place) -> Result<f64> {
    let [client_cpu, server_cpu] = two()?;
    let mut server = Command::new(peer.tool);
    server
        .args((peer.server)(b.ip))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = b.netns.run(|| {
        keep_to(server_cpu)?;
        Server::start(peer.tool, &mut server)
    })??;
    wait_until(&format!("{}'s server", peer.tool), Duration::from_secs(5), || {
        server.is_alive(peer.tool)?;
        listens(&b.netns, peer.load.protocol(), peer.port)
    })?;
    // `timeout` ends a client whose server has gone.
    let mut client = Command::new("timeout");
    client
        .arg(PATIENCE.to_string())
        .arg(peer.tool)
        .args((peer.client)(b.ip))
        .stdin(Stdio::null());
    let output = a.netns.run(|| {
        keep_to(client_cpu)?;
        client.output().with_context(|| format!("cannot run {}", peer.tool))
    })??;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        peer.tool,
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    (peer.read)(&text).with_context(|| format!("cannot read what {} printed", peer.tool))
}

/// A server of another tool; it is ended when dropped.
struct Server(Child);

impl Server {
    fn start(tool: &str, command: &mut Command) -> Result<Self> {
        match command.spawn() {
            Ok(child) => Ok(Self(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{tool} is not installed"),
            Err(error) => Err(error).with_context(|| format!("cannot run {tool}")),
        }
    }

    fn is_alive(&mut self, tool: &str) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server of {tool} ended with {status}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended by itself cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody listens on a port in a namespace.
fn listens(netns: &Netns, protocol: u8, port: u16) -> Result<bool> {
    let table = if protocol == 6 { "tcp" } else { "udp" };
    let text = netns.run(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")))??;
    Ok(has_listener(&text, port))
}

/// Whether a table of `/proc/net` has a socket on a local port that talks to nobody yet.
fn has_listener(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&port)) && remote == Some("00000000:0000")
    })
}

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

fn ping_pong(ip: Ipv4Addr) -> Vec<String> {
    words(&format!(
        "ping-pong --ip {ip} --port {SOCKPERF_PORT} --time {SECONDS} --msg-size {MESSAGE} --full-rtt"
    ))
}

/// Payload that iperf3's server received, Gbit/s.
fn iperf3_gbits(json: &str) -> Result<f64> {
    let report: serde_json::Value = serde_json::from_str(json)?;
    let end = &report["end"];
    ensure!(
        end["sender_tcp_congestion"] == "cubic",
        "the congestion control was {}",
        end["sender_tcp_congestion"]
    );
    let bits = end["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("no sum of what was received")? / 1e9)
}

/// The median round trip of sockperf's summary, microseconds.
fn sockperf_p50(text: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.contains("percentile 50.000"));
    let (_, micros) = line.and_then(|line| line.rsplit_once('=')).context("no median")?;
    micros.trim().parse().context("the median is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_other_tools_are_found() {
        let json = r#"{"end": {"sum_received": {"bits_per_second": 8.5e9}, "sender_tcp_congestion": "cubic"}}"#;
        assert!((iperf3_gbits(json).unwrap() - 8.5).abs() < 1e-9);
        assert!(iperf3_gbits(&json.replace("cubic", "bbr")).is_err());
        assert!(iperf3_gbits("{}").is_err());
        let text = "sockperf: ---> percentile 75.000 =   14.321\nsockperf: ---> percentile 50.000 =   13.610\n";
        assert!((sockperf_p50(text).unwrap() - 13.61).abs() < 1e-9);
        assert!(sockperf_p50("sockperf: Test ended").is_err());
    }

    #[test]
    fn a_listener_is_found_by_its_port_alone() {
        let table = "  sl  local_address rem_address   st\n   0: 0300004D:2332 00000000:0000 0A 0\n";
        assert!(has_listener(table, 9010));
        assert!(!has_listener(table, 9011));
        let connected = table.replace("00000000:0000", "0200004D:9C40");
        assert!(!has_listener(&connected, 9010));
    }
}
