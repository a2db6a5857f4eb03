//! How long the tokens of limits are remembered when rules come and go.

use std::fs;

use anyhow::{Result, ensure};
use netbridge_tests::lab::{Text, with_lab};
use netbridge_tests::udp::UdpServer;

use super::command::{says, tool};
use super::filter_commands::{WEB, sends};
use super::{PAIR, pair};

/// Two questions may pass.
const LIMIT: &str = "-p udp --dport 53 -m limit --limit 1/day --limit-burst 2 -j ACCEPT";

/// A file whose rule for questions is this one.
fn file(rule: &str) -> String {
    format!("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p udp --sport 53 -j ACCEPT\n-A FORWARD {rule}\nCOMMIT\n")
}

fn load(rule: &str) -> Result<()> {
    fs::write("/run/limited.rules", file(rule))?;
    says("-n lab-host filter load /run/limited.rules").map(drop)
}

#[test]
fn a_limit_begins_anew_with_a_file_and_goes_on_when_other_rules_come_and_go() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let passes = |packets| sends(lab, "app", WEB, packets, true);
        let ends = || sends(lab, "app", WEB, 1, false);
        load(LIMIT)?;
        passes(2)?;
        ends()?;
        says("-n lab-host filter insert -p tcp -j DROP")?;
        ends()?;
        says(&format!("-n lab-host filter insert {LIMIT}"))?;
        passes(1)?;
        // Of equal rules the first goes, and with it what it has left.
        says(&format!("-n lab-host filter delete {LIMIT}"))?;
        ends()?;
        says("-n lab-host filter zero")?;
        ends()?;
        says(&format!("-n lab-host filter delete {LIMIT}"))?;
        says(&format!("-n lab-host filter append {LIMIT}"))?;
        passes(2)?;
        ends()?;
        load(LIMIT)?;
        passes(1)?;
        load(LIMIT)?;
        passes(2)?;
        ends()
    })
}

#[test]
fn a_table_of_hashlimit_goes_on_as_long_as_a_rule_names_it() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let passes = |packets| sends(lab, "app", WEB, packets, true);
        let ends = || sends(lab, "app", WEB, 1, false);
        let table = |name: &str, burst: u32| {
            format!(
                "-p udp --dport 53 -m hashlimit --hashlimit-upto 1/day --hashlimit-burst {burst} \
                 --hashlimit-mode srcip --hashlimit-name {name} -j ACCEPT"
            )
        };
        load(&table("one", 2))?;
        passes(2)?;
        ends()?;
        load(&table("one", 2))?;
        ends()?;
        load(&table("other", 2))?;
        passes(1)?;
        load(&table("one", 2))?;
        passes(2)?;
        ends()?;
        load(&table("one", 3))?;
        passes(3)?;
        ends()?;
        says("-n lab-host filter delete 2")?;
        says(&format!("-n lab-host filter append {}", table("one", 3)))?;
        passes(3)?;
        ends()
    })
}

#[test]
fn a_limit_outlives_the_attachment_of_endpoints() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        tool("ip netns add late")?;
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        load(&format!("-s {} {LIMIT}\n-A FORWARD -i late -j DROP", pair::APP))?;
        sends(lab, "app", WEB, 2, true)?;
        let generation = || anyhow::Ok(lab.datapath()?.tables().config()?.generation);
        let before = generation()?;
        says("-n lab-host detach late")?;
        ensure!(generation()? != before, "the name resolves as before");
        sends(lab, "app", WEB, 1, false)
    })
}
