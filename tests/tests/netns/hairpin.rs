//! Published and mapped ports by the host's addresses, from containers: their own, a neighbour's, another network's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::tcp::{self, Connection, TcpServer, connect_from, transfer};
use netbridge_tests::udp::{UdpClient, UdpServer, ask, bound, seen_by};

use super::command::says;
use super::{LIMIT, PAIR, SILENCE, networks, pair};

/// The gateway of the second network.
const BACK: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);

#[test]
fn a_container_reaches_its_own_and_others_ports_by_any_address_of_the_host() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        let web = lab.node("web")?;
        let _services = (TcpServer::start(&web, 80)?, UdpServer::start(&web, 53)?);
        for name in ["web", "app", "db"] {
            let node = lab.node(name)?;
            for address in [pair::HOST, pair::GATEWAY, BACK] {
                let tried = || format!("{name} by {address}");
                let to = SocketAddrV4::new(address, 8080);
                let seen = transfer(&node, to, 1 << 20).with_context(tried)?.seen_as;
                ensure!(*seen.ip() == address, "{}: the server sees {seen}", tried());
                let client = UdpClient::open(&node, SocketAddrV4::new(address, 5353), LIMIT)?;
                let first = client.ask(b"once").with_context(tried)?.seen_as;
                ensure!(*first.ip() == address, "{}: the server sees {first}", tried());
                let again = client.ask(&[7; 1200]).with_context(tried)?.seen_as;
                ensure!(again == first, "{}: {first} became {again}", tried());
            }
        }
        // By its own address it is a neighbour, and nothing is translated.
        let seen = transfer(&lab.node("app")?, SocketAddrV4::new(pair::WEB, 80), 1000)?.seen_as;
        ensure!(*seen.ip() == pair::APP, "the server sees {seen}");
        let direct = SocketAddrV4::new(pair::WEB, 80);
        ensure!(
            tcp::connect(&lab.node("db")?, direct, SILENCE).is_err(),
            "db is not isolated"
        );
        Ok(())
    })
}

#[test]
fn two_containers_that_dial_from_one_port_are_two_to_the_server() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        let _server = TcpServer::start(&lab.node("web")?, 80)?;
        let to = SocketAddrV4::new(pair::HOST, 8080);
        let mut streams = Vec::new();
        for name in ["web", "app", "db"] {
            streams.push(connect_from(&lab.node(name)?, 5000, to, LIMIT)?);
        }
        let mut ports = Vec::new();
        for stream in &mut streams {
            ports.push(tcp::exchange(stream, to, 100_000)?.seen_as.port());
        }
        ports.sort_unstable();
        ports.dedup();
        ensure!(ports.len() == 3, "{ports:?}");
        Ok(())
    })
}

#[test]
fn a_list_of_sources_holds_for_containers_too() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        let web = lab.node("web")?;
        let _services = (TcpServer::start(&web, 80)?, UdpServer::start(&web, 53)?);
        says("-n lab-host port add web 8081:80 5354:53/udp --from 10.77.1.20,198.51.100.0/24")?;
        let (tcp, udp) = (SocketAddrV4::new(pair::HOST, 8081), SocketAddrV4::new(pair::HOST, 5354));
        for listed in ["app", "outside"] {
            transfer(&lab.node(listed)?, tcp, 1000)?;
            ask(&lab.node(listed)?, udp, b"x", LIMIT)?;
        }
        for other in ["web", "db"] {
            let before = lab.drops(Reason::SourceNotAllowed)?;
            ensure!(
                tcp::connect(&lab.node(other)?, tcp, SILENCE).is_err(),
                "{other} connects"
            );
            ensure!(
                ask(&lab.node(other)?, udp, b"x", SILENCE).is_err(),
                "{other} is answered"
            );
            lab.dropped(Reason::SourceNotAllowed, before, 2).context(other)?;
        }
        Ok(())
    })
}

#[test]
fn the_filter_sees_who_dials_and_who_is_meant() -> Result<()> {
    let filter = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A FORWARD -s 10.77.1.20/32 -d 10.77.1.10/32 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
    let topology = format!("filter = \"f.rules\"\n{}", networks());
    let text = Text {
        filter: Some(filter),
        ..Text::plain(&topology)
    };
    with_lab(text, |lab| {
        let _server = TcpServer::start(&lab.node("web")?, 80)?;
        let to = SocketAddrV4::new(pair::HOST, 8080);
        transfer(&lab.node("app")?, to, 100_000)?;
        let before = lab.drops(Reason::Filtered)?;
        ensure!(
            tcp::connect(&lab.node("db")?, to, SILENCE).is_err(),
            "db passes the filter"
        );
        lab.dropped(Reason::Filtered, before, 1)
    })
}

#[test]
fn containers_meet_at_their_mapped_ports_once_both_have_tried() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app, outside) = (lab.node("web")?, lab.node("app")?, lab.node("outside")?);
        let service = SocketAddrV4::new(pair::OUTSIDE, 53);
        let _services = (UdpServer::start_at(&outside, service)?, TcpServer::start(&outside, 53)?);
        let sockets = [bound(&web, 40_000, LIMIT)?, bound(&app, 40_000, LIMIT)?];
        let [at_web, at_app] = sockets.each_ref().map(|socket| seen_by(socket, service));
        let mapped = [at_web?, at_app?];
        let before = lab.drops(Reason::Unsolicited)?;
        sockets[1].send_to(b"anybody?", mapped[0])?;
        lab.dropped(Reason::Unsolicited, before, 1)?;
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            sockets[from].send_to(b"hello", mapped[to])?;
            let mut got = [0; 64];
            let (length, seen) = sockets[to].recv_from(&mut got).context("nothing arrives")?;
            ensure!((&got[..length], seen) == (b"hello", mapped[from].into()), "{seen}");
        }
        // Each keeps a connection open: its port outside is known by that. The two SYNs cross.
        let _of_web = connect_from(&web, 5000, service, LIMIT)?;
        let _of_app = connect_from(&app, 5001, service, LIMIT)?;
        let meet = |from: &Netns, port, to| connect_from(from, port, SocketAddrV4::new(pair::HOST, to), LIMIT);
        let mut near = None;
        let far = thread::scope(|scope| {
            scope.spawn(|| near = Some(meet(&web, 5000, 5001)));
            meet(&app, 5001, 5000)
        })?;
        let near = near.context("nobody tried")??;
        Connection { near, far }.talk()
    })
}
