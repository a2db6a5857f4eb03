//! Every forwarding case on every contestant: measured, or cannot be and says why.

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::forwarding;
use netbridge_tests::bench::series::Metric;
use netbridge_tests::bench::world::{Able, World};
use netbridge_tests::sandbox::within;

/// Packets that the contestant's own path counted so far.
fn carried(world: &dyn World) -> Result<u64> {
    Ok(world.path_counters()?.iter().map(|(_, packets)| packets).sum())
}

/// One round of every case; those that the contestant cannot, by their identifiers.
fn play(contestant: Contestant) -> Result<Vec<String>> {
    within(|sandbox| {
        let mut world = build(contestant, sandbox)?;
        let world = world.as_mut();
        let mut cannot = Vec::new();
        for case in forwarding::cases(true) {
            let id = case.id();
            let able = case.prepare(world).with_context(|| format!("{id}: prepare"))?;
            if let Able::Cannot(reason) = able {
                ensure!(!reason.is_empty());
                println!("{id:<36} {contestant}: {reason}");
                cannot.push(id);
                continue;
            }
            let before = carried(world)?;
            let sample = case.measure(world).with_context(|| format!("{id}: measure"))?;
            println!("{id:<36} {contestant}: {sample:.0?}");
            // Between the ends of the raw pair there is no path: frames appear where they are counted.
            ensure!(
                contestant == Contestant::RawPair || carried(world)? > before + 256,
                "{id}: the packets took another path than {contestant}'s"
            );
            case.finish(world).with_context(|| format!("{id}: finish"))?;
            let metrics: Vec<Metric> = sample.figures().iter().map(|(metric, _)| *metric).collect();
            let complete: &[Metric] = match contestant {
                _ if id.contains("bpf-time") => &[Metric::BpfNs],
                Contestant::RawPair => &[Metric::TotalNs, Metric::PacketsPerSecond],
                _ => &[Metric::TotalNs, Metric::PacketsPerSecond, Metric::NetNs],
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
fn loopback_forwards_nothing() -> Result<()> {
    ensure!(play(Contestant::Loopback)?.len() == forwarding::cases(true).len());
    Ok(())
}

#[test]
fn raw_pair() -> Result<()> {
    let cannot = play(Contestant::RawPair)?;
    ensure!(!cannot.contains(&"forwarding/l2/rules-0".to_owned()), "{cannot:?}");
    ensure!(
        cannot.contains(&"forwarding/published/rules-0".to_owned()),
        "{cannot:?}"
    );
    Ok(())
}

#[test]
fn bridge() -> Result<()> {
    let cannot = play(Contestant::Bridge)?;
    ensure!(!cannot.contains(&"forwarding/new-l2/rules-0".to_owned()), "{cannot:?}");
    ensure!(cannot.contains(&"forwarding/l2/rules-10".to_owned()), "{cannot:?}");
    Ok(())
}

/// Those that do it all, whatever the number of rules.
fn complete(contestant: Contestant) -> Result<()> {
    let cannot = play(contestant)?;
    ensure!(cannot.iter().all(|id| id.contains("bpf-time")), "{cannot:?}");
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
fn nftables() -> Result<()> {
    complete(Contestant::Nftables)
}

#[test]
fn netbridge() -> Result<()> {
    let cannot = play(Contestant::Netbridge)?;
    ensure!(cannot.iter().all(|id| id.contains("/rules-")), "{cannot:?}");
    Ok(())
}
