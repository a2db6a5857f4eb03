//! What a case does to a contestant's rules and ports is undone when it is over.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use netbridge_tests::bench::case::Case;
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::world::{Able, World};
use netbridge_tests::bench::{control, forwarding};
use netbridge_tests::sandbox::within;

use super::bench_docker::normalised;
use super::command::{says, tool};

/// What a contestant's own tool shows of rules and ports, without counters.
fn shown(world: &dyn World) -> Result<Vec<String>> {
    let contestant = world.contestant();
    let host = &world.layout().host.as_ref().context("no host")?.netns;
    Ok(match contestant {
        Contestant::IptablesNft => normalised(&host.run(|| tool("iptables-nft-save"))??),
        Contestant::Ipset => {
            let mut all = normalised(&host.run(|| tool("iptables-nft-save"))??);
            all.push(host.run(|| tool("ipset save"))??);
            all
        }
        Contestant::IptablesLegacy => normalised(&host.run(|| tool("iptables-legacy-save"))??),
        Contestant::Nftables => vec![host.run(|| tool("nft --stateless list ruleset"))??],
        _ => {
            let name = contestant.to_possible_value().context("no name")?;
            let host = format!("{}-host", name.get_name());
            ["filter show", "port ls"]
                .into_iter()
                .map(|line| says(&format!("-n {host} {line}")))
                .collect::<Result<_>>()?
        }
    })
}

/// Those that have rules.
const RULED: [Contestant; 5] = [
    Contestant::IptablesNft,
    Contestant::IptablesLegacy,
    Contestant::Ipset,
    Contestant::Nftables,
    Contestant::Netbridge,
];

/// A published port and rules, what only some can do, and the control plane's own rules.
const CASES: [&str; 4] = [
    "forwarding/new-published/rules-10",
    "forwarding/bpf-time/l2",
    "control/filter-insert/rules-100",
    "forwarding/sets-l2/rules-10",
];

fn picked() -> Vec<Box<dyn Case>> {
    let cases = [forwarding::cases(false), control::cases(true)].into_iter().flatten();
    cases.filter(|case| CASES.contains(&case.id().as_str())).collect()
}

#[test]
fn rules_are_gone_when_a_case_is_over() -> Result<()> {
    for contestant in RULED {
        within(|sandbox| {
            let mut world = build(contestant, sandbox)?;
            let world = world.as_mut();
            let built = shown(world)?;
            let cases = picked();
            ensure!(cases.len() == CASES.len());
            for case in cases {
                let what = || format!("{}, {contestant}", case.id());
                let able = case.prepare(world).with_context(what)?;
                if able == Able::Done {
                    case.measure(world).with_context(what)?;
                    let during = shown(world)?;
                    ensure!(
                        (during != built) == case.id().contains("rules"),
                        "{}: {during:#?}",
                        what()
                    );
                }
                case.finish(world).with_context(what)?;
                let after = shown(world)?;
                ensure!(after == built, "{}: {after:#?}\nwas\n{built:#?}", what());
            }
            Ok(())
        })?;
    }
    Ok(())
}
