//! Where packets enter and leave a host under comparison: packet sockets in namespaces whose stacks say nothing.
//!
//! ```text
//!  C1 10.9.1.2 ─┐ front
//!  C2 10.9.1.3 ─┤ 10.9.1.1          192.0.2.1    ┌─ S1 192.0.2.2
//!               │           host       up0  ─────┤
//!  C3 10.9.2.2 ─┘ back                           └─ S2 192.0.2.3
//!                 10.9.2.1
//! ```
//!
//! `front` and `back` are bridges on one host and networks on the other: a rule's `-i front` means the same on both.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use netbridge::model::MacAddr;
use netbridge::netns::Netns;

use crate::command;
use crate::conformance::packet::Ip;
use crate::conformance::stage::{ETHERNET, Marks, frame};
use crate::wire::Wire;

/// The host to the world.
pub(super) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host's interface to the world.
pub(super) const UPLINK: &str = "up0";
/// The interface of a container and of the world.
pub(super) const ETH0: &str = "eth0";
/// Every namespace but the host's.
pub(super) const NODES: [&str; 4] = ["c1", "c2", "c3", "outside"];

const ETHERTYPE_IPV4: [u8; 2] = [8, 0];

/// A bridge of the containers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bridge {
    /// Its name on both hosts.
    pub(super) name: &'static str,
    /// The host's address there.
    pub(super) gateway: Ipv4Addr,
}

/// Both bridges.
pub(super) const BRIDGES: [Bridge; 2] = [
    Bridge {
        name: "front",
        gateway: Ipv4Addr::new(10, 9, 1, 1),
    },
    Bridge {
        name: "back",
        gateway: Ipv4Addr::new(10, 9, 2, 1),
    },
];

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Station {
    /// A container.
    C1,
    /// Its neighbour.
    C2,
    /// A container on another bridge.
    C3,
    /// A server.
    S1,
    /// Another server.
    S2,
}

use Station::{C1, C2, C3, S1, S2};

impl Station {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [C1, C2, C3, S1, S2];
    /// The containers.
    pub(super) const CONTAINERS: [Self; 3] = [C1, C2, C3];

    /// Its address.
    pub(super) const fn ip(self) -> Ipv4Addr {
        match self {
            C1 => Ipv4Addr::new(10, 9, 1, 2),
            C2 => Ipv4Addr::new(10, 9, 1, 3),
            C3 => Ipv4Addr::new(10, 9, 2, 2),
            S1 => Ipv4Addr::new(192, 0, 2, 2),
            S2 => Ipv4Addr::new(192, 0, 2, 3),
        }
    }

    /// The name of its namespace.
    pub(super) const fn node(self) -> &'static str {
        match self {
            C1 => "c1",
            C2 => "c2",
            C3 => "c3",
            S1 | S2 => "outside",
        }
    }

    /// Its MAC: the same on both hosts, as rules may name it.
    pub(super) const fn mac(self) -> MacAddr {
        let [a, b, c, d] = self.ip().octets();
        MacAddr([2, 0, a, b, c, d])
    }

    /// Its bridge; none outside.
    pub(super) fn bridge(self) -> Option<usize> {
        match self {
            C1 | C2 => Some(0),
            C3 => Some(1),
            S1 | S2 => None,
        }
    }
}

/// The stations' packet sockets on one host.
pub(super) struct Ground {
    /// Containers and the world.
    wires: Vec<(Station, Wire)>,
    /// The MACs of the host: on each bridge, and on the uplink.
    bridges: [[u8; 6]; 2],
    uplink: [u8; 6],
    marks: Marks,
}

impl Ground {
    /// Opens sockets in `namespace(node)` of each station. The calling thread keeps to one processor from now on.
    pub(super) fn open(
        namespace: impl Fn(&str) -> Result<Netns>,
        bridges: [[u8; 6]; 2],
        uplink: [u8; 6],
    ) -> Result<Self> {
        let marks = Marks::open()?;
        let wire = |station: Station| {
            let wire = Wire::open(&namespace(station.node())?, ETH0)?;
            wire.ignore_outgoing()?;
            Ok((station, wire))
        };
        let ground = Self {
            wires: [C1, C2, C3, S1].into_iter().map(wire).collect::<Result<_>>()?,
            bridges,
            uplink,
            marks,
        };
        ground.announce()?;
        Ok(ground)
    }

    /// Lets the bridges hear of every container, so that they know where they are.
    pub(super) fn announce(&self) -> Result<()> {
        for station in Station::CONTAINERS {
            let hello = frame([0xff; 6], station.mac().0, [0x88, 0xb5], &[0; 46]);
            self.wire(station)?.send(&hello)?;
        }
        self.arrived().map(drop)
    }

    fn wire(&self, station: Station) -> Result<&Wire> {
        let place = if station == S2 { S1 } else { station };
        let found = self.wires.iter().find(|(other, _)| *other == place);
        found.map(|(_, wire)| wire).context("a station without a wire")
    }

    /// Sends a packet to its next hop.
    fn send(&self, from: Station, packet: &Ip) -> Result<()> {
        let neighbour = Station::CONTAINERS
            .into_iter()
            .find(|other| other.ip() == packet.dst && other.bridge() == from.bridge());
        let hop = match (neighbour, from.bridge()) {
            _ if packet.dst.octets()[3] == u8::MAX => [0xff; 6],
            (Some(neighbour), _) => neighbour.mac().0,
            (None, Some(bridge)) => self.bridges[bridge],
            (None, None) => self.uplink,
        };
        let frame = frame(hop, from.mac().0, ETHERTYPE_IPV4, &packet.bytes());
        self.wire(from)?.send(&frame)
    }

    /// The IPv4 packets that arrived since this was last asked, when everything that was sent has arrived.
    fn arrived(&self) -> Result<Vec<(Station, Ip)>> {
        self.marks.pass()?;
        let mut all = Vec::new();
        for (station, wire) in &self.wires {
            for frame in wire.waiting()? {
                if frame.get(12..ETHERNET) != Some(&ETHERTYPE_IPV4) || frame.starts_with(&[1, 0, 0x5e]) {
                    continue;
                }
                let second = *station == S1 && frame.get(..6) == Some(&S2.mac().0);
                let at = if second { S2 } else { *station };
                all.extend(Ip::read(&frame[ETHERNET..]).map(|packet| (at, packet)));
            }
        }
        Ok(all)
    }

    /// Sends a packet and waits for what comes of it.
    pub(super) fn exchange(&self, from: Station, packet: &Ip) -> Result<Vec<(Station, Ip)>> {
        self.send(from, packet)?;
        self.arrived()
    }
}

/// Makes a host know its neighbours for good.
pub(super) fn introduce(host: &str, bridges: [&str; 2]) -> Result<()> {
    let batch = Station::ALL.into_iter().fold(String::new(), |batch, station| {
        let dev = station.bridge().map_or(UPLINK, |bridge| bridges[bridge]);
        let (ip, mac) = (station.ip(), station.mac());
        batch + &format!("neighbour replace {ip} lladdr {mac} dev {dev} nud permanent\n")
    });
    command::feed("ip", &["-n", host, "-batch", "-"], &batch).map(drop)
}
