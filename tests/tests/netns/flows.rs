//! Flows and what ends them: the controller does, before an address or a port is used again; a forged segment does not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::{Reason, proto};
use netbridge_common::host::build::Datagram;
use netbridge_common::wire::tcp::{ACK, FIN, RST, SYN};
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{self, Connection, TcpServer};
use netbridge_tests::udp::{UdpServer, bound, seen_by};
use netbridge_tests::wait::wait_until;
use netbridge_tests::wire::Wire;

use super::command::{json, says, tool};
use super::hand::named;
use super::{LIMIT, PAIR, SILENCE, pair};

/// A connection of `web`'s to the outside.
fn through_snat(lab: &Lab<'_>) -> Result<Connection> {
    let outside = lab.node("outside")?;
    let to = SocketAddrV4::new(pair::OUTSIDE, 80);
    let connection = Connection::open(&lab.node("web")?, to, (&outside, 80))?;
    connection.talk()?;
    ensure!(connection.far.peer_addr()?.ip() == pair::HOST, "it is not translated");
    Ok(connection)
}

/// A connection of the outside's to `web`'s published port.
fn through_a_port(lab: &Lab<'_>) -> Result<Connection> {
    let to = SocketAddrV4::new(pair::HOST, 8080);
    let connection = Connection::open(&lab.node("outside")?, to, (&lab.node("web")?, 80))?;
    connection.talk()?;
    Ok(connection)
}

/// A namespace `late` with a UDP socket, attached with the address that `web` had.
fn successor(port: u16) -> Result<UdpSocket> {
    tool("ip netns add late")?;
    let socket = bound(&named("late")?, port, SILENCE)?;
    says("-n lab-host attach late --net front --ip 10.77.1.10")?;
    Ok(socket)
}

fn is_silent(socket: &UdpSocket) -> Result<bool> {
    socket.set_read_timeout(Some(SILENCE))?;
    match socket.recv_from(&mut [0; 64]) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error).context("cannot wait for a datagram"),
    }
}

#[test]
fn a_late_answer_does_not_reach_the_next_owner_of_the_address() -> Result<()> {
    for filtering in ["dependent", "independent"] {
        let subnet = "subnet = \"10.77.1.0/24\"";
        let topology = PAIR.replace(subnet, &format!("{subnet}\nfiltering = \"{filtering}\""));
        with_lab(Text::plain(&topology), |lab| {
            let outside = lab.node("outside")?;
            let (far, other) = (bound(&outside, 53, LIMIT)?, bound(&outside, 54, LIMIT)?);
            bound(&lab.node("web")?, 5000, LIMIT)?.send_to(b"a question", (pair::OUTSIDE, 53))?;
            let (_, seen) = far.recv_from(&mut [0; 64])?;
            ensure!(seen == SocketAddrV4::new(pair::HOST, 5000).into(), "seen as {seen}");
            says("-n lab-host detach web")?;
            let late = successor(5000)?;
            far.send_to(b"a late answer", seen)?;
            ensure!(is_silent(&late)?, "{filtering}: the next one has got it");
            // Nor does the next one, or a neighbour, get the port, whomever it talks to.
            let app = bound(&lab.node("app")?, 5000, LIMIT)?;
            for socket in [&late, &app] {
                for (port, server) in [(54, &other), (53, &far)] {
                    socket.send_to(b"mine", (pair::OUTSIDE, port))?;
                    let (_, fresh) = server.recv_from(&mut [0; 64])?;
                    ensure!(fresh != seen, "{filtering}: {seen} stands for another already");
                }
            }
            far.send_to(b"a late answer", seen)?;
            ensure!(
                is_silent(&late)? && is_silent(&app)?,
                "{filtering}: somebody has got it"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_connection_ends_with_its_container_and_is_nothing_to_the_next() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (out, inwards) = (through_snat(lab)?, through_a_port(lab)?);
        says("-n lab-host detach web")?;
        let flows = json("-n lab-host ct ls")?;
        ensure!(flows == serde_json::json!([]), "{flows}");
        let late = successor(5000)?;
        let wire = Wire::open(&named("late")?, "eth0")?;
        // What is under way, and what the far ends repeat.
        (&out.far).write_all(b"still there?")?;
        (&inwards.near).write_all(b"still there?")?;
        let seen = wire.receive(Duration::from_secs(1), |frame| {
            frame.get(26..30) == Some(&pair::OUTSIDE.octets())
        })?;
        ensure!(seen.is_none(), "the next one gets {seen:x?}");
        drop(late);
        Ok(())
    })
}

#[test]
fn a_port_that_moves_takes_a_client_that_keeps_sending_along() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (first, second) = (
            bound(&lab.node("web")?, 53, LIMIT)?,
            bound(&lab.node("app")?, 53, LIMIT)?,
        );
        let client = bound(&lab.node("outside")?, 7000, SILENCE)?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let sends = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // While the port is nobody's, the host says so.
                    let _refused = client.send_to(b"again and again", (pair::HOST, 5353));
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let moved = (|| {
                first
                    .recv_from(&mut [0; 64])
                    .context("the client does not get through")?;
                says("-n lab-host port rm web 5353:53/udp")?;
                while first.recv_from(&mut [0; 64]).is_ok() {
                    first.set_read_timeout(Some(Duration::from_millis(20)))?;
                }
                says("-n lab-host port add app 5353:53/udp")?;
                let (_, from) = second.recv_from(&mut [0; 64]).context("the next one gets nothing")?;
                ensure!(from == SocketAddrV4::new(pair::OUTSIDE, 7000).into(), "{from}");
                second.send_to(b"welcome", from)?;
                ensure!(is_silent(&first)?, "the one before still gets some");
                Ok(())
            })();
            stop.store(true, Ordering::Relaxed);
            ensure!(sends.join().is_ok(), "the client panicked");
            moved
        })?;
        client.recv_from(&mut [0; 64]).context("the client gets no answer")?;
        Ok(())
    })
}

#[test]
fn a_connection_without_its_flow_is_cut_and_taken_up_when_asked() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (out, inwards) = (through_snat(lab)?, through_a_port(lab)?);
        let seen = out.far.peer_addr()?;
        let before = lab.drops(Reason::MidStream)?;
        says("-n lab-host ct flush")?;
        (&out.near).write_all(b"hello?")?;
        wait_until("segments in the middle of nothing", LIMIT, || {
            Ok(lab.drops(Reason::MidStream)? > before)
        })?;
        out.far.set_read_timeout(Some(SILENCE))?;
        ensure!(out.far.peek(&mut [0; 1]).is_err(), "it goes on");
        says("-n lab-host ct pickup 60")?;
        out.far.set_read_timeout(Some(Duration::from_secs(10)))?;
        (&out.far).read_exact(&mut [0; 6]).context("it is not taken up")?;
        out.talk()?;
        ensure!(out.far.peer_addr()? == seen, "by another port");
        // Nothing from outside opens a flow in the middle: the one who dialled a published port dials again.
        let before = lab.drops(Reason::MidStream)?;
        (&inwards.near).write_all(b"hello?")?;
        wait_until("segments in the middle of nothing", LIMIT, || {
            Ok(lab.drops(Reason::MidStream)? > before)
        })?;
        through_a_port(lab).map(drop)
    })
}

#[test]
fn a_flushed_udp_flow_keeps_its_port() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("outside")?, 53)?;
        let socket = bound(&lab.node("web")?, 40_000, LIMIT)?;
        let to = SocketAddrV4::new(pair::OUTSIDE, 53);
        let before = seen_by(&socket, to)?;
        says("-n lab-host ct flush")?;
        let after = seen_by(&socket, to)?;
        ensure!(before == after, "{before} became {after}");
        Ok(())
    })
}

/// Sends `count` segments in the name of the far end into a connection of `web`'s, with sequence numbers that are guessed.
fn attack(lab: &Lab<'_>, connection: &Connection, flags: u8, count: u32) -> Result<()> {
    let wire = Wire::open(&lab.node("outside")?, "eth0")?;
    let host = Wire::open(&named("lab-host")?, &lab.uplink()?.name)?.mac();
    let port = connection.far.peer_addr()?.port();
    let forged = Datagram::new((wire.mac(), pair::OUTSIDE.octets()), (host, pair::HOST.octets()));
    let uplink = lab.uplink()?.slot;
    let before = lab.datapath()?.tables().traffic(uplink)?.tx_packets;
    let mut random = fastrand::Rng::with_seed(u64::from(flags));
    for _ in 0..count {
        let segment = forged.tcp_segment_at(80, port, flags, (random.u32(..), random.u32(..)), &[]);
        wire.send(&forged.frame(proto::TCP, &segment))?;
    }
    wait_until("all to be judged", Duration::from_secs(10), || {
        Ok(lab.datapath()?.tables().traffic(uplink)?.tx_packets >= before + u64::from(count))
    })
}

#[test]
fn blind_segments_end_nothing() -> Result<()> {
    const GUESSES: u32 = 20_000;

    with_lab(Text::plain(PAIR), |lab| {
        let connection = through_snat(lab)?;
        let seen = connection.far.peer_addr()?;
        for (name, flags) in [
            ("RST", RST),
            ("RST and ACK", RST | ACK),
            ("FIN", FIN | ACK),
            ("SYN", SYN),
            ("SYN and ACK", SYN | ACK),
        ] {
            attack(lab, &connection, flags, GUESSES).context(name)?;
            // A FIN is believed for a second: what was lost before it may come again.
            wait_until("the connection to be what it was", LIMIT, || {
                connection.talk()?;
                let flows = json("-n lab-host ct ls --ep web")?;
                ensure!(flows.as_array().map(Vec::len) == Some(1), "{flows}");
                Ok(flows[0]["state"] == "established")
            })
            .with_context(|| format!("after {GUESSES} segments with {name}"))?;
        }
        ensure!(connection.far.peer_addr()? == seen);
        // Another connection of the container's is not taken for this one's successor either.
        through_snat(lab)?;
        connection.talk()
    })
}

#[test]
fn the_first_filter_takes_up_connections_between_neighbours() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.node("web")?, lab.node("app")?);
        let to = SocketAddrV4::new(pair::WEB, 80);
        let connections = [
            Connection::open(&app, to, (&web, 80))?,
            Connection::open(&app, to, (&web, 80))?,
        ];
        for connection in &connections {
            connection.talk()?;
        }
        ensure!(
            lab.datapath()?.tables().flows()?.is_empty(),
            "neighbours are tracked without a filter"
        );
        let idle = Connection::open(&app, to, (&web, 80))?;
        std::fs::write(
            "/run/established.rules",
            "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n",
        )?;
        says("-n lab-host filter load /run/established.rules")?;
        for connection in &connections {
            connection.talk()?;
        }
        let _server = TcpServer::start(&web, 81)?;
        let before = lab.drops(Reason::Filtered)?;
        ensure!(
            tcp::connect(&app, SocketAddrV4::new(pair::WEB, 81), SILENCE).is_err(),
            "a new one passes"
        );
        lab.dropped(Reason::Filtered, before, 1)?;
        // One that was silent meanwhile, begun by the side that accepted.
        (&idle.far).write_all(b"who speaks first?")?;
        idle.near.set_read_timeout(Some(LIMIT))?;
        (&idle.near).read_exact(&mut [0; 17]).context("the silent one is cut")?;
        idle.talk()
    })
}
