//! What becomes of the host's own connected sockets when the port that led them to a container is removed, or the container
//! detached: nothing of them reaches who has the address next.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{Connection, TcpServer};
use netbridge_tests::udp::UdpServer;
use socket2::{Domain, Protocol, Socket, Type};

use super::LIMIT;
use super::command::{NETBRIDGE, ends, json, says, tool};
use super::controller::datapath;
use super::hand::{named, world};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const RED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);

/// [`world`] with `red` and `blue` in a network with this way out.
fn containers(outside: &str) -> Result<()> {
    world()?;
    tool("ip -n H link set lo up")?;
    says(&format!("-n H net create web --subnet 10.9.0.0/24 {outside}"))?;
    says("-n H attach red --net web --ip 10.9.0.10")?;
    says("-n H attach blue --net web --ip 10.9.0.20").map(drop)
}

/// A connection from the host to TCP port 80 of a container.
fn tcp(to: (Ipv4Addr, u16), container: &str) -> Result<Connection> {
    Connection::open(&named("H")?, SocketAddrV4::new(to.0, to.1), (&named(container)?, 80))
}

/// A socket of the host that is connected.
fn udp(to: impl Into<SocketAddr>) -> Result<UdpSocket> {
    let to = to.into();
    let any = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = named("H")?.run(|| UdpSocket::bind(SocketAddr::new(any, 0)))??;
    named("H")?.run(|| socket.connect(to))??;
    socket.set_read_timeout(Some(LIMIT))?;
    talks(&socket)?;
    Ok(socket)
}

/// Asks the [`UdpServer`] at the far end.
fn talks(socket: &UdpSocket) -> Result<()> {
    let peer = socket.peer_addr()?;
    socket.send(b"x").with_context(|| format!("send to {peer}"))?;
    socket
        .recv(&mut [0; 64])
        .with_context(|| format!("no answer from {peer}"))?;
    Ok(())
}

/// That its program is told that a connection has ended.
fn aborted<T>(outcome: std::io::Result<T>, which: &str) -> Result<()> {
    let kind = outcome.err().map(|error| error.kind());
    ensure!(kind == Some(ErrorKind::ConnectionAborted), "{which}: {kind:?}");
    Ok(())
}

/// The same of a UDP socket, which is then connected with nobody.
fn aborted_udp(socket: &UdpSocket, which: &str) -> Result<()> {
    ensure!(socket.send(b"x").is_err(), "{which}: it still sends");
    aborted(socket.recv(&mut [0; 64]), which)?;
    ensure!(socket.peer_addr().is_err(), "{which}: it is connected");
    Ok(())
}

fn read(mut stream: &TcpStream) -> std::io::Result<usize> {
    stream.read(&mut [0; 64])
}

#[test]
fn a_removed_port_ends_the_sockets_that_it_led_and_no_others() -> Result<()> {
    within(|sandbox| {
        containers("--uplink up0")?;
        says("-n H port add red 8080:80 8081:80 8082:81 5353:53/udp 5354:53/udp 5354:53")?;
        let red = named("red")?;
        let _servers = (UdpServer::start(&red, 53)?, TcpServer::start(&red, 81)?);
        let (local, mapped) = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let (led, beside, own) = (
            tcp((local, 8080), "red")?,
            tcp((local, 8081), "red")?,
            tcp((RED, 80), "red")?,
        );
        let asking = udp((local, 5353))?;
        let (beside_udp, own_udp) = (udp((local, 5354))?, udp((RED, 53))?);
        let of_ipv6 = (
            named("H")?.run(|| TcpStream::connect((mapped, 8082)))??,
            udp((mapped, 5353))?,
        );
        let multipath = named("H")?.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
            socket.connect(&SocketAddr::from((local, 8082)).into())?;
            std::io::Result::Ok(TcpStream::from(socket))
        })??;
        says("-n H port rm red 8080:80 8082:81 5353:53/udp")?;
        aborted(read(&led.near), "TCP")?;
        let told = read(&led.far).map_err(|error| error.kind());
        ensure!(
            told == Err(ErrorKind::ConnectionReset),
            "the container is told {told:?}"
        );
        aborted_udp(&asking, "UDP")?;
        aborted(read(&of_ipv6.0), "TCP of IPv6")?;
        aborted_udp(&of_ipv6.1, "UDP of IPv6")?;
        multipath.set_read_timeout(Some(LIMIT))?;
        aborted(read(&multipath), "MPTCP")?;
        for connection in [&beside, &own] {
            connection.talk()?;
        }
        for socket in [&beside_udp, &own_udp] {
            talks(socket)?;
        }
        // The same number, of the other transport.
        says("-n H port rm red 5354:53")?;
        talks(&beside_udp)?;
        ensure!(beside_udp.peer_addr()? == (local, 5354).into());
        says("-n H port rm red --all")?;
        aborted(read(&beside.near), "TCP by another port")?;
        aborted_udp(&beside_udp, "UDP by another port")?;
        own.talk()?;
        talks(&own_udp)?;
        ensure!(datapath(sandbox)?.tables().peers()?.is_empty());
        Ok(())
    })
}

#[test]
fn a_detached_endpoint_ends_every_socket_that_is_connected_with_it() -> Result<()> {
    within(|_| {
        containers("--uplink up0")?;
        says("-n H port add red 8080:80 5353:53/udp")?;
        says("-n H port add blue 8081:80 5354:53/udp")?;
        let (host, red) = (named("H")?, named("red")?);
        let _servers = (UdpServer::start(&red, 53)?, UdpServer::start(&named("blue")?, 53)?);
        let local = Ipv4Addr::LOCALHOST;
        let (led, own) = (tcp((local, 8080), "red")?, tcp((RED, 80), "red")?);
        let inward = Connection::open(&red, SocketAddrV4::new(GATEWAY, 7000), (&host, 7000))?;
        let (led_udp, own_udp) = (udp((local, 5353))?, udp((RED, 53))?);
        let (other, other_udp) = (tcp((local, 8081), "blue")?, udp((local, 5354))?);
        let said = ends(0, "-n H detach red")?;
        ensure!(said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
        aborted(read(&led.near), "TCP")?;
        aborted(read(&own.near), "TCP to the container's address")?;
        aborted(read(&inward.far), "TCP from the container")?;
        aborted_udp(&led_udp, "UDP")?;
        aborted_udp(&own_udp, "UDP to the container's address")?;
        other.talk()?;
        talks(&other_udp)?;
        // Who has the address next hears nothing of them.
        tool("ip netns add next")?;
        says("-n H attach next --net web --ip 10.9.0.10")?;
        let next = named("next")?.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)))??;
        next.set_read_timeout(Some(Duration::from_millis(200)))?;
        for socket in [&led_udp, &own_udp] {
            ensure!(socket.send(b"x").is_err(), "it is connected still");
        }
        ensure!(next.recv(&mut [0; 64]).is_err(), "something arrived");
        Ok(())
    })
}

#[test]
fn where_sockets_cannot_be_ended_the_port_goes_and_the_caller_is_told() -> Result<()> {
    within(|_| {
        // Programs at an uplink take the capability that is to be missing.
        containers("--internal")?;
        says("-n H port add red 8080:80")?;
        let led = tcp((Ipv4Addr::LOCALHOST, 8080), "red")?;
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_admin", NETBRIDGE])
            .args("-n H port rm red 8080:80".split(' '))
            .output()?;
        let told = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{told}");
        ensure!(
            told.contains("connections of the host's own programs to a container were not ended"),
            "{told}"
        );
        ensure!(json("-n H port ls")? == serde_json::json!([]));
        led.talk()?;
        // The last chance.
        says("-n H detach red")?;
        aborted(read(&led.near), "TCP")?;
        let checks = json("-n H doctor")?;
        let mut found = checks.as_array().into_iter().flatten();
        let check = found.find(|check| check["name"] == "sock_diag");
        ensure!(check.is_some_and(|check| check["status"] == "ok"), "{check:?}");
        Ok(())
    })
}
