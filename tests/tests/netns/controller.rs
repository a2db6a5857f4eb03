//! The controller where something else went wrong before: what it puts right, and what it says.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bytemuck::{Zeroable as _, bytes_of};
use netbridge::datapath::{Datapath, Pins};
use netbridge::filter::tables::Tables;
use netbridge_common::abi::{FilterHead, LinkV4, MacKey, PortBlock, PortKey, Station};
use netbridge_tests::census::{Census, links};
use netbridge_tests::icmp::ping;
use netbridge_tests::sandbox::{Sandbox, within};
use netbridge_tests::tcp::{TcpServer, transfer};

use super::LIMIT;
use super::command::{NETBRIDGE, complains, ends, json, says, tool};
use super::hand::{OUTSIDE, UPLINK, named, world};

/// The name of the only instance there is.
fn instance(sandbox: &Sandbox) -> Result<String> {
    let entry = fs::read_dir(sandbox.state_dir())?.next().context("no instance")??;
    entry.file_name().into_string().ok().context("its name is no text")
}

pub(crate) fn pins(sandbox: &Sandbox) -> Result<Pins> {
    Ok(Pins::new(sandbox.bpffs(), &instance(sandbox)?))
}

/// The same instance, opened.
pub(crate) fn datapath(sandbox: &Sandbox) -> Result<Datapath> {
    Ok(Datapath::open(&pins(sandbox)?)?)
}

/// What the controller keeps in the maps.
fn entries(datapath: &Datapath) -> Result<BTreeSet<String>> {
    let tables = datapath.tables();
    let mut all = BTreeSet::new();
    for (key, value) in tables.links()? {
        all.insert(format!("link {key}: {:?}", bytes_of(&value)));
    }
    for (key, value) in tables.networks()? {
        all.insert(format!("network {key}: {:?}", bytes_of(&value)));
    }
    for (key, value) in tables.subnets()? {
        all.insert(format!("subnet {key}: {value}"));
    }
    for (key, value) in tables.addresses()? {
        all.insert(format!("address {:?}: {:?}", bytes_of(&key), bytes_of(&value)));
    }
    for (key, value) in tables.stations()? {
        all.insert(format!("station {:?}: {:?}", bytes_of(&key), bytes_of(&value)));
    }
    for (key, value) in tables.published()? {
        all.insert(format!("port {key:?}: {:?}", bytes_of(&value)));
    }
    for (list, source) in tables.sources()? {
        all.insert(format!("source {list}: {source}"));
    }
    for link in fs::read_dir(datapath.pins().root().join("links"))? {
        all.insert(format!("link {}", link?.file_name().display()));
    }
    // Whenever it was written.
    let head = FilterHead {
        generation: 0,
        ..tables.filter()?
    };
    all.insert(format!("filter {head:?}"));
    Ok(all)
}

#[test]
fn every_change_first_makes_the_maps_say_what_the_state_says() -> Result<()> {
    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --ip 10.9.0.10")?;
        says("-n H port add red 8080:80")?;
        says("-n H port add red 127.0.0.1:9000-9009:80-89 --from 192.0.2.0/24,198.51.100.7")?;
        fs::write(
            "/run/rules",
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -j DROP\nCOMMIT\n",
        )?;
        says("-n H filter load /run/rules")?;
        let datapath = datapath(sandbox)?;
        let right = entries(&datapath)?;
        let tables = datapath.tables();
        let (address, _) = tables.addresses()?[0];
        let (port, target) = tables.published()?[0];
        let uplink = index_of("up0")?;

        tables.put_link(4000, &LinkV4::zeroed())?;
        tables.put_network(9, &tables.network(1)?)?;
        tables.put_subnet("10.99.0.0/16".parse()?, 9)?;
        tables.put_subnet("10.9.0.0/24".parse()?, 9)?;
        tables.remove_address(&address)?;
        tables.remove_published(&port)?;
        for (block, _) in tables
            .published()?
            .into_iter()
            .filter(|(block, _)| block.first.scope != 0)
        {
            tables.remove_published(&block)?;
        }
        tables.remove_source(1, "192.0.2.0/24".parse()?)?;
        tables.put_source(1, "0.0.0.0/0".parse()?)?;
        tables.put_source(7, "10.0.0.0/8".parse()?)?;
        fs::remove_file(datapath.pins().root().join("links/cgroup-connect4"))?;
        let first = PortKey {
            proto: 17,
            ..port.first
        };
        tables.put_published(&PortBlock { first, ..port }, &target)?;
        tables.swap_filter(&Tables::empty())?;
        datapath.detach(uplink)?;
        ensure!(entries(&datapath)? != right, "nothing was damaged");

        complains(3, "-n H --dry-run detach nobody")?;
        ensure!(entries(&datapath)? != right, "a dry run changed something");
        // What is asked for is refused; what was wrong is put right all the same.
        complains(3, "-n H detach nobody")?;
        ensure!(
            entries(&datapath)? == right,
            "{:#?}\nis not\n{right:#?}",
            entries(&datapath)?
        );
        ping(&named("red")?, OUTSIDE, 56, LIMIT)?;
        let _server = TcpServer::start(&named("red")?, 80)?;
        transfer(&named("out")?, SocketAddrV4::new(UPLINK, 8080), 1000)?;
        transfer(&named("H")?, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000), 1000)?;
        says("-n H net rm web --force")?;
        Ok(())
    })
}

#[test]
fn stations_that_were_not_heard_for_long_are_forgotten_with_the_next_change() -> Result<()> {
    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        says("-n H attach red --net web --trunk")?;
        let datapath = datapath(sandbox)?;
        let (tables, now) = (datapath.tables(), datapath.clock().now_ticks()?);
        let ageing = tables.config()?.fdb_ageing;
        let (trunk, link) = tables.links()?[0];
        let station = |last: u8, age: u32| {
            let mac = [2, 0, 0, 0, 0, last];
            let net = link.head.station.net;
            let (ifindex, slot, seen) = (trunk, link.head.slot, now.wrapping_sub(age));
            let station = Station {
                ifindex,
                slot,
                seen,
                mac,
                flags: 0,
            };
            (MacKey { mac, net }, station)
        };
        let (recent, old) = (station(1, ageing / 2), station(2, ageing + 10));
        for (key, station) in [recent, old] {
            tables.put_station(&key, &station)?;
        }
        says("-n H attach blue --net web")?;
        let stations = tables.stations()?;
        let known = |wanted: MacKey| stations.iter().any(|(key, _)| *key == wanted);
        ensure!(known(recent.0), "a station that was heard is forgotten");
        ensure!(!known(old.0), "an old station is still there");
        says("-n H net rm web --force")?;
        Ok(())
    })
}

/// The index of an interface of the host.
fn index_of(name: &str) -> Result<u32> {
    let line = tool(&format!("ip -n H -o link show dev {name}"))?;
    let (index, _) = line.split_once(':').context("ip prints no index")?;
    Ok(index.parse()?)
}

#[test]
fn an_uplink_that_changed_is_followed() -> Result<()> {
    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web --ip 10.9.0.10")?;
        let server = TcpServer::start(&named("out")?, 80)?;
        let seen_as = |address: Ipv4Addr| {
            let seen = transfer(&named("red")?, SocketAddrV4::new(OUTSIDE, 80), 1000)?.seen_as;
            ensure!(*seen.ip() == address, "the server sees {seen}, not {address}");
            anyhow::Ok(())
        };
        seen_as(UPLINK)?;

        tool("ip -n H address del 192.0.2.1/24 dev up0")?;
        tool("ip -n H address add 192.0.2.7/24 dev up0")?;
        says("-n H attach blue --net web")?;
        seen_as(Ipv4Addr::new(192, 0, 2, 7))?;
        ensure!(json("-n H ct ls")?.to_string().contains("192.0.2.7"));
        ensure!(
            !json("-n H ct ls")?.to_string().contains("192.0.2.1\""),
            "flows of the old address are kept"
        );

        drop(server);
        let before = index_of("up0")?;
        tool("ip -n H link del up0")?;
        ensure!(warns("-n H detach blue")?.contains("uplink up0 does not exist"));
        tool("ip -n H link add up0 type veth peer name eth0 netns out")?;
        for (namespace, interface, address) in [("H", "up0", "192.0.2.8/24"), ("out", "eth0", "192.0.2.2/24")] {
            tool(&format!("ip -n {namespace} address add {address} dev {interface}"))?;
            tool(&format!("ip -n {namespace} link set {interface} up"))?;
        }
        ensure!(index_of("up0")? != before);
        let _server = TcpServer::start(&named("out")?, 80)?;
        says("-n H attach blue --net web")?;
        seen_as(Ipv4Addr::new(192, 0, 2, 8))?;
        let datapath = datapath(sandbox)?;
        ensure!(
            datapath.tables().link(before)?.is_none(),
            "the old uplink is still known"
        );
        says("-n H net rm web --force")?;
        Ok(())
    })
}

/// What a command that must succeed prints on standard error.
fn warns(line: &str) -> Result<String> {
    Ok(String::from_utf8(ends(0, line)?.stderr)?)
}

#[test]
fn what_vanished_underneath_can_be_removed() -> Result<()> {
    within(|sandbox| {
        world()?;
        let host = named("H")?;
        let (before, in_host) = (Census::take(sandbox)?, links(&host)?);
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web")?;
        says("-n H attach blue --net web")?;
        let details = json("-n H ep inspect red")?;
        let veth = details["host_if"].as_str().context("no host_if")?;
        tool(&format!("ip -n H link del {veth}"))?;
        says("-n H detach red")?;
        tool("ip -n H link del nb-web")?;
        let said = complains(1, "-n H attach red --net web")?;
        ensure!(
            said.contains("bridge nb-web was removed; `netbridge net rm --force web`"),
            "{said}"
        );
        says("-n H net rm --force web")?;
        ensure!(Census::take(sandbox)? == before && links(&host)? == in_host);
        Ok(())
    })
}

#[test]
fn a_damaged_state_is_named_and_what_it_described_is_removable() -> Result<()> {
    within(|sandbox| {
        world()?;
        let host = named("H")?;
        let (before, in_host) = (Census::take(sandbox)?, links(&host)?);
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web")?;
        let file = sandbox.state_dir().join(instance(sandbox)?).join("state.json");
        for damage in [&b"\xff\xfe"[..], b"", b"{"] {
            fs::write(&file, damage)?;
            for call in ["-n H net ls", "-n H net rm --force web", "-n H net create b"] {
                let said = complains(1, call)?;
                ensure!(said.contains("state.json") && said.contains("move it away"), "{said}");
            }
        }
        fs::remove_file(&file)?;
        says("-n H net create web --subnet 10.9.1.0/24")?;
        ensure!(links(&host)?.len() == in_host.len() + 1, "{:?}", links(&host)?);
        says("-n H net rm web")?;
        ensure!(Census::take(sandbox)? == before && links(&host)? == in_host);
        Ok(())
    })
}

#[test]
fn a_state_that_was_never_finished_is_swept_away() -> Result<()> {
    within(|sandbox| {
        world()?;
        let before = Census::take(sandbox)?;
        says("-n H net create web")?;
        let directory = sandbox.state_dir().join(instance(sandbox)?);
        says("-n H net rm web")?;
        fs::create_dir(&directory)?;
        fs::write(directory.join("state.json.new"), "{")?;
        complains(3, "-n H net rm web")?;
        ensure!(Census::take(sandbox)? == before, "{:#?}", Census::take(sandbox)?);
        Ok(())
    })
}

#[test]
fn an_instance_whose_pins_are_not_all_there_counts_as_not_loaded() -> Result<()> {
    within(|sandbox| {
        world()?;
        let (before, in_host) = (Census::take(sandbox)?, links(&named("H")?)?);
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H attach red --net web")?;
        fs::remove_file(pins(sandbox)?.root().join("maps/FLOWS"))?;
        for call in ["-n H stats", "-n H attach blue --net web"] {
            let said = complains(1, call)?;
            ensure!(said.contains("`netbridge net rm --force web`"), "{said}");
        }
        says("-n H net rm --force web")?;
        ensure!(Census::take(sandbox)? == before && links(&named("H")?)? == in_host);
        Ok(())
    })
}

#[test]
fn an_instance_is_changed_only_from_its_own_host() -> Result<()> {
    within(|sandbox| {
        world()?;
        tool("ip netns add H2")?;
        says("-n H --instance two net create web --subnet 10.9.0.0/24")?;
        let before = (Census::take(sandbox)?, links(&named("H")?)?);
        let said = complains(1, "-n H2 --instance two net rm web")?;
        ensure!(
            said.contains("another network namespace") && said.contains("-n"),
            "{said}"
        );
        ensure!((Census::take(sandbox)?, links(&named("H")?)?) == before);
        says("-n H --instance two net rm web")?;
        Ok(())
    })
}

#[test]
fn the_first_process_of_a_container_finds_the_same_instance() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        tool(&format!(
            "unshare -m -p -f --mount-proc {NETBRIDGE} -n H net create web"
        ))?;
        ensure!(says("-n H net ls")?.contains("nb-web"));
        says("-n H net rm web")?;
        Ok(())
    })
}

#[test]
fn missing_privileges_are_named() -> Result<()> {
    within(|sandbox| {
        tool("ip netns add H")?;
        let before = Census::take(sandbox)?;
        for call in ["-n H net create web", "net create web"] {
            let output = Command::new("setpriv")
                .args(["--bounding-set=-all", "--inh-caps=-all", NETBRIDGE])
                .args(call.split(' '))
                .output()?;
            let said = String::from_utf8(output.stderr)?;
            ensure!(output.status.code() == Some(1), "`{call}` without privileges: {said}");
            ensure!(said.contains("root") || said.contains("netbridge doctor"), "{said}");
        }
        ensure!(Census::take(sandbox)? == before, "{:#?}", Census::take(sandbox)?);
        Ok(())
    })
}

#[test]
fn misuse_is_told_in_json_too() -> Result<()> {
    within(|_| {
        let output = ends(2, "-j net bogus")?;
        let said: serde_json::Value = serde_json::from_slice(&output.stderr)?;
        ensure!(
            said["error"]["code"] == 2 && said["error"]["faults"][0]["why"].is_string(),
            "{said}"
        );
        Ok(())
    })
}
