//! Where packets enter and leave a router under test: packet sockets in namespaces whose stacks say nothing.
//!
//! ```text
//!  C1 10.9.1.2 ─┐
//!  C2 10.9.1.3 ─┤ 10.9.1.1        192.0.2.1      ┌─ S1 192.0.2.2
//!  T1 10.9.1.4 ─┼─────────  router  ─────────────┤
//!  T2 10.9.1.5 ─┘                                └─ S2 192.0.2.3
//! ```
//!
//! C1 and C2 are containers. Behind T1 and T2 are bridges of their own: any MAC may be there. S1 and S2 are two
//! stations at the other end of the uplink. Nobody sends anything by itself, and the router knows all neighbours: what
//! arrives is what the router made of what was sent.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;

use super::packet::Ip;
use crate::command;
use crate::processors::{keep_to, two};
use crate::wire::Wire;

/// The router to the containers.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
/// The router to the world.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The router's interface to the world.
pub const UPLINK: &str = "up0";
/// The interface of a container and of the world.
pub const ETH0: &str = "eth0";
/// How rarely the kernel answers with ICMP: 0 answers always, and rows do not disturb each other.
pub const ICMP_RATE: &str = "/proc/sys/net/ipv4/icmp_ratelimit";
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// A local experimental `EtherType` (IEEE 802).
const ETHERTYPE_MARK: [u8; 2] = [0x88, 0xb6];
/// How long a mark may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Marks that follow each other: more than a packet passes queues.
const MARKS: usize = 6;

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Station {
    /// A container.
    C1,
    /// Its neighbour.
    C2,
    /// A port with a bridge behind it.
    T1,
    /// Another one.
    T2,
    /// A server.
    S1,
    /// Another server.
    S2,
}

use Station::{C1, C2, S1, S2, T1, T2};

impl Station {
    /// All that are ports of the bridge.
    pub const PORTS: [Self; 4] = [C1, C2, T1, T2];

    /// Its address.
    pub const fn ip(self) -> Ipv4Addr {
        match self {
            C1 => Ipv4Addr::new(10, 9, 1, 2),
            C2 => Ipv4Addr::new(10, 9, 1, 3),
            T1 => Ipv4Addr::new(10, 9, 1, 4),
            T2 => Ipv4Addr::new(10, 9, 1, 5),
            S1 => Ipv4Addr::new(192, 0, 2, 2),
            S2 => Ipv4Addr::new(192, 0, 2, 3),
        }
    }

    /// The name of its namespace.
    pub const fn node(self) -> &'static str {
        match self {
            C1 => "c1",
            C2 => "c2",
            T1 => "t1",
            T2 => "t2",
            S1 | S2 => "outside",
        }
    }
}

/// The MAC of a server; both are behind one interface.
pub const fn server_mac(station: Station) -> [u8; 6] {
    [2, 0, 192, 0, 2, station.ip().octets()[3]]
}

/// A frame that arrived somewhere.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where. At the uplink's other end, the station it is for, S1 if that is not told.
    pub at: Station,
    /// All of it.
    pub frame: Vec<u8>,
}

impl Seen {
    /// Its packet, if it is IPv4.
    pub fn ip(&self) -> Option<Ip> {
        (self.frame.get(12..ETHERNET)? == ETHERTYPE_IPV4)
            .then(|| Ip::read(&self.frame[ETHERNET..]))
            .flatten()
    }
}

/// Frames that pass the queues of one processor, and so tell when all that were sent before have arrived.
pub struct Marks {
    tick: Wire,
    tock: Wire,
    /// Both ends of their way, as long as it is used.
    _ground: Netns,
}

impl Marks {
    /// Makes their way, in the calling thread's sandbox. That thread keeps to one processor from now on: packets then pass
    /// queues in the order in which they were sent, and a mark that comes back says that all before it have arrived.
    pub fn open() -> Result<Self> {
        let [cpu, _] = two()?;
        keep_to(cpu)?;
        let ground = Netns::create_named("marks")?;
        tool("ip -n marks link add tick type veth peer name tock")?;
        for line in [
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
            "ip link set tick up",
            "ip link set tock up",
        ] {
            tool(&format!("ip netns exec marks {line}"))?;
        }
        Ok(Self {
            tick: Wire::open(&ground, "tick")?,
            tock: Wire::open(&ground, "tock")?,
            _ground: ground,
        })
    }

    /// Returns when everything that was sent has arrived.
    pub fn pass(&self) -> Result<()> {
        let mark = frame([0xff; 6], self.tick.mac(), ETHERTYPE_MARK, &[0; 46]);
        for _ in 0..MARKS {
            self.tick.send(&mark)?;
            let back = self
                .tock
                .receive(PATIENCE, |frame| frame.get(12..14) == Some(&ETHERTYPE_MARK))?;
            ensure!(back.is_some(), "a mark did not come back within {PATIENCE:?}");
        }
        Ok(())
    }
}

/// The stations' packet sockets.
pub struct Stage {
    /// The four ports and the world.
    wires: Vec<(Station, Wire)>,
    gateway: [u8; 6],
    uplink: [u8; 6],
    marks: Marks,
}

impl Stage {
    /// Opens sockets in `namespace(node)` of each station. `gateway` and `uplink` are the router's MACs. The calling thread
    /// keeps to one processor from now on, see [`Marks`].
    pub fn open(namespace: impl Fn(&str) -> Result<Netns>, gateway: [u8; 6], uplink: [u8; 6]) -> Result<Self> {
        let marks = Marks::open()?;
        let wire = |station: Station| {
            let netns = namespace(station.node())?;
            let wire = Wire::open(&netns, ETH0)?;
            wire.ignore_outgoing()?;
            Ok((station, wire))
        };
        let stage = Self {
            wires: [C1, C2, T1, T2, S1].into_iter().map(wire).collect::<Result<_>>()?,
            gateway,
            uplink,
            marks,
        };
        stage.arrived()?;
        Ok(stage)
    }

    /// A station's MAC.
    pub fn mac(&self, station: Station) -> [u8; 6] {
        match station {
            S1 | S2 => server_mac(station),
            _ => self.wire(station).map_or([0; 6], Wire::mac),
        }
    }

    /// The gateway's MAC.
    pub fn gateway(&self) -> [u8; 6] {
        self.gateway
    }

    fn wire(&self, station: Station) -> Result<&Wire> {
        let place = if station == S2 { S1 } else { station };
        let found = self.wires.iter().find(|(other, _)| *other == place);
        found.map(|(_, wire)| wire).context("a station without a wire")
    }

    /// Sends a packet to its next hop.
    pub fn send(&self, from: Station, packet: &Ip) -> Result<()> {
        self.send_bytes(from, packet.dst, &packet.bytes())
    }

    /// Sends bytes as an IPv4 packet to the next hop of `to`.
    pub fn send_bytes(&self, from: Station, to: Ipv4Addr, packet: &[u8]) -> Result<()> {
        let inside = |ip: Ipv4Addr| ip.octets()[..3] == GATEWAY.octets()[..3];
        let neighbour = Station::PORTS.into_iter().find(|station| station.ip() == to);
        let hop = match neighbour {
            Some(neighbour) if inside(from.ip()) => self.mac(neighbour),
            _ if inside(from.ip()) => self.gateway,
            _ => self.uplink,
        };
        self.send_frame(from, &frame(hop, self.mac(from), ETHERTYPE_IPV4, packet))
    }

    /// Sends a frame as it is.
    pub fn send_frame(&self, from: Station, frame: &[u8]) -> Result<()> {
        self.wire(from)?.send(frame)
    }

    /// All that arrived since this was last asked, when everything that was sent has arrived.
    pub fn arrived(&self) -> Result<Vec<Seen>> {
        self.marks.pass()?;
        let mut all = Vec::new();
        for (station, wire) in &self.wires {
            for frame in wire.waiting()? {
                if frame.get(12..14) == Some(&ETHERTYPE_IPV6) || self.is_report(&frame) {
                    continue;
                }
                let at = if *station == S1 && frame.get(..6) == Some(&server_mac(S2)) {
                    S2
                } else {
                    *station
                };
                all.push(Seen { at, frame });
            }
        }
        Ok(all)
    }

    /// True for the router's own multicast, with which a bridge joins groups.
    fn is_report(&self, frame: &[u8]) -> bool {
        let own = [self.gateway, self.uplink]
            .iter()
            .any(|mac| frame.get(6..12) == Some(mac));
        own && frame.starts_with(&[1, 0, 0x5e])
    }

    /// Sends a packet and waits for what comes of it.
    pub fn exchange(&self, from: Station, packet: &Ip) -> Result<Vec<Seen>> {
        self.send(from, packet)?;
        self.arrived()
    }
}

/// An Ethernet frame.
pub fn frame(to: [u8; 6], from: [u8; 6], ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype, payload].concat()
}

/// Runs a command line that must succeed, in the calling thread's sandbox, and returns what it printed.
pub fn tool(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().context("no program")?;
    command::call(program, arguments)
}

/// Takes an interface's addresses away and keeps its namespace from sending anything.
pub fn silence(netns: &str, ifname: &str) -> Result<()> {
    tool(&format!(
        "ip netns exec {netns} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
    ))?;
    tool(&format!("ip -n {netns} address flush dev {ifname}"))?;
    tool(&format!("ip -n {netns} link set {ifname} arp off")).map(drop)
}
