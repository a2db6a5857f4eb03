//! What shows that packets take another contestant's path, or that something is there that would lead them astray.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use netbridge::datapath::{HOOKS, tcx_supported};
use netbridge::netns::Netns;

use super::super::contestant::Contestant;
use super::super::machine::find;
use super::{command, conntrack};

/// Names and values.
type Counters = Vec<(String, u64)>;

/// What moves in a namespace when its stack routes, or netfilter tracks.
pub(super) fn stack(netns: &Netns) -> Result<Counters> {
    let (snmp, tracked) = netns.run(|| {
        let tracked = fs::read_to_string(conntrack::COUNT).unwrap_or_else(|_| "0".to_owned());
        fs::read_to_string("/proc/thread-self/net/snmp").map(|snmp| (snmp, tracked))
    })??;
    let mut ip = snmp.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (ip.next().unwrap_or_default(), ip.next().unwrap_or_default());
    let routed = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "ForwDatagrams")
        .context("the kernel does not count what it routes")?
        .1;
    Ok(vec![
        ("packets routed by the stack".to_owned(), routed.parse()?),
        ("connections tracked by netfilter".to_owned(), tracked.trim().parse()?),
    ])
}

/// How many of netbridge's programs sit on interfaces.
pub(super) fn programs(netns: &Netns, interfaces: &[&str]) -> Result<Counters> {
    // A kernel without tcx has them as filters of a qdisc, of which none is made here.
    if !tcx_supported() {
        return Ok(Vec::new());
    }
    let count = |interface: &str| -> Result<u64> {
        let mut count = 0;
        for way in [TcAttachType::Ingress, TcAttachType::Egress] {
            let (_, programs) = SchedClassifier::query_tcx(interface, way)
                .with_context(|| format!("cannot ask for the programs on {interface}"))?;
            let named = |name: &str| HOOKS.iter().any(|hook| hook.name() == name);
            let ours = programs
                .iter()
                .filter(|program| program.name_as_str().is_some_and(named));
            count += ours.count() as u64;
        }
        Ok(count)
    };
    interfaces
        .iter()
        .map(|interface| {
            Ok((
                format!("programs of netbridge on {interface}"),
                netns.run(|| count(interface))??,
            ))
        })
        .collect()
}

/// How many tables of netfilter there are besides a contestant's own.
pub(super) fn rules(netns: &Netns, contestant: Contestant) -> Result<Counters> {
    let own: &[&str] = match contestant {
        Contestant::IptablesNft | Contestant::Ipset => &["table ip filter", "table ip nat"],
        Contestant::Nftables => &["table ip bench"],
        _ => &[],
    };
    let (legacy, nft) = netns.run(|| -> Result<_> { Ok((legacy_tables()?, nft_tables()?)) })??;
    let legacy = if contestant == Contestant::IptablesLegacy {
        0
    } else {
        legacy
    };
    let foreign = nft.iter().filter(|table| !own.contains(&table.as_str())).count();
    Ok(vec![
        ("tables of iptables-legacy".to_owned(), legacy),
        ("tables of nftables, not its own".to_owned(), foreign as u64),
    ])
}

/// How many there are in the calling thread's namespace.
fn legacy_tables() -> Result<u64> {
    match fs::read_to_string("/proc/thread-self/net/ip_tables_names") {
        Ok(names) => Ok(names.lines().count() as u64),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).context("cannot read which tables of iptables-legacy there are"),
    }
}

/// Those of the calling thread's namespace. Where `nft` is absent, so are those who could make one.
fn nft_tables() -> Result<BTreeSet<String>> {
    if find("nft").is_none() {
        return Ok(BTreeSet::new());
    }
    let listed = command::call("nft", &["list", "tables"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}
