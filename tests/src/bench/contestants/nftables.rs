//! The best that netfilter can do: nftables with sets for the operator's rules and maps for published ports.
//!
//! The operator's rules stand where Docker's are, before established connections are accepted: a rule holds for
//! connections that there are too, as it does with Docker and with netbridge.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::super::rule::{Rule, Target};
use super::super::world::{Able, Published};
use super::bridged::Firewall;
use super::sets::{Set, Sets, is_orderless};
use super::{B, command};

/// Everything but rules and ports. nftables cannot shift a range of ports, so `shifted` has an element a port.
const LAYOUT: &str = r#"
table ip bench {
    counter forwarded { }
    map shifted { type inet_proto . inet_service : ipv4_addr . inet_service; }
    map ranges { type inet_proto . inet_service : ipv4_addr; flags interval; }
    chain operator { }
    chain forward {
        type filter hook forward priority filter; policy drop;
        counter name forwarded
        jump operator
        ct state established,related accept
        iif "docker0" accept
        ct status dnat accept
    }
    chain published {
        dnat ip to meta l4proto . th dport map @shifted
        dnat to meta l4proto . th dport map @ranges
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iif != "docker0" fib daddr type local jump published
    }
    chain output {
        type nat hook output priority -100; policy accept;
        ip daddr != 127.0.0.0/8 fib daddr type local jump published
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.77.0.0/16 oif != "docker0" masquerade
    }
}
"#;

/// The ruleset on a host, and the sets in it.
#[derive(Debug, Default)]
pub(super) struct Nftables {
    sets: Sets,
}

/// One transaction.
fn transact(text: &str) -> Result<()> {
    command::feed("nft", &["-f", "-"], text).map(drop)
}

/// Why a list of rules cannot be sets.
fn ordered() -> Able {
    Able::Cannot("sets have no order, and a rule accepts before another drops".to_owned())
}

impl Firewall for Nftables {
    fn set_up(&self) -> Result<()> {
        transact(LAYOUT)
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        if !is_orderless(rules.iter().map(|rule| rule.target)) {
            return Ok(ordered());
        }
        let sets = Sets::group(rules);
        let mut text = String::from("flush chain ip bench operator\n");
        for set in self.sets.in_order() {
            writeln!(text, "delete set ip bench {set}")?;
        }
        for set in sets.in_order() {
            declare(&mut text, "add", set)?;
            let elements: Vec<String> = set.rules().map(|index| set.element(&rules[index])).collect();
            writeln!(text, "add element ip bench {set} {{ {} }}", elements.join(", "))?;
        }
        transact(&text)?;
        self.sets = sets;
        Ok(Able::Done)
    }

    fn change_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        let mut targets: Vec<Target> = rules.iter().map(|rule| rule.target).collect();
        targets[index] = rule.target;
        if !is_orderless(targets.into_iter()) {
            return Ok(ordered());
        }
        let mut text = String::new();
        let place = self.sets.remove(index).context("the rule is in no set")?;
        if let Some(set) = self.sets.get(place) {
            writeln!(
                text,
                "delete element ip bench {set} {{ {} }}",
                set.element(&rules[index])
            )?;
        }
        let (place, new) = self.sets.add(index, rule);
        if let Some(set) = self.sets.get(place) {
            if new {
                // What drops is asked first.
                declare(&mut text, if set.drops() { "insert" } else { "add" }, set)?;
            }
            writeln!(text, "add element ip bench {set} {{ {} }}", set.element(rule))?;
        }
        transact(&text)?;
        Ok(Able::Done)
    }

    fn publish(&mut self, ports: &[Published]) -> Result<()> {
        let elements: Vec<String> = ports.iter().copied().map(shifted).collect();
        transact(&format!("add element ip bench shifted {{ {} }}\n", elements.join(", ")))
    }

    fn publish_range(&mut self, first: Published, count: u16) -> Result<()> {
        let Published { proto, host, container } = first;
        let last = count.saturating_sub(1);
        if host.checked_add(last).is_none() || container.checked_add(last).is_none() {
            bail!("{count} ports from {host} and {container} are more than there are");
        }
        if host == container {
            return transact(&format!(
                "add element ip bench ranges {{ {proto} . {host}-{} : {B} }}\n",
                host + last
            ));
        }
        let elements: Vec<String> = (0..count)
            .map(|offset| {
                shifted(Published {
                    proto,
                    host: host + offset,
                    container: container + offset,
                })
            })
            .collect();
        transact(&format!("add element ip bench shifted {{ {} }}\n", elements.join(", ")))
    }

    fn unpublish(&mut self) -> Result<()> {
        transact("flush map ip bench shifted\nflush map ip bench ranges\n")
    }

    fn forwarded(&self) -> Result<u64> {
        let listed = command::call("nft", &["-j", "list", "counter", "ip", "bench", "forwarded"])?;
        let listed: Value = serde_json::from_str(&listed).context("nft prints no JSON")?;
        let objects = listed["nftables"].as_array().map_or(&[][..], Vec::as_slice);
        objects
            .iter()
            .find_map(|object| object["counter"]["packets"].as_u64())
            .context("nft lists no counter")
    }
}

/// Makes a set, and the rule that asks it; `how` says at which end of the chain.
fn declare(text: &mut String, how: &str, set: &Set) -> Result<()> {
    writeln!(text, "add set ip bench {set} {}", set.definition())?;
    writeln!(text, "{how} rule ip bench operator {}", set.question())?;
    Ok(())
}

/// A port as an element of `shifted`.
fn shifted(port: Published) -> String {
    format!("{} . {} : {B} . {}", port.proto, port.host, port.container)
}
