//! Files of rules, from a seed: everything that both hosts can express, of few addresses, ports and interfaces, so that rules
//! overlap.

use std::fmt::Write as _;

use fastrand::Rng;

use super::host::{Backend, Files};
use super::sets::{NAMES, SETS};

/// The chains, each with those that it may jump to.
const CHAINS: [(&str, &[&str]); 5] = [
    ("FORWARD", &["first", "second", "inner", "innermost"]),
    ("first", &["inner", "innermost"]),
    ("second", &["inner", "innermost"]),
    ("inner", &["innermost"]),
    ("innermost", &[]),
];
const ADDRESSES: [&str; 11] = [
    "10.9.1.2/32",
    "10.9.1.3/32",
    "10.9.1.0/24",
    "10.9.1.2/31",
    "10.9.2.2/32",
    "10.9.0.0/16",
    "192.0.2.2/32",
    "192.0.2.3",
    "192.0.2.0/24",
    "128.0.0.0/1",
    "10.9.0.2/255.255.0.254",
];
const LISTS: [&str; 2] = ["10.9.1.2/32,192.0.2.2/32", "10.9.1.3/32,10.9.2.0/24,192.0.2.3/32"];
const INTERFACES: [&str; 7] = ["front", "back", "up0", "front", "up0", "fr+", "u+"];
const PORTS: [&str; 10] = [
    "80",
    "443",
    "53",
    "22",
    "8080",
    "0:1023",
    "80:443",
    "1024:65535",
    "5000:5021",
    ":100",
];
const MULTIPORTS: [&str; 5] = ["80,443", "53", "22,80:443", "5000:5035,8080", "0:52,54:79,81:65535"];
const FLAGS: [&str; 7] = [
    "SYN,ACK SYN",
    "FIN,SYN,RST,ACK SYN",
    "ACK ACK",
    "RST RST",
    "FIN,ACK FIN,ACK",
    "PSH PSH",
    "ALL SYN,ACK",
];
const MESSAGES: [&str; 9] = [
    "echo-request",
    "echo-reply",
    "8",
    "0",
    "destination-unreachable",
    "3/3",
    "port-unreachable",
    "time-exceeded",
    "any",
];
const STATES: [&str; 11] = [
    "NEW",
    "ESTABLISHED",
    "RELATED",
    "INVALID",
    "RELATED,ESTABLISHED",
    "NEW,ESTABLISHED",
    "NEW,INVALID",
    "DNAT",
    "SNAT",
    "ESTABLISHED,DNAT",
    "UNTRACKED",
];
const PLAIN_STATES: usize = 7;
const RANGES: [&str; 4] = [
    "10.9.1.2-10.9.1.2",
    "10.9.1.3-10.9.2.2",
    "192.0.2.1-192.0.2.2",
    "0.0.0.0-255.255.255.255",
];
const TYPES: [&str; 4] = ["UNICAST", "LOCAL", "LOCAL,UNICAST", "BROADCAST"];
const MACS: [&str; 3] = ["02:00:0a:09:01:02", "02:00:0a:09:01:03", "02:00:c0:00:02:02"];
const UNREACHABLES: [&str; 7] = [
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
];

/// A file, and its sets.
pub(super) fn files(random: &mut Rng, backend: Backend) -> Files {
    let policy = if random.bool() { "ACCEPT" } else { "DROP" };
    let mut rules = format!("*filter\n:FORWARD {policy} [0:0]\n");
    let mut lines = String::new();
    for (name, targets) in CHAINS {
        if name != "FORWARD" {
            // Writing to a string does not fail.
            let _ = writeln!(rules, ":{name} - [0:0]");
        }
        if name == "FORWARD" && random.u32(..5) < 2 {
            lines += "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n";
        }
        let most = if name == "FORWARD" { 10 } else { 6 };
        for _ in 0..random.usize(1..most) {
            let _ = writeln!(lines, "-A {name}{}", rule(random, targets));
        }
    }
    rules += &lines;
    rules += "COMMIT\n";
    let sets = if rules.contains("--match-set") { SETS } else { "" };
    Files {
        backend,
        rules,
        sets: sets.to_owned(),
        goes_on: false,
    }
}

fn pick<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

fn one_in(random: &mut Rng, most: u32) -> bool {
    random.u32(..most) == 0
}

/// `! ` now and then.
fn not(random: &mut Rng) -> &'static str {
    if one_in(random, 4) { "! " } else { "" }
}

/// An option and a value, which may be negated.
fn option(random: &mut Rng, name: &str, of: &[&str]) -> String {
    let not = not(random);
    format!(" {not}{name} {}", pick(random, of))
}

/// What a rule says behind its chain.
fn rule(random: &mut Rng, chains: &[&str]) -> String {
    let mut rule = String::new();
    if one_in(random, 20) {
        rule += [" -s ", " -d "][random.usize(..2)];
        rule += pick(random, &LISTS);
    } else {
        for side in ["-s", "-d"] {
            if one_in(random, 6) {
                rule += &option(random, side, &ADDRESSES);
            }
        }
    }
    for side in ["-i", "-o"] {
        if one_in(random, 7) {
            rule += &option(random, side, &INTERFACES);
        }
    }
    let (protocol, matches) = transport(random);
    rule += &matches;
    for _ in 0..2 {
        if one_in(random, 4) {
            rule += &extension(random);
        }
    }
    rule + &target(random, protocol == Some("tcp"), chains)
}

/// A protocol, and what may be asked of its packets alone.
fn transport(random: &mut Rng) -> (Option<&'static str>, String) {
    let mut text = String::new();
    match random.u32(..16) {
        0..3 => {
            text += " -p tcp -m tcp";
            text += &ports(random);
            if one_in(random, 3) {
                text += &option(random, "--tcp-flags", &FLAGS);
            }
            (Some("tcp"), text)
        }
        3..5 => {
            text += " -p udp -m udp";
            text += &ports(random);
            (Some("udp"), text)
        }
        5 => {
            // No packet is outside of every type: netbridge refuses to be asked.
            let kind = option(random, "--icmp-type", &MESSAGES).replace("! --icmp-type any", "--icmp-type any");
            (Some("icmp"), format!(" -p icmp -m icmp{kind}"))
        }
        6 => {
            let protocol = pick(random, &["tcp", "udp"]);
            let side = pick(random, &["--sports", "--dports", "--ports"]);
            let ports = option(random, side, &MULTIPORTS);
            (Some(protocol), format!(" -p {protocol} -m multiport{ports}"))
        }
        7..9 => {
            let protocol = option(random, "-p", &["tcp", "udp", "icmp", "47", "sctp"]);
            (
                protocol
                    .strip_prefix(" -p ")
                    .filter(|name| *name == "tcp")
                    .map(|_| "tcp"),
                protocol,
            )
        }
        _ => (None, text),
    }
}

/// Ports on either side. Two that are both negated are left out: iptables-nft 1.8.9 makes one comparison of them, and takes
/// packets that have one of the two.
fn ports(random: &mut Rng) -> String {
    let sides = ["--sport", "--dport"].map(|side| {
        let asked = one_in(random, 3);
        if asked {
            option(random, side, &PORTS)
        } else {
            String::new()
        }
    });
    let text = sides.concat();
    if text.matches('!').count() > 1 {
        text.replace("! ", "")
    } else {
        text
    }
}

/// A match that any packet may be asked for.
fn extension(random: &mut Rng) -> String {
    match random.u32(..17) {
        0..4 => format!(" -m conntrack{}", option(random, "--ctstate", &STATES)),
        4 => format!(" -m conntrack --ctdir {}", pick(random, &["ORIGINAL", "REPLY"])),
        5 => format!(" -m state{}", option(random, "--state", &STATES[..PLAIN_STATES])),
        6 => {
            let side = pick(random, &["--src-range", "--dst-range"]);
            format!(" -m iprange{}", option(random, side, &RANGES))
        }
        7 => {
            let side = pick(random, &["--src-type", "--dst-type"]);
            format!(" -m addrtype{}", option(random, side, &TYPES))
        }
        8 => format!(" -m mac{}", option(random, "--mac-source", &MACS)),
        9 => format!(
            " -m mark{}",
            option(random, "--mark", &["0x0", "0x1", "0x4000/0x4000", "0x0/0xff"])
        ),
        10 => " -m comment --comment \"what \\\"it\\\" is for\"".to_owned(),
        11 => format!(
            " -m limit --limit {}/hour --limit-burst {}",
            random.u32(1..5),
            random.u32(1..12)
        ),
        12 => hashlimit(random),
        _ => {
            let (name, dimensions) = NAMES[random.usize(..NAMES.len())];
            let sides: Vec<_> = (0..dimensions).map(|_| pick(random, &["src", "dst"])).collect();
            let not = not(random);
            format!(" -m set {not}--match-set {name} {}", sides.join(","))
        }
    }
}

/// A limit whose tokens do not come back while packets are sent.
fn hashlimit(random: &mut Rng) -> String {
    let side = pick(random, &["--hashlimit-upto", "--hashlimit-above"]);
    let (rate, burst, name) = (random.u32(1..5), random.u32(1..8), random.u32(..));
    let key = pick(
        random,
        &[
            "",
            " --hashlimit-mode srcip",
            " --hashlimit-mode dstip",
            " --hashlimit-mode srcip,dstip",
            " --hashlimit-mode srcip --hashlimit-srcmask 24",
            " --hashlimit-mode dstip --hashlimit-dstmask 31",
        ],
    );
    // Another one's buckets may live a moment longer than its rule.
    format!(" -m hashlimit {side} {rate}/hour --hashlimit-burst {burst}{key} --hashlimit-name h{name}")
}

fn target(random: &mut Rng, tcp: bool, chains: &[&str]) -> String {
    match random.u32(..20) {
        0..5 => " -j ACCEPT".to_owned(),
        5..8 => " -j DROP".to_owned(),
        8..10 if tcp => " -j REJECT --reject-with tcp-reset".to_owned(),
        8..10 => format!(" -j REJECT --reject-with {}", pick(random, &UNREACHABLES)),
        10 => " -j RETURN".to_owned(),
        11 => " -j LOG --log-prefix \"seen \"".to_owned(),
        12 => " -j NFLOG --nflog-group 2".to_owned(),
        13..17 if !chains.is_empty() => format!(" -j {}", pick(random, chains)),
        17..19 if !chains.is_empty() => format!(" -g {}", pick(random, chains)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::PAGES;
    use super::super::ours::parse;
    use super::super::real::SAVED;
    use super::*;

    #[test]
    fn netbridge_takes_what_is_generated_and_what_is_written() {
        let generated = (0..400).map(|seed| files(&mut Rng::with_seed(seed), Backend::Legacy));
        let written = PAGES.iter().map(|page| (page.rules(), page.sets.to_owned()));
        let saved = SAVED.iter().map(|saved| (saved.rules(), saved.sets()));
        let written = written.chain(saved).map(|(rules, sets)| Files {
            backend: Backend::Legacy,
            rules,
            sets,
            goes_on: false,
        });
        for files in generated.chain(written) {
            parse(&files).unwrap_or_else(|error| panic!("{error:#}\n{}", files.rules));
        }
    }

    #[test]
    fn a_seed_is_one_file() {
        let again = || files(&mut Rng::with_seed(7), Backend::Nft);
        assert_eq!(again(), again());
    }
}
