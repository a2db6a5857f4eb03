//! What senders are told on the way: routes traced, path MTUs found, errors of third parties. The host does not forward by
//! itself in any of these labs, so what a router must say, netbridge says.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_common::abi::{Reason, proto};
use netbridge_common::host::build::Datagram;
use netbridge_tests::frame;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{TcpServer, transfer};
use netbridge_tests::wait::wait_until;
use netbridge_tests::wire::{Wire, finish_checksums};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use super::command::tool;
use super::hand::named;
use super::{LIMIT, PAIR, SILENCE, pair};

/// A station behind the router that `outside` becomes; the link between them carries 1300 bytes.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// A router of which nobody else knows.
const THIRD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// Runs a test on a lab whose host does not forward by itself.
fn with_router(topology: &str, test: impl FnOnce(&Lab<'_>) -> Result<()> + Send) -> Result<()> {
    with_lab(Text::plain(topology), |lab| {
        lab.node("host")?
            .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0"))??;
        reachable(lab, pair::OUTSIDE)?;
        test(lab)
    })
}

/// Waits until app reaches an address. Interfaces lose what is sent in the moment after they come up, and most packets
/// here are sent once.
fn reachable(lab: &Lab<'_>, to: Ipv4Addr) -> Result<()> {
    let app = lab.node("app")?;
    wait_until("a way there", LIMIT, || Ok(ping(&app, to, 0, SILENCE).is_ok()))
}

/// Makes a router of `outside`, with [`FAR`] behind a narrow link. It tells others of segments as long as Ethernet's, so
/// that only errors can teach them better.
fn far(lab: &Lab<'_>) -> Result<Netns> {
    tool("ip netns add far")?;
    tool("ip -n lab-outside link add far0 mtu 1300 type veth peer name eth0 netns far")?;
    tool("ip -n lab-outside address add 203.0.113.1/24 dev far0")?;
    tool("ip -n lab-outside link set far0 up")?;
    tool("ip -n far address add 203.0.113.2/24 dev eth0")?;
    tool("ip -n far link set eth0 up")?;
    tool("ip -n far route add default via 203.0.113.1 mtu lock 1300 advmss 1460")?;
    tool("ip -n lab-host route add 203.0.113.0/24 via 198.51.100.2")?;
    lab.node("outside")?
        .run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    reachable(lab, FAR)?;
    named("far")
}

/// A UDP socket that hears of every error, and sends with this TTL.
fn probe(from: &Netns, to: SocketAddrV4, ttl: u32) -> Result<UdpSocket> {
    let socket = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    socket.set_ttl(ttl)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(to)?;
    Ok(socket)
}

/// The error that comes back to a socket.
fn hears(socket: &UdpSocket) -> Result<ErrorKind> {
    let mut room = [0; 64];
    let error = socket.recv(&mut room).err().context("an answer instead of an error")?;
    Ok(error.kind())
}

/// The next error of this type on a wire, and who sent it. Its checksums are right, finished by a device or not.
fn error_on(wire: &Wire, icmp_type: u8) -> Result<(Ipv4Addr, Vec<u8>)> {
    let is_error =
        |bytes: &[u8]| bytes.len() > 42 && bytes[12..14] == [8, 0] && bytes[23] == 1 && bytes[34] == icmp_type;
    let bytes = wire
        .receive(LIMIT, is_error)?
        .with_context(|| format!("no error of type {icmp_type}"))?;
    frame::verify(&bytes)?;
    let from = <[u8; 4]>::try_from(&bytes[26..30])?;
    Ok((from.into(), bytes))
}

/// What a socket sends that is not meant to arrive; that it hears of the error meanwhile is no failure.
fn start_tcp(from: &Netns, to: SocketAddrV4, ttl: u32) -> Result<Socket> {
    let socket = from.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
    socket.set_ttl_v4(ttl)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(socket),
        other => anyhow::bail!("connecting without waiting: {other:?}"),
    }
}

#[test]
fn a_traced_route_shows_the_gateway_and_then_the_router() -> Result<()> {
    with_router(PAIR, |lab| {
        far(lab)?;
        let (app, wire) = (lab.node("app")?, lab.wire("app", "app")?);
        let to = SocketAddrV4::new(FAR, 33_434);
        for (ttl, router) in [(1, pair::GATEWAY), (2, pair::OUTSIDE)] {
            let before = lab.drops(Reason::TtlExpired)?;
            let socket = probe(&app, to, ttl)?;
            socket.send(b"probe")?;
            let (from, bytes) = error_on(&wire, 11)?;
            ensure!(from == router, "hop {ttl} is {from}");
            // Its source port is how a tool knows its probe again.
            let port = socket.local_addr()?.port().to_be_bytes();
            ensure!(bytes[62..64] == port, "{bytes:02x?}");
            ensure!(hears(&socket)? == ErrorKind::HostUnreachable);
            lab.dropped(Reason::TtlExpired, before, u64::from(ttl == 1))
                .with_context(|| format!("hop {ttl}"))?;
        }
        let socket = probe(&app, to, 3)?;
        socket.send(b"probe")?;
        let (from, _) = error_on(&wire, 3)?;
        ensure!(from == FAR, "the last hop is {from}");
        ensure!(hears(&socket)? == ErrorKind::ConnectionRefused);
        Ok(())
    })
}

#[test]
fn every_protocol_hears_of_its_ttls_end() -> Result<()> {
    with_router(PAIR, |lab| {
        let (station, gateway, wire) = (lab.station("app")?, gateway(lab)?, lab.wire("app", "app")?);
        // A stack leaves the checksum to a device, which a virtual interface is not.
        let _trying = start_tcp(&lab.node("app")?, SocketAddrV4::new(pair::OUTSIDE, 80), 1)?;
        let (from, error) = error_on(&wire, 11)?;
        ensure!(from == pair::GATEWAY && quotes_all(&error), "{error:02x?}");
        for to in [pair::OUTSIDE, pair::WEB] {
            let datagram = Datagram {
                ttl: 1,
                ..Datagram::new((station.mac, station.ip.octets()), (gateway, to.octets()))
            };
            for bytes in [
                datagram.udp(5000, 53, b"probe"),
                datagram.syn(5000, 80),
                datagram.echo(8, 5000, b"probe"),
                datagram.echo(13, 5000, &[0; 12]),
            ] {
                wire.send(&bytes)?;
                let (from, error) = error_on(&wire, 11)?;
                ensure!(from == pair::GATEWAY, "{from}");
                ensure!(error[42..] == bytes[14..], "{error:02x?}");
            }
        }
        Ok(())
    })
}

/// True if the error holds all of the packet that it is about.
fn quotes_all(error: &[u8]) -> bool {
    error
        .get(44..46)
        .is_some_and(|length| error[42..].len() == usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The MAC of the containers' gateway.
fn gateway(lab: &Lab<'_>) -> Result<[u8; 6]> {
    let state = lab.state()?;
    let network = state.networks.first().context("no network")?;
    Ok(network.mac.0)
}

#[test]
fn a_client_outside_hears_of_its_ttls_end_from_the_address_it_wrote_to() -> Result<()> {
    with_router(PAIR, |lab| {
        let outside = lab.node("outside")?;
        let wire = Wire::open(&outside, "eth0")?;
        for finished in [false, true] {
            if finished {
                // As in front of a wire: a device completes what the kernel left open.
                finish_checksums(&lab.node("host")?, "eth0")?;
            }
            let before = lab.drops(Reason::TtlExpired)?;
            let socket = probe(&outside, SocketAddrV4::new(pair::HOST, 5353), 1)?;
            socket.send(b"probe")?;
            let (from, bytes) = error_on(&wire, 11)?;
            ensure!(
                from == pair::HOST && bytes.len() == 75 && quotes_all(&bytes),
                "finished: {finished}, {bytes:02x?}"
            );
            ensure!(hears(&socket)? == ErrorKind::HostUnreachable);
            lab.dropped(Reason::TtlExpired, before, 1)?;
            let _trying = start_tcp(&outside, SocketAddrV4::new(pair::HOST, 8080), 1)?;
            let (from, bytes) = error_on(&wire, 11)?;
            ensure!(
                from == pair::HOST && quotes_all(&bytes),
                "finished: {finished}, {bytes:02x?}"
            );
        }
        Ok(())
    })
}

#[test]
fn the_path_mtu_behind_a_router_is_found_through_every_translation() -> Result<()> {
    with_router(PAIR, |lab| {
        let far = far(lab)?;
        let _servers = (TcpServer::start(&lab.node("web")?, 80)?, TcpServer::start(&far, 80)?);
        for (from, to, learner, about) in [
            (lab.node("app")?, SocketAddrV4::new(FAR, 80), "app", FAR),
            (far, SocketAddrV4::new(pair::HOST, 8080), "web", FAR),
        ] {
            let wire = lab.wire(learner, learner)?;
            transfer(&from, to, 4 << 20)?;
            let (router, bytes) = error_on(&wire, 3)?;
            ensure!(router == pair::OUTSIDE && bytes[35] == 4, "{bytes:02x?}");
            ensure!(bytes[40..42] == 1300_u16.to_be_bytes(), "{bytes:02x?}");
            // What it quotes is what the container sent.
            let container = lab.station(learner)?.ip.octets();
            ensure!(
                bytes[54..58] == container && bytes[58..62] == about.octets(),
                "{bytes:02x?}"
            );
            let route = tool(&format!("ip -n lab-{learner} route get {about}"))?;
            ensure!(route.contains("mtu 1300"), "{learner} has learned nothing: {route}");
        }
        Ok(())
    })
}

#[test]
fn what_does_not_fit_the_uplink_is_told_its_mtu() -> Result<()> {
    let topology = PAIR
        .replace("[outside]", "[outside]\nmtu = 1300")
        .replace("name = \"front\"", "name = \"front\"\nmtu = 1500");
    with_router(&topology, |lab| {
        let app = lab.node("app")?;
        let wire = lab.wire("app", "app")?;
        let _servers = (
            TcpServer::start(&lab.node("web")?, 80)?,
            TcpServer::start(&lab.node("outside")?, 80)?,
        );
        let before = lab.drops(Reason::TooBig)?;
        let socket = probe(&app, SocketAddrV4::new(pair::OUTSIDE, 53), 64)?;
        socket.send(&[0; 1400])?;
        let (from, bytes) = error_on(&wire, 3)?;
        ensure!(from == pair::GATEWAY && bytes[35] == 4, "{bytes:02x?}");
        ensure!(
            bytes[40..42] == 1300_u16.to_be_bytes() && bytes.len() == 14 + 576,
            "{bytes:02x?}"
        );
        lab.dropped(Reason::TooBig, before, 1)?;
        let route = tool("ip -n lab-app route get 198.51.100.2")?;
        ensure!(route.contains("mtu 1300"), "app has learned nothing: {route}");
        tool("ip -n lab-app route flush cache")?;
        // Segments of 64 KiB, cut up only behind the programs.
        transfer(&app, SocketAddrV4::new(pair::OUTSIDE, 80), 4 << 20)?;
        transfer(&lab.node("outside")?, SocketAddrV4::new(pair::HOST, 8080), 4 << 20)?;
        Ok(())
    })
}

/// A packet of app's as the outside sees it, and the socket that sent it.
fn asked(lab: &Lab<'_>, wire: &Wire) -> Result<(UdpSocket, Vec<u8>)> {
    let socket = probe(&lab.node("app")?, SocketAddrV4::new(pair::OUTSIDE, 4999), 64)?;
    // Nobody listens; what the outside says about that is not what this is about.
    socket.send(b"a question")?;
    let seen = wire
        .receive(LIMIT, |bytes| bytes.ends_with(b"a question"))?
        .context("the question does not arrive")?;
    ensure!(hears(&socket)? == ErrorKind::ConnectionRefused);
    Ok((socket, seen))
}

#[test]
fn an_error_of_a_third_party_arrives_whatever_it_quotes_unless_damaged() -> Result<()> {
    with_router(PAIR, |lab| {
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let (socket, seen) = asked(lab, &outside)?;
        let app = lab.wire("app", "app")?;
        let host: [u8; 6] = seen[6..12].try_into()?;
        let error = Datagram::new((outside.mac(), THIRD.octets()), (host, pair::HOST.octets()));
        let port = u16::from_be_bytes([seen[34], seen[35]]);
        let quoted = |options: &[u8], payload: &[u8]| {
            let datagram = Datagram {
                options: options.to_vec(),
                ttl: 7,
                ..Datagram::new((host, pair::HOST.octets()), (host, pair::OUTSIDE.octets()))
            };
            datagram.packet(proto::UDP, &datagram.udp_segment(port, 4999, payload))
        };
        let whole = quoted(&[], b"a question");
        let optional = quoted(&[1; 12], b"a question");
        for (name, quote, kind) in [
            ("all of it", &whole[..], ErrorKind::HostUnreachable),
            ("eight bytes", &whole[..28], ErrorKind::HostUnreachable),
            ("options", &optional[..], ErrorKind::HostUnreachable),
            ("options and eight bytes", &optional[..40], ErrorKind::HostUnreachable),
        ] {
            let bytes = error.error(3, quote);
            outside.send(&bytes)?;
            let (from, arrived) = error_on(&app, 3).context(name)?;
            ensure!(from == THIRD && arrived.len() == bytes.len(), "{name}: {arrived:02x?}");
            ensure!(hears(&socket)? == kind, "{name}");
        }
        let mut damaged = error.error(3, &whole);
        damaged[36] ^= 0x10;
        let mut misquoted = whole.clone();
        misquoted[4] ^= 0x10;
        for (reason, bytes) in [
            (Reason::BadChecksum, damaged),
            (Reason::BadChecksum, error.error(3, &misquoted)),
            (Reason::UnsupportedIcmp, error.error(5, &whole)),
            (Reason::UnsupportedIcmp, error.error(4, &whole)),
        ] {
            let before = lab.drops(reason)?;
            outside.send(&bytes)?;
            lab.dropped(reason, before, 1)?;
        }
        let more = app.receive(SILENCE, |bytes| {
            bytes[12..14] == [8, 0] && bytes[26..30] == THIRD.octets()
        })?;
        ensure!(more.is_none(), "{more:02x?}");
        Ok(())
    })
}

#[test]
fn the_time_of_a_host_outside_can_be_asked() -> Result<()> {
    with_router(PAIR, |lab| {
        let (station, gateway) = (lab.station("app")?, gateway(lab)?);
        let wire = lab.wire("app", "app")?;
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let ask = |icmp_type| {
            Datagram::new((station.mac, station.ip.octets()), (gateway, pair::OUTSIDE.octets()))
                .echo(icmp_type, 5000, &[0; 12])
        };
        wire.send(&ask(13))?;
        let is_reply = |bytes: &[u8]| bytes.len() >= 54 && bytes[23] == 1 && bytes[34] == 14;
        let reply = wire.receive(LIMIT, is_reply)?.context("no timestamp comes back")?;
        frame::verify(&reply)?;
        ensure!(
            reply[26..34] == [pair::OUTSIDE.octets(), station.ip.octets()].concat(),
            "{reply:02x?}"
        );
        ensure!(reply[38..40] == 5000_u16.to_be_bytes(), "{reply:02x?}");
        // An address mask is nothing to ask of strangers.
        let before = lab.drops(Reason::UnsupportedIcmp)?;
        wire.send(&ask(17))?;
        lab.dropped(Reason::UnsupportedIcmp, before, 1)?;
        let leaked = outside.receive(SILENCE, |bytes| {
            bytes[12..14] == [8, 0] && bytes[23] == 1 && bytes[34] == 17
        })?;
        ensure!(leaked.is_none(), "{leaked:02x?}");
        Ok(())
    })
}
