//! Calls killed at any moment: what they leave can be removed by the next.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge::model::Settings;
use netbridge_tests::census::{Census, links};
use netbridge_tests::sandbox::within;

use super::command::{NETBRIDGE, ends, says, tool};
use super::controller::datapath;
use super::hand::{named, world};

/// Moments after the start at which the call is killed, milliseconds.
const MOMENTS: [u64; 12] = [1, 3, 6, 10, 20, 40, 70, 110, 160, 250, 400, 700];

/// Starts a call and kills it after a while.
pub(crate) fn killed(line: &str, after: u64) -> Result<()> {
    let mut child = Command::new(NETBRIDGE)
        .args(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run netbridge")?;
    thread::sleep(Duration::from_millis(after));
    // It may have ended already, which is one of the cases.
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

#[test]
fn a_lab_half_built_is_taken_down() -> Result<()> {
    within(|sandbox| {
        std::fs::write("/run/pair.toml", super::PAIR)?;
        let before = Census::take(sandbox)?;
        for after in MOMENTS {
            killed("lab up /run/pair.toml", after)?;
            // Killed before it began, there is no such lab.
            ends(0, "lab down --name pair").or_else(|_| ends(3, "lab down --name pair"))?;
            let now = Census::take(sandbox)?;
            ensure!(now == before, "killed after {after} ms it leaves {now:#?}");
        }
        Ok(())
    })
}

#[test]
fn an_attachment_half_made_is_removed_or_made_again() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        tool("ip netns add red")?;
        let host = netbridge::netns::Netns::open(&"H".parse()?)?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let before = links(&host)?;
        for after in MOMENTS {
            killed("-n H attach red --net web --ip 10.9.0.5", after)?;
            // Either it was made, or it can be made now.
            ends(0, "-n H attach red --net web --ip 10.9.0.5")
                .or_else(|_| ends(4, "-n H attach red --net web --ip 10.9.0.5"))
                .with_context(|| format!("killed after {after} ms"))?;
            killed("-n H detach red", after)?;
            ends(0, "-n H detach red")
                .or_else(|_| ends(3, "-n H detach red"))
                .with_context(|| format!("killed after {after} ms"))?;
            ensure!(links(&host)? == before, "killed after {after} ms: {:?}", links(&host)?);
        }
        says("-n H net rm web")?;
        ensure!(links(&host)?.len() == 1, "{:?}", links(&host)?);
        Ok(())
    })
}

#[test]
fn a_network_half_made_is_removed_or_made_again() -> Result<()> {
    within(|sandbox| {
        tool("ip netns add H")?;
        let host = netbridge::netns::Netns::open(&"H".parse()?)?;
        let before = Census::take(sandbox)?;
        for after in MOMENTS {
            killed("-n H net create web --subnet 10.9.0.0/24", after)?;
            ends(0, "-n H net create web --subnet 10.9.0.0/24")
                .or_else(|_| ends(4, "-n H net create web --subnet 10.9.0.0/24"))
                .with_context(|| format!("killed after {after} ms"))?;
            killed("-n H net rm web", after)?;
            ends(0, "-n H net rm web")
                .or_else(|_| ends(3, "-n H net rm web"))
                .with_context(|| format!("killed after {after} ms"))?;
            ensure!(links(&host)?.len() == 1, "killed after {after} ms: {:?}", links(&host)?);
            let now = Census::take(sandbox)?;
            ensure!(now == before, "killed after {after} ms it leaves {now:#?}");
        }
        Ok(())
    })
}

#[test]
fn settings_half_made_and_a_host_that_moves_its_ports_are_followed() -> Result<()> {
    within(|sandbox| {
        world()?;
        says("-n H net create web --subnet 10.9.0.0/24 --uplink up0")?;
        says("-n H ct config --quota 77 --half-open 7")?;
        // As a call leaves it that is killed between putting settings in force and keeping them.
        let datapath = datapath(sandbox)?;
        let other = Settings {
            quota: Some(5),
            ..Settings::default()
        };
        datapath.tune(&other)?;
        named("H")?.run(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 40000"))??;
        says("-n H ct config --macs 9")?;
        let config = datapath.tables().config()?;
        ensure!((config.quota, config.half_open_quota) == (77, 7), "{config:?}");
        ensure!((config.local_min, config.local_max) == (1024, 40_000), "{config:?}");
        ensure!((config.snat_min, config.snat_ports) == (40_001, 25_535), "{config:?}");
        // A host that leaves none keeps those it had.
        named("H")?.run(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"))??;
        says("-n H ct config --macs 10")?;
        ensure!(datapath.tables().config()?.snat_min == 40_001);
        Ok(())
    })
}
