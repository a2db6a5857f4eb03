//! The rules of the contestants that play Docker, against what a real daemon left.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use netbridge_tests::bench::contestant::Contestant;
use netbridge_tests::bench::contestants::build;
use netbridge_tests::bench::world::{Able, Published};
use netbridge_tests::sandbox::within;

use super::command::tool;

/// What `iptables-save` shows, tables in order of their names, without comments and counters.
pub(super) fn normalised(saved: &str) -> Vec<String> {
    let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in saved.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.starts_with('*') {
            current = line;
        } else {
            tables
                .entry(current)
                .or_default()
                .push(line.split(" [").next().unwrap_or_default());
        }
    }
    let lines = tables
        .into_iter()
        .flat_map(|(name, lines)| [name].into_iter().chain(lines));
    lines.map(str::to_owned).collect()
}

/// The file is what a daemon of Docker 20.10 left: `--bip 10.77.0.1/16`, a container, and one with port 8080 published
/// as 9000, TCP and UDP.
#[test]
fn the_rules_are_those_of_a_real_docker() -> Result<()> {
    let docker = normalised(include_str!("../../data/docker-iptables-save.txt"));
    for (contestant, save) in [
        (Contestant::IptablesNft, "iptables-nft-save"),
        (Contestant::IptablesLegacy, "iptables-legacy-save"),
    ] {
        within(|sandbox| {
            let mut world = build(contestant, sandbox)?;
            let able = world.publish(&[6, 17].map(|proto| Published {
                proto,
                host: 8080,
                container: 9000,
            }))?;
            ensure!(able == Able::Done, "{able:?}");
            let host = world.layout().host.as_ref().context("no host")?;
            let ours = normalised(&host.netns.run(|| tool(save))??);
            ensure!(ours == docker, "{ours:#?}\nis not\n{docker:#?}");
            Ok(())
        })?;
    }
    Ok(())
}
