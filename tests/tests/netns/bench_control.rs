//! The control plane's cases: every contestant does them or says why not, and is as it was before.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, bail, ensure};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::control::cases_of;
use netbridge_tests::bench::series::Metric;
use netbridge_tests::bench::world::{Able, Published};
use netbridge_tests::census::links;
use netbridge_tests::sandbox::within;
use netbridge_tests::tcp::{self, TcpServer};

use super::{LIMIT, SILENCE};

const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Endpoints instead of the 497 that are there before the 500th.
const OTHERS: u16 = 5;

/// What cannot be done, and by whom.
fn excused(case: &str, contestant: Contestant) -> bool {
    use Contestant::{Bridge, Ipset, IptablesLegacy, IptablesNft, Loopback, Netbridge, Nftables, RawPair};
    match contestant {
        Loopback | RawPair => true,
        Bridge => !case.contains("attach"),
        IptablesNft | IptablesLegacy => ["processes", "publish-single/ports-1000"]
            .iter()
            .any(|part| case.contains(part)),
        Ipset => !case.contains("filter"),
        Netbridge | Nftables => false,
    }
}

#[test]
fn every_case_is_done_by_whoever_can_and_taken_back() -> Result<()> {
    within(|sandbox| {
        for contestant in Contestant::ALL {
            let mut world = build(contestant, sandbox)?;
            let around = |world: &dyn netbridge_tests::bench::world::World| -> Result<_> {
                let host = world.layout().host.as_ref();
                host.map(|host| links(&host.netns)).transpose()
            };
            let before = (around(world.as_ref())?, world.map_bytes()?);
            for case in cases_of(false, OTHERS) {
                let what = || format!("{}, {contestant}", case.id());
                let able = case.prepare(world.as_mut()).with_context(what)?;
                // Not every kernel has sets for rules that name two networks.
                let may = contestant == Contestant::Ipset && case.id().contains("filter");
                match (able, excused(&case.id(), contestant)) {
                    (Able::Done, false) => {
                        let sample = case.measure(world.as_mut()).with_context(what)?;
                        let times = sample.figures().iter().filter(|(metric, _)| *metric == Metric::Millis);
                        ensure!(times.clone().all(|(_, time)| *time > 0.0), "{}: {sample:?}", what());
                    }
                    (Able::Cannot(reason), excused) if excused || may => {
                        ensure!(!reason.is_empty(), "{}", what());
                        let slow = reason.starts_with("six calls");
                        ensure!(!slow || reason.contains(" ms a port"), "{}: {reason}", what());
                    }
                    (able, _) => bail!("{}: {able:?}", what()),
                }
                case.finish(world.as_mut()).with_context(what)?;
            }
            let after = (around(world.as_ref())?, world.map_bytes()?);
            ensure!(after == before, "{contestant}: {before:?} became {after:?}");
        }
        Ok(())
    })
}

#[test]
fn ten_thousand_ports_are_there_after_one_call() -> Result<()> {
    within(|sandbox| {
        let mut world = build(Contestant::Netbridge, sandbox)?;
        let first = Published {
            proto: 6,
            host: 10_000,
            container: 20_000,
        };
        let ports: Vec<Published> = (0..10_000)
            .map(|offset| Published {
                host: first.host + offset,
                container: first.container + offset,
                ..first
            })
            .collect();
        for range in [true, false] {
            let done = if range {
                world.publish_range(first, 10_000)?
            } else {
                world.publish(&ports)?
            };
            ensure!(done == Able::Done, "{done:?}");
            let layout = world.layout();
            for offset in [0, 5_432, 9_999] {
                let _server = TcpServer::start(&layout.b.netns, first.container + offset)?;
                tcp::connect(
                    &layout.outside.netns,
                    SocketAddrV4::new(HOST, first.host + offset),
                    LIMIT,
                )?;
            }
            world.unpublish()?;
            let layout = world.layout();
            let _server = TcpServer::start(&layout.b.netns, first.container)?;
            let late = tcp::connect(&layout.outside.netns, SocketAddrV4::new(HOST, first.host), SILENCE);
            ensure!(late.is_err(), "a port that was taken back answers");
        }
        Ok(())
    })
}
