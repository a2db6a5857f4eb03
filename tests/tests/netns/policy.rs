//! What may pass and what may not: the filter, isolation, the source guard, published ports.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use netbridge_common::abi::Reason;
use netbridge_tests::frame::{self, Station};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::tcp::{self, TcpServer};
use netbridge_tests::udp::{UdpClient, UdpServer, ask};

use super::command::says;
use super::{LIMIT, PAIR, SILENCE, networks, pair};

#[test]
fn everything_passes_where_nothing_is_filtered() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        for (from, to) in [
            ("web", pair::APP),
            ("app", pair::GATEWAY),
            ("app", pair::OUTSIDE),
            ("outside", pair::HOST),
            ("host", pair::WEB),
        ] {
            for size in [0, 1400] {
                ping(&lab.node(from)?, to, size, LIMIT)?;
            }
        }
        let _udp = (
            UdpServer::start(&lab.node("web")?, 53)?,
            UdpServer::start(&lab.node("outside")?, 53)?,
        );
        let seen = ask(&lab.node("app")?, SocketAddrV4::new(pair::WEB, 53), b"x", LIMIT)?.seen_as;
        ensure!(*seen.ip() == pair::APP, "web sees {seen}");
        let seen = ask(&lab.node("app")?, SocketAddrV4::new(pair::OUTSIDE, 53), b"x", LIMIT)?.seen_as;
        ensure!(*seen.ip() == pair::HOST, "the outside sees {seen}");
        let seen = ask(&lab.node("outside")?, SocketAddrV4::new(pair::HOST, 5353), b"x", LIMIT)?.seen_as;
        ensure!(*seen.ip() == pair::OUTSIDE, "web sees {seen}");
        Ok(())
    })
}

#[test]
fn the_filter_decides_by_port_state_and_network() -> Result<()> {
    let filter = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A FORWARD -i front -o front -p tcp -m tcp --dport 80 -j ACCEPT\n\
        -A FORWARD -i eth0 -d 10.77.1.10/32 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
    let topology = format!("filter = \"f.rules\"\n{PAIR}");
    with_lab(
        Text {
            filter: Some(filter),
            ..Text::plain(&topology)
        },
        |lab| {
            let _servers = (
                TcpServer::start(&lab.node("web")?, 80)?,
                TcpServer::start(&lab.node("web")?, 81)?,
            );
            let (app, outside) = (lab.node("app")?, lab.node("outside")?);
            tcp::transfer(&app, SocketAddrV4::new(pair::WEB, 80), 1 << 20)?;
            tcp::transfer(&outside, SocketAddrV4::new(pair::HOST, 8080), 1 << 20)?;
            let before = lab.drops(Reason::Filtered)?;
            ensure!(tcp::connect(&app, SocketAddrV4::new(pair::WEB, 81), Duration::from_millis(300)).is_err());
            lab.dropped(Reason::Filtered, before, 1)?;
            let before = lab.drops(Reason::Filtered)?;
            ensure!(ping(&app, pair::OUTSIDE, 56, SILENCE).is_err());
            lab.dropped(Reason::Filtered, before, 1)
        },
    )
}

#[test]
fn networks_do_not_reach_each_other_nor_the_outside_a_container() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        let db = pair::DB;
        let _servers = (
            UdpServer::start(&lab.node("db")?, 53)?,
            UdpServer::start(&lab.node("app")?, 53)?,
        );
        for (from, to, reason) in [
            ("app", db, Reason::Isolated),
            ("db", pair::APP, Reason::Isolated),
            ("outside", pair::APP, Reason::DirectAccess),
            ("lone", pair::OUTSIDE, Reason::NoUplink),
        ] {
            let before = lab.drops(reason)?;
            let client = UdpClient::open(&lab.node(from)?, SocketAddrV4::new(to, 53), SILENCE)?;
            for _ in 0..3 {
                if let Ok(answer) = client.ask(b"x") {
                    bail!("{from} reached {to}: {answer:?}");
                }
            }
            lab.dropped(reason, before, 3)?;
        }
        Ok(())
    })
}

#[test]
fn a_forged_source_is_dropped_before_anything_else() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.station("web")?, lab.station("app")?);
        let (sender, receiver) = (lab.wire("web", "web")?, lab.wire("app", "app")?);
        let stranger = Station {
            ip: Ipv4Addr::new(10, 77, 1, 99),
            ..web
        };
        let forged_mac = [2, 0, 0, 0, 0, 9];
        let cases = [
            (Reason::SpoofedIp, frame::udp(stranger, app, (9, 9), b"forged")?),
            (
                Reason::SpoofedMac,
                frame::udp(Station { mac: forged_mac, ..web }, app, (9, 9), b"forged")?,
            ),
            (Reason::SpoofedMac, frame::unknown(forged_mac, app.mac)),
            (Reason::SpoofedArp, frame::arp_request(web.mac, stranger, app.ip)),
            (
                Reason::SpoofedArp,
                frame::arp_request(web.mac, Station { mac: forged_mac, ..web }, app.ip),
            ),
            (Reason::Malformed, frame::udp(web, app, (9, 9), b"cut")?[..30].to_vec()),
        ];
        for (reason, forged) in cases {
            let before = lab.drops(reason)?;
            sender.send(&forged)?;
            lab.dropped(reason, before, 1)?;
            ensure!(
                receiver.receive(SILENCE, |frame| frame.starts_with(&forged))?.is_none(),
                "a forged frame arrived"
            );
        }
        let honest = frame::udp(web, app, (9, 9), b"honest")?;
        sender.send(&honest)?;
        ensure!(
            receiver.receive(LIMIT, |frame| frame.starts_with(&honest))?.is_some(),
            "an honest frame did not arrive"
        );
        // What the parser does not know takes the kernel's bridge.
        let unknown = frame::unknown(web.mac, app.mac);
        sender.send(&unknown)?;
        ensure!(
            receiver.receive(LIMIT, |frame| frame.starts_with(&unknown))?.is_some(),
            "the bridge did not carry it"
        );
        Ok(())
    })
}

#[test]
fn a_new_filter_holds_for_flows_that_exist() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let client = UdpClient::open(&lab.node("app")?, SocketAddrV4::new(pair::WEB, 53), LIMIT)?;
        client.ask(b"before")?;
        std::fs::write("/run/none.rules", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")?;
        says("-n lab-host filter load /run/none.rules")?;
        let before = lab.drops(Reason::Filtered)?;
        client.wait(SILENCE)?;
        for _ in 0..3 {
            ensure!(client.ask(b"while").is_err(), "the old verdict still holds");
        }
        lab.dropped(Reason::Filtered, before, 3)?;
        says("-n lab-host filter flush")?;
        client.wait(LIMIT)?;
        client.ask(b"after")?;
        Ok(())
    })
}

#[test]
fn a_port_that_is_unpublished_is_shut_for_flows_that_exist() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let client = UdpClient::open(&lab.node("outside")?, SocketAddrV4::new(pair::HOST, 5353), LIMIT)?;
        client.ask(b"before")?;
        client.wait(SILENCE)?;
        says("-n lab-host port rm web 5353:53/udp")?;
        ensure!(client.ask(b"after").is_err(), "the port is still open");
        Ok(())
    })
}
