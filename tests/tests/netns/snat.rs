//! The address that containers have outside: the host's own choice, one that was set, or none but theirs.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netbridge_common::abi::Reason;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::tcp::{self, TcpServer, transfer};
use netbridge_tests::udp::{UdpServer, ask, bound, seen_by};
use netbridge_tests::wait::wait_until;

use super::command::{complains, ends, says, tool};
use super::hand::named;
use super::{LIMIT, PAIR, SILENCE, pair};

/// Another address of the uplink.
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// Longest time in which a changed address is followed.
const DEADLINE: Duration = Duration::from_secs(5);

#[test]
fn an_address_that_was_set_is_taken() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let uplink = lab.uplink()?.name;
        let create = format!("-n lab-host net create late --subnet 10.77.2.0/24 --uplink {uplink} --snat");
        let said = complains(1, &format!("{create} {SECOND}"))?;
        ensure!(
            said.contains(&format!("is no address of {uplink}; `ip address add")),
            "{said}"
        );
        tool(&format!("ip -n lab-host address add {SECOND}/24 dev {uplink}"))?;
        says(&format!("{create} {SECOND}"))?;
        tool("ip netns add late")?;
        says("-n lab-host attach late --net late --ip 10.77.2.10")?;
        let outside = lab.node("outside")?;
        let _services = (TcpServer::start(&outside, 80)?, UdpServer::start(&outside, 53)?);
        for (node, address) in [(named("late")?, SECOND), (lab.node("app")?, pair::HOST)] {
            let seen = transfer(&node, SocketAddrV4::new(pair::OUTSIDE, 80), 100_000)?.seen_as;
            ensure!(*seen.ip() == address, "seen as {seen}");
            let seen = ask(&node, SocketAddrV4::new(pair::OUTSIDE, 53), b"x", LIMIT)?.seen_as;
            ensure!(*seen.ip() == address, "seen as {seen}");
            ping(&node, pair::OUTSIDE, 56, LIMIT)?;
        }
        tool(&format!("ip -n lab-host address del {SECOND}/24 dev {uplink}"))?;
        let lost = format!("network late: its --snat address {SECOND} is no address of {uplink} any more");
        let told = String::from_utf8(ends(0, "-n lab-host port add late 9090:90")?.stderr)?;
        ensure!(told.contains(&lost), "{told}");
        let told = says("-n lab-host doctor")?;
        ensure!(told.contains(&lost), "{told}");
        Ok(())
    })
}

#[test]
fn a_new_address_of_the_uplink_is_followed_without_a_command() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (app, web, outside) = (lab.node("app")?, lab.node("web")?, lab.node("outside")?);
        let _outside = UdpServer::start(&outside, 53)?;
        let _published = (TcpServer::start(&web, 80)?, UdpServer::start(&web, 53)?);
        let to = SocketAddrV4::new(pair::OUTSIDE, 53);
        let client = bound(&app, 5000, Duration::from_millis(20))?;
        let seen_as =
            |client: &UdpSocket, address: Ipv4Addr| seen_by(client, to).is_ok_and(|seen| *seen.ip() == address);
        let comes_by = |address| {
            wait_until(&format!("packets from {address}"), DEADLINE, || {
                Ok(seen_as(&client, address))
            })
        };
        comes_by(pair::HOST)?;
        let uplink = lab.uplink()?.name;
        let gone = lab.drops(Reason::AddressGone)?;
        tool(&format!("ip -n lab-host address del {}/24 dev {uplink}", pair::HOST))?;
        tool(&format!("ip -n lab-host address add {SECOND}/24 dev {uplink}"))?;
        let changed = Instant::now();
        let (mut fresh, mut ended, mut followed) = (None, None, None);
        wait_until(&format!("packets from {SECOND}"), DEADLINE, || {
            // A socket that has sent nothing yet has no flow.
            if fresh.is_none() && seen_as(&bound(&app, 0, Duration::from_millis(20))?, SECOND) {
                fresh = Some(changed.elapsed());
            }
            if followed.is_none() && seen_as(&client, SECOND) {
                followed = Some(changed.elapsed());
            }
            if ended.is_none() && lab.drops(Reason::AddressGone)? > gone {
                ended = Some(changed.elapsed());
            }
            Ok(fresh.is_some() && followed.is_some())
        })?;
        println!(
            "the uplink's address is followed by new flows after {fresh:.1?}, by one that was there after {followed:.1?}; \
             that ended after {ended:.1?}"
        );
        ensure!(ended.is_some(), "the flow was not ended");
        // Published ports answer there too.
        transfer(&outside, SocketAddrV4::new(SECOND, 8080), 100_000)?;
        ask(&outside, SocketAddrV4::new(SECOND, 5353), b"x", LIMIT)?;
        transfer(&app, SocketAddrV4::new(SECOND, 8080), 100_000)?;
        ping(&web, pair::OUTSIDE, 56, LIMIT)?;
        // The next command finds nothing to mend.
        says("-n lab-host port add web 8081:80")?;
        transfer(&outside, SocketAddrV4::new(SECOND, 8081), 100_000)?;
        comes_by(SECOND)
    })
}

#[test]
fn a_second_address_changes_nothing_for_flows_that_exist() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (app, outside) = (lab.node("app")?, lab.node("outside")?);
        let to = SocketAddrV4::new(pair::OUTSIDE, 80);
        let connection = tcp::Connection::open(&app, to, (&outside, 80))?;
        connection.talk()?;
        let uplink = lab.uplink()?.name;
        tool(&format!("ip -n lab-host address add {SECOND}/24 dev {uplink}"))?;
        // The host's choice for new connections changes, the first address stays.
        tool(&format!(
            "ip -n lab-host route replace 198.51.100.0/24 dev {uplink} src {SECOND}"
        ))?;
        let _server = UdpServer::start(&outside, 53)?;
        let client = bound(&app, 5000, Duration::from_millis(100))?;
        wait_until("packets from the second address", Duration::from_secs(5), || {
            let seen = seen_by(&client, SocketAddrV4::new(pair::OUTSIDE, 53));
            Ok(seen.is_ok_and(|seen| *seen.ip() == SECOND))
        })?;
        connection.talk()?;
        ensure!(lab.drops(Reason::AddressGone)? == 0);
        ensure!(connection.far.peer_addr()?.ip() == pair::HOST);
        Ok(())
    })
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses_and_keeps_them() -> Result<()> {
    let routed = PAIR.replace("10.77.1.0/24\"\n", "10.77.1.0/24\"\nrouted = true\n");
    for (topology, is_routed) in [(routed.as_str(), true), (PAIR, false)] {
        with_lab(Text::plain(topology), |lab| {
            let (web, outside) = (lab.node("web")?, lab.node("outside")?);
            let _inside = (TcpServer::start(&web, 80)?, UdpServer::start(&web, 53)?);
            let _outside = (TcpServer::start(&outside, 80)?, UdpServer::start(&outside, 53)?);
            let as_web = if is_routed { pair::WEB } else { pair::HOST };
            let seen = transfer(&web, SocketAddrV4::new(pair::OUTSIDE, 80), 100_000)?.seen_as;
            ensure!(*seen.ip() == as_web, "the outside sees {seen}");
            let seen = ask(&web, SocketAddrV4::new(pair::OUTSIDE, 53), b"x", LIMIT)?.seen_as;
            ensure!(*seen.ip() == as_web, "the outside sees {seen}");
            let (tcp, udp) = (SocketAddrV4::new(pair::WEB, 80), SocketAddrV4::new(pair::WEB, 53));
            if is_routed {
                let seen = transfer(&outside, tcp, 1 << 20)?.seen_as;
                ensure!(*seen.ip() == pair::OUTSIDE, "the container sees {seen}");
                ask(&outside, udp, b"x", LIMIT)?;
                ping(&outside, pair::WEB, 1400, LIMIT)?;
                return transfer(&outside, SocketAddrV4::new(pair::HOST, 8080), 1000).map(drop);
            }
            let before = lab.drops(Reason::DirectAccess)?;
            ensure!(tcp::connect(&outside, tcp, SILENCE).is_err(), "TCP comes through");
            ensure!(ask(&outside, udp, b"x", SILENCE).is_err(), "UDP comes through");
            ensure!(ping(&outside, pair::WEB, 56, SILENCE).is_err(), "ICMP comes through");
            lab.dropped(Reason::DirectAccess, before, 3)
        })?;
    }
    Ok(())
}
