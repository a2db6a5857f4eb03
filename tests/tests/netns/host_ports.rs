//! Published ports and the host itself: it reaches them by every address it has, nobody else does so, and its programs
//! cannot take them.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::util::KernelVersion;
use netbridge::apply::{Apply, apply};
use netbridge::datapath::{AttachMode, Datapath};
use netbridge::facts::HostFacts;
use netbridge::model::Ports;
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge::plan;
use netbridge::store::Store;
use netbridge_tests::frame::{self, Station};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{self, TcpServer, transfer};
use netbridge_tests::udp::{UdpServer, ask};
use netbridge_tests::wait::when_free;
use netbridge_tests::wire::Wire;
use socket2::{Domain, Socket, Type};

use super::command::{NETBRIDGE, complains, json, says, tool};
use super::controller::{datapath, pins};
use super::hand::{OUTSIDE, UPLINK, named, world};
use super::{LIMIT, SILENCE};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const RED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);

/// Addresses by which the host knows itself.
const OWN: [Ipv4Addr; 5] = [
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(127, 9, 9, 9),
    Ipv4Addr::UNSPECIFIED,
    UPLINK,
    GATEWAY,
];

/// [`world`] with `red` behind the uplink, publishing these ports, and services of it at TCP 80 and UDP 53.
pub(crate) fn published(ports: &str) -> Result<(TcpServer, UdpServer)> {
    world()?;
    says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
    says("-n H attach red --net web --ip 10.9.0.10")?;
    says(&format!("-n H port add red {ports}"))?;
    let red = named("red")?;
    Ok((TcpServer::start(&red, 80)?, UdpServer::start(&red, 53)?))
}

/// Whether a TCP connection comes about.
pub(crate) fn connects(from: &Netns, to: Ipv4Addr, port: u16) -> bool {
    tcp::connect(from, SocketAddrV4::new(to, port), LIMIT).is_ok()
}

/// Asks from a socket that is connected to nobody; the sender that it is told of.
fn ask_unconnected(socket: &UdpSocket, to: SocketAddr) -> Result<SocketAddr> {
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(b"anybody there?", to)?;
    let (_, sender) = socket.recv_from(&mut [0; 64]).context("no answer")?;
    Ok(sender)
}

#[test]
fn the_host_reaches_published_ports_by_every_address_it_has() -> Result<()> {
    within(|_| {
        let _services = published("8080:80 5353:53/udp")?;
        let host = named("H")?;
        for own in OWN {
            let to = SocketAddrV4::new(own, 8080);
            let seen = transfer(&host, to, 100_000)?.seen_as;
            ensure!(*seen.ip() == GATEWAY, "{own}: the server sees {seen}");
            let peer = tcp::connect(&host, to, LIMIT)?.peer_addr()?;
            ensure!(peer == to.into(), "{own}: the far end is {peer}");
            let to = SocketAddrV4::new(own, 5353);
            let seen = ask(&host, to, b"connected", LIMIT)?.seen_as;
            ensure!(*seen.ip() == GATEWAY, "{own}: the server sees {seen}");
            let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
            for _ in 0..2 {
                let sender = ask_unconnected(&socket, to.into())?;
                ensure!(sender == to.into(), "{own}: the answer comes from {sender}");
            }
            host.run(|| socket.connect(to))??;
            let peer = socket.peer_addr()?;
            ensure!(peer == to.into(), "{own}: the far end is {peer}");
            let sender = ask_unconnected(&socket, to.into())?;
            ensure!(sender == to.into(), "{own}: the answer comes from {sender}");
        }
        // The container itself is nobody's port.
        let direct = SocketAddrV4::new(RED, 80);
        ensure!(tcp::connect(&host, direct, LIMIT)?.peer_addr()? == direct.into());
        ensure!(!connects(&host, Ipv4Addr::LOCALHOST, 8081), "not published");
        Ok(())
    })
}

#[test]
fn sockets_of_ipv6_reach_them_by_mapped_addresses() -> Result<()> {
    within(|_| {
        let _services = published("8080:80 5353:53/udp")?;
        let host = named("H")?;
        for own in [Ipv4Addr::LOCALHOST, UPLINK] {
            let to = |port| SocketAddr::from((own.to_ipv6_mapped(), port));
            let stream = host.run(|| TcpStream::connect_timeout(&to(8080), LIMIT))??;
            ensure!(
                stream.peer_addr()? == to(8080),
                "the far end is {}",
                stream.peer_addr()?
            );
            let socket = host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))??;
            let sender = ask_unconnected(&socket, to(5353))?;
            ensure!(sender == to(5353), "the answer comes from {sender}");
        }
        Ok(())
    })
}

#[test]
fn an_endpoint_without_an_uplink_publishes_for_the_host() -> Result<()> {
    within(|_| {
        world()?;
        // A network that leads outside watches the uplink.
        says("-n H net create open --uplink up0")?;
        says("-n H net create inner --subnet 10.9.0.0/24 --internal")?;
        says("-n H attach red --net inner --ip 10.9.0.10")?;
        let output = Command::new(NETBRIDGE)
            .args("-n H port add red 8080:80".split(' '))
            .output()?;
        let told = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.success() && told.contains("network inner has no uplink"),
            "{told}"
        );
        let _server = TcpServer::start(&named("red")?, 80)?;
        for own in OWN {
            transfer(&named("H")?, SocketAddrV4::new(own, 8080), 1000)?;
        }
        ensure!(
            !connects(&named("out")?, UPLINK, 8080),
            "the outside reaches an internal network"
        );
        says("-n H net rm open inner --force")?;
        ensure!(
            !connects(&named("H")?, Ipv4Addr::LOCALHOST, 8080),
            "gone with the instance"
        );
        Ok(())
    })
}

#[test]
fn sockets_of_other_namespaces_are_left_alone() -> Result<()> {
    within(|sandbox| {
        let _services = published("8080:80 5353:53/udp")?;
        for name in ["red", "blue", "out"] {
            tool(&format!("ip -n {name} link set lo up"))?;
            let namespace = named(name)?;
            ensure!(
                !connects(&namespace, Ipv4Addr::LOCALHOST, 8080),
                "{name} reaches it by 127.0.0.1"
            );
            let bound = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))?;
            bound.with_context(|| format!("{name} may use the port"))?;
        }
        ensure!(datapath(sandbox)?.tables().peers()?.is_empty());
        Ok(())
    })
}

#[test]
fn a_port_at_127_0_0_1_is_for_the_host_alone() -> Result<()> {
    within(|sandbox| {
        let _services = published("127.0.0.1:8080:80 127.0.0.1:5353:53/udp 9090:80")?;
        let (host, out) = (named("H")?, named("out")?);
        tool("ip -n H link set lo up")?;
        transfer(&host, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080), 1000)?;
        ask(&host, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5353), b"x", LIMIT)?;
        for own in [UPLINK, GATEWAY, Ipv4Addr::new(127, 0, 0, 2)] {
            ensure!(!connects(&host, own, 8080), "the host reaches it by {own}");
        }
        ensure!(!connects(&out, UPLINK, 8080), "the outside reaches it");
        // A neighbour that forges the destination.
        let (wire, inside) = (Wire::open(&out, "eth0")?, Wire::open(&named("red")?, "eth0")?);
        let uplink = Wire::open(&host, "up0")?.mac();
        let neighbour = Station {
            mac: wire.mac(),
            ip: OUTSIDE,
        };
        let before = datapath(sandbox)?.tables().flows()?.len();
        for ip in [Ipv4Addr::LOCALHOST, UPLINK] {
            let to = Station { mac: uplink, ip };
            wire.send(&frame::tcp_syn(neighbour, to, (5000, 8080))?)?;
            wire.send(&frame::udp(neighbour, to, (5000, 5353), b"forged")?)?;
        }
        // What arrives in order behind them, so that they have been judged.
        let to = Station {
            mac: uplink,
            ip: UPLINK,
        };
        wire.send(&frame::tcp_syn(neighbour, to, (5001, 9090))?)?;
        let first = inside.receive(LIMIT, |frame| frame.get(26..30) == Some(&OUTSIDE.octets()))?;
        let port = first.as_ref().and_then(|frame| frame.get(34..36));
        ensure!(port == Some(&5001_u16.to_be_bytes()), "{first:x?}");
        let after = datapath(sandbox)?.tables().flows()?.len();
        ensure!(after == before + 2, "{after} halves of flows, {before} before");
        Ok(())
    })
}

#[test]
fn a_published_port_is_not_the_hosts_to_use() -> Result<()> {
    within(|_| {
        let _services = published("8080:80 192.0.2.1:8081:81 5353:53/udp")?;
        let host = named("H")?;
        tool("ip -n H link set lo up")?;
        let mapped = UPLINK.to_ipv6_mapped();
        let listens = |at: SocketAddr| host.run(|| TcpListener::bind(at).map(drop));
        let receives = |at: SocketAddr| host.run(|| UdpSocket::bind(at).map(drop));
        let any = Ipv4Addr::UNSPECIFIED;
        let in_use = |result: std::io::Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        for at in [
            SocketAddr::from((any, 8080)),
            (Ipv4Addr::LOCALHOST, 8080).into(),
            (UPLINK, 8080).into(),
            (GATEWAY, 8080).into(),
            (Ipv6Addr::UNSPECIFIED, 8080).into(),
            (mapped, 8080).into(),
            (any, 8081).into(),
            (UPLINK, 8081).into(),
            (Ipv6Addr::UNSPECIFIED, 8081).into(),
        ] {
            ensure!(in_use(listens(at)?), "{at} can be taken");
        }
        ensure!(in_use(receives((any, 5353).into())?), "UDP 5353 can be taken");
        for at in [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            (Ipv6Addr::LOCALHOST, 8080).into(),
            (any, 5353).into(),
            (any, 8082).into(),
        ] {
            listens(at)?.with_context(|| format!("{at} is free"))?;
        }
        receives((any, 8080).into())??;
        receives((Ipv4Addr::new(224, 0, 0, 251), 5353).into())?.context("a group takes nothing from the port")?;
        // A port that the kernel chooses.
        let chosen = |range: &str| -> Result<_> {
            host.run(|| -> std::io::Result<_> {
                fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)?;
                TcpListener::bind((any, 0))?.local_addr()
            })?
            .with_context(|| format!("bind in {range}"))
        };
        ensure!(chosen("8080 8080").is_err(), "the kernel gave the port away");
        // Nobody has had this one: one that was closed a moment ago may be held still.
        ensure!(chosen("8083 8083")?.port() == 8083);
        says("-n H port rm red 8080:80 192.0.2.1:8081:81")?;
        for port in [8080, 8081] {
            let bind = || TcpListener::bind((any, port)).map(drop);
            host.run(|| when_free(bind))?
                .with_context(|| format!("{port} is free again"))?;
        }
        ensure!(in_use(receives((any, 5353).into())?), "UDP 5353 is still published");
        Ok(())
    })
}

#[test]
fn a_port_at_two_addresses_is_kept_until_the_last_is_gone() -> Result<()> {
    within(|_| {
        let _services = published("192.0.2.1:8000-8009:80-89 127.0.0.1:8000-8009:80-89")?;
        let host = named("H")?;
        let free = || host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8004)).is_ok());
        ensure!(!free()?);
        says("-n H port rm red 192.0.2.1:8000-8009:80-89")?;
        ensure!(!free()?, "published at 127.0.0.1");
        says("-n H port rm red 127.0.0.1:8000-8009:80-89")?;
        ensure!(free()?);
        Ok(())
    })
}

#[test]
fn a_port_in_use_is_refused_with_the_name_of_the_program() -> Result<()> {
    within(|_| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --ip 10.9.0.10")?;
        let host = named("H")?;
        tool("ip -n H link set lo up")?;
        let _tcp = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)))??;
        let _udp = host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 5353)))??;
        // Bound, and not listening yet; and connected.
        let bound = host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
        bound.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)).into())?;
        let connected = host.run(|| UdpSocket::bind((UPLINK, 5000)))??;
        connected.connect((OUTSIDE, 53))?;
        let own = format!("(pid {})", std::process::id());
        let mut taken = vec![
            "8080:80",
            "127.0.0.1:8080:80",
            "8000-8100:1-101",
            "5353:53/udp",
            "5000:53/udp",
        ];
        if KernelVersion::current()? >= KernelVersion::new(6, 8, 0) {
            taken.push("9090:80");
        }
        for spec in taken {
            let said = complains(1, &format!("-n H port add red {spec}"))?;
            ensure!(said.contains("in use by") && said.contains(&own), "{spec}: {said}");
        }
        ensure!(json("-n H port ls")? == serde_json::json!([]), "none of them");
        says("-n H port add red 192.0.2.1:8080:80")?;
        Ok(())
    })
}

#[test]
fn a_port_that_a_program_takes_while_it_is_published_stays_its_own() -> Result<()> {
    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --ip 10.9.0.10")?;
        let (host, pins) = (named("H")?, pins(sandbox)?);
        let state = Store::new(pins.instance()).load()?;
        let facts = HostFacts {
            instance: pins.instance().to_owned(),
            loaded: true,
            ..HostFacts::default()
        };
        let request = Ports {
            endpoint: "red".to_owned(),
            specs: vec!["8080:80".to_owned()],
            from: Vec::new(),
        };
        // Planned when nobody held it.
        let plan = plan::port_add(&state, &facts, &[], &request).map_err(anyhow::Error::from)?;
        let _taken = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))??;
        let failed = in_namespace(&host, async |netlink| {
            let with = Apply {
                instance: pins.instance(),
                netlink: &netlink,
                pins: &pins,
                datapath: Some(Datapath::open(&pins)?),
                attach_mode: AttachMode::Auto,
                cgroup: None,
            };
            Ok(apply(with, &state, plan, |_| Ok(())).await.err())
        })?;
        let failed = format!("{:#}", failed.context("it is published")?);
        ensure!(failed.contains("port 0.0.0.0:8080/tcp: is in use by"), "{failed}");
        ensure!(datapath(sandbox)?.tables().published()?.is_empty(), "something is left");
        Ok(())
    })
}

#[test]
fn a_free_port_is_chosen_and_told() -> Result<()> {
    within(|_| {
        let _services = published("80 :53/udp 127.0.0.1::80")?;
        let ports = json("-n H port ls")?;
        let host_port = |index: usize| {
            ports[index]["host_port"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
        };
        let (tcp, udp) = (host_port(0).context("no port")?, host_port(2).context("no port")?);
        ensure!(tcp >= 1024 && udp >= 1024 && host_port(1) != Some(tcp), "{ports}");
        transfer(&named("out")?, SocketAddrV4::new(UPLINK, tcp), 1000)?;
        ask(&named("out")?, SocketAddrV4::new(UPLINK, udp), b"x", LIMIT)?;
        let local = host_port(1).context("no port")?;
        transfer(&named("H")?, SocketAddrV4::new(Ipv4Addr::LOCALHOST, local), 1000)?;
        let said = says("-n H port add red 81")?;
        ensure!(said.contains("/tcp to red:81"), "{said}");
        let said = complains(2, "-n H port rm red 81")?;
        ensure!(said.contains("does not say which to remove"), "{said}");
        says(&format!("-n H port rm red {tcp}:80"))?;
        Ok(())
    })
}

#[test]
fn what_a_socket_asked_for_is_forgotten_with_the_port() -> Result<()> {
    within(|sandbox| {
        let _services = published("8080:80 5353:53/udp 5354:54/udp")?;
        let _other = UdpServer::start(&named("red")?, 54)?;
        let host = named("H")?;
        tool("ip -n H link set lo up")?;
        let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        let to = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for port in [5353, 5354] {
            ask_unconnected(&socket, to(port))?;
        }
        let stream = tcp::connect(&host, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080), LIMIT)?;
        let peers = || -> Result<usize> { Ok(datapath(sandbox)?.tables().peers()?.len()) };
        ensure!(peers()? == 3);
        says("-n H port rm red 5353:53/udp")?;
        ensure!(peers()? == 2);
        socket.set_read_timeout(Some(SILENCE))?;
        let asked = socket
            .send_to(b"x", to(5353))
            .and_then(|_| socket.recv_from(&mut [0; 64]));
        ensure!(asked.is_err(), "the port is gone and answers");
        ensure!(ask_unconnected(&socket, to(5354))? == to(5354));
        ensure!(stream.peer_addr()? == to(8080));
        says("-n H detach red")?;
        ensure!(peers()? == 0);
        Ok(())
    })
}
