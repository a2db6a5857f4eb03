//! What publishing a port must not do: take what is meant for others, open what listens, forge who connects.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{TcpServer, transfer};
use netbridge_tests::udp::{UdpServer, ask};

use super::LIMIT;
use super::command::{complains, says, tool};
use super::hand::{OUTSIDE, UPLINK, named, world};

/// [`world`] with `red` and `blue` behind the uplink, `red` with its ports published.
fn published(ports: &str) -> Result<()> {
    world()?;
    says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
    says("-n H attach red --net web --ip 10.9.0.10")?;
    says("-n H attach blue --net web --ip 10.9.0.20")?;
    says(&format!("-n H port add red {ports}"))?;
    Ok(())
}

/// CVE-2025-67499: a published port matched whatever address was meant.
#[test]
fn the_same_port_of_others_is_theirs() -> Result<()> {
    within(|_| {
        published("8080:80 5353:53/udp")?;
        let out = named("out")?;
        let _services = (TcpServer::start(&out, 8080)?, UdpServer::start(&out, 5353)?);
        for from in ["blue", "red", "H"] {
            let from_there = named(from)?;
            let seen = transfer(&from_there, SocketAddrV4::new(OUTSIDE, 8080), 1000)?.seen_as;
            ensure!(*seen.ip() == UPLINK, "{from} is seen as {seen}");
            ask(&from_there, SocketAddrV4::new(OUTSIDE, 5353), b"x", LIMIT)?;
        }
        Ok(())
    })
}

/// CVE-2020-8554: whoever could publish took the traffic to any address.
#[test]
fn an_address_that_is_not_the_hosts_is_refused() -> Result<()> {
    within(|_| {
        published("8080:80")?;
        for address in [
            "192.0.2.2",
            "8.8.8.8",
            "10.9.0.10",
            "10.9.0.20",
            "192.0.2.255",
            "224.0.0.1",
        ] {
            let said = complains(1, &format!("-n H port add red {address}:9000:80"))?;
            ensure!(
                said.contains("is not an address of the host; give 10.9.0.1, 192.0.2.1"),
                "{said}"
            );
        }
        Ok(())
    })
}

/// CVE-2021-3773: a container that sends from a published port shadows it.
#[test]
fn a_published_port_cannot_be_shadowed_by_a_source_port() -> Result<()> {
    within(|_| {
        published("8080:53/udp")?;
        let _server = UdpServer::start(&named("red")?, 53)?;
        let peer = named("out")?.run(|| UdpSocket::bind((OUTSIDE, 9999)))??;
        let rogue = named("blue")?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 8080)))??;
        peer.set_read_timeout(Some(LIMIT))?;
        rogue.send_to(b"mine", (OUTSIDE, 9999))?;
        let (_, seen) = peer.recv_from(&mut [0; 64]).context("nothing comes out")?;
        ensure!(seen.port() != 8080, "the container goes out as {seen}");
        peer.send_to(b"whose?", (UPLINK, 8080))?;
        let mut answer = [0; 64];
        let (length, from) = peer.recv_from(&mut answer).context("the service does not answer")?;
        ensure!(from == SocketAddrV4::new(UPLINK, 8080).into(), "answered by {from}");
        ensure!(answer.get(..length).is_some_and(|answer| answer.ends_with(b"whose?")));
        Ok(())
    })
}

/// CVE-2021-20199: the server saw 127.0.0.1. CVE-2020-8558: it was reachable there, for `route_localnet` was set.
#[test]
fn clients_keep_their_address_and_the_host_its_settings() -> Result<()> {
    within(|_| {
        published("8080:80 5353:53/udp")?;
        let red = named("red")?;
        let _services = (TcpServer::start(&red, 80)?, UdpServer::start(&red, 53)?);
        let out = named("out")?;
        let seen = transfer(&out, SocketAddrV4::new(UPLINK, 8080), 1000)?.seen_as;
        ensure!(*seen.ip() == OUTSIDE, "the server sees {seen}");
        let seen = ask(&out, SocketAddrV4::new(UPLINK, 5353), b"x", LIMIT)?.seen_as;
        ensure!(*seen.ip() == OUTSIDE, "the server sees {seen}");
        let routed = named("H")?.run(|| -> Result<Vec<String>> {
            let settings = fs::read_dir("/proc/sys/net/ipv4/conf")?.flatten();
            let set = settings.filter(|setting| {
                let value = fs::read_to_string(setting.path().join("route_localnet"));
                value.is_ok_and(|value| value.trim() != "0")
            });
            Ok(set
                .map(|setting| setting.file_name().to_string_lossy().into_owned())
                .collect())
        })??;
        ensure!(routed.is_empty(), "route_localnet of {routed:?}");
        Ok(())
    })
}

/// CVE-2021-4024: a port of the machinery itself stood open.
#[test]
fn nothing_of_netbridge_listens() -> Result<()> {
    within(|_| {
        published("8080:80 5353:53/udp 127.0.0.1:9000-9999:1-1000")?;
        let sockets = tool("ip netns exec H ss -Hlntux")?;
        ensure!(sockets.is_empty(), "{sockets}");
        Ok(())
    })
}
