//! What `ct config` sets: lifetimes, quotas, the size of the table.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use netbridge_common::abi::{Load, Reason};
use netbridge_tests::frame::{self, Station};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{self, TcpServer, exchange};
use netbridge_tests::udp::bound;
use netbridge_tests::wait::wait_until;

use super::command::{complains, json, says, tool};
use super::hand::world;
use super::{LIMIT, PAIR, SILENCE, pair};

/// A neighbour of the uplink that never answers.
const SILENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

/// Makes [`SILENT`] a neighbour: nobody has its MAC.
fn silent(lab: &Lab<'_>) -> Result<()> {
    let uplink = lab.uplink()?.name;
    tool(&format!(
        "ip -n lab-host neigh add {SILENT} lladdr 02:00:00:00:00:77 nud permanent dev {uplink}"
    ))
    .map(drop)
}

/// Starts a connection that nobody answers. All are from one port: of two that share a place among the samples of what may
/// make room, which few do that differ in one port only, the second is not found there before it is a second old.
fn half_open(lab: &Lab<'_>, node: &str, port: u16) -> Result<()> {
    const FROM: u16 = 20_000;

    let to = SocketAddrV4::new(SILENT, port);
    let silence = tcp::connect_from(&lab.node(node)?, FROM, to, SILENCE);
    ensure!(silence.is_err(), "somebody answers");
    Ok(())
}

fn load(lab: &Lab<'_>, endpoint: &str) -> Result<Load> {
    Ok(lab.datapath()?.tables().load(lab.endpoint(endpoint)?.slot)?)
}

#[test]
fn settings_are_shown_set_kept_and_forgotten() -> Result<()> {
    within(|sandbox| {
        world()?;
        let default = json("-n H ct config")?;
        ensure!(default["profile"] == "rfc" && default["flows"] == 131_072, "{default}");
        ensure!(
            default["timeouts_s"]["tcp-established"] == 7440
                && default["quota"] == 15_872
                && default["half_open"] == 3968
        );
        ensure!(
            default["memory"] == serde_json::json!({}),
            "nothing is loaded: {default}"
        );

        // What is told before the first network holds from it on.
        let set = json("-n H ct config --profile netfilter --timeout icmp=7 --flows 4096 --quota 100")?;
        ensure!(set["profile"] == "netfilter" && set["timeouts_s"]["icmp"] == 7, "{set}");
        ensure!(set["set"] == serde_json::json!(["icmp"]) && set["flows"] == 4096);
        ensure!(json("-n H ct config")? == set);
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let loaded = json("-n H ct config")?;
        let flows = loaded["memory"]["FLOWS"].as_u64().context("no memory of FLOWS")?;
        // 2 · 4096 halves of 84 bytes at least, and far from those of 131,072 flows.
        ensure!((688_000..8_000_000).contains(&flows), "{loaded}");
        let listed = loaded["memory"].as_object().context("no memory")?;
        let bindings = listed["BINDINGS"].as_u64().context("no memory of BINDINGS")?;
        ensure!(
            bindings < 2_000_000,
            "room for many more bindings than flows: {bindings}"
        );
        let instance = fs::read_dir(sandbox.bpffs().join("netbridge"))?
            .next()
            .context("nothing is pinned")??;
        for map in fs::read_dir(instance.path().join("maps"))? {
            let name = map?.file_name();
            ensure!(listed.contains_key(&*name.to_string_lossy()), "{name:?} is missing");
        }
        let text = says("-n H ct config")?;
        for part in ["netfilter", "icmp", "7 s, set", "memory", "FLOWS", "KiB"] {
            ensure!(text.contains(part), "{part} is missing in {text}");
        }

        let faults = complains(
            2,
            "-n H ct config --timeout icmp=0 --timeout ping=3 --timeout other --quota 9999 --half-open 0",
        )?;
        for part in ["icmp=0", "ping", "other", "--quota 9999", "--half-open 0"] {
            ensure!(faults.contains(part), "{part} is missing in {faults}");
        }
        let refused = complains(1, "-n H ct config --flows 8192 --quota 200")?;
        ensure!(
            refused.contains("--flows 8192") && refused.contains("remove the networks"),
            "{refused}"
        );
        let tried = says("-n H --dry-run ct config --quota 50 --timeout icmp=9")?;
        ensure!(!tried.is_empty(), "a dry run says nothing");
        ensure!(json("-n H ct config")? == loaded, "something was set");

        says("-n H ct config --quota 50")?;
        says("-n H net rm web")?;
        let kept = json("-n H ct config")?;
        ensure!(
            kept["quota"] == 50 && kept["flows"] == 4096 && kept["profile"] == "netfilter",
            "{kept}"
        );
        says("-n H net create web --subnet 10.9.0.0/24")?;
        ensure!(json("-n H ct config")?["quota"] == 50);
        says("-n H net rm web")?;
        says("-n H ct config --reset")?;
        ensure!(json("-n H ct config")? == default, "a reset leaves something");
        Ok(())
    })
}

#[test]
fn idle_flows_expire_in_their_time_and_are_reaped() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        silent(lab)?;
        says("-n lab-host ct config --timeout udp-opening=2 --timeout icmp=2 --timeout tcp-opening=6 --quarantine 0")?;
        let web = lab.node("web")?;
        half_open(lab, "web", 80)?;
        bound(&web, 5000, LIMIT)?.send_to(b"anybody?", (SILENT, 53))?;
        ping(&web, pair::OUTSIDE, 56, LIMIT)?;
        let listed = || -> Result<usize> { Ok(json("-n lab-host ct ls")?.as_array().map_or(0, Vec::len)) };
        let all = json("-n lab-host ct ls")?;
        let flows = all.as_array().context("no list")?;
        ensure!(
            flows
                .iter()
                .any(|flow| flow["proto"] == "tcp" && flow["state"] == "opening"),
            "{all}"
        );
        ensure!(flows.iter().all(|flow| flow["expires_s"].as_u64() <= Some(6)), "{all}");
        wait_until("all to expire", Duration::from_secs(20), || Ok(listed()? == 0))?;
        // A dry run counts what goes, and no half that keeps its port from others still.
        says("-n lab-host ct config --quarantine 60")?;
        wait_until("half of each to be there to remove", Duration::from_secs(10), || {
            Ok(says("-n lab-host --dry-run ct reap")?.contains("remove halves of flows: 3"))
        })?;
        says("-n lab-host ct config --quarantine 0")?;
        let mut reaped = 0;
        wait_until("all to be removed", Duration::from_secs(10), || {
            reaped += json("-n lab-host ct reap")?["halves"].as_u64().unwrap_or(0);
            Ok(lab.datapath()?.tables().flows()?.is_empty())
        })?;
        ensure!(reaped == 6, "{reaped} halves of three flows were removed");
        let left = load(lab, "web")?;
        ensure!((left.flows, left.half_open) == (0, 0), "{left:?}");
        ensure!(json("-n lab-host ct reap")?["halves"] == 0);

        // A count that has drifted.
        ping(&web, pair::OUTSIDE, 56, LIMIT)?;
        let (slot, right) = (lab.endpoint("web")?.slot, load(lab, "web")?);
        ensure!((right.flows, right.ports) == (1, 1), "{right:?}");
        let mut loads: Array<MapData, [u8; size_of::<Load>()]> = lab.map("LOADS")?;
        let wrong: [u8; size_of::<Load>()] = bytemuck::cast(Load {
            half_open: 9,
            ports: -2,
            ..right
        });
        loads.set(slot, wrong, 0)?;
        says("-n lab-host ct reap")?;
        ensure!(load(lab, "web")? == right, "{:?}", load(lab, "web")?);
        Ok(())
    })
}

#[test]
fn a_flow_in_use_outlives_its_timeout_and_an_idle_one_begins_anew() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        says("-n lab-host ct config --timeout udp-opening=5 --timeout udp-established=5 --quarantine 0")?;
        let outside = bound(&lab.node("outside")?, 53, LIMIT)?;
        let web = bound(&lab.node("web")?, 5000, LIMIT)?;
        let start = Instant::now();
        let mut flows = 0;
        while start.elapsed() < Duration::from_secs(7) {
            web.send_to(b"still here", (pair::OUTSIDE, 53))?;
            let (_, seen) = outside.recv_from(&mut [0; 64])?;
            outside.send_to(b"so am I", seen)?;
            web.recv_from(&mut [0; 64]).context("the flow ended under way")?;
            flows = flows.max(lab.datapath()?.tables().flows()?.len());
            thread::sleep(Duration::from_millis(100));
        }
        ensure!(flows == 2, "{flows} halves of one flow");
        wait_until("it to expire", Duration::from_secs(20), || {
            Ok(json("-n lab-host ct ls")? == serde_json::json!([]))
        })?;
        // Nobody is let in any more.
        let before = lab.traffic("web")?.rx_packets;
        outside.send_to(b"too late", (pair::HOST, 5000))?;
        web.set_read_timeout(Some(SILENCE))?;
        ensure!(web.recv_from(&mut [0; 64]).is_err(), "an expired flow carries");
        ensure!(lab.traffic("web")?.rx_packets == before);
        Ok(())
    })
}

#[test]
fn an_endpoint_has_its_quota_and_no_more_and_half_open_flows_make_room() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        silent(lab)?;
        says("-n lab-host ct config --quota 4 --half-open 2")?;
        let _server = TcpServer::start(&lab.node("outside")?, 80)?;
        let to = SocketAddrV4::new(pair::OUTSIDE, 80);
        let open = |node: &str, limit| tcp::connect(&lab.node(node)?, to, limit);
        let four = |node: &str| (0..4).map(|_| open(node, LIMIT)).collect::<Result<Vec<TcpStream>>>();
        let mut web = four("web")?;
        let before = lab.drops(Reason::QuotaExceeded)?;
        ensure!(open("web", SILENCE).is_err(), "a fifth connection comes about");
        lab.dropped(Reason::QuotaExceeded, before, 1)?;
        let held = load(lab, "web")?;
        ensure!((held.flows, held.half_open, held.ports) == (4, 0, 4), "{held:?}");

        // The neighbour's are its own, and what nobody answers is no hindrance.
        for port in [1, 2, 3, 4, 5] {
            half_open(lab, "app", port)?;
        }
        ensure!(load(lab, "app")?.half_open == 2, "{:?}", load(lab, "app")?);
        let mut app = four("app")?;
        lab.dropped(Reason::QuotaExceeded, before, 1)
            .context("app was refused")?;
        for stream in web.iter_mut().chain(&mut app) {
            exchange(stream, to, 10_000)?;
        }
        Ok(())
    })
}

#[test]
fn closed_connections_make_room_and_open_ones_stay() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        says("-n lab-host ct config --quota 4 --half-open 4")?;
        let _server = TcpServer::start(&lab.node("outside")?, 80)?;
        let to = SocketAddrV4::new(pair::OUTSIDE, 80);
        let web = lab.node("web")?;
        let mut held = tcp::connect(&web, to, LIMIT)?;
        for _ in 0..50 {
            let mut stream = tcp::connect(&web, to, LIMIT)?;
            stream.shutdown(Shutdown::Write)?;
            // The end of what comes back: the other side has closed, too.
            ensure!(stream.read(&mut [0; 8])? == 0);
        }
        let (left, refused) = (load(lab, "web")?, lab.drops(Reason::QuotaExceeded)?);
        ensure!(
            (left.flows, left.half_open, refused) == (4, 0, 0),
            "{left:?}, {refused} refused"
        );
        exchange(&mut held, to, 10_000).map(drop)
    })
}

#[test]
fn a_flood_of_syns_leaves_the_neighbour_and_established_flows_alone() -> Result<()> {
    const FLOOD: u16 = 5000;

    with_lab(Text::plain(PAIR), |lab| {
        silent(lab)?;
        says("-n lab-host ct config --quota 1000 --half-open 100")?;
        let outside = lab.node("outside")?;
        let _server = TcpServer::start(&outside, 80)?;
        let to = SocketAddrV4::new(pair::OUTSIDE, 80);
        let mut held = tcp::connect(&lab.node("web")?, to, LIMIT)?;
        let wire = lab.wire("web", "web")?;
        let (web, gateway) = (lab.station("web")?, lab.state()?.networks[0].mac.0);
        let target = Station {
            mac: gateway,
            ip: SILENT,
        };
        let before = lab.traffic("web")?.tx_packets;
        for port in 0..FLOOD {
            wire.send(&frame::tcp_syn(web, target, (10_000 + port, 80))?)?;
            if port % 500 == 0 {
                exchange(&mut tcp::connect(&lab.node("app")?, to, LIMIT)?, to, 1000)?;
            }
        }
        wait_until("all to be sent", LIMIT, || {
            Ok(lab.traffic("web")?.tx_packets >= before + u64::from(FLOOD))
        })?;
        // The quota is what stops it, and nothing before.
        let loads = load(lab, "web")?;
        ensure!(
            (90..=101).contains(&loads.half_open) && loads.flows <= 1001,
            "{loads:?}"
        );
        exchange(&mut held, to, 100_000).map(drop)
    })
}
