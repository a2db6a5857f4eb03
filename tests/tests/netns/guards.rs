//! What a hostile container or neighbour sends, live: nobody gets it, nothing changes, and a counter says why.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use netbridge_common::abi::{Mac, Reason};
use netbridge_common::host::build::{Datagram, ipv6, source_route};
use netbridge_tests::frame::{self, Station};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::udp::{UdpServer, ask};
use netbridge_tests::wait::wait_until;
use netbridge_tests::wire::Wire;

use super::around::side;
use super::command::tool;
use super::hand::named;
use super::{LIMIT, PAIR, pair};

const SILENCE: Duration = Duration::from_millis(300);

/// What every forged payload holds.
const MARK: &[u8] = b"netbridge must not carry this";

const EVERYBODY: (Mac, [u8; 4]) = ([0xff; 6], [255; 4]);
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn is_marked(frame: &[u8]) -> bool {
    frame.windows(MARK.len()).any(|window| window == MARK)
}

/// Sends a frame and waits until it is counted as dropped, for this reason and no other.
fn refused(lab: &Lab<'_>, wire: &Wire, name: &str, reason: Reason, frame: &[u8]) -> Result<()> {
    let all = || -> Result<u64> {
        let drops = lab.datapath()?.tables().drops()?;
        Ok(drops.iter().map(|(_, packets)| packets).sum())
    };
    let (before, others) = (lab.drops(reason)?, all()?);
    wire.send(frame)?;
    wait_until(&format!("a drop as {}: {name}", reason.name()), LIMIT, || {
        Ok(lab.drops(reason)? == before + 1)
    })?;
    ensure!(all()? == others + 1, "{name} is counted for another reason too");
    Ok(())
}

/// The gateway as a container sees it, or a destination behind it.
fn by_gateway(lab: &Lab<'_>, ip: Ipv4Addr) -> Result<Station> {
    let state = lab.state()?;
    let mac = state.networks.first().map(|network| network.mac.0).unwrap_or_default();
    Ok(Station { mac, ip })
}

fn datagram(from: Station, to: Station) -> Datagram {
    Datagram::new((from.mac, from.ip.octets()), (to.mac, to.ip.octets()))
}

/// A Router Advertisement of a prefix, valid in every byte, or another `ICMPv6` message with the same body.
fn router_message(from: Mac, icmp_type: u8) -> Result<Vec<u8>> {
    let link_local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66];
    let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    // Timers; then option 3: 2001:db8:bad::/64, on-link and autonomous, for an hour.
    let mut body = vec![0; 8];
    body.extend_from_slice(&[3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    body.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0x0b, 0xad, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(MARK);
    let builder = PacketBuilder::ethernet2(from, ALL_NODES)
        .ipv6(link_local, all_nodes, 255)
        .icmpv6_raw(icmp_type, 0, [64, 0, 14, 16]);
    let mut frame = Vec::with_capacity(builder.size(body.len()));
    builder.write_to_vec(&mut frame, &body)?;
    Ok(frame)
}

/// What of a namespace a forged router or DHCP server would change.
fn configuration(namespace: &str) -> Result<String> {
    let addresses = tool(&format!("ip -n {namespace} -o address show scope global"))?;
    let routes = tool(&format!("ip -n {namespace} route"))?;
    let six = tool(&format!("ip -n {namespace} -6 route"))?;
    // The uplink gets its link-local address in its own time.
    let six = six.lines().filter(|line| !line.starts_with("fe80::/64"));
    Ok(format!("{addresses}{routes}{}", six.collect::<String>()))
}

#[test]
fn no_container_plays_router_server_or_scanner() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.station("web")?, lab.station("app")?);
        let (wire, neighbour) = (lab.wire("web", "web")?, lab.wire("app", "app")?);
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let (gateway, world) = (by_gateway(lab, pair::GATEWAY)?, by_gateway(lab, pair::OUTSIDE)?);
        let before = (configuration("lab-host")?, configuration("lab-app")?);

        let hidden = |last: u8| [&[58, 0, 1, 4, 0, 0, 0, 0, last, 0, 0, 0], MARK].concat();
        let routed = |to: Station| Datagram {
            options: source_route(131, pair::OUTSIDE.octets()),
            ..datagram(web, to)
        };
        let loopback = by_gateway(lab, Ipv4Addr::LOCALHOST)?;
        let mut reverse = frame::arp_request(web.mac, web, app.ip);
        reverse[21] = 3;
        let mut frames = vec![
            ("an advertisement", Reason::RogueRouter, router_message(web.mac, 134)?),
            ("a redirect", Reason::RogueRouter, router_message(web.mac, 137)?),
            (
                "a hidden advertisement",
                Reason::RogueRouter,
                ipv6(web.mac, ALL_NODES, 0, &hidden(134)),
            ),
            ("a solicitation", Reason::Ipv6, router_message(web.mac, 135)?),
            ("IPv6 to a neighbour", Reason::Ipv6, ipv6(web.mac, app.mac, 17, MARK)),
            (
                "a DHCP offer",
                Reason::DhcpServer,
                Datagram::new((web.mac, web.ip.octets()), EVERYBODY).udp(67, 68, MARK),
            ),
            (
                "a source route outwards",
                Reason::SourceRouted,
                routed(world).udp(9, 9, MARK),
            ),
            (
                "a source route to the host",
                Reason::SourceRouted,
                routed(gateway).udp(9, 9, MARK),
            ),
            (
                "a source route inwards",
                Reason::SourceRouted,
                routed(app).udp(9, 9, MARK),
            ),
            (
                "the host's loopback",
                Reason::Martian,
                datagram(web, loopback).udp(9, 9, MARK),
            ),
            (
                "a question to the outside",
                Reason::ArpTarget,
                frame::arp_request(web.mac, web, pair::OUTSIDE),
            ),
            ("reverse ARP", Reason::Malformed, reverse),
        ];
        for (name, flags) in [("NULL", 0), ("XMAS", 0x29), ("SYN and FIN", 3), ("all", 0xff)] {
            for to in [app, gateway, world] {
                frames.push((name, Reason::BadFlags, datagram(web, to).tcp(9, 80, flags, MARK)));
            }
        }
        for (name, reason, forged) in &frames {
            refused(lab, &wire, name, *reason, forged)?;
        }
        for (place, wire) in [("app", &neighbour), ("outside", &outside)] {
            let carried = wire.receive(SILENCE, |seen| {
                is_marked(seen) || frames.iter().any(|(_, _, forged)| seen.starts_with(forged))
            })?;
            ensure!(carried.is_none(), "{place} got {carried:x?}");
        }
        let after = (configuration("lab-host")?, configuration("lab-app")?);
        ensure!(before == after, "{before:?} became {after:?}");
        ping(&lab.node("web")?, pair::APP, 56, LIMIT)?;
        ping(&lab.node("web")?, pair::OUTSIDE, 56, LIMIT).map(drop)
    })
}

#[test]
fn an_established_flow_lets_nobody_else_in() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.station("web")?, lab.station("app")?);
        let world = by_gateway(lab, pair::OUTSIDE)?;
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let own = datagram(web, world).udp(5000, 5001, b"an honest datagram");
        ping(&lab.node("web")?, pair::OUTSIDE, 56, LIMIT)?;
        lab.wire("web", "web")?.send(&own)?;
        let honest = outside.receive(LIMIT, |frame| frame.ends_with(b"an honest datagram"))?;
        ensure!(honest.is_some(), "there is no flow");
        let wire = lab.wire("app", "app")?;
        let address = Station { mac: app.mac, ..web };
        let forged = |from| datagram(from, world).udp(5000, 5001, MARK);
        refused(lab, &wire, "its address", Reason::SpoofedIp, &forged(address))?;
        refused(lab, &wire, "its address and MAC", Reason::SpoofedMac, &forged(web))?;
        let lie = frame::arp_request(app.mac, address, pair::GATEWAY);
        refused(lab, &wire, "its address in ARP", Reason::SpoofedArp, &lie)?;
        ensure!(outside.receive(SILENCE, is_marked)?.is_none(), "the flow carried it");
        Ok(())
    })
}

#[test]
fn a_flood_of_broadcasts_ebbs_at_the_port() -> Result<()> {
    /// Far more than all CPUs may let by while it lasts.
    const FRAMES: u64 = 50_000;

    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.wire("web", "web")?, lab.wire("app", "app")?);
        let from = lab.station("web")?;
        let flood = Datagram::new((from.mac, from.ip.octets()), EVERYBODY).udp(9, 9, MARK);
        let before = lab.traffic("web")?.tx_packets;
        for _ in 0..FRAMES {
            web.send(&flood)?;
        }
        wait_until("all to be sent", LIMIT, || {
            Ok(lab.traffic("web")?.tx_packets >= before + FRAMES)
        })?;
        let mut carried = 0;
        while app.receive(SILENCE, is_marked)?.is_some() {
            carried += 1;
        }
        let dropped = lab.drops(Reason::FloodLimit)?;
        ensure!(dropped > 0, "none of {FRAMES} broadcasts was dropped");
        ensure!(
            carried + dropped == FRAMES,
            "{carried} carried and {dropped} dropped of {FRAMES}"
        );
        ping(&lab.node("app")?, pair::WEB, 56, LIMIT)?;
        ping(&lab.node("app")?, pair::OUTSIDE, 56, LIMIT).map(drop)
    })
}

#[test]
fn the_hosts_loopback_is_not_for_the_outside() -> Result<()> {
    const PORT: u16 = 9999;

    with_lab(Text::plain(PAIR), |lab| {
        let side = side()?;
        let host = named("lab-host")?;
        let (uplink, uplink_mac) = (lab.uplink()?.name, by_uplink(lab)?);
        host.run(|| {
            ["side0", uplink.as_str()].iter().try_for_each(|name| {
                let conf = format!("/proc/sys/net/ipv4/conf/{name}");
                std::fs::write(format!("{conf}/route_localnet"), "1")?;
                std::fs::write(format!("{conf}/rp_filter"), "0")
            })
        })??;
        let _server = UdpServer::start(&host, PORT)?;
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let from = Station {
            mac: outside.mac(),
            ip: pair::OUTSIDE,
        };
        ask(
            &lab.node("outside")?,
            SocketAddrV4::new(pair::HOST, PORT),
            b"hello",
            LIMIT,
        )?;
        let loopback = |mac| Station {
            mac,
            ip: Ipv4Addr::LOCALHOST,
        };
        // Where netbridge does not guard, the host answers.
        let unguarded = Wire::open(&side.netns, "eth0")?;
        unguarded.send(&datagram(side.station, loopback(side.host.mac)).udp(7, PORT, MARK))?;
        ensure!(unguarded.receive(LIMIT, is_marked)?.is_some(), "the test shows nothing");

        let foreign = Station {
            ip: Ipv4Addr::LOCALHOST,
            ..from
        };
        let own = Station {
            mac: uplink_mac,
            ip: pair::HOST,
        };
        let frames = [
            (
                "to loopback",
                Reason::Martian,
                datagram(from, loopback(uplink_mac)).udp(7, PORT, MARK),
            ),
            (
                "to loopback, broadcast",
                Reason::Martian,
                datagram(from, loopback([0xff; 6])).udp(7, PORT, MARK),
            ),
            (
                "from loopback",
                Reason::Martian,
                datagram(foreign, own).udp(7, PORT, MARK),
            ),
            (
                "to loopback without flags",
                Reason::Martian,
                datagram(from, loopback(uplink_mac)).tcp(7, PORT, 0, MARK),
            ),
            (
                "by a source route",
                Reason::SourceRouted,
                Datagram {
                    options: source_route(137, [127, 0, 0, 1]),
                    ..datagram(from, own)
                }
                .udp(7, PORT, MARK),
            ),
            (
                "a scan of a published port",
                Reason::BadFlags,
                datagram(from, own).tcp(7, 8080, 0x29, MARK),
            ),
        ];
        for (name, reason, forged) in &frames {
            refused(lab, &outside, name, *reason, forged)?;
        }
        let answer = outside.receive(SILENCE, |frame| is_marked(frame) || frame.get(26) == Some(&127))?;
        ensure!(answer.is_none(), "the host answered: {answer:x?}");
        Ok(())
    })
}

/// The MAC of the host's uplink.
fn by_uplink(lab: &Lab<'_>) -> Result<Mac> {
    Ok(Wire::open(&named("lab-host")?, &lab.uplink()?.name)?.mac())
}
