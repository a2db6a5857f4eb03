//! Endpoints come and go while a filter is in force: it has answers for their pairs, and these are those of nobody else.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use netbridge::netns::Netns;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};

use super::command::{complains, ends, says, tool};
use super::{LIMIT, PAIR, SILENCE, pair};

/// Nothing of one address passes, and all of the others'.
const WITHOUT_ONE: &str = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.77.1.30/32 -j DROP\nCOMMIT\n";
/// All of one address passes, both ways, and nothing else.
const ONE_ALONE: &str = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.77.1.30/32 -j ACCEPT\n\
    -A FORWARD -d 10.77.1.30/32 -j ACCEPT\nCOMMIT\n";

/// Attaches `late` with an address; its slot.
fn attach(lab: &Lab<'_>, address: &str) -> Result<u32> {
    says(&format!("-n lab-host attach late --net front --ip {address}"))?;
    let state = lab.state()?;
    Ok(state.endpoint("late").context("late is not attached")?.slot)
}

/// Makes sure that `late` reaches web, or does not; some pairs have one answer.
fn reaches(lab: &Lab<'_>, passes: bool) -> Result<()> {
    let late = Netns::open(&"late".parse()?)?;
    let heard = ping(&late, pair::WEB, 56, if passes { LIMIT } else { SILENCE });
    ensure!(heard.is_ok() == passes, "{heard:?}");
    let datapath = lab.datapath()?;
    ensure!(datapath.tables().filter()?.parties != 0, "no pair is known");
    let flows = datapath.tables().flows()?;
    ensure!(flows.is_empty(), "a pair with one answer is tracked: {flows:?}");
    Ok(())
}

#[test]
fn a_filter_that_cannot_be_compiled_any_more_locks_nobody_out() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        for name in ["late", "later"] {
            tool(&format!("ip netns add {name}"))?;
        }
        attach(lab, "10.77.1.30")?;
        fs::write("/run/pairs.rules", WITHOUT_ONE)?;
        says("-n lab-host filter load /run/pairs.rules")?;
        let generation = || anyhow::Ok(lab.datapath()?.tables().config()?.generation);
        let before = generation()?;
        // As a version finds it that reads rules otherwise than the one before.
        let texts = fs::read_dir(lab.state_dir()?)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut texts = texts.filter(|path| path.extension().is_some_and(|extension| extension == "text"));
        fs::write(
            texts.next().context("no text")?,
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j NONE\nCOMMIT\n",
        )?;
        let said = complains(1, "-n lab-host attach later --net front")?;
        ensure!(said.contains("NONE"), "{said}");
        let warned = ends(0, "-n lab-host detach late")?.stderr;
        let warned = String::from_utf8(warned)?;
        ensure!(warned.contains("stays as it is") && warned.contains("NONE"), "{warned}");
        ensure!(generation()? == before, "another filter is in force");
        says("-n lab-host filter load /run/pairs.rules")?;
        ensure!(generation()? != before);
        says("-n lab-host attach later --net front").map(drop)
    })
}

#[test]
fn what_holds_for_a_pair_does_not_hold_for_who_takes_a_place_in_it() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        tool("ip netns add late")?;
        for (rules, passes) in [(WITHOUT_ONE, false), (ONE_ALONE, true)] {
            let slot = attach(lab, "10.77.1.30")?;
            fs::write("/run/pairs.rules", rules)?;
            says("-n lab-host filter load /run/pairs.rules")?;
            reaches(lab, passes).context(rules)?;
            let window = || anyhow::Ok(lab.datapath()?.tables().config()?.pickup_until);
            let opened = window()?;
            says("-n lab-host detach late")?;
            ensure!(attach(lab, "10.77.1.31")? == slot, "another slot was taken");
            reaches(lab, !passes).with_context(|| format!("another address: {rules}"))?;
            says("-n lab-host detach late")?;
            ensure!(attach(lab, "10.77.1.30")? == slot, "another slot was taken");
            reaches(lab, passes).with_context(|| format!("the address again: {rules}"))?;
            ensure!(
                window()? == opened,
                "connections are taken up in the middle, though the rules are the same"
            );
            let in_force = || anyhow::Ok(lab.datapath()?.tables().config()?.generation);
            let attached = in_force()?;
            says("-n lab-host port add late 9999:99")?;
            says("-n lab-host port rm late 9999:99")?;
            ensure!(in_force()? == attached, "the filter was compiled again for nothing");
            says("-n lab-host detach late")?;
        }
        Ok(())
    })
}
