//! The packet for which netbridge's search looks at its tables most often.
//!
//! A list has one worst packet, the one that passes it. A search has none that can be told from the rules: what it takes depends
//! on how they cross where the packet is. But what one container sends another differs in the ports alone, rules name no
//! source port, and between two destination ports at which a rule begins or ends all are alike. So one of each such range is
//! asked of the compiled rules: the worst of them is the worst that the two can send, and not the worst of a sample.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow};
use netbridge::filter::probe::reads;
use netbridge::filter::syntax::parse;
use netbridge::filter::tables::{World, compile};
use netbridge_common::abi::CtState;
use netbridge_common::datapath::filter::Subject;

use crate::bench::classbench::Probe;
use crate::bench::contestants::forward;
use crate::bench::rule::Rule;

/// Ticks of the kernel's clock in a second; rules without limits do not depend on it.
const HZ: u64 = 250;

/// The destination port of the costliest packet that no rule matches, whatever else of it is as `probe` says.
pub(super) fn costliest(rules: &[Rule], probe: Probe) -> Result<u16> {
    let read = parse("rules", &forward(rules), None).map_err(|errors| anyhow!("{errors}"))?;
    let tables = compile(&read.ruleset, &World::default(), HZ)?;
    let reads = |port: u16| {
        let subject = Subject {
            src: probe.src.octets(),
            dst: probe.dst.octets(),
            dport: port.into(),
            proto: probe.proto,
            state: CtState::NEW,
            ..Subject::EMPTY
        };
        reads(&tables, &subject)
    };
    let passed = unmatched(rules, probe);
    passed
        .into_iter()
        .max_by_key(|port| reads(*port))
        .context("rules match every port")
}

/// A destination port of each range of them in which all are alike and no rule matches.
fn unmatched(rules: &[Rule], probe: Probe) -> Vec<u16> {
    let concerns = |rule: &&Rule| {
        rule.src.contains(&probe.src) && rule.dst.contains(&probe.dst) && (rule.proto == 0 || rule.proto == probe.proto)
    };
    let ports = rules.iter().map(|rule| rule.dports.unwrap_or((0, u16::MAX)));
    let begins: BTreeSet<u16> = ports
        .flat_map(|(first, last)| [Some(first), last.checked_add(1)])
        .flatten()
        .chain([0])
        .collect();
    let matched: Vec<(u16, u16)> = rules
        .iter()
        .filter(concerns)
        .map(|rule| rule.dports.unwrap_or((0, u16::MAX)))
        .collect();
    let within = |port: u16| matched.iter().any(|(first, last)| (*first..=*last).contains(&port));
    begins.into_iter().filter(|port| !within(*port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::classbench;
    use crate::bench::rule::Target;

    const PROBE: Probe = Probe {
        src: std::net::Ipv4Addr::new(10, 77, 0, 2),
        dst: std::net::Ipv4Addr::new(10, 77, 0, 3),
        proto: 17,
        dport: 9000,
    };

    #[test]
    fn no_rule_matches_the_costliest_packet() {
        let rules = classbench::rules(1000, 7, PROBE);
        let port = costliest(&rules, PROBE).unwrap();
        assert!(unmatched(&rules, PROBE).contains(&port) && port != PROBE.dport);
    }

    #[test]
    fn one_port_of_each_range_that_no_rule_matches_is_asked_for() {
        let rule = |src: &str, proto, dports| Rule {
            src: src.parse().unwrap(),
            dst: "0.0.0.0/0".parse().unwrap(),
            proto,
            dports: Some(dports),
            target: Target::Drop,
        };
        let rules = [
            rule("10.0.0.0/8", 17, (0, 99)),
            rule("10.0.0.0/8", 6, (200, 299)),
            rule("192.0.2.0/24", 17, (400, u16::MAX)),
            rule("10.77.0.2/32", 17, (500, 500)),
        ];
        assert_eq!(unmatched(&rules, PROBE), [100, 200, 300, 400, 501]);
    }
}
