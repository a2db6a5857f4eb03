//! What the filter says of packets that nobody has sent, and the rules of netfilter's that it takes over.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Result, ensure};
use netbridge_tests::icmp::ping;
use netbridge_tests::lab::{Lab, Text, with_lab};
use netbridge_tests::tcp::{self, TcpServer};
use netbridge_tests::udp::{UdpClient, UdpServer};

use super::command::{complains, json, says, tool};
use super::{LIMIT, PAIR, SILENCE, networks, pair};

/// Each of its rules is met by one of the packets below, or is not.
const RULES: &str = "*filter\n:FORWARD DROP [0:0]\n:web - [0:0]\n:quiet - [0:0]\n\
    -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
    -A FORWARD -p udp -j LOG\n\
    -A FORWARD -o web -j web\n\
    -A FORWARD -s 10.77.1.20/32 -p icmp -m icmp --icmp-type 8 -j ACCEPT\n\
    -A FORWARD -i front ! -o front -p tcp -m tcp --syn -j REJECT --reject-with tcp-reset\n\
    -A web -p tcp -m multiport --dports 80,443 -j ACCEPT\n\
    -A web -i front -p udp -m udp --dport 53 -m mac --mac-source 02:42:0a:4d:01:14 -j ACCEPT\n\
    -A web -p udp -g quiet\n\
    -A quiet -j RETURN\nCOMMIT\n";

/// What happens to a packet that is sent.
fn passes(lab: &Lab<'_>, from: &str, to: Ipv4Addr, proto: &str, port: u16) -> Result<bool> {
    let node = lab.node(from)?;
    let to = SocketAddrV4::new(to, port);
    Ok(match proto {
        "tcp" => tcp::connect(&node, to, Duration::from_millis(300)).is_ok(),
        "udp" => UdpClient::open(&node, to, SILENCE)?.ask(b"x").is_ok(),
        _ => ping(&node, *to.ip(), 56, SILENCE).is_ok(),
    })
}

#[test]
fn what_it_says_is_what_happens_by_the_rule_that_counts() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let (web, outside) = (lab.node("web")?, lab.node("outside")?);
        let _servers = (
            UdpServer::start(&web, 53)?,
            UdpServer::start(&web, 54)?,
            UdpServer::start(&outside, 53)?,
            TcpServer::start(&web, 80)?,
            TcpServer::start(&web, 81)?,
            TcpServer::start(&outside, 80)?,
        );
        fs::write("/run/questions.rules", RULES)?;
        for (from, to, asked, proto, port, verdict, decided) in [
            ("app", pair::WEB, "web", "tcp", 80, "ACCEPT", ("web", Some(1))),
            ("app", pair::WEB, "web", "tcp", 81, "DROP", ("FORWARD", None)),
            ("app", pair::WEB, "web", "udp", 53, "ACCEPT", ("web", Some(2))),
            ("app", pair::WEB, "web", "udp", 54, "DROP", ("FORWARD", None)),
            ("app", pair::WEB, "web", "icmp", 0, "ACCEPT", ("FORWARD", Some(4))),
            ("web", pair::APP, "app", "icmp", 0, "DROP", ("FORWARD", None)),
            (
                "app",
                pair::OUTSIDE,
                "outside",
                "tcp",
                80,
                "REJECT",
                ("FORWARD", Some(5)),
            ),
            ("app", pair::OUTSIDE, "outside", "udp", 53, "DROP", ("FORWARD", None)),
        ] {
            // Counters of zero: what has matched is this packet, and its answers by the first rule.
            says("-n lab-host filter load /run/questions.rules")?;
            let ports = if proto == "icmp" {
                String::new()
            } else {
                format!("--dport {port}")
            };
            let line = format!("-n lab-host filter test --from {from} --to {asked} --proto {proto} {ports}");
            let said = json(&line)?;
            ensure!(said["verdict"] == verdict, "{line}: {said}");
            let (chain, number) = decided;
            ensure!(
                said["decided"]["chain"] == chain && said["decided"]["number"].as_u64() == number,
                "{line}: {said}"
            );
            let passed = passes(lab, from, to, proto, port)?;
            ensure!(
                passed == (verdict == "ACCEPT"),
                "{line}: passes {passed}, and it says {said}"
            );
            // The rules that have counted are those it named.
            let mut told: Vec<&str> = said["path"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|met| met["text"].as_str())
                .collect();
            told.sort_unstable();
            let filter = json("-n lab-host filter show")?;
            let chains = filter["chains"].as_array().into_iter().flatten();
            let rules = chains.flat_map(|chain| chain["rules"].as_array().into_iter().flatten());
            let counted = rules
                .filter(|rule| rule["packets"] != 0)
                .filter_map(|rule| rule["text"].as_str());
            let mut counted: Vec<&str> = counted.filter(|text| !text.contains("ESTABLISHED")).collect();
            counted.sort_unstable();
            ensure!(
                counted == told,
                "{line}: it names {told:?}, and counted have {counted:?}"
            );
        }
        let said = says("-n lab-host filter test --from app --to web --proto udp --dport 54")?;
        let lines: Vec<&str> = said.lines().collect();
        ensure!(lines[0] == "DROP: policy DROP of FORWARD", "{said}");
        ensure!(
            lines[1] == "packet: udp from port 49152 to port 54, 10.77.1.20 of app to 10.77.1.10 of web, NEW",
            "{said}"
        );
        let path = ["FORWARD 2", "FORWARD 3", "web 3", "quiet 1"];
        for (line, place) in lines[3..].iter().zip(path) {
            ensure!(line.trim_start().starts_with(place), "{place}: {said}");
        }
        let said = says(
            "-n lab-host filter test --from outside --to web --dport 80 --state ESTABLISHED,DNAT --tcp-flags ACK",
        )?;
        ensure!(
            said.starts_with("ACCEPT: rule 1 of FORWARD, line 5: -A FORWARD -m conntrack"),
            "{said}"
        );
        let said = says(
            "-n lab-host filter test --from web --to app -p udp --dport 53 --in app --out web --mac 02:42:0a:4d:01:14",
        )?;
        ensure!(said.starts_with("ACCEPT: rule 2 of web"), "{said}");
        Ok(())
    })
}

#[test]
fn what_cannot_be_asked_is_said_at_once() -> Result<()> {
    with_lab(Text::plain(&networks()), |_| {
        let said = says("-n lab-host filter test --from app --to db")?;
        ensure!(
            said.starts_with("ACCEPT: no rule is in force") && said.contains("published ports alone"),
            "{said}"
        );
        let said = complains(
            2,
            "-n lab-host filter test --from nobody --to web --proto tcp --state NEW,INVALID --tcp-flags X --in none --mac 1",
        )?;
        for told in ["--from nobody", "--dport", "one state", "--tcp-flags X"] {
            ensure!(said.contains(told), "{told}: {said}");
        }
        complains(3, "-n lab-host filter test --from app --to web --in none")?;
        complains(2, "-n lab-host filter test --from app --to web --proto icmp --dport 3")?;
        Ok(())
    })
}

/// Rules as another program would have made them, beside tables and chains that are nobody's business here.
const NETFILTER: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
    -A POSTROUTING -s 10.77.0.0/16 -j MASQUERADE\nCOMMIT\n\
    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:USER - [0:0]\n:unused - [0:0]\n\
    -A INPUT -p tcp --dport 22 -j ACCEPT\n\
    -A FORWARD -j USER\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
    -A FORWARD -i nb-front -o nb-front -p udp --dport 53 -m comment --comment \"it's DNS\" -j REJECT\n\
    -A USER -s 192.0.2.0/24 -j DROP\n-A USER -j RETURN\nCOMMIT\n";

#[test]
fn rules_of_netfilter_are_taken_over() -> Result<()> {
    for engine in ["iptables-nft", "iptables-legacy"] {
        with_lab(Text::plain(PAIR), |lab| {
            let _server = UdpServer::start(&lab.node("web")?, 53)?;
            complains(3, "-n lab-host filter import --backend legacy")?;
            let bridge = lab
                .state()?
                .networks
                .first()
                .map(|network| network.bridge.clone())
                .unwrap_or_default();
            fs::write("/run/netfilter.rules", NETFILTER.replace("nb-front", &bridge))?;
            tool(&format!("ip netns exec lab-host {engine}-restore /run/netfilter.rules"))?;
            ensure!(passes(lab, "app", pair::WEB, "udp", 53)?, "nothing is filtered yet");
            let said = says("-n lab-host filter import")?;
            for line in [
                "--- netbridge filter",
                "+:USER - [0:0]",
                "+-A USER -s 192.0.2.0/24 -j DROP",
                "+-A FORWARD -j USER",
                " :FORWARD ACCEPT [0:0]",
            ] {
                ensure!(said.lines().any(|found| found == line), "{engine}: no {line}: {said}");
            }
            ensure!(
                said.contains("`*nat`: rules left alone: 1") && said.contains("`unused`"),
                "{said}"
            );
            ensure!(
                says("-n lab-host filter show")?.lines().count() == 3,
                "it is in force already"
            );
            says("-n lab-host filter import --load")?;
            ensure!(!passes(lab, "app", pair::WEB, "udp", 53)?, "it is not in force");
            let again = says("-n lab-host filter import")?;
            ensure!(again.starts_with("nothing would change"), "{again}");
            // What netfilter has counted comes along when it is asked for.
            says("-n lab-host filter import --load -c")?;
            // What cannot be done is said, and nothing is changed.
            let before = says("-n lab-host filter show")?;
            tool(&format!(
                "ip netns exec lab-host {engine} -A FORWARD -m ttl --ttl-eq 7 -j DROP"
            ))?;
            let said = complains(2, "-n lab-host filter import --load")?;
            ensure!(said.contains("-save:") && said.contains("ttl"), "{engine}: {said}");
            ensure!(says("-n lab-host filter show")? == before, "something changed");
            ping(&lab.node("app")?, pair::WEB, 56, LIMIT)?;
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_rules_drop_is_shown_with_the_rule() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let drops = "-A mine -s 10.77.1.20/32 -p udp -j DROP";
        let rejects = "-A FORWARD -p udp -m udp --dport 54 -j REJECT --reject-with icmp-port-unreachable";
        let rules = format!(
            "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n{rejects}\n-A FORWARD -p udp -m udp --dport 53 -j mine\n{drops}\nCOMMIT\n"
        );
        fs::write("/run/drops.rules", rules)?;
        says("-n lab-host filter load /run/drops.rules")?;
        let came = "-A FORWARD -p udp -m udp --dport 56 -j DROP";
        let app = lab.node("app")?;
        for (port, reason, rule) in [
            (53, "filtered", drops),
            (54, "rejected", rejects),
            (55, "filtered", "-P FORWARD DROP"),
            (56, "filtered", came),
        ] {
            if port == 56 {
                says("-n lab-host filter append -p udp --dport 56 -j DROP")?;
            }
            let client = UdpClient::open(&app, SocketAddrV4::new(pair::WEB, port), SILENCE)?;
            let is_it = |event: &serde_json::Value| {
                event["dport"] == port && event["rule"] == rule && event["reason"] == reason
            };
            // What else was dropped meanwhile is told first.
            let mut tries = 0..100;
            loop {
                let _dropped = client.ask(b"x");
                let event = serde_json::from_str(&says("-n lab-host -j monitor --count 1")?)?;
                if is_it(&event) {
                    break;
                }
                ensure!(
                    tries.next().is_some(),
                    "port {port}: nothing tells of {rule}, but of {event}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn what_a_rule_reports_is_shown_with_its_prefix() -> Result<()> {
    with_lab(Text::plain(PAIR), |lab| {
        let rule = "-A FORWARD -p udp -m udp --dport 53 -j LOG --log-prefix \"seen: \"";
        let rules = format!("*filter\n:FORWARD ACCEPT [0:0]\n{rule}\nCOMMIT\n");
        fs::write("/run/reports.rules", rules)?;
        says("-n lab-host filter load /run/reports.rules")?;
        let _server = UdpServer::start(&lab.node("web")?, 53)?;
        let client = UdpClient::open(&lab.node("app")?, SocketAddrV4::new(pair::WEB, 53), LIMIT)?;
        // What else was dropped meanwhile is told first.
        for _ in 0..100 {
            client.ask(b"x")?;
            let event = says("-n lab-host -j monitor --count 1")?;
            if event.contains("\"reported\"") {
                ensure!(event.contains("\"seen: \"") && event.contains("--dport 53"), "{event}");
                return Ok(());
            }
        }
        anyhow::bail!("nothing was reported")
    })
}
