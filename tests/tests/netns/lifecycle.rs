//! What comes up goes down without a trace.

use anyhow::{Result, ensure};
use netbridge_tests::census::{Census, KernelObjects, links};
use netbridge_tests::lab::Lab;
use netbridge_tests::sandbox::within;

use super::PAIR;
use super::command::{complains, json, says, tool};

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        let lab = Lab::up(sandbox, PAIR, None)?;
        let objects = KernelObjects::of_pins(&lab.pins()?.root())?;
        ensure!(objects.alive()? == objects, "not all that is pinned is loaded");
        ensure!(Census::take(sandbox)? != before, "the census sees nothing");
        lab.down()?;
        ensure!(
            Census::take(sandbox)? == before,
            "left behind: {:#?}",
            Census::take(sandbox)?
        );
        objects.wait_until_freed()
    })
}

#[test]
fn each_call_takes_back_what_its_counterpart_made() -> Result<()> {
    within(|sandbox| {
        tool("ip netns add H")?;
        tool("ip netns add red")?;
        let host = netbridge::netns::Netns::open(&"H".parse()?)?;
        let red = netbridge::netns::Netns::open(&"red".parse()?)?;
        let (before, in_host, in_red) = (Census::take(sandbox)?, links(&host)?, links(&red)?);
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let networked = (Census::take(sandbox)?, links(&host)?);
        for _ in 0..2 {
            says("-n H attach red --net web")?;
            ensure!(links(&red)?.contains("eth0") && links(&host)?.len() == in_host.len() + 2);
            says("-n H detach red")?;
            ensure!(links(&red)? == in_red, "{:?}", links(&red)?);
            ensure!(
                (Census::take(sandbox)?, links(&host)?) == networked,
                "an endpoint left something behind"
            );
        }
        complains(3, "-n H detach red")?;
        says("-n H attach red --net web")?;
        complains(1, "-n H net rm web")?;
        says("-n H net rm web --force")?;
        ensure!(Census::take(sandbox)? == before && links(&host)? == in_host && links(&red)? == in_red);
        ensure!(json("-n H net ls")? == serde_json::json!([]));
        Ok(())
    })
}

#[test]
fn a_namespace_that_went_away_can_be_detached() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        tool("ip netns add red")?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        says("-n H attach red --net web")?;
        tool("ip netns del red")?;
        says("-n H detach red")?;
        says("-n H net rm web")?;
        Ok(())
    })
}

#[test]
fn a_lab_whose_host_went_away_is_taken_down() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        std::fs::write("/run/pair.toml", PAIR)?;
        says("lab up /run/pair.toml")?;
        tool("ip netns del pair-host")?;
        says("lab down")?;
        ensure!(
            Census::take(sandbox)? == before,
            "left behind: {:#?}",
            Census::take(sandbox)?
        );
        Ok(())
    })
}
