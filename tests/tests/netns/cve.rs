//! What broke others, each case by its number in the list of the peers' CVEs that this project keeps; the cases that
//! other files test are named with their test.
//!
//! | # | CVE | here |
//! | --- | --- | --- |
//! | 1 | 2020-10749, 2020-13401, 2020-13597, 2020-11091 | `guards::no_container_plays_router_server_or_scanner` |
//! | 2 | 2025-67499 | `port_safety::the_same_port_of_others_is_theirs` |
//! | 3 | 2019-9946 | `host_ports::a_port_in_use_is_refused_with_the_name_of_the_program`, [`rules_of_others_keep_working`], [`what_the_host_routes_for_others_is_left_alone`] |
//! | 4 | 2020-8558 | `guards::the_hosts_loopback_is_not_for_the_outside`, `port_safety::clients_keep_their_address_and_the_host_its_settings` |
//! | 5 | moby#41872, 2025-54388 | `host_ports::a_port_at_127_0_0_1_is_for_the_host_alone`, [`a_flushed_firewall_opens_nothing`] |
//! | 6 | 2025-54410 | [`a_flushed_firewall_opens_nothing`] |
//! | 7 | 2024-32473 | `guards::no_container_plays_router_server_or_scanner`, `hardened::what_containers_send_to_is_hardened_and_the_host_untouched` |
//! | 8 | 2024-29018 | [`an_internal_network_asks_nobody_outside`]; there is no DNS server |
//! | 9 | 2023-27595 | `races::programs_stay_while_others_come_and_go` |
//! | 10 | 2022-29178, 2026-49445 | no control socket: `port_safety::nothing_of_netbridge_listens` |
//! | 11 | 2020-15257 | the same |
//! | 12 | GHSA-c66w-hq56-4q97 | [`an_echo_request_is_no_answer_to_one`] |
//! | 13 | 2023-27594, GHSA-wc5v | IPv6 is dropped whole: `guards::no_container_plays_router_server_or_scanner` |
//! | 14 | 2024-42488 | `races::a_container_is_never_there_without_its_policy` |
//! | 15 | 2024-47825, 2026-25804 | the filter's property tests, against a naive first match |
//! | 16 | 2024-52529 | the same; `ranges::each_port_reaches_its_own_in_the_container_and_none_beside` |
//! | 17 | 2025-32793 | `races::nothing_of_a_container_leaves_after_its_detaching` |
//! | 18 | 2025-52890, 2025-52889 | `guards::an_established_flow_lets_nobody_else_in` |
//! | 19 | 2021-20199 | `port_safety::clients_keep_their_address_and_the_host_its_settings` |
//! | 20 | 2021-4024 | `port_safety::nothing_of_netbridge_listens` |
//! | 21 | 2020-8554, 2026-32254 | `port_safety::an_address_that_is_not_the_hosts_is_refused` |
//! | 22 | 2022-28224 | [`addresses_of_others_are_refused`] |
//! | 23 | 2021-20206, 2014-9358, 2014-9356 | [`no_name_leads_elsewhere`] |
//! | 24 | 2021-41091, 2024-25621 | [`a_umask_that_forbids_nothing_opens_nothing`] |
//! | 25 | 2022-24769, 2022-27649 | does not apply: no container is started |
//! | 26 | 2023-29002, 2024-37307, 2026-41184, 2026-41185 | does not apply: there is no bundle of debug data |
//! | 27 | 2024-33522 | does not apply: nothing is installed setuid or with capabilities |
//! | 28 | 2025-23028, 2025-41332 | no socket to send to; what the kernel answers is read by fuzzed parsers: `listener`'s unit tests |
//! | 29 | 2021-3773 | `port_safety::a_published_port_cannot_be_shadowed_by_a_source_port`, `nat::a_port_that_the_host_uses_or_publishes_stands_for_no_other` |
//! | 30 | `ReDAN` | `flows::blind_segments_end_nothing` |
//! | 31 | 2019-25076 | does not apply: one lookup in a hash whose seed the kernel draws; `settings::a_flood_of_syns_leaves_the_neighbour_and_established_flows_alone` |
//! | 32 | 2023-28840, 2023-28841, 2023-28842 | does not apply: there is no overlay |
//! | 33 | 2026-10722 | does not apply: the object is part of the binary |

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use netbridge_common::abi::Reason;
use netbridge_common::host::build::Datagram;
use netbridge_tests::census::Census;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{self, Connection, TcpServer, transfer};
use netbridge_tests::udp::{UdpServer, ask};
use netbridge_tests::wire::Wire;

use super::around::side;
use super::command::{NETBRIDGE, complains, says, tool};
use super::hand::{named, world};
use super::{LIMIT, PAIR, SILENCE, networks, pair};

/// Fails unless a guard drops what `from` sends to a service of TCP and of UDP there, for this reason and in silence.
fn is_cut_off(lab: &Lab<'_>, from: &str, to: Ipv4Addr, ports: (u16, u16), reason: Reason) -> Result<()> {
    let before = lab.drops(reason)?;
    for error in failures(lab, from, to, ports)? {
        ensure!(
            matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock),
            "{from} gets an answer from {to}: {error}"
        );
    }
    lab.dropped(reason, before, 2)
        .with_context(|| format!("from {from} to {to}"))
}

/// Fails unless the host says that there is no service of TCP or UDP there.
fn is_refused(lab: &Lab<'_>, from: &str, to: Ipv4Addr, ports: (u16, u16)) -> Result<()> {
    for error in failures(lab, from, to, ports)? {
        ensure!(
            error.kind() == ErrorKind::ConnectionRefused,
            "{from} is not refused at {to}: {error}"
        );
    }
    Ok(())
}

/// Why `from` does not reach a service of TCP and one of UDP; it is an error if it does.
fn failures(lab: &Lab<'_>, from: &str, to: Ipv4Addr, (tcp, udp): (u16, u16)) -> Result<[io::Error; 2]> {
    let node = lab.node(from)?;
    let tried = [
        (tcp, tcp::connect(&node, SocketAddrV4::new(to, tcp), SILENCE).map(drop)),
        (udp, ask(&node, SocketAddrV4::new(to, udp), b"x", SILENCE).map(drop)),
    ];
    let [tcp, udp] = tried.map(|(port, tried)| match tried {
        Ok(()) => Err(anyhow!("{from} reaches port {port} of {to}")),
        Err(error) => error.downcast::<io::Error>(),
    });
    Ok([tcp?, udp?])
}

/// Rows 5 and 6.
#[test]
fn a_flushed_firewall_opens_nothing() -> Result<()> {
    /// What a reload of a firewall does, in the host's namespace.
    const RELOADS: [&str; 7] = [
        "true",
        "nft flush ruleset",
        "iptables -F",
        "iptables -t nat -F",
        "iptables -P FORWARD ACCEPT",
        "iptables -X",
        "sysctl -q -w net.ipv4.ip_forward=1",
    ];

    with_lab(Text::plain(&networks()), |lab| {
        says("-n lab-host port add web 127.0.0.1:9090:80 127.0.0.1:9053:53/udp")?;
        let (web, db) = (lab.node("web")?, lab.node("db")?);
        let _services = (
            TcpServer::start(&web, 80)?,
            UdpServer::start(&web, 53)?,
            TcpServer::start(&db, 80)?,
            UdpServer::start(&db, 53)?,
            TcpServer::start(&lab.node("outside")?, 80)?,
            UdpServer::start(&lab.node("outside")?, 53)?,
        );
        let outside = Wire::open(&lab.node("outside")?, "eth0")?;
        let host = Wire::open(&named("lab-host")?, &lab.uplink()?.name)?.mac();
        let forged = Datagram::new((outside.mac(), pair::OUTSIDE.octets()), (host, [127, 0, 0, 1]));
        for reload in RELOADS {
            tool(&format!("ip netns exec lab-host {reload}"))?;
            let behind = pair::DB;
            let tried = || format!("after {reload}");
            is_refused(lab, "outside", pair::HOST, (9090, 9053)).with_context(tried)?;
            for (from, to, reason) in [
                ("outside", pair::WEB, Reason::DirectAccess),
                ("web", behind, Reason::Isolated),
                ("db", pair::WEB, Reason::Isolated),
                ("lone", pair::OUTSIDE, Reason::NoUplink),
            ] {
                is_cut_off(lab, from, to, (80, 53), reason).with_context(tried)?;
            }
            let before = lab.drops(Reason::Martian)?;
            outside.send(&forged.syn(7000, 9090))?;
            outside.send(&forged.udp(7000, 9053, b"forged"))?;
            lab.dropped(Reason::Martian, before, 2)?;
            // What is open stays open.
            transfer(&lab.node("outside")?, SocketAddrV4::new(pair::HOST, 8080), 1000).with_context(tried)?;
            for to in [pair::WEB, pair::OUTSIDE] {
                transfer(&lab.node("app")?, SocketAddrV4::new(to, 80), 1000).with_context(tried)?;
                ask(&lab.node("app")?, SocketAddrV4::new(to, 53), b"x", LIMIT).with_context(tried)?;
            }
        }
        Ok(())
    })
}

/// Row 3. Who wants strangers to hear nothing at ports from 1024 on (RFC 5382 REQ-4) takes such ports from the rules of
/// others.
#[test]
fn rules_of_others_keep_working() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        fs::write(
            "/run/others.nft",
            "table ip others {\n chain in {\n  type nat hook prerouting priority dstnat;\n  \
             tcp dport { 777, 7777 } redirect to :7778\n  udp dport { 777, 7777 } redirect to :7778\n }\n}\n",
        )?;
        tool("ip netns exec lab-host nft -f /run/others.nft")?;
        let (host, web) = (lab.node("host")?, lab.node("web")?);
        let _theirs = (TcpServer::start(&host, 7778)?, UdpServer::start(&host, 7778)?);
        let _ours = TcpServer::start(&web, 80)?;
        let outside = lab.node("outside")?;
        says("-n lab-host port add web 7779:80")?;
        for (silent, ports) in [(false, [777, 7777]), (true, [777, 7778])] {
            says(&format!("-n lab-host ct config --silent {silent}"))?;
            for port in ports {
                let seen = transfer(&outside, SocketAddrV4::new(pair::HOST, port), 10_000)?.seen_as;
                ensure!(*seen.ip() == pair::OUTSIDE, "the host sees {seen}");
                ask(&outside, SocketAddrV4::new(pair::HOST, port), b"x", LIMIT)?;
            }
            for port in [8080, 7779] {
                transfer(&outside, SocketAddrV4::new(pair::HOST, port), 10_000)?;
            }
        }
        ensure!(tool("ip netns exec lab-host nft list ruleset")?.contains("redirect to :7778"));
        Ok(())
    })
}

/// Row 3: the host routes for others than netbridge, too.
#[test]
fn what_the_host_routes_for_others_is_left_alone() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let side = side()?;
        tool("ip -n side route add default via 203.0.113.1")?;
        tool(&format!(
            "ip -n lab-outside route add 203.0.113.0/24 via {}",
            pair::HOST
        ))?;
        let outside = lab.node("outside")?;
        let _udp = UdpServer::start(&side.netns, 5000)?;
        let connections = [80, 5000].map(|port| {
            let to = SocketAddrV4::new(side.station.ip, port);
            Connection::open(&outside, to, (&side.netns, port))
        });
        for connection in connections {
            let connection = connection?;
            connection.talk()?;
            ensure!(connection.far.peer_addr()?.ip() == pair::OUTSIDE);
            // While the connections of neighbours are taken up, these are nothing to netbridge either.
            fs::write(
                "/run/empty.rules",
                "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -j ACCEPT\nCOMMIT\n",
            )?;
            says("-n lab-host filter load /run/empty.rules")?;
            connection.talk()?;
        }
        let seen = ask(&outside, SocketAddrV4::new(side.station.ip, 5000), b"x", LIMIT)?.seen_as;
        ensure!(*seen.ip() == pair::OUTSIDE, "{seen}");
        Ok(())
    })
}

/// Row 8.
#[test]
fn an_internal_network_asks_nobody_outside() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        let outside = lab.node("outside")?;
        let _resolver = (TcpServer::start(&outside, 53)?, UdpServer::start(&outside, 53)?);
        ask(&lab.node("app")?, SocketAddrV4::new(pair::OUTSIDE, 53), b"x", LIMIT)?;
        let wire = Wire::open(&outside, "eth0")?;
        wire.ignore_outgoing()?;
        wire.waiting()?;
        is_cut_off(lab, "lone", pair::OUTSIDE, (53, 53), Reason::NoUplink)?;
        // Nobody asks in its place either.
        for gateway in [Ipv4Addr::new(10, 77, 3, 1), pair::HOST] {
            is_refused(lab, "lone", gateway, (53, 53))?;
        }
        let out = wire.waiting()?;
        let asked = out
            .iter()
            .find(|frame| frame.get(36..38) == Some(&53_u16.to_be_bytes()));
        ensure!(asked.is_none(), "somebody asked: {asked:x?}");
        Ok(())
    })
}

/// Row 12.
#[test]
fn an_echo_request_is_no_answer_to_one() -> Result<()> {
    const ID: u16 = 4711;
    let filter = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
        -A FORWARD -s 10.77.1.10/32 -j ACCEPT\nCOMMIT\n";
    let topology = format!("filter = \"f.rules\"\n{PAIR}");
    let text = Text {
        filter: Some(filter),
        ..Text::plain(&topology)
    };
    with_lab(text, |lab| {
        ping(&lab.node("web")?, pair::APP, 56, LIMIT)?;
        let (web, app) = (lab.station("web")?, lab.station("app")?);
        let (from_web, from_app) = (lab.wire("web", "web")?, lab.wire("app", "app")?);
        let to_app = Datagram::new((web.mac, web.ip.octets()), (app.mac, app.ip.octets()));
        let to_web = Datagram::new((app.mac, app.ip.octets()), (web.mac, web.ip.octets()));
        from_web.send(&to_app.echo(8, ID, b"may I?"))?;
        let answered = from_web.receive(LIMIT, |frame| frame.get(34) == Some(&0) && frame.ends_with(b"may I?"))?;
        ensure!(answered.is_some(), "web may ask");
        let before = lab.drops(Reason::Filtered)?;
        from_app.send(&to_web.echo(8, ID, b"may I too?"))?;
        lab.dropped(Reason::Filtered, before, 1)?;
        let seen = from_web.receive(SILENCE, |frame| frame.ends_with(b"may I too?"))?;
        ensure!(seen.is_none(), "a request passed for an answer: {seen:x?}");
        Ok(())
    })
}

/// Row 22.
#[test]
fn addresses_of_others_are_refused() -> Result<()> {
    with_lab(Text::plain(&networks()), |lab| {
        tool("ip netns add late")?;
        let before = lab.state()?.endpoints.len();
        for address in [
            "10.77.1.0",
            "10.77.1.1",
            "10.77.1.255",
            "10.77.1.10",
            "10.77.2.1",
            "10.77.2.10",
            "198.51.100.1",
            "198.51.100.2",
            "8.8.8.8",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "10.77.1.10/32",
        ] {
            let line = format!("-n lab-host attach late --net front --ip {address}");
            let said = complains(1, &line).or_else(|_| complains(2, &line))?;
            ensure!(
                said.contains(address.split(['/', '@']).next().unwrap_or(address)),
                "{said}"
            );
        }
        let gateway = lab.state()?.networks[0].mac.to_string();
        let web = lab.endpoint("web")?.mac.to_string();
        let macs = [
            web.as_str(),
            gateway.as_str(),
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ];
        for mac in macs {
            let line = format!("-n lab-host attach late --net front --ip 10.77.1.30 --mac {mac}");
            let said = complains(1, &line).or_else(|_| complains(2, &line))?;
            ensure!(said.contains(mac), "{said}");
        }
        ensure!(lab.state()?.endpoints.len() == before);
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        Ok(())
    })
}

/// Everything below a directory.
fn tree(root: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            tree(&path, found)?;
        }
        found.push(path);
    }
    Ok(())
}

/// Row 23.
#[test]
fn no_name_leads_elsewhere() -> Result<()> {
    const NAMES: [&str; 28] = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "../../tmp/x",
        "a/b",
        "a/../b",
        "/etc/passwd",
        "./a",
        "a/",
        ".hidden",
        "-x",
        "--help=x",
        "a b",
        "a\nb",
        "a\tb",
        "a\\b",
        "a%db",
        "a*",
        "a;id",
        "$(id)",
        "é",
        "\u{202e}x",
        "a\u{1b}[0m",
        "0123456789abcdefg",
        "pid:1/../..",
    ];
    const PLACES: [&[&str]; 8] = [
        &["-n", "H", "net", "create"],
        &["-n", "H", "net", "inspect"],
        &["-n", "H", "attach", "red", "--net"],
        &["-n", "H", "attach", "red", "--net", "web", "--name"],
        &["-n", "H", "net", "rm"],
        &["-n", "H", "attach", "--net", "web", "--name", "x"],
        &["-n", "H", "net", "create", "fresh", "--instance"],
        &["lab", "down", "--name"],
    ];

    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let picture = || -> Result<_> {
            let mut files = Vec::new();
            for root in [Path::new("/run"), sandbox.bpffs()] {
                tree(root, &mut files)?;
            }
            files.sort();
            Ok((
                files,
                Census::take(sandbox)?,
                tool("ip -n H -br link")?,
                tool("ip -n red -br link")?,
            ))
        };
        let before = picture()?;
        let mut refused = 0;
        for place in PLACES {
            for name in NAMES {
                let output = Command::new(NETBRIDGE).args(place).arg(name).output()?;
                ensure!(!output.status.success(), "{place:?} takes {name:?}");
                let said = String::from_utf8(output.stderr)?;
                ensure!(!said.contains("panicked"), "{place:?} {name:?}: {said}");
                ensure!(!said.contains('\u{1b}'), "{place:?} {name:?} writes escapes: {said:?}");
                refused += 1;
            }
        }
        ensure!(refused > 200, "{refused}");
        // What the kernel takes for an interface's name is more, and is the container's own.
        let names = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a b",
            "a\nb",
            "a:b",
            "eth%d",
            "0123456789abcdef",
            "lo",
            "all",
            "default",
        ];
        for name in names {
            let output = Command::new(NETBRIDGE)
                .args(["-n", "H", "attach", "red", "--net", "web", "--ifname", name])
                .output()?;
            ensure!(!output.status.success(), "an interface is called {name}");
        }
        let after = picture()?;
        ensure!(before == after, "{before:#?} became {after:#?}");
        Ok(())
    })
}

/// Row 24.
#[test]
fn a_umask_that_forbids_nothing_opens_nothing() -> Result<()> {
    within(|sandbox| {
        world()?;
        for line in [
            "-n H net create web --subnet 10.9.0.0/24 --uplink up0",
            "-n H attach red --net web --ip 10.9.0.10",
            "-n H port add red 8080:80",
        ] {
            let output = Command::new("sh")
                .args(["-c", "umask 000; exec \"$0\" \"$@\"", NETBRIDGE])
                .args(line.split(' '))
                .output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut files = Vec::new();
        for root in [&sandbox.state_dir(), sandbox.bpffs()] {
            tree(root, &mut files)?;
        }
        ensure!(files.len() > 20, "{files:?}");
        for path in &files {
            let mode = fs::metadata(path)?.permissions().mode();
            ensure!(mode.trailing_zeros() >= 6, "{} has mode {mode:o}", path.display());
        }
        Ok(())
    })
}
