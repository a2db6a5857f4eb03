//! Source ports outside: one for a container's socket whatever it talks to, low ones low, none that is the host's; who may
//! send to them; and protocols without ports.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_common::abi::Reason;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{self, TcpServer, connect_from, exchange, transfer};
use netbridge_tests::udp::{UdpServer, ask, bound, seen_by};
use socket2::{Domain, Protocol, Socket, Type};

use super::command::tool;
use super::hand::named;
use super::{LIMIT, PAIR, SILENCE, pair};

/// A second address of the outside.
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

/// Three services outside, at two addresses.
const SERVICES: [SocketAddrV4; 3] = [
    SocketAddrV4::new(pair::OUTSIDE, 53),
    SocketAddrV4::new(pair::OUTSIDE, 54),
    SocketAddrV4::new(SECOND, 53),
];

/// [`PAIR`] with a property of its network.
fn pair_with(property: &str) -> String {
    let subnet = "subnet = \"10.77.1.0/24\"";
    PAIR.replace(subnet, &format!("{subnet}\n{property}"))
}

/// Gives the outside its second address, and the services at both.
fn services(lab: &Lab<'_>) -> Result<(Vec<UdpServer>, Vec<TcpServer>)> {
    tool(&format!("ip -n lab-outside address add {SECOND}/24 dev eth0"))?;
    let outside = lab.node("outside")?;
    let udp = SERVICES.map(|at| UdpServer::start_at(&outside, at));
    let tcp = [53, 54].map(|port| TcpServer::start(&outside, port));
    Ok((
        udp.into_iter().collect::<Result<_>>()?,
        tcp.into_iter().collect::<Result<_>>()?,
    ))
}

/// The port that a service sees of a connection from `port`.
fn tcp_port(from: &Netns, port: u16, to: SocketAddrV4) -> Result<u16> {
    let seen = exchange(&mut connect_from(from, port, to, LIMIT)?, to, 1000)?.seen_as;
    ensure!(*seen.ip() == pair::HOST, "{to} sees {seen}");
    Ok(seen.port())
}

/// The port that every service sees of a UDP socket.
fn udp_port(socket: &UdpSocket) -> Result<u16> {
    let seen = SERVICES.map(|to| seen_by(socket, to));
    let [first, second, third] = seen;
    let first = first?;
    ensure!(*first.ip() == pair::HOST, "seen as {first}");
    let others = (second?, third?);
    ensure!(others == (first, first), "seen as {first} and as {others:?}");
    Ok(first.port())
}

#[test]
fn a_socket_has_one_port_outside_whatever_it_talks_to() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _services = services(lab)?;
        let (web, app) = (lab.node("web")?, lab.node("app")?);
        // One that the host leaves alone, and one of its own ephemeral range.
        for port in [5000, 40_000] {
            let (of_web, of_app) = (bound(&web, port, LIMIT)?, bound(&app, port, LIMIT)?);
            let first = udp_port(&of_web)?;
            ensure!(port != 5000 || first == port, "port {port} is free and became {first}");
            ensure!(!(32_768..=60_999).contains(&first), "{first} may be one of the host's");
            let second = udp_port(&of_app)?;
            ensure!(second != first, "two sockets have {first}");
            ensure!(udp_port(&of_web)? == first && udp_port(&of_app)? == second);
        }
        // Both connections stand at once, so that one is not the other's successor.
        let open = |node: &Netns, to| connect_from(node, 5000, to, LIMIT);
        let mut ports = Vec::new();
        for node in [&web, &app] {
            let mut streams = [SERVICES[0], SERVICES[1], SERVICES[2]].map(|to| (open(node, to), to));
            let mut seen = Vec::new();
            for (stream, to) in &mut streams {
                let stream = stream.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                seen.push(exchange(stream, *to, 1000)?.seen_as);
            }
            ensure!(seen.iter().all(|one| *one == seen[0]), "seen as {seen:?}");
            ports.push(seen[0].port());
        }
        ensure!(ports[0] == 5000 && ports[1] != 5000, "{ports:?}");
        Ok(())
    })
}

#[test]
fn a_dependent_mapping_shares_ports_between_destinations() -> Result<()> {
    with_lab(Text::plain(&pair_with("mapping = \"dependent\"")), |lab| {
        let _services = services(lab)?;
        let (web, app) = (lab.node("web")?, lab.node("app")?);
        let (of_web, of_app) = (bound(&web, 5000, LIMIT)?, bound(&app, 5000, LIMIT)?);
        let [first, second, third] = SERVICES;
        ensure!(seen_by(&of_web, first)?.port() == 5000);
        ensure!(seen_by(&of_app, third)?.port() == 5000, "nobody has it towards {third}");
        ensure!(seen_by(&of_app, first)?.port() != 5000, "both have it towards {first}");
        ensure!(seen_by(&of_web, first)?.port() == 5000);
        let _held = connect_from(&web, 5000, first, LIMIT)?;
        ensure!(tcp_port(&app, 5000, second)? == 5000, "nobody has it towards {second}");
        ensure!(tcp_port(&app, 5000, first)? != 5000, "both have it towards {first}");
        Ok(())
    })
}

#[test]
fn a_stranger_is_not_let_in_by_a_mapped_port() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _services = services(lab)?;
        let (web, outside) = (lab.node("web")?, lab.node("outside")?);
        let socket = bound(&web, 5000, LIMIT)?;
        ensure!(seen_by(&socket, SERVICES[0])?.port() == 5000);
        let _stream = connect_from(&web, 5002, SERVICES[0], LIMIT)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let before = lab.drops(Reason::Unsolicited)?;
        // The same address by another port, and another address.
        for from in [SocketAddrV4::new(pair::OUTSIDE, 7000), SocketAddrV4::new(SECOND, 7000)] {
            let stranger = outside.run(|| UdpSocket::bind(from))??;
            stranger.send_to(b"let me in", (pair::HOST, 5000))?;
            let got = socket.recv_from(&mut [0; 64]);
            ensure!(got.is_err(), "{from} reached the container: {got:?}");
        }
        lab.dropped(Reason::Unsolicited, before, 2)?;
        let to = SocketAddrV4::new(pair::HOST, 5002);
        ensure!(tcp::connect(&outside, to, SILENCE).is_err(), "a stranger connects");
        lab.dropped(Reason::Unsolicited, before, 3)?;
        seen_by(&socket, SERVICES[0]).map(drop)
    })
}

#[test]
fn an_independent_filter_lets_anybody_in_by_a_mapped_port() -> Result<()> {
    with_lab(Text::plain(&pair_with("filtering = \"independent\"")), |lab| {
        let _services = services(lab)?;
        let (web, outside) = (lab.node("web")?, lab.node("outside")?);
        let socket = bound(&web, 40_000, LIMIT)?;
        let mapped = seen_by(&socket, SERVICES[0])?;
        for from in [SocketAddrV4::new(pair::OUTSIDE, 7000), SocketAddrV4::new(SECOND, 7000)] {
            let stranger = outside.run(|| UdpSocket::bind(from))??;
            stranger.set_read_timeout(Some(LIMIT))?;
            for _ in 0..2 {
                stranger.send_to(b"hello", mapped)?;
                let (_, seen) = socket.recv_from(&mut [0; 64]).context("nothing arrives")?;
                ensure!(seen == from.into(), "the container sees {seen}");
                socket.send_to(b"welcome", seen)?;
                let (_, by) = stranger.recv_from(&mut [0; 64]).context("no answer")?;
                ensure!(by == mapped.into(), "answered by {by}");
            }
        }
        ensure!(lab.drops(Reason::Unsolicited)? == 0);
        Ok(())
    })
}

#[test]
fn low_ports_stay_low_and_odd_ones_odd() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _services = services(lab)?;
        let (web, app) = (lab.node("web")?, lab.node("app")?);
        for port in [700, 701, 1023, 5000, 5001, 40_000, 40_001] {
            let low = port < 1024;
            for node in [&web, &app] {
                let seen = udp_port(&bound(node, port, LIMIT)?)?;
                ensure!((seen < 1024) == low, "UDP {port} became {seen}");
                ensure!(seen % 2 == port % 2, "UDP {port} became {seen}");
                let seen = tcp_port(node, port, SERVICES[0])?;
                ensure!((seen < 1024) == low, "TCP {port} became {seen}");
                ensure!(seen % 2 == port % 2, "TCP {port} became {seen}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_port_that_the_host_uses_or_publishes_stands_for_no_other() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _services = services(lab)?;
        let (host, app) = (lab.node("host")?, lab.node("app")?);
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 6000)))??;
        let socket = host.run(|| UdpSocket::bind((pair::HOST, 6001)))??;
        for taken in [6000, 8080] {
            let seen = tcp_port(&app, taken, SERVICES[0])?;
            ensure!(seen != taken, "TCP {taken} is the host's");
        }
        for taken in [6001, 5353] {
            let seen = udp_port(&bound(&app, taken, LIMIT)?)?;
            ensure!(seen != taken, "UDP {taken} is the host's");
        }
        // Of the other protocol they are nobody's.
        ensure!(udp_port(&bound(&app, 6000, LIMIT)?)? == 6000);
        ensure!(tcp_port(&app, 5353, SERVICES[0])? == 5353);
        // The host's own services still answer there.
        let outside = lab.node("outside")?;
        tcp::connect(&outside, SocketAddrV4::new(pair::HOST, 6000), LIMIT)?;
        listener.accept()?;
        bound(&outside, 7000, LIMIT)?.send_to(b"to the host", (pair::HOST, 6001))?;
        socket.set_read_timeout(Some(LIMIT))?;
        let (_, from) = socket.recv_from(&mut [0; 64]).context("the host does not get it")?;
        ensure!(from == SocketAddr::from((pair::OUTSIDE, 7000)), "{from}");
        Ok(())
    })
}

/// A raw socket for an IP protocol.
fn raw(node: &Netns, protocol: u8) -> Result<Socket> {
    let socket = node.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(protocol)))))??;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// The sender and the payload of what arrives next.
fn next_of(socket: &Socket) -> Result<(Ipv4Addr, Vec<u8>)> {
    let mut packet = [0; 256];
    let length = (&mut &*socket).read(&mut packet).context("nothing arrives")?;
    let [a, b, c, d] = [packet[12], packet[13], packet[14], packet[15]];
    Ok((Ipv4Addr::new(a, b, c, d), packet[20..length].to_vec()))
}

#[test]
fn protocols_without_ports_go_by_their_addresses() -> Result<()> {
    /// GRE, ESP, SCTP, IPIP.
    const CARRIED: [u8; 4] = [47, 50, 132, 4];
    /// For experiments (RFC 3692).
    const UNKNOWN: u8 = 253;

    with_lab(Text::plain(&pair_with("tunnels = true")), |lab| {
        let (web, app, outside) = (lab.node("web")?, lab.node("app")?, lab.node("outside")?);
        tool(&format!("ip -n lab-outside address add {SECOND}/24 dev eth0"))?;
        let at = |address: Ipv4Addr| socket2::SockAddr::from(SocketAddrV4::new(address, 0));
        for protocol in CARRIED {
            let (inside, far) = (raw(&web, protocol)?, raw(&outside, protocol)?);
            for _ in 0..2 {
                inside.send_to(&[0, 0, 8, 0, 1, 2, 3, 4], &at(pair::OUTSIDE))?;
                let (seen, payload) = next_of(&far).with_context(|| format!("protocol {protocol} outwards"))?;
                ensure!(
                    seen == pair::HOST && payload == [0, 0, 8, 0, 1, 2, 3, 4],
                    "{seen} {payload:?}"
                );
                far.send_to(&[0, 0, 8, 0, 5, 6, 7, 8], &at(pair::HOST))?;
                let (seen, payload) = next_of(&inside).with_context(|| format!("protocol {protocol} inwards"))?;
                ensure!(
                    seen == pair::OUTSIDE && payload == [0, 0, 8, 0, 5, 6, 7, 8],
                    "{seen} {payload:?}"
                );
            }
            // The pair of addresses is web's; nothing would tell the answers to another.
            let (other, before) = (raw(&app, protocol)?, lab.drops(Reason::NatExhausted)?);
            other.send_to(&[0; 8], &at(pair::OUTSIDE))?;
            lab.dropped(Reason::NatExhausted, before, 1)?;
            other.send_to(&[0; 8], &at(SECOND))?;
            ensure!(next_of(&far)?.0 == pair::HOST, "another destination is free");
        }
        let before = lab.drops(Reason::UnsupportedProtocol)?;
        raw(&web, UNKNOWN)?.send_to(&[0; 8], &at(pair::OUTSIDE))?;
        lab.dropped(Reason::UnsupportedProtocol, before, 1)
    })
}

#[test]
fn a_tunnel_of_the_hosts_is_out_of_a_containers_reach() -> Result<()> {
    /// GRE.
    const TUNNEL: u8 = 47;

    with_lab(Text::plain(PAIR), |lab| {
        let (host, web, outside) = (lab.node("host")?, lab.node("web")?, lab.node("outside")?);
        let (of_host, of_web, far) = (raw(&host, TUNNEL)?, raw(&web, TUNNEL)?, raw(&outside, TUNNEL)?);
        let at = |address: Ipv4Addr| socket2::SockAddr::from(SocketAddrV4::new(address, 0));
        let before = lab.drops(Reason::UnsupportedProtocol)?;
        of_web.send_to(b"give it to me", &at(pair::OUTSIDE))?;
        lab.dropped(Reason::UnsupportedProtocol, before, 1)?;
        far.send_to(b"for the host", &at(pair::HOST))?;
        let (seen, payload) = next_of(&of_host)?;
        ensure!(
            seen == pair::OUTSIDE && payload == b"for the host",
            "{seen} {payload:?}"
        );
        Ok(())
    })
}

#[test]
fn a_host_that_does_not_forward_translates_all_the_same() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        named("lab-host")?.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0"))??;
        let _services = services(lab)?;
        let (web, app, outside) = (lab.node("web")?, lab.node("app")?, lab.node("outside")?);
        let _published = (TcpServer::start(&web, 80)?, UdpServer::start(&web, 53)?);
        ping(&web, pair::OUTSIDE, 1400, LIMIT)?;
        let seen = transfer(&app, SERVICES[0], 1 << 20)?.seen_as;
        ensure!(*seen.ip() == pair::HOST, "seen as {seen}");
        udp_port(&bound(&app, 5000, LIMIT)?)?;
        for from in [&outside, &app, &web] {
            transfer(from, SocketAddrV4::new(pair::HOST, 8080), 1 << 20)?;
            ask(from, SocketAddrV4::new(pair::HOST, 5353), b"x", LIMIT)?;
        }
        let forwards = named("lab-host")?.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward"))??;
        ensure!(forwards.trim() == "0", "somebody set ip_forward to {forwards}");
        Ok(())
    })
}
