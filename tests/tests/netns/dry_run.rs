//! `--dry-run`: what would be done is told, and nothing is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use netbridge::datapath::{Datapath, Pins};
use netbridge_tests::census::Census;
use netbridge_tests::icmp::ping;
use netbridge_tests::sandbox::within;

use super::command::{complains, json, says, tool};
use super::hand::named;
use super::{PAIR, pair};

const TOPOLOGY: &str = "/run/pair.toml";

#[test]
fn a_dry_run_of_any_change_changes_nothing() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        fs::write(TOPOLOGY, PAIR)?;
        let said = says(&format!("--dry-run lab up {TOPOLOGY}"))?;
        ensure!(said.contains("would make pair-web"), "{said}");
        ensure!(Census::take(sandbox)? == before, "a dry run made something");

        says(&format!("lab up {TOPOLOGY}"))?;
        tool("ip netns add late")?;
        fs::write("/run/empty.rules", "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n")?;
        ping(
            &named("pair-web")?,
            pair::OUTSIDE,
            56,
            std::time::Duration::from_secs(3),
        )?;
        let picture = || {
            let state = fs::read_dir(sandbox.state_dir())?
                .map(|entry| fs::read(entry?.path().join("state.json")).or_else(|_| Ok(Vec::new())))
                .collect::<Result<Vec<_>>>()?;
            let flows = json("-n pair-host ct ls")?.as_array().map(Vec::len);
            let instance = fs::read_dir("/sys/fs/bpf/netbridge")?
                .next()
                .context("nothing is loaded")??;
            let pins = Pins::new(sandbox.bpffs(), &instance.file_name().to_string_lossy());
            let config = Datapath::open(&pins)?.tables().config()?;
            anyhow::Ok((Census::take(sandbox)?, state, flows, config))
        };
        let up = picture()?;
        ensure!(up.2 == Some(1), "not the one flow that was to be: {:?}", up.2);
        for (line, told) in [
            ("net create other", "add network other"),
            ("net rm front --force", "remove network front"),
            ("attach late --net front", "add endpoint late"),
            ("detach web", "remove endpoint web"),
            ("port add app 9090:90", "9090"),
            ("port rm web --all", "8080"),
            ("filter load /run/empty.rules", "filter"),
            ("ct flush", "end flows: 1"),
            ("ct reap", "remove halves of flows: 0"),
            ("ct pickup 300", "take up TCP connections in the middle for 300 s"),
            ("ct config --quota 9", "put the settings in force"),
            ("lab down", "would remove pair-web"),
        ] {
            let said = says(&format!("-n pair-host --dry-run {line}"))?;
            ensure!(said.contains(told), "--dry-run {line} says {said}");
            ensure!(picture()? == up, "--dry-run {line} changed something");
        }
        complains(2, "--dry-run lab exec web -- rm -f /run/pair.toml")?;
        ensure!(fs::exists(TOPOLOGY)?, "a dry run ran the command");

        says("lab down")?;
        tool("ip netns del late")?;
        ensure!(Census::take(sandbox)? == before, "{:#?}", Census::take(sandbox)?);
        Ok(())
    })
}
