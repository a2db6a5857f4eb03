//! Rules that come and go one by one: what they do not concern stays as it is in the kernel.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::PATCHES;
use netbridge_common::abi::generation::{patches, serial};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::Connection;
use netbridge_tests::udp::{UdpClient, UdpServer};

use super::command::{complains, json, says, tool};
use super::filter_commands::{WEB, sends};
use super::killed::killed;
use super::{LIMIT, PAIR, SILENCE, pair};

/// Rules that packets of the lab do not match, around one that they do.
const RULES: u16 = 900;

/// Longer than a tick of the datapath, 64 of the kernel's.
const TICK: Duration = Duration::from_millis(700);

fn text() -> Result<String> {
    let mut text = String::from("*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n-A FORWARD -j mine\n");
    for number in 0..RULES {
        let [high, low] = number.to_be_bytes();
        writeln!(text, "-A mine -s 10.200.{high}.{low}/32,10.201.{high}.{low}/32 -j DROP")?;
        if number == RULES / 2 {
            text += "-A FORWARD -p udp -m udp --dport 53 -j ACCEPT\n-A FORWARD -p udp -m udp --sport 53 -j ACCEPT\n";
        }
    }
    Ok(text + "COMMIT\n")
}

/// Generation of the filter in force.
fn generation(lab: &Lab<'_>) -> Result<u32> {
    Ok(lab.datapath()?.tables().config()?.generation)
}

/// Changes the filter, which is to take a patch.
fn patched(lab: &Lab<'_>, words: &str) -> Result<()> {
    let before = generation(lab)?;
    says(&format!("-n lab-host filter {words}"))?;
    let after = generation(lab)?;
    ensure!(
        (serial(after), patches(after)) == (serial(before), patches(before) + 1),
        "{words}: compiled whole, {before:x} {after:x}"
    );
    Ok(())
}

/// The rules of `FORWARD` without what does nothing, with the packets that each has counted.
fn counted() -> Result<Vec<(String, u64)>> {
    let filter = json("-n lab-host filter show")?;
    let rules = filter["chains"][0]["rules"].as_array().cloned().unwrap_or_default();
    let text = |rule: &serde_json::Value| rule["text"].as_str().unwrap_or_default().replace("-A FORWARD ", "");
    let of = |rule: &serde_json::Value| (text(rule), rule["packets"].as_u64().unwrap_or_default());
    Ok(rules.iter().map(of).collect())
}

fn have_counted(expected: &[(&str, u64)]) -> Result<()> {
    let found = counted()?;
    let expected: Vec<_> = expected
        .iter()
        .map(|(rule, packets)| ((*rule).to_owned(), *packets))
        .collect();
    ensure!(found == expected, "{found:?}");
    Ok(())
}

const TO: &str = "-p udp -m udp --dport 53 -j ACCEPT";
const FROM: &str = "-p udp -m udp --sport 53 -j ACCEPT";
const DROPS: &str = "-s 10.77.1.20/32 -p udp -m udp --dport 53 -j DROP";
const COUNTS: &str = "-s 10.77.1.20/32 -p udp";

#[test]
fn a_change_is_a_patch_and_counters_go_on() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write("/run/patch.rules", text()?)?;
        says("-n lab-host filter load /run/patch.rules")?;
        let client = UdpClient::open(&lab.node("app")?, SocketAddrV4::new(WEB.0, WEB.1), LIMIT)?;
        client.ask(b"x")?;
        have_counted(&[("-j mine", 2), (TO, 1), (FROM, 1)])?;

        patched(lab, &format!("insert 2 {DROPS}"))?;
        client.wait(SILENCE)?;
        ensure!(client.ask(b"x").is_err(), "a flow goes on that the new rule drops");
        client.wait(LIMIT)?;
        have_counted(&[("-j mine", 3), (DROPS, 1), (TO, 1), (FROM, 1)])?;
        patched(lab, &format!("insert {COUNTS}"))?;
        sends(lab, "app", WEB, 2, false)?;
        have_counted(&[(COUNTS, 2), ("-j mine", 5), (DROPS, 3), (TO, 1), (FROM, 1)])?;
        patched(lab, &format!("delete {DROPS}"))?;
        client.ask(b"x")?;
        have_counted(&[(COUNTS, 3), ("-j mine", 7), (TO, 2), (FROM, 2)])?;
        // In a chain, by a list, and what came goes by its number.
        patched(lab, "append -A mine -s 10.77.1.20,10.77.1.21 -p udp -j DROP")?;
        sends(lab, "app", WEB, 1, false)?;
        patched(lab, &format!("delete -D mine {}", 2 * RULES + 1))?;
        client.ask(b"x")?;
        have_counted(&[(COUNTS, 5), ("-j mine", 10), (TO, 3), (FROM, 3)])?;

        // Where names stand for something else, all is compiled, and written as it is now.
        let shown = says("-n lab-host filter show -c")?;
        tool("ip netns add late")?;
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        ensure!(patches(generation(lab)?) == 0, "patches of a bank that is new");
        ensure!(says("-n lab-host filter show -c")? == shown, "it is shown otherwise");
        patched(lab, "delete 1")?;
        client.ask(b"x")?;
        have_counted(&[("-j mine", 12), (TO, 4), (FROM, 4)])?;
        says("-n lab-host filter zero")?;
        have_counted(&[("-j mine", 0), (TO, 0), (FROM, 0)])
    })
}

#[test]
fn what_is_patched_too_often_is_compiled_whole() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write("/run/patch.rules", text()?)?;
        says("-n lab-host filter load /run/patch.rules")?;
        let first = generation(lab)?;
        for number in 0..PATCHES {
            let target = if number % 2 == 0 { "DROP" } else { "ACCEPT" };
            patched(lab, &format!("insert 1 -s 10.77.1.20 -p udp --dport 53 -j {target}"))?;
            sends(lab, "app", WEB, 1, number % 2 == 1)?;
        }
        let before = counted()?;
        says("-n lab-host filter insert 1 -s 10.77.1.21 -j DROP")?;
        let after = generation(lab)?;
        ensure!(patches(after) == 0 && serial(after) != serial(first), "{after:x}");
        ensure!(counted()?.get(1..) == Some(&*before), "{:?}", counted()?);
        let packets = |rules: &[(String, u64)]| rules.iter().take(PATCHES as usize).map(|rule| rule.1).sum::<u64>();
        ensure!(packets(&before) == u64::from(PATCHES), "{before:?}");
        sends(lab, "app", WEB, 1, true)?;
        patched(lab, "delete 1")
    })
}

#[test]
fn a_pair_is_searched_for_once_a_rule_concerns_it() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, app) = (lab.node("web")?, lab.node("app")?);
        fs::write(
            "/run/pairs.rules",
            // Long enough to be worth a patch.
            format!(
                "{}\n*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.200.0.0/16 -j DROP\n\
                 -A FORWARD -d 10.200.0.0/16 -j DROP\nCOMMIT\n",
                "#".repeat(1 << 15)
            ),
        )?;
        says("-n lab-host filter load /run/pairs.rules")?;
        let flows = || anyhow::Ok(lab.datapath()?.tables().flows()?.len());
        let window = || anyhow::Ok(lab.datapath()?.tables().config()?.pickup_until);
        let connection = Connection::open(&app, SocketAddrV4::new(pair::WEB, 7000), (&web, 7000))?;
        connection.talk()?;
        ensure!(flows()? == 0, "a pair with one answer is tracked");
        let before = window()?;
        // The load has begun to take connections up: a tick later that would end later.
        thread::sleep(TICK);
        says("-n lab-host filter load /run/pairs.rules")?;
        connection.talk()?;
        ensure!(flows()? == 0 && window()? == before, "the same rules concern the pair");
        patched(lab, "insert -s 10.99.0.0/16 -d 10.77.1.20 -j DROP")?;
        connection.talk()?;
        ensure!(
            flows()? == 0 && window()? == before,
            "a rule for others concerns the pair"
        );
        // A connection that nobody knew goes on, and one of its kind is not opened.
        patched(
            lab,
            "insert -s 10.77.1.20 -d 10.77.1.10 -p tcp -m conntrack --ctstate NEW -j DROP",
        )?;
        connection.talk()?;
        ensure!(flows()? == 2 && window()? != before, "the pair is not searched for");
        ensure!(netbridge_tests::tcp::connect(&app, SocketAddrV4::new(pair::WEB, 7000), SILENCE).is_err());
        ping(&app, pair::WEB, 56, LIMIT)?;
        Ok(())
    })
}

#[test]
fn a_change_that_cannot_be_kept_is_undone_and_counters_go_on() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write("/run/patch.rules", text()?)?;
        says("-n lab-host filter load /run/patch.rules")?;
        sends(lab, "app", WEB, 2, true)?;
        patched(lab, &format!("insert {COUNTS}"))?;
        sends(lab, "app", WEB, 1, true)?;
        let in_force = || anyhow::Ok((patches(generation(lab)?), lab.datapath()?.tables().filter()?));
        let before = in_force()?;
        // The draft of the state cannot be written.
        let draft = lab.state_dir()?.join("state.json.new");
        fs::create_dir(&draft)?;
        let said = complains(1, &format!("-n lab-host filter insert 1 {DROPS}"))?;
        ensure!(said.contains("state.json") && !said.contains("undone"), "{said}");
        ensure!(in_force()? == before, "another filter is in force");
        sends(lab, "app", WEB, 1, true)?;
        have_counted(&[(COUNTS, 2), ("-j mine", 8), (TO, 4), (FROM, 4)])?;
        fs::remove_dir(&draft)?;
        patched(lab, &format!("insert 1 {DROPS}"))?;
        sends(lab, "app", WEB, 1, false)?;
        have_counted(&[(DROPS, 1), (COUNTS, 2), ("-j mine", 8), (TO, 4), (FROM, 4)])
    })
}

/// Moments after the start at which a change is killed, milliseconds.
const MOMENTS: [u64; 16] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 25, 30, 40, 60];

#[test]
fn a_change_that_is_killed_holds_or_does_not() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write("/run/patch.rules", text()?)?;
        says("-n lab-host filter load /run/patch.rules")?;
        for after in MOMENTS {
            for change in [format!("insert 1 {DROPS}"), "delete 1".to_owned()] {
                killed(&format!("-n lab-host filter {change}"), after)?;
                // Whatever it has left in the kernel, the next change begins with what is known to be in force.
                says("-n lab-host filter insert 2 -s 10.99.0.1 -j DROP")?;
                let rules = counted()?;
                let drops = rules.iter().any(|(rule, _)| rule == DROPS);
                sends(lab, "app", WEB, 1, !drops)
                    .with_context(|| format!("{change} killed after {after} ms: {rules:?}"))?;
                says("-n lab-host filter delete 2")?;
            }
            // The next round begins without the rule, whichever of its changes held.
            says("-n lab-host filter load /run/patch.rules")?;
        }
        let dir = lab.state_dir()?;
        let texts = fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let texts: Vec<String> = texts.filter(|name| name.contains(".text")).collect();
        ensure!(texts.len() == 1, "{texts:?}");
        Ok(())
    })
}
