//! The commands of the filter on a lab: rules come and go, are counted, and say what they will do.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::Reason;
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::udp::{UdpClient, UdpServer};

use super::command::{complains, ends, json, says, tool};
use super::{LIMIT, PAIR, SILENCE, pair};

/// An IP header, a UDP header, and a byte.
const ONE: u64 = 20 + 8 + 1;

/// What every rule has counted, by its text; a chain's policy by its name.
fn counted() -> Result<BTreeMap<String, (u64, u64)>> {
    let filter = json("-n lab-host filter show")?;
    let number =
        |value: &serde_json::Value, key: &str| value[key].as_u64().with_context(|| format!("no {key}: {value}"));
    let mut all = BTreeMap::new();
    for chain in filter["chains"].as_array().context("no chains")? {
        let name = chain["name"].as_str().unwrap_or_default();
        all.insert(name.to_owned(), (number(chain, "packets")?, number(chain, "bytes")?));
        for rule in chain["rules"].as_array().context("no rules")? {
            let text = rule["text"].as_str().unwrap_or_default();
            all.insert(text.to_owned(), (number(rule, "packets")?, number(rule, "bytes")?));
        }
    }
    Ok(all)
}

/// Makes sure that rules have counted so many packets of one byte over UDP; the server answers with six more.
fn have_counted(expected: &[(&str, u64)]) -> Result<()> {
    let all = counted()?;
    for (rule, packets) in expected {
        let found = all.get(*rule).with_context(|| format!("no rule {rule}: {all:?}"))?;
        let length = if *rule == ANSWER { ONE + 6 } else { ONE };
        ensure!(
            *found == (*packets, packets * length),
            "{rule}: {found:?}, not {packets} packets: {all:?}"
        );
    }
    Ok(())
}

/// Sends so many packets to web's DNS, each from a flow that may be new, which all are answered or none.
pub(crate) fn sends(lab: &Lab<'_>, from: &str, to: (Ipv4Addr, u16), packets: u64, answered: bool) -> Result<()> {
    let to = SocketAddrV4::new(to.0, to.1);
    let client = UdpClient::open(&lab.node(from)?, to, if answered { LIMIT } else { SILENCE })?;
    let before = lab.drops(Reason::Filtered)?;
    for _ in 0..packets {
        ensure!(client.ask(b"x").is_ok() == answered, "answered: {}", !answered);
    }
    lab.dropped(Reason::Filtered, before, if answered { 0 } else { packets })
}

/// Web's DNS.
pub(crate) const WEB: (Ipv4Addr, u16) = (pair::WEB, 53);
const PUBLISHED: (Ipv4Addr, u16) = (pair::HOST, 5353);

const COUNTED: &str = "*filter\n:FORWARD DROP [5:500]\n:mine - [0:0]\n\
    [9:900] -A FORWARD -p udp -m udp --dport 53 -j mine\n\
    -A FORWARD -p udp -m udp --sport 53 -j ACCEPT\n\
    -A FORWARD -i late -j DROP\n\
    -A mine -s 10.77.1.20/32 -j RETURN\n-A mine -j ACCEPT\nCOMMIT\n";

const JUMP: &str = "-A FORWARD -p udp -m udp --dport 53 -j mine";
const ANSWER: &str = "-A FORWARD -p udp -m udp --sport 53 -j ACCEPT";
const RETURN: &str = "-A mine -s 10.77.1.20/32 -j RETURN";
const ACCEPT: &str = "-A mine -j ACCEPT";

#[test]
fn counters_are_exact_and_go_on_when_rules_come_and_go() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write(
            "/run/counted.rules",
            COUNTED.replace("-A FORWARD -i late -j DROP\n", ""),
        )?;
        says("-n lab-host filter load /run/counted.rules")?;
        have_counted(&[(JUMP, 0), (ANSWER, 0), (RETURN, 0), (ACCEPT, 0), ("FORWARD", 0)])?;
        sends(lab, "app", WEB, 3, false)?;
        have_counted(&[(JUMP, 3), (ANSWER, 0), (RETURN, 3), (ACCEPT, 0), ("FORWARD", 3)])?;
        sends(lab, "outside", PUBLISHED, 4, true)?;
        have_counted(&[(JUMP, 7), (ANSWER, 4), (RETURN, 3), (ACCEPT, 4), ("FORWARD", 3)])?;

        says("-n lab-host filter append -p udp -s 10.77.1.20 -j LOG")?;
        says("-n lab-host filter insert 1 -p tcp -j DROP")?;
        have_counted(&[(JUMP, 7), (ANSWER, 4), (RETURN, 3), (ACCEPT, 4), ("FORWARD", 3)])?;
        let log = "-A FORWARD -s 10.77.1.20/32 -p udp -j LOG";
        sends(lab, "app", WEB, 2, false)?;
        have_counted(&[
            (log, 2),
            (JUMP, 9),
            (RETURN, 5),
            ("FORWARD", 5),
            ("-A FORWARD -p tcp -j DROP", 0),
        ])?;
        says("-n lab-host filter delete -p tcp -j DROP")?;
        says("-n lab-host filter delete -D mine 1")?;
        ensure!(!counted()?.contains_key(RETURN), "the rule is still there");
        have_counted(&[(log, 2), (JUMP, 9), (ANSWER, 4), (ACCEPT, 4), ("FORWARD", 5)])?;
        sends(lab, "app", WEB, 2, true)?;
        have_counted(&[(log, 2), (JUMP, 11), (ANSWER, 6), (ACCEPT, 6), ("FORWARD", 5)])?;

        // A chain, a rule, everything.
        says("-n lab-host filter zero mine")?;
        have_counted(&[(JUMP, 11), (ACCEPT, 0), ("FORWARD", 5)])?;
        says("-n lab-host filter zero FORWARD 1")?;
        have_counted(&[(JUMP, 0), (ANSWER, 6), ("FORWARD", 5)])?;
        says("-n lab-host filter zero")?;
        have_counted(&[(JUMP, 0), (ANSWER, 0), (ACCEPT, 0), (log, 0), ("FORWARD", 0)])?;
        sends(lab, "app", WEB, 1, true)?;
        have_counted(&[(JUMP, 1), (ANSWER, 1), (ACCEPT, 1)])
    })
}

#[test]
fn counters_survive_names_that_resolve_anew_and_a_file_brings_its_own() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        tool("ip netns add late")?;
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        fs::write("/run/counted.rules", COUNTED)?;
        says("-n lab-host filter load /run/counted.rules")?;
        sends(lab, "app", WEB, 3, false)?;
        sends(lab, "outside", PUBLISHED, 4, true)?;
        let before = counted()?;
        let generation = || anyhow::Ok(lab.datapath()?.tables().config()?.generation);
        let first = generation()?;
        says("-n lab-host detach late")?;
        ensure!(generation()? != first, "the name resolves as before");
        ensure!(counted()? == before, "{:?}", counted()?);
        says("-n lab-host attach late --net front --ip 10.77.1.30")?;
        sends(lab, "app", WEB, 1, false)?;
        have_counted(&[(JUMP, 8), (ANSWER, 4), (RETURN, 4), (ACCEPT, 4), ("FORWARD", 4)])?;

        // What is shown can be loaded again; with -c it goes on from there.
        let shown = says("-n lab-host filter show -c")?;
        fs::write("/run/shown.rules", &shown)?;
        says("-n lab-host filter load -c /run/shown.rules")?;
        have_counted(&[(JUMP, 8), (ANSWER, 4), (RETURN, 4), (ACCEPT, 4), ("FORWARD", 4)])?;
        ensure!(says("-n lab-host filter show -c")? == shown, "it is shown otherwise");
        sends(lab, "app", WEB, 1, false)?;
        have_counted(&[(JUMP, 9), (RETURN, 5), ("FORWARD", 5)])?;
        for _ in 0..2 {
            // Whatever it says, and however often: the same file begins at zero again.
            says("-n lab-host filter load /run/shown.rules")?;
            have_counted(&[(JUMP, 0), (RETURN, 0), ("FORWARD", 0)])?;
            sends(lab, "app", WEB, 1, false)?;
            have_counted(&[(JUMP, 1), (RETURN, 1), ("FORWARD", 1)])?;
        }
        Ok(())
    })
}

#[test]
fn a_rule_that_comes_or_goes_holds_for_connections_that_exist() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let client = UdpClient::open(&lab.node("app")?, SocketAddrV4::new(pair::WEB, 53), LIMIT)?;
        client.ask(b"before")?;
        // Nothing is loaded: there is nothing to delete, and the first rule makes a filter that accepts.
        complains(3, "-n lab-host filter delete 1")?;
        complains(3, "-n lab-host filter zero")?;
        says("-n lab-host filter append -p udp --dport 53 -j DROP")?;
        client.wait(SILENCE)?;
        ensure!(client.ask(b"while").is_err(), "the rule does not hold");
        client.wait(LIMIT)?;
        says("-n lab-host filter insert -i front -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT")?;
        says("-n lab-host filter delete 2")?;
        client.ask(b"after")?;
        ensure!(
            says("-n lab-host filter show --line-numbers")?.lines().nth(2)
                == Some("1    -A FORWARD -i front -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT")
        );
        // Refused, whatever it is, it changes nothing.
        let before = says("-n lab-host filter show -c")?;
        for (code, line, told) in [
            (
                2,
                "append -p udp -j MARK --set-mark 1",
                "the filter decides about packets",
            ),
            (2, "append -j mine", "no such chain"),
            (2, "append -p udp -m set --match-set none src -j DROP", "none"),
            (3, "append -i nowhere -j DROP", "`nowhere`"),
            (3, "append --chain mine -j DROP", "chain mine"),
            (3, "insert 3 -j DROP", "the chain has 1 rules"),
            (2, "insert 0x -j DROP", "0x"),
            (3, "delete 2", "the chain has 1 rules"),
            (3, "delete -p udp -j DROP", "has no such rule"),
            (2, "delete 1 -p udp", "not both"),
        ] {
            let said = complains(code, &format!("-n lab-host filter {line}"))?;
            ensure!(said.contains(told), "{line}: {said}");
        }
        says("-n lab-host --dry-run filter append -j DROP")?;
        ensure!(says("-n lab-host filter show -c")? == before, "something changed");
        says("-n lab-host filter flush")?;
        ensure!(says("-n lab-host filter show")? == "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n");
        Ok(())
    })
}

const SETS: &str = "create hosts hash:ip family inet hashsize 1024 maxelem 65536\nadd hosts 10.77.1.20\n\
    create unused hash:ip family inet hashsize 1024 maxelem 65536\n";

#[test]
fn sets_come_with_the_rules_and_stay_when_one_more_comes() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        fs::write(
            "/run/sets.rules",
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -m set --match-set hosts src -j DROP\nCOMMIT\n",
        )?;
        fs::write("/run/hosts.ipset", SETS)?;
        let said = complains(2, "-n lab-host filter check /run/sets.rules")?;
        ensure!(said.contains("/run/sets.rules:3") && said.contains("hosts"), "{said}");
        let said = says("-n lab-host filter check /run/sets.rules --sets /run/hosts.ipset")?;
        ensure!(
            said.contains("no fault, rules: 1") && said.contains("`unused`"),
            "{said}"
        );
        let output = ends(0, "-n lab-host filter load /run/sets.rules --sets /run/hosts.ipset")?;
        ensure!(String::from_utf8_lossy(&output.stderr).contains("warning: /run/hosts.ipset:3: `unused`"));
        sends(lab, "app", WEB, 2, false)?;
        says("-n lab-host filter append -p udp -m set ! --match-set hosts dst -j ACCEPT")?;
        sends(lab, "app", WEB, 1, false)?;
        let filter = json("-n lab-host filter show")?;
        ensure!(filter["sets"][0]["elements"][0] == "10.77.1.20", "{filter}");
        ensure!(filter["chains"][0]["rules"][0]["packets"] == 3, "{filter}");
        let shown = says("-n lab-host filter show -v --line-numbers")?;
        let lines: Vec<&str> = shown.lines().collect();
        ensure!(
            lines[0] == "Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)",
            "{shown}"
        );
        let [first, second] = ["1        3    87 DROP ", "2        0     0 ACCEPT "];
        ensure!(lines[2].starts_with(first) && lines[3].starts_with(second), "{shown}");
        ping(&lab.node("app")?, pair::WEB, 56, LIMIT)?;
        Ok(())
    })
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_nothing_is_changed() -> Result<()> {
    with_lab(Text::plain(PAIR), |_| {
        says("-n lab-host filter append -p tcp --dport 81 -j DROP")?;
        let before = says("-n lab-host filter show")?;
        fs::write(
            "/run/bad.rules",
            "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m string --string x -j ACCEPT\n-A FORWARD -j theirs\n\
             -A FORWARD -m set --match-set none src -j DROP\nCOMMIT\n",
        )?;
        let limits: Vec<String> = (1..=1100)
            .map(|port| format!("-A FORWARD -p udp --dport {port} -m limit --limit 1/s -j ACCEPT\n"))
            .collect();
        let limits = limits.concat();
        fs::write(
            "/run/limits.rules",
            format!("*filter\n:FORWARD ACCEPT [0:0]\n{limits}COMMIT\n"),
        )?;
        for verb in ["check", "load"] {
            let said = complains(2, &format!("-n lab-host filter {verb} /run/bad.rules"))?;
            for line in 3..=5 {
                ensure!(said.contains(&format!("/run/bad.rules:{line}: ")), "{said}");
            }
            let said = complains(2, &format!("-n lab-host filter {verb} /run/limits.rules"))?;
            ensure!(
                said.contains("/run/limits.rules:1027: `-A FORWARD -p udp -m udp --dport 1025"),
                "{said}"
            );
        }
        ensure!(says("-n lab-host filter show")? == before, "something changed");
        // Where there is no instance, a file is checked by itself.
        tool("ip netns add nowhere")?;
        complains(2, "-n nowhere filter check /run/limits.rules")?;
        Ok(())
    })
}

#[test]
fn rules_of_an_instance_that_is_gone_are_shown_with_a_warning() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        says("-n lab-host filter append -p udp -j DROP")?;
        let warned = || anyhow::Ok(String::from_utf8(ends(0, "-n lab-host filter show")?.stderr)?);
        ensure!(warned()?.is_empty(), "{}", warned()?);
        let pins = lab.pins()?.root();
        let away = pins.with_file_name("away");
        fs::rename(&pins, &away)?;
        ensure!(warned()?.contains("its programs and maps are gone"), "{}", warned()?);
        let lost = &json("-n lab-host filter show")?["lost"];
        ensure!(lost.is_string(), "{lost}");
        Ok(fs::rename(&away, &pins)?)
    })
}
