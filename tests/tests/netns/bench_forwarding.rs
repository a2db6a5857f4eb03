//! Every forwarding case on every contestant: measured, or cannot be and says why.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::bench::case::Case;
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::forwarding;
use netbridge_tests::bench::series::Metric;
use netbridge_tests::bench::world::Able;
use netbridge_tests::sandbox::within;

use super::bench_worlds::Way;

/// All cases of a full run, in short rounds. Where there are most rules, which take long to make and to load, the first does
/// for all.
fn cases() -> Vec<Box<dyn Case>> {
    let mut cases = forwarding::cases_of(false, Duration::from_millis(10));
    cases.retain(|case| {
        let id = case.id();
        let many = id.ends_with("rules-10000") || id.ends_with("rules-65536");
        !many || id == "forwarding/l2/rules-10000"
    });
    cases
}

fn ids() -> Vec<String> {
    cases().iter().map(|case| case.id()).collect()
}

/// One round of every case; those that the contestant cannot, by their identifiers.
fn play(contestant: Contestant) -> Result<Vec<String>> {
    within(|sandbox| {
        let mut world = build(contestant, sandbox)?;
        let world = world.as_mut();
        let mut cannot = Vec::new();
        for case in cases() {
            let id = case.id();
            let able = case.prepare(world).with_context(|| format!("{id}: prepare"))?;
            if let Able::Cannot(reason) = able {
                ensure!(!reason.is_empty());
                println!("{id:<36} {contestant}: {reason}");
                cannot.push(id);
                continue;
            }
            let way = Way::of(world).with_context(|| id.clone())?;
            let sample = case.measure(world).with_context(|| format!("{id}: measure"))?;
            println!("{id:<36} {contestant}: {sample:.0?}");
            way.was_taken(world, 65).with_context(|| id.clone())?;
            case.finish(world).with_context(|| format!("{id}: finish"))?;
            let metrics: Vec<Metric> = sample.figures().iter().map(|(metric, _)| *metric).collect();
            let complete: &[Metric] = match contestant {
                _ if id.contains("bpf-time") => &[Metric::BpfNs],
                _ => &[Metric::NetNs, Metric::TotalNs, Metric::PacketsPerSecond],
            };
            ensure!(metrics == complete, "{id}: {metrics:?}");
            ensure!(
                sample.figures().iter().all(|(_, value)| value.is_finite()),
                "{id}: {sample:?}"
            );
        }
        Ok(cannot)
    })
}

#[test]
fn the_limits_forward_nothing() -> Result<()> {
    for limit in [Contestant::Loopback, Contestant::RawPair] {
        ensure!(play(limit)? == ids());
    }
    Ok(())
}

#[test]
fn bridge() -> Result<()> {
    let cannot = play(Contestant::Bridge)?;
    let mut all = ids();
    // It neither filters nor translates.
    all.retain(|id| !["forwarding/l2/rules-0", "forwarding/new-l2/rules-0"].contains(&id.as_str()));
    ensure!(cannot == all, "{cannot:?}");
    Ok(())
}

/// Those that do it all, whatever the number of rules.
fn complete(contestant: Contestant) -> Result<()> {
    let cannot = play(contestant)?;
    let mut programs = ids();
    programs.retain(|id| id.contains("bpf-time"));
    ensure!(cannot == programs, "{cannot:?}");
    Ok(())
}

#[test]
fn iptables_nft() -> Result<()> {
    complete(Contestant::IptablesNft)
}

#[test]
fn iptables_legacy() -> Result<()> {
    complete(Contestant::IptablesLegacy)
}

#[test]
fn ipset() -> Result<()> {
    let cannot = play(Contestant::Ipset)?;
    // Rules that name two networks are for sets that not every kernel has.
    let can = |id: &String| id.contains("ports-l2") || id.contains("sets-l2");
    let strange: Vec<&String> = cannot.iter().filter(|id| can(id)).collect();
    ensure!(strange.is_empty(), "{strange:?}");
    Ok(())
}

#[test]
fn nftables() -> Result<()> {
    complete(Contestant::Nftables)
}

#[test]
fn netbridge() -> Result<()> {
    let cannot = play(Contestant::Netbridge)?;
    ensure!(cannot.is_empty(), "{cannot:?}");
    Ok(())
}
