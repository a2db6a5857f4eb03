//! nftables as a host's owner would write it by hand for speed: a verdict map for each shape of the operator's rules, maps
//! for published ports, no counter but one.
//!
//! It means what Docker's rules mean, and that costs it something:
//! - The operator's rules stand before established connections are accepted, as in Docker's DOCKER-USER: they hold for
//!   connections that there are too, and every packet pays for them. A host whose rules are for new connections only
//!   would put `ct state established accept` first and have its packets pay nothing; netbridge judges a flow anew when
//!   rules change, and otherwise once.
//! - There is no flowtable. It would carry routed packets of established connections past the operator's rules, and the
//!   bridge's not at all. Not every kernel has it (`NF_FLOW_TABLE`).
//! - Packets between containers come here through `br_netfilter`, as Docker's do. A table of the family `bridge` would
//!   see them sooner, but needs `nf_conntrack_bridge` to know connections, and a second copy of the rules.
//! - There is no list of plain rules where rules are few. For a packet that no rule names, ten plain rules cost less than
//!   their maps of intervals, a hundred cost the same, more cost far more; for one that a hash accepts there is no
//!   difference.
//!
//! So this is not the fastest that netfilter can be made to go, but what it does with these rules at this place.
//!
//! Hashes are asked first, and an exact rule that accepts ends the lookups: the packet that the benchmark sends meets one
//! lookup, however many rules there are. A packet that no rule names meets as many as there are maps.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::super::rule::Rule;
use super::super::world::{Able, Published};
use super::bridged::Firewall;
use super::sets::{Place, VerdictMap, VerdictMaps, inserted};
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

/// The rules of the chain `forward`. States are compared with a mask, which is no lookup as a map of states would be.
fn forward(operator: bool) -> String {
    let jump = operator.then_some("jump operator");
    let rules = ["counter name forwarded"].into_iter().chain(jump).chain([
        "ct state established,related accept",
        "iif docker0 accept",
        "ct status dnat accept",
    ]);
    let mut text = "flush chain ip bench forward\n".to_owned();
    for rule in rules {
        text = text + "add rule ip bench forward " + rule + "\n";
    }
    text
}

/// The ruleset on a host, and the operator's rules in it.
#[derive(Debug, Default)]
pub(super) struct Nftables {
    maps: VerdictMaps,
}

/// One transaction.
fn transact(text: &str) -> Result<()> {
    command::feed("nft", &["-f", "-"], text).map(drop)
}

impl Firewall for Nftables {
    fn set_up(&self) -> Result<()> {
        transact(&format!("{LAYOUT}{}", forward(false)))
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        let maps = VerdictMaps::group(rules);
        let mut text = format!("{}flush chain ip bench operator\n", forward(!rules.is_empty()));
        for map in self.maps.as_slice() {
            writeln!(text, "delete map ip bench {map}")?;
        }
        for map in maps.as_slice() {
            let elements: Vec<String> = map.rules().map(|index| map.element(&rules[index])).collect();
            declare(&mut text, map)?;
            writeln!(text, "add element ip bench {map} {{ {} }}", elements.join(", "))?;
            writeln!(text, "add rule ip bench operator {}", map.question())?;
        }
        transact(&text)?;
        self.maps = maps;
        Ok(Able::Done)
    }

    fn insert_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        let mut text = String::new();
        let count = self.maps.as_slice().len();
        let Some(place) = self.maps.insert(index, rule) else {
            return self.load_rules(&inserted(rules, index, rule));
        };
        let (Place::Old(at) | Place::New(at)) = place;
        if let Some(map) = self.maps.as_slice().get(at) {
            if place == Place::New(at) {
                declare(&mut text, map)?;
                let how = if at < count {
                    format!("insert rule ip bench operator index {at}")
                } else {
                    "add rule ip bench operator".to_owned()
                };
                writeln!(text, "{how} {}", map.question())?;
            }
            writeln!(text, "add element ip bench {map} {{ {} }}", map.element(rule))?;
        }
        transact(&text)?;
        Ok(Able::Done)
    }

    fn delete_rule(&mut self, rules: &[Rule], index: usize) -> Result<Able> {
        let old = self.maps.remove(index).context("the rule is in no map")?;
        // A map that is empty now stays until rules are loaded anew.
        if let Some(map) = self.maps.as_slice().get(old) {
            transact(&format!(
                "delete element ip bench {map} {{ {} }}",
                map.key(&rules[index])
            ))?;
        }
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

/// Makes an empty map.
fn declare(text: &mut String, map: &VerdictMap) -> Result<()> {
    writeln!(text, "add map ip bench {map} {}", map.definition())?;
    Ok(())
}

/// A port as an element of `shifted`.
fn shifted(port: Published) -> String {
    format!("{} . {} : {B} . {}", port.proto, port.host, port.container)
}
