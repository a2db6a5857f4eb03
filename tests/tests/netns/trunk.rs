//! MACs behind a port that is marked as a trunk.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use netbridge_common::abi::Reason;
use netbridge_tests::frame::{self, Station};
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::wait::wait_until;

use super::command::{says, tool};
use super::{LIMIT, SILENCE};

const TOPOLOGY: &str = r#"
[[networks]]
name = "lan"
subnet = "10.77.1.0/24"
internal = true

[[nodes]]
name = "one"
attach = [{ net = "lan", ips = ["10.77.1.2"], trunk = true }]

[[nodes]]
name = "two"
attach = [{ net = "lan", ips = ["10.77.1.3"], trunk = true }]

[[nodes]]
name = "plain"
attach = [{ net = "lan", ips = ["10.77.1.10"] }]
"#;

#[test]
fn a_mac_is_found_where_it_spoke_last() -> Result<()> {
    with_lab(Text::plain(TOPOLOGY), |lab| {
        let roamer = Station {
            mac: [2, 0xee, 0, 0, 0, 7],
            ip: "10.77.1.77".parse()?,
        };
        let plain = lab.station("plain")?;
        let (one, two, speaker) = (
            lab.wire("one", "one")?,
            lab.wire("two", "two")?,
            lab.wire("plain", "plain")?,
        );
        let hello = frame::udp(roamer, plain, (7, 7), b"hello")?;
        let answer = frame::udp(plain, roamer, (7, 7), b"answer")?;
        let ports = [("one", &one), ("two", &two), ("one", &one)];
        for (here, port) in ports {
            port.send(&hello)?;
            ensure!(
                speaker.receive(LIMIT, |frame| frame.starts_with(&hello))?.is_some(),
                "nothing from {here}"
            );
            let ifindex = lab.endpoint(here)?.ifindex;
            wait_until("the MAC to be learned", LIMIT, || {
                let stations = lab.datapath()?.tables().stations()?;
                Ok(stations
                    .iter()
                    .any(|(key, station)| key.mac == roamer.mac && station.ifindex == ifindex))
            })?;
            speaker.send(&answer)?;
            ensure!(
                port.receive(LIMIT, |frame| frame.starts_with(&answer))?.is_some(),
                "no answer at {here}"
            );
            let (other, elsewhere) = if here == "one" { ("two", &two) } else { ("one", &one) };
            ensure!(
                elsewhere
                    .receive(SILENCE, |frame| frame.starts_with(&answer))?
                    .is_none(),
                "the answer went to {other} too"
            );
        }
        Ok(())
    })
}

#[test]
fn a_trunk_cannot_take_an_endpoints_mac() -> Result<()> {
    with_lab(Text::plain(TOPOLOGY), |lab| {
        let (one, plain) = (lab.station("one")?, lab.station("plain")?);
        let before = lab.drops(Reason::SpoofedMac)?;
        lab.wire("one", "one")?.send(&frame::udp(
            Station { mac: plain.mac, ..one },
            plain,
            (7, 7),
            b"stolen",
        )?)?;
        lab.dropped(Reason::SpoofedMac, before, 1)
    })
}

#[test]
fn the_flows_of_stations_behind_a_trunk_end_with_it() -> Result<()> {
    with_lab(Text::plain(TOPOLOGY), |lab| {
        let station = Station {
            mac: [2, 0xee, 0, 0, 0, 7],
            ip: "10.77.1.77".parse()?,
        };
        let gateway = lab.state()?.networks.first().map(|network| network.mac.0);
        let by_gateway = Station {
            mac: gateway.unwrap_or_default(),
            ..lab.station("plain")?
        };
        let flows = || Ok::<_, anyhow::Error>(lab.datapath()?.tables().flows()?.len());
        lab.wire("one", "one")?
            .send(&frame::udp(station, by_gateway, (7, 7), b"tracked")?)?;
        wait_until("the flow", LIMIT, || Ok(flows()? == 2))?;
        says("-n lab-host detach one")?;
        let left = flows()?;
        ensure!(
            left == 0,
            "{left} halves are left, whose slot the next endpoint will have"
        );
        Ok(())
    })
}

#[test]
fn two_thousand_macs_behind_a_trunk_are_too_many() -> Result<()> {
    const STATIONS: u16 = 2000;
    const LEARNED: u64 = 256;

    with_lab(Text::plain(TOPOLOGY), |lab| {
        let (many, few) = (lab.wire("one", "one")?, lab.wire("two", "two")?);
        let (receiver, plain) = (lab.wire("plain", "plain")?, lab.station("plain")?);
        let station = |group: u8, number: u16| {
            let [high, low] = number.to_be_bytes();
            let ip = Ipv4Addr::new(10, 77, 1, 77);
            let mac = [2, 0xee, group, 0, high, low];
            Station { mac, ip }
        };
        let hello = |from| frame::udp(from, plain, (7, 7), b"hello");
        let dropped = u64::from(STATIONS) - LEARNED;
        for number in 0..STATIONS {
            many.send(&hello(station(1, number))?)?;
        }
        lab.dropped(Reason::MacLimit, 0, dropped)?;
        let ifindex = lab.endpoint("one")?.ifindex;
        let stations = lab.datapath()?.tables().stations()?;
        let learned = stations
            .iter()
            .filter(|(key, station)| station.ifindex == ifindex && key.mac[1] == 0xee)
            .count();
        ensure!(learned as u64 == LEARNED, "{learned} are learned");
        let kernels = tool("bridge -n lab-host fdb show")?.matches("02:ee:").count();
        ensure!(kernels as u64 <= LEARNED, "the kernel bridge learned {kernels}");
        // Who is known goes on, and so do the neighbours, one with a new station of its own.
        for (name, wire, from) in [("one", &many, station(1, 0)), ("two", &few, station(2, 0))] {
            let hello = hello(from)?;
            wire.send(&hello)?;
            ensure!(
                receiver.receive(LIMIT, |frame| frame.starts_with(&hello))?.is_some(),
                "nothing from {name}"
            );
        }
        lab.dropped(Reason::MacLimit, 0, dropped)
    })
}
