//! What comes back when a packet cannot be delivered: ICMP errors find their way through every translation.

use std::io::ErrorKind;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{TcpServer, connect, transfer};
use netbridge_tests::udp::UdpClient;

use super::{LIMIT, PAIR, pair};

/// Fails unless a datagram to a port that nobody listens on is answered with "port unreachable".
fn refused(lab: &Lab<'_>, from: &str, to: SocketAddrV4) -> Result<()> {
    let client = UdpClient::open(&lab.node(from)?, to, LIMIT)?;
    let error = client
        .ask(b"x")
        .err()
        .with_context(|| format!("{to} answered {from}"))?;
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    ensure!(
        kind == Some(ErrorKind::ConnectionRefused),
        "{from} learns nothing from {to}: {error:#}"
    );
    Ok(())
}

#[test]
fn port_unreachable_comes_back_on_every_path() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        refused(lab, "app", SocketAddrV4::new(pair::WEB, 53))?;
        refused(lab, "app", SocketAddrV4::new(pair::GATEWAY, 53))?;
        refused(lab, "app", SocketAddrV4::new(pair::OUTSIDE, 53))?;
        refused(lab, "outside", SocketAddrV4::new(pair::HOST, 5353))
    })
}

#[test]
fn connection_refused_comes_back_on_every_path() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        for (from, to) in [
            ("app", SocketAddrV4::new(pair::WEB, 80)),
            ("app", SocketAddrV4::new(pair::OUTSIDE, 80)),
            ("outside", SocketAddrV4::new(pair::HOST, 8080)),
        ] {
            let error = connect(&lab.node(from)?, to, LIMIT)
                .err()
                .with_context(|| format!("{to} answered"))?;
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            ensure!(kind == Some(ErrorKind::ConnectionRefused), "{from} to {to}: {error:#}");
        }
        Ok(())
    })
}

#[test]
fn streams_adapt_to_a_narrow_uplink() -> Result<()> {
    let topology = PAIR
        .replace("[outside]", "[outside]\nmtu = 1300")
        .replace("name = \"front\"", "name = \"front\"\nmtu = 1500");
    with_lab(Text::plain(&topology), |lab| {
        let _servers = (
            TcpServer::start(&lab.node("web")?, 80)?,
            TcpServer::start(&lab.node("outside")?, 80)?,
        );
        transfer(&lab.node("app")?, SocketAddrV4::new(pair::OUTSIDE, 80), 4 << 20)?;
        transfer(&lab.node("outside")?, SocketAddrV4::new(pair::HOST, 8080), 4 << 20)?;
        Ok(())
    })
}
