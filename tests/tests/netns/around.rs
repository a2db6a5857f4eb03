//! Ways around the programs: frames for other MACs of the host's, and packets by interfaces that no program watches.

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_tests::frame::{self, Station};
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::wire::Wire;

use super::command::tool;
use super::hand::named;
use super::{PAIR, SILENCE, pair};

/// A station on a second interface of the host, `side0`, which netbridge knows nothing of.
pub(crate) struct Side {
    pub(crate) netns: Netns,
    pub(crate) station: Station,
    pub(crate) host: Station,
}

/// Adds the interface to the lab's host, which forwards and does not check reverse paths.
pub(crate) fn side() -> Result<Side> {
    tool("ip netns add side")?;
    tool("ip -n lab-host link add side0 type veth peer name eth0 netns side")?;
    for (netns, interface, address) in [("lab-host", "side0", "203.0.113.1"), ("side", "eth0", "203.0.113.2")] {
        tool(&format!("ip -n {netns} address add {address}/24 dev {interface}"))?;
        tool(&format!("ip -n {netns} link set {interface} up"))?;
    }
    named("lab-host")?.run(|| {
        ["all", "side0"]
            .iter()
            .try_for_each(|name| std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0"))?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
    })??;
    let netns = named("side")?;
    let station = Station {
        mac: Wire::open(&netns, "eth0")?.mac(),
        ip: "203.0.113.2".parse()?,
    };
    let host = Station {
        mac: Wire::open(&named("lab-host")?, "side0")?.mac(),
        ip: "203.0.113.1".parse()?,
    };
    let neighbour = station.mac.map(|byte| format!("{byte:02x}")).join(":");
    tool(&format!(
        "ip -n lab-host neigh add {} lladdr {neighbour} nud permanent dev side0",
        station.ip
    ))?;
    Ok(Side { netns, station, host })
}

#[test]
fn the_host_routes_nothing_that_comes_by_another_mac_than_the_gateways() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let side = side()?;
        let veth = lab.endpoint("web")?.host_if;
        let port = Station {
            mac: Wire::open(&named("lab-host")?, &veth)?.mac(),
            ip: side.station.ip,
        };
        let before = lab.drops(Reason::OffUplink)?;
        let leak = frame::udp(lab.station("web")?, port, (9, 9), b"leak")?;
        let outside = Wire::open(&side.netns, "eth0")?;
        lab.wire("web", "web")?.send(&leak)?;
        let leaked = outside.receive(SILENCE, |frame| frame.ends_with(b"leak"))?;
        ensure!(
            leaked.is_none(),
            "a container reached {} around the uplink",
            side.station.ip
        );
        lab.dropped(Reason::OffUplink, before, 1)
    })
}

#[test]
fn nobody_beyond_the_host_passes_for_a_neighbour() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let side = side()?;
        let forged = Station {
            mac: side.station.mac,
            ip: pair::APP,
        };
        let gateway = Station {
            mac: side.host.mac,
            ip: pair::WEB,
        };
        let web = lab.wire("web", "web")?;
        let before = lab.drops(Reason::DirectAccess)?;
        let spoofed = frame::udp(forged, gateway, (9, 9), b"spoof")?;
        Wire::open(&side.netns, "eth0")?.send(&spoofed)?;
        let seen = web.receive(SILENCE, |frame| frame.ends_with(b"spoof"))?;
        ensure!(seen.is_none(), "web got a packet of app's from outside");
        lab.dropped(Reason::DirectAccess, before, 1)
            .context("it was not counted")
    })
}
