//! What netfilter has and netbridge refuses: why, and the nearest thing that works.

use super::{extension, fault::Refusal};

/// Why, for several matches and targets at once.
const NOT_READ: &str = "the filter does not read this of a packet";
const NO_SOCKET: &str = "a packet that is forwarded has no socket on this host";
const NOT_KEPT: &str = "the filter keeps nothing of this";
const NO_CHANGE: &str = "the filter decides about packets and does not change them";
const NAT: &str = "addresses are not translated by the filter";
const WRITTEN_OUT: &str = "options are written out";
/// And instead of what.
const WITHOUT: &str = "write the rule without, by addresses, ports and `--ctstate`";
const ENDPOINT: &str = "name the endpoint with `-i` or `-o`, or its address with `-s` or `-d`";
const LIMITS: &str = "write `-m limit` or `-m hashlimit`, with `-m conntrack --ctstate NEW` for connections";
const PUBLISH: &str = "publish the port with `netbridge port add`";
const INSIDE: &str = "do it in the container's own namespace, by netfilter's table mangle there";
const MARKS: &str = "write `-j CHAIN`, and in that chain what the mark is matched for";
const REPORT: &str = "write `-j LOG` or `-j NFLOG`, or follow `netbridge monitor`";

/// Matches: name, reason, advice.
const MATCHES: [(&str, &str, &str); 49] = [
    ("ah", NOT_READ, "write `-p ah` alone"),
    ("bpf", "no program of a rule's is run", WITHOUT),
    ("cgroup", NO_SOCKET, ENDPOINT),
    ("cluster", NOT_KEPT, WITHOUT),
    ("connbytes", NOT_KEPT, LIMITS),
    ("connlabel", NOT_KEPT, "write `-m conntrack --ctstate …`"),
    ("connlimit", "connections are not counted for a rule", LIMITS),
    ("connmark", NOT_KEPT, "write what the mark was set for"),
    ("cpu", NOT_READ, WITHOUT),
    ("dccp", NOT_READ, "write `-p dccp` alone"),
    ("devgroup", NOT_READ, "name the network with `-i` or `-o`"),
    ("dscp", NOT_READ, WITHOUT),
    ("ecn", NOT_READ, WITHOUT),
    ("esp", NOT_READ, "write `-p esp` alone"),
    (
        "helper",
        "connections have no helpers here",
        "write the ports of its protocol, such as `-p tcp --dport 21`",
    ),
    (
        "icmp6",
        "IPv6 is not filtered here",
        "write `-p icmp -m icmp --icmp-type …`",
    ),
    (
        "icmpv6",
        "IPv6 is not filtered here",
        "write `-p icmp -m icmp --icmp-type …`",
    ),
    ("ipcomp", NOT_READ, "write `-p ipcomp` alone"),
    ("ipvs", NOT_KEPT, WITHOUT),
    ("l2tp", NOT_READ, "write `-p l2tp`, or `-p udp --dport 1701`"),
    ("length", NOT_READ, WITHOUT),
    ("nfacct", NOT_KEPT, "leave it out: every rule has counters"),
    ("osf", NOT_READ, WITHOUT),
    ("owner", NO_SOCKET, ENDPOINT),
    ("physdev", "ports of a bridge have no option of their own", ENDPOINT),
    (
        "pkttype",
        NOT_READ,
        "write `-m addrtype --dst-type UNICAST`, BROADCAST or MULTICAST",
    ),
    (
        "policy",
        "IPsec is not looked into",
        "write `-p esp`, or name the interface with `-i` or `-o`",
    ),
    ("quota", NOT_KEPT, LIMITS),
    ("quota2", NOT_KEPT, LIMITS),
    ("rateest", NOT_KEPT, LIMITS),
    ("realm", NOT_READ, "name the network with `-s` or `-d`"),
    (
        "recent",
        NOT_KEPT,
        "write `-m hashlimit --hashlimit-mode srcip …`, or `-m set` for a list of your own",
    ),
    (
        "rpfilter",
        "the routes are not asked back",
        "remove the rule: what an endpoint sends with another's address is dropped already",
    ),
    ("sctp", NOT_READ, "write `-p sctp` alone"),
    ("socket", NO_SOCKET, ENDPOINT),
    ("statistic", "nothing is left to chance", LIMITS),
    ("string", "what a packet carries is not read", WITHOUT),
    ("tcpmss", NOT_READ, "write `-p tcp --syn` alone"),
    (
        "time",
        "rules do not know the hour",
        "load another filter when it is time, from cron or a timer",
    ),
    ("tos", NOT_READ, WITHOUT),
    ("ttl", NOT_READ, WITHOUT),
    ("u32", NOT_READ, WITHOUT),
    ("udplite", NOT_READ, "write `-p udplite` alone"),
    ("unclean", NOT_READ, "write `-m conntrack --ctstate INVALID`"),
    ("account", NOT_KEPT, "leave it out: every rule has counters"),
    ("condition", NOT_KEPT, "load another filter"),
    (
        "geoip",
        NOT_KEPT,
        "keep the networks in a set of type hash:net, and write `-m set`",
    ),
    ("psd", NOT_KEPT, LIMITS),
    ("ndpi", "what a packet carries is not read", WITHOUT),
];

/// Targets: name, reason, advice.
const TARGETS: [(&str, &str, &str); 39] = [
    ("AUDIT", NOT_KEPT, REPORT),
    ("CHECKSUM", NO_CHANGE, "remove the rule: checksums are right here"),
    ("CLASSIFY", NO_CHANGE, "classify with `tc` on the uplink"),
    ("CLUSTERIP", NAT, PUBLISH),
    ("CONNMARK", NO_CHANGE, MARKS),
    ("CONNSECMARK", NO_CHANGE, INSIDE),
    ("CT", "every connection is tracked", "remove the rule"),
    ("DNAT", NAT, PUBLISH),
    ("DSCP", NO_CHANGE, INSIDE),
    ("ECN", NO_CHANGE, INSIDE),
    ("HL", NO_CHANGE, INSIDE),
    ("HMARK", NO_CHANGE, MARKS),
    ("IDLETIMER", NOT_KEPT, "remove the rule"),
    ("LED", NOT_KEPT, "remove the rule"),
    ("MARK", NO_CHANGE, MARKS),
    (
        "MASQUERADE",
        NAT,
        "remove the rule: networks masquerade what leaves the host",
    ),
    ("MIRROR", NO_CHANGE, "write `-j REJECT`"),
    ("NAT", NAT, PUBLISH),
    ("NETMAP", NAT, PUBLISH),
    (
        "NFQUEUE",
        "no packet is handed to a program",
        "decide with ACCEPT or DROP; `-j NFLOG` reports",
    ),
    ("NOTRACK", "every connection is tracked", "remove the rule"),
    (
        "QUEUE",
        "no packet is handed to a program",
        "decide with ACCEPT or DROP; `-j NFLOG` reports",
    ),
    ("RATEEST", NOT_KEPT, LIMITS),
    ("REDIRECT", NAT, PUBLISH),
    ("SAME", NAT, PUBLISH),
    ("SECMARK", NO_CHANGE, INSIDE),
    (
        "SET",
        "rules do not write into sets",
        "change the set, and load the filter again; or write `-m hashlimit`",
    ),
    (
        "SNAT",
        NAT,
        "remove the rule: networks masquerade what leaves the host, by the address that `netbridge net create --snat` names",
    ),
    (
        "SYNPROXY",
        "connections are not answered for another",
        "write `-p tcp --syn -m limit --limit …`",
    ),
    ("TARPIT", "connections are not answered for another", "write `-j DROP`"),
    (
        "TCPMSS",
        NO_CHANGE,
        "remove the rule: what is too large to leave the host is answered with the size that fits; for a way that narrows \
         later, `netbridge net create --mtu`",
    ),
    ("TCPOPTSTRIP", NO_CHANGE, "remove the rule"),
    ("TEE", "packets are not doubled", REPORT),
    ("TOS", NO_CHANGE, INSIDE),
    ("TPROXY", NO_SOCKET, PUBLISH),
    (
        "TRACE",
        "a packet's way through the rules is not recorded",
        "ask `netbridge filter test`, or write `-j LOG`",
    ),
    ("TTL", NO_CHANGE, INSIDE),
    ("ULOG", "the kernel has it no longer", "write `-j NFLOG`"),
    (
        "DELUDE",
        "connections are not answered for another",
        "write `-p tcp -j REJECT --reject-with tcp-reset`",
    ),
];

/// Options that belong to no match: names, reason, advice.
const OPTIONS: [(&[&str], &str, &str); 6] = [
    (
        &["-f", "--fragment", "--fragments"],
        "fragments are judged with their first",
        "leave it out: the rules for the whole packet decide about its fragments",
    ),
    (
        &["-c", "--set-counters"],
        "counters are not given among the options",
        "write `[PACKETS:BYTES]` before `-A`",
    ),
    (
        &["-4", "--ipv4", "-6", "--ipv6"],
        "every rule is for IPv4",
        "leave it out, and rules for IPv6 altogether",
    ),
    (
        &["-t", "--table"],
        "the table is given by the line that begins with `*`",
        "leave it out",
    ),
    (
        &["#"],
        "a comment takes a line of its own",
        "move it to a line of its own or use `-m comment`",
    ),
    (
        &["!"],
        "there is nothing to negate",
        "write it before an option, or remove it",
    ),
];

/// Long options of `iptables` itself, each with the fewest of its letters that `iptables` takes for it.
const OWN: [(&str, &str); 10] = [
    ("--source", "--so"),
    ("--src", "--sr"),
    ("--destination", "--des"),
    ("--dst", "--ds"),
    ("--protocol", "--pr"),
    ("--in-interface", "--in-"),
    ("--out-interface", "--o"),
    ("--match", "--ma"),
    ("--jump", "--j"),
    ("--goto", "--g"),
];

/// Why there is no such match.
pub(super) fn refuse_match(name: &str) -> Refusal {
    let token = format!("-m {name}");
    match MATCHES.iter().find(|(known, _, _)| *known == name) {
        Some((_, reason, advice)) => Refusal::new(token, *reason, *advice),
        None => Refusal::new(
            token,
            "unknown match",
            "write it with tcp, udp, icmp, multiport, conntrack, state, mac, iprange, addrtype, set, limit, hashlimit, \
             mark or comment",
        ),
    }
}

/// Why a target of netfilter's is refused; `None` if it is none.
pub(super) fn refuse_target(name: &str) -> Option<Refusal> {
    let (_, reason, advice) = TARGETS.iter().find(|(known, _, _)| *known == name)?;
    Some(Refusal::new(format!("-j {name}"), *reason, *advice))
}

/// Why an option is refused that no match of the rule has.
pub(super) fn refuse_option(word: &str) -> Refusal {
    if let Some((_, reason, advice)) = OPTIONS.iter().find(|(names, _, _)| names.contains(&word)) {
        return Refusal::new(word, *reason, *advice);
    }
    if !word.starts_with('-') {
        return Refusal::new(word, "unexpected word", "remove it");
    }
    if let Some((name, _)) = word.split_once('=') {
        let advice = format!("write a blank instead: `{name} …`");
        return Refusal::new(word, "an option and its value are two words", advice);
    }
    let begun = |(name, least): &&(&str, &str)| word.starts_with(least) && name.starts_with(word);
    if let Some((name, _)) = OWN.iter().find(begun) {
        return Refusal::new(word, WRITTEN_OUT, format!("write `{name}`"));
    }
    let mut names = extension::ALL.iter().flat_map(|spec| {
        let names = spec.options.iter().flat_map(|option| option.names);
        names.map(|name| (spec.name, *name))
    });
    if let Some((spec, _)) = names.clone().find(|(_, name)| *name == word) {
        let advice = format!("write `-m {spec} {word} …`");
        return Refusal::new(word, "its match is not loaded before it", advice);
    }
    if word.len() > 3
        && let Some((_, name)) = names.find(|(_, name)| name.starts_with(word))
    {
        return Refusal::new(word, WRITTEN_OUT, format!("write `{name}`"));
    }
    if let Some((short, value)) = word.split_at_checked(2)
        && ["-s", "-d", "-i", "-o", "-p", "-m", "-j", "-g"].contains(&short)
    {
        let advice = format!("write `{short} {value}`");
        return Refusal::new(word, "an option and its value are two words", advice);
    }
    Refusal::new(word, "unknown option", "remove the rule or write it without")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::syntax::{rule, target};

    #[test]
    fn each_table_names_a_thing_once_and_nothing_that_works() {
        for (index, (name, reason, advice)) in MATCHES.iter().enumerate() {
            assert!(MATCHES[..index].iter().all(|(other, _, _)| other != name), "{name}");
            assert!(extension::named(name).is_none(), "{name}");
            assert!(!reason.is_empty() && !advice.is_empty());
            let fault = refuse_match(name).at(1);
            assert_eq!((fault.token, fault.reason.as_str()), (format!("-m {name}"), *reason));
        }
        for (index, (name, reason, advice)) in TARGETS.iter().enumerate() {
            assert!(TARGETS[..index].iter().all(|(other, _, _)| other != name), "{name}");
            assert!(target::named(name).is_none(), "{name}");
            assert!(!reason.is_empty() && !advice.is_empty());
            let fault = refuse_target(name).unwrap().at(1);
            assert_eq!((fault.token, fault.reason.as_str()), (format!("-j {name}"), *reason));
        }
        assert_eq!(refuse_target("DOCKER"), None);
    }

    /// A word behind `-m`, `-j` or `-p` in advice, or a long option, is one that works.
    #[test]
    fn what_is_advised_works() {
        let known = |option: &str| {
            let options = extension::ALL.iter().flat_map(|spec| spec.options);
            options.flat_map(|known| known.names).any(|known| *known == option)
        };
        let quoted = |advice: &'static str| advice.split('`').skip(1).step_by(2);
        let all = MATCHES.iter().chain(&TARGETS).flat_map(|(_, _, advice)| quoted(advice));
        for code in all.filter(|code| code.starts_with('-')) {
            let words: Vec<&str> = code.split(' ').collect();
            for pair in words.windows(2) {
                match pair {
                    ["-m", name] => assert!(extension::named(name).is_some(), "{code}"),
                    ["-p", name] => assert!(rule(&format!("-p {name}")).is_ok(), "{code}"),
                    ["-j", name] => assert!(rule(&format!("-p tcp -j {name}")).is_ok(), "{code}"),
                    _ => {}
                }
            }
            let long = words.iter().filter(|word| word.starts_with("--"));
            for option in long.filter(|option| **option != "--reject-with") {
                assert!(known(option), "{code}: {option}");
            }
        }
    }

    #[test]
    fn options_say_what_to_write() {
        for (word, advice) in [
            ("-f", "leave it out"),
            ("--fragment", "leave it out"),
            ("--set-counters", "[PACKETS:BYTES]"),
            ("-6", "leave it out"),
            ("-t", "leave it out"),
            ("please", "remove it"),
            ("--dport=80", "`--dport …`"),
            ("--ctstate", "`-m conntrack --ctstate …`"),
            ("--dports", "`-m multiport --dports …`"),
            ("--ctst", "`--ctstate`"),
            ("--sour", "`--source`"),
            ("--source-", "`--source-port`"),
            ("--des", "`--destination`"),
            ("--in-int", "`--in-interface`"),
            ("--mac-so", "`--mac-source`"),
            ("--pr", "`--protocol`"),
            ("--j", "`--jump`"),
            ("--s", "without"),
            ("-ptcp", "`-p tcp`"),
            ("-jDROP", "`-j DROP`"),
            ("--nonsense", "without"),
            ("-é", "without"),
        ] {
            let fault = refuse_option(word).at(1);
            assert!(fault.advice.contains(advice), "{word}: {fault}");
        }
    }

    #[test]
    fn the_document_has_every_one() {
        let document = include_str!("../../../../docs/filter.md");
        let matches = MATCHES.iter().map(|row| ("-m", row));
        for (option, (name, reason, advice)) in matches.chain(TARGETS.iter().map(|row| ("-j", row))) {
            let line = format!("\n| `{option} {name}` | {reason} | {advice} |\n");
            assert!(document.contains(&line), "docs/filter.md lacks{line}");
        }
    }
}
