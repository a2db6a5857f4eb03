//! Ranges of published ports: each port reaches its own, the range is one object, and it goes as one.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{self, TcpServer, transfer};
use netbridge_tests::udp::{UdpClient, UdpServer};
use serde_json::json;

use super::command::{complains, json, says};
use super::controller::datapath;
use super::hand::{OUTSIDE, UPLINK, named, world};
use super::{LIMIT, PAIR, SILENCE};

/// [`world`] with `red` at 10.9.0.10 behind the uplink.
fn red() -> Result<()> {
    world()?;
    says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
    says("-n H attach red --net web --ip 10.9.0.10")?;
    Ok(())
}

#[test]
fn each_port_reaches_its_own_in_the_container_and_none_beside() -> Result<()> {
    within(|sandbox| {
        red()?;
        says("-n H port add red 8000-17999:18000-27999")?;
        let blocks = datapath(sandbox)?.tables().published()?.len();
        ensure!(blocks <= 26, "{blocks} entries for one range");
        let (red, out) = (named("red")?, named("out")?);
        for (host, container) in [(8000, 18_000), (12_345, 22_345), (17_999, 27_999)] {
            // Only the right port of the container answers.
            let _server = TcpServer::start(&red, container)?;
            let seen = transfer(&out, SocketAddrV4::new(UPLINK, host), 1000)?.seen_as;
            ensure!(*seen.ip() == OUTSIDE, "the server sees {seen}");
        }
        for (host, container) in [(7999, 17_999), (18_000, 28_000)] {
            let _server = TcpServer::start(&red, container)?;
            let beside = tcp::connect(&out, SocketAddrV4::new(UPLINK, host), SILENCE);
            ensure!(beside.is_err(), "port {host} is not published and answers");
        }
        says("-n H net rm web --force")?;
        Ok(())
    })
}

#[test]
fn a_range_ends_as_one_and_its_connections_with_it() -> Result<()> {
    within(|sandbox| {
        red()?;
        says("-n H port add red 5000-5099:6000-6099/udp 5100:53/udp")?;
        let (red, out) = (named("red")?, named("out")?);
        let _servers = (
            UdpServer::start(&red, 6000)?,
            UdpServer::start(&red, 6099)?,
            UdpServer::start(&red, 53)?,
        );
        let clients = [5000, 5099, 5100].map(|port| UdpClient::open(&out, SocketAddrV4::new(UPLINK, port), LIMIT));
        let [first, last, other] = clients;
        let (first, last, other) = (first?, last?, other?);
        for client in [&first, &last, &other] {
            client.ask(b"before")?;
        }
        says("-n H port rm red 5000-5099:6000-6099/udp")?;
        first.wait(SILENCE)?;
        last.wait(SILENCE)?;
        ensure!(
            first.ask(b"after").is_err() && last.ask(b"after").is_err(),
            "a connection lives on"
        );
        other.ask(b"after")?;
        let flows = json("-n H ct ls")?;
        ensure!(!flows.to_string().contains("6099"), "{flows}");
        ensure!(datapath(sandbox)?.tables().published()?.len() == 1);
        // The same ports may then lead elsewhere.
        says("-n H port add red 4990-5010:43-63/udp")?;
        let back = UdpClient::open(&out, SocketAddrV4::new(UPLINK, 5000), LIMIT)?;
        back.ask(b"again")?;
        says("-n H detach red")?;
        ensure!(datapath(sandbox)?.tables().published()?.is_empty());
        says("-n H net rm web")?;
        Ok(())
    })
}

#[test]
fn a_range_is_listed_as_one_and_refused_by_name() -> Result<()> {
    within(|_| {
        red()?;
        let said = says("-n H port add red 8000-17999:8000-17999 192.0.2.1:53:53/udp")?;
        ensure!(
            said.contains("published 0.0.0.0:8000-17999/tcp to red:8000-17999"),
            "{said}"
        );
        let listed = says("-n H port ls")?;
        let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(
            rows == [
                vec!["HOST", "ENDPOINT", "PORT", "FROM"],
                vec!["0.0.0.0:8000-17999/tcp", "red", "8000-17999", "anywhere"],
                vec!["192.0.2.1:53/udp", "red", "53", "anywhere"],
            ],
            "{listed}"
        );
        let range = json!({
            "endpoint": "red", "transport": "tcp", "host_ip": null, "host_port": 8000, "port": 8000, "count": 10_000,
            "from": [], "list": 0
        });
        let listed = json("-n H port ls")?;
        ensure!(listed[0] == range && listed[1]["count"] == 1, "{listed}");
        for (code, spec, why) in [
            (2, "80-90:80", "differ in length"),
            (2, "90-80:90-80", "ends before it begins"),
            (2, "65530-65536:1-7", "is not a port"),
            (1, "17999:80", "as 0.0.0.0:8000-17999/tcp"),
            (1, "192.0.2.1:7000-8000:7000-8000", "as 0.0.0.0:8000-17999/tcp"),
            (4, "8000-17999:8000-17999", "already"),
        ] {
            let said = complains(code, &format!("-n H port add red {spec}"))?;
            ensure!(said.contains(why), "{spec}: {said}");
        }
        let said = complains(3, "-n H port rm red 8000:8000")?;
        ensure!(
            said.contains("`netbridge port rm red 8000-17999:8000-17999/tcp`"),
            "{said}"
        );
        ensure!(says("-n H --dry-run port rm red --all")?.contains("8000-17999"));
        says("-n H net rm web --force")?;
        Ok(())
    })
}

#[test]
fn a_topology_publishes_ranges() -> Result<()> {
    within(|_| {
        let path = "/run/pair.toml";
        std::fs::write(path, PAIR.replace("8080:80", "8000-8999:18000-18999"))?;
        says(&format!("lab up {path}"))?;
        let listed = says("-n pair-host port ls")?;
        ensure!(
            listed.contains("0.0.0.0:8000-8999/tcp") && listed.contains("18000-18999"),
            "{listed}"
        );
        let _server = TcpServer::start(&named("pair-web")?, 18_500)?;
        transfer(
            &named("pair-outside")?,
            SocketAddrV4::new(super::pair::HOST, 8500),
            1000,
        )?;
        says("lab down")?;
        std::fs::write(path, PAIR.replace("\"8080:80\"", "\"8000-8999:1-1000\", \"8999:80\""))?;
        let said = complains(2, &format!("lab up {path}"))?;
        ensure!(said.contains("is taken on the host, by 8000-8999:1-1000/tcp"), "{said}");
        Ok(())
    })
}
