//! Every example comes up, and shows what it is there to show.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use netbridge_common::abi::Reason;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, with_lab_file};
use netbridge_tests::tcp::{self, TcpServer};

use super::command::{says, tool};
use super::hand::Loner;
use super::{LIMIT, SILENCE};

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

fn example(name: &str, test: impl FnOnce(&Lab<'_>) -> Result<()> + Send) -> Result<()> {
    with_lab_file(
        &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name),
        test,
    )
}

#[test]
fn two_namespaces_on_one_veth() -> Result<()> {
    example("docker-tutorial/1-two-namespaces.toml", |lab| {
        ping(&lab.node("red")?, Ipv4Addr::new(10, 0, 0, 2), 56, LIMIT)?;
        ping(&lab.node("blue")?, Ipv4Addr::new(10, 0, 0, 1), 56, LIMIT)?;
        Ok(())
    })
}

#[test]
fn several_on_a_bridge() -> Result<()> {
    example("docker-tutorial/2-bridge.toml", |lab| {
        for (from, to) in [("red", 3), ("red", 4), ("green", 4), ("blue", 2)] {
            ping(&lab.node(from)?, Ipv4Addr::new(10, 0, 1, to), 56, LIMIT)?;
        }
        ensure!(
            !tool("ip -n bridge-red route")?.contains("default"),
            "an internal network has no way out"
        );
        Ok(())
    })
}

#[test]
fn a_gateway_with_a_policy_and_masquerading() -> Result<()> {
    example("docker-tutorial/3-gateway.toml", |lab| {
        let red = lab.node("red")?;
        ensure!(tool("ip -n gateway-red route")?.contains("default via 172.18.0.1"));
        ping(&red, OUTSIDE, 56, LIMIT)?;
        let _servers = (
            TcpServer::start(&lab.node("outside")?, 80)?,
            TcpServer::start(&lab.node("outside")?, 81)?,
        );
        let seen = tcp::transfer(&red, SocketAddrV4::new(OUTSIDE, 80), 1 << 20)?.seen_as;
        ensure!(*seen.ip() == Ipv4Addr::new(203, 0, 113, 1), "the outside sees {seen}");
        ensure!(
            tcp::connect(&red, SocketAddrV4::new(OUTSIDE, 81), SILENCE).is_err(),
            "the policy let port 81 out"
        );
        ensure!(lab.drops(Reason::Filtered)? > 0);
        Ok(())
    })
}

#[test]
fn a_published_port() -> Result<()> {
    example("docker-tutorial/4-published-port.toml", |lab| {
        let _server = TcpServer::start(&lab.node("web")?, 80)?;
        let to = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 8080);
        let seen = tcp::transfer(&lab.node("outside")?, to, 1 << 20)?.seen_as;
        ensure!(*seen.ip() == OUTSIDE, "the container sees {seen}");
        Ok(())
    })
}

#[test]
fn a_point_to_point_link() -> Result<()> {
    example("docker-tutorial/5-point-to-point.toml", |lab| {
        ping(&lab.node("a")?, Ipv4Addr::new(10, 1, 1, 2), 56, LIMIT)?;
        let routes = tool("ip -n p2p-a route")?;
        ensure!(
            routes.lines().count() == 1 && routes.starts_with("10.1.1.2 dev to-b"),
            "{routes}"
        );
        Ok(())
    })
}

#[test]
fn a_running_process_as_pipework_does_it() -> Result<()> {
    example("docker-tutorial/6-pipework.toml", |lab| {
        let loner = Loner::start()?;
        let attach = format!(
            "-n pipework-host attach {} --net br1 --name late --ip 10.1.1.9/24@10.1.1.1",
            loner.name()
        );
        says(&attach)?;
        ping(&loner.netns()?, Ipv4Addr::new(10, 1, 1, 2), 56, LIMIT)?;
        ping(&lab.node("neighbour")?, Ipv4Addr::new(10, 1, 1, 9), 56, LIMIT)?;
        ping(&loner.netns()?, OUTSIDE, 56, LIMIT)?;
        says("-n pipework-host detach late")?;
        Ok(())
    })
}

#[test]
fn three_containers_on_two_networks() -> Result<()> {
    example("web-app-db.toml", |lab| {
        let db = SocketAddrV4::new(Ipv4Addr::new(10, 88, 2, 30), 5432);
        let _server = TcpServer::start(&lab.node("db")?, 5432)?;
        tcp::transfer(&lab.node("app")?, db, 1 << 20)?;
        for stranger in ["batch", "web", "outside"] {
            ensure!(
                tcp::connect(&lab.node(stranger)?, db, SILENCE).is_err(),
                "{stranger} reached the database"
            );
        }
        Ok(())
    })
}
