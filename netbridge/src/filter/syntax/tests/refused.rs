//! Rules that are refused, each beside the words it is refused with.

use super::{file, read};
use crate::filter::syntax::parse;

/// A rule without `-A FORWARD`, and what its faults say.
const RULES: &[(&str, &[&str])] = &[
    (
        "-i 1234567890123456",
        &["`1234567890123456`: an interface name has at most 15 bytes"],
    ),
    (
        "-i -o app",
        &["`app`: unexpected word; remove it", "`-o`: not an interface name"],
    ),
    ("-i ! web", &["`-i`: the `!` stands before the option; write `! -i …`"]),
    (
        "! -i +",
        &["`+`: no packet is outside of every interface; remove the rule"],
    ),
    (
        "-s 10.0.0.0/33",
        &["`10.0.0.0/33`: bad network mask; give a prefix length"],
    ),
    (
        "-s 10.0.0.1,,fd00::1",
        &["``: not an IPv4 address", "`fd00::1`: IPv6 is not filtered here"],
    ),
    (
        "! -s 10.0.0.1,10.0.0.2",
        &["a list of addresses cannot be negated; write `-j RETURN` rules"],
    ),
    (
        "! -s 0.0.0.0/0",
        &["no packet is outside of every address; remove the rule"],
    ),
    (
        "-s 10.0.0.0/010",
        &["`10.0.0.0/010`: iptables and ipset take most numbers that begin with 0 for octal; write 8 or 10 for 010"],
    ),
    ("-p 010", &["write 8 or 10 for 010"]),
    ("-p tcp --dport 022", &["`022`: iptables and ipset take most numbers"]),
    (
        "-p tcp -m multiport --dports 80,022:033",
        &["`022:033`: iptables and ipset"],
    ),
    ("-p icmp --icmp-type 3/010", &["write 8 or 10 for 010"]),
    ("-m limit --limit 5/s --limit-burst 010", &["write 8 or 10 for 010"]),
    (
        "-m hashlimit --hashlimit-upto 010/s --hashlimit-name 010 --hashlimit-mode srcip --hashlimit-srcmask 024",
        &["write 20 or 24 for 024", "write 8 or 10 for 010"],
    ),
    ("-j NFLOG --nflog-group 010", &["write 8 or 10 for 010"]),
    (
        "-p tpc --dport 80",
        &["`tpc`: unknown protocol; give tcp, udp, icmp, all"],
    ),
    ("! -p all", &["`all`: no packet is outside of every protocol"]),
    ("! -p tcp --dport 80", &["`--dport`: only TCP and UDP have ports"]),
    (
        "! -p tcp -m tcp --dport 80",
        &["`-m tcp`: the match does not fit the protocol; add `-p tcp`"],
    ),
    (
        "--dport 80",
        &["`--dport`: only TCP and UDP have ports; put `-p tcp` or `-p udp` before it"],
    ),
    ("--dport 80 -p tcp", &["`--dport`: only TCP and UDP have ports"]),
    ("-p sctp --sport 80", &["`--sport`: only TCP and UDP have ports"]),
    (
        "-p tcp -m udp",
        &["`-m udp`: the match does not fit the protocol; add `-p udp` or remove it"],
    ),
    (
        "-p tcp ! --sport 0:",
        &["`--sport`: no packet is outside of every port"],
    ),
    (
        "-p tcp --dport http --sport 9:8",
        &["`9:8`: the range of ports is reversed", "`http`: not a port number"],
    ),
    (
        "-p tcp --dport 80 --dport 90",
        &["`--dport`: the option is given twice; keep one, or write `-m tcp` before it again"],
    ),
    (
        "-p tcp --tcp-option 5",
        &["`--tcp-option`: options of TCP are not read"],
    ),
    (
        "-p tcp -m tcp --tcp-option 5",
        &["`--tcp-option`: options of TCP are not read"],
    ),
    (
        "-p tcp --tcp-flags SYN ACK",
        &["`--tcp-flags SYN`: flags are to be set that are not looked at"],
    ),
    (
        "-p tcp --tcp-flags SIN ECE",
        &["`SIN`: not a flag of TCP", "`ECE`: not a flag of TCP"],
    ),
    (
        "-p tcp ! --tcp-flags NONE NONE",
        &["no packet is outside of all packets"],
    ),
    (
        "-p tcp --tcp-flags SYN SYN --syn",
        &["`--syn`: flags are asked for twice"],
    ),
    ("-p tcp --tcp-flags SYN", &["`--tcp-flags`: the option has no value"]),
    (
        "-p icmp -m icmp",
        &["`-m icmp`: the match asks for nothing; add `--icmp-type …`"],
    ),
    ("-p icmp --icmp-type echo", &["`echo`: not a type of ICMP"]),
    (
        "-p icmp ! --icmp-type any",
        &["`any`: no packet is outside of every type"],
    ),
    ("-p tcp -m icmp --icmp-type 8", &["`-m icmp`: the match does not fit"]),
    (
        "-p tcp --icmp-type 8",
        &["`--icmp-type`: its match is not loaded before it; write `-m icmp --icmp-type …`"],
    ),
    (
        "-p tcp -m multiport --dports 80 --sports 80",
        &["`--dports`: one multiport compares one kind of port"],
    ),
    (
        "-m multiport --dports 80",
        &["`-m multiport`: the match does not fit the protocol; add `-p tcp` or `-p udp`"],
    ),
    ("-p tcp -m multiport", &["`-m multiport`: the match asks for nothing"]),
    (
        "-p tcp -m multiport --dports 80:",
        &["`80:`: a range in a list has two ends"],
    ),
    (
        "-m conntrack",
        &["`-m conntrack`: the match asks for nothing; add `--ctstate …` or remove it"],
    ),
    (
        "! -m conntrack --ctstate NEW",
        &["`-m`: a match cannot be negated, only what it asks; write `!` before an option"],
    ),
    ("-m conntrack --ctstate NEWS", &["`NEWS`: unknown connection state"]),
    (
        "-m conntrack ! --ctdir REPLY",
        &["`--ctdir`: the option cannot be negated"],
    ),
    (
        "-m conntrack --ctdir BACK",
        &["`BACK`: not a direction of a flow; give ORIGINAL or REPLY"],
    ),
    (
        "-m conntrack --ctproto 6",
        &["`--ctproto`: the filter is not told this of a flow; write `-p PROTOCOL`"],
    ),
    (
        "-m conntrack --ctorigdstport 80",
        &["`--ctorigdstport`: the filter is not told"],
    ),
    (
        "-m conntrack --ctstatus DNAT",
        &["`--ctstatus`: the filter is not told this of a flow; write `--ctstate`"],
    ),
    ("-m conntrack --ctexpire 5", &["`--ctexpire`: the filter is not told"]),
    (
        "--ctstate NEW",
        &["`--ctstate`: its match is not loaded before it; write `-m conntrack --ctstate …`"],
    ),
    (
        "-m state --state DNAT",
        &["`DNAT`: `state` does not know SNAT and DNAT; write `-m conntrack"],
    ),
    ("-m mac --mac-source 2:42", &["`2:42`: not an Ethernet address"]),
    (
        "-m iprange --src-range 1.2.3.9-1.2.3.4",
        &["the range of addresses is reversed; write 1.2.3.4-1.2.3.9"],
    ),
    (
        "-m addrtype --dst-type BLACKHOLE",
        &["`BLACKHOLE`: the host's routes are not asked for this type"],
    ),
    (
        "-m addrtype --dst-type LOCAL --limit-iface-in",
        &["`--limit-iface-in`: what an address is does not depend"],
    ),
    (
        "-m set --match-set nowhere src",
        &["`--match-set nowhere`: s has no such set; create it there"],
    ),
    (
        "-m set --match-set services src",
        &["`--match-set services`: the set has 2 dimensions, and the rule looks up 1"],
    ),
    (
        "-m set --match-set hosts from",
        &["`from`: not a direction; give src or dst"],
    ),
    (
        "-m set --match-set hosts src,src,src,src,src,src,src",
        &["`src,src,src,src,src,src,src`: there are at most 6 directions; give one for each dimension"],
    ),
    (
        "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
        &["a multiport holds 15 ports, a range counting as two, and these are 16; write two rules"],
    ),
    (
        "-p tcp --dport 65536",
        &["`65536`: ports end at 65535; give a number from 0 to 65535"],
    ),
    (
        "-t filter",
        &["`-t`: the table is given by the line that begins with `*`"],
    ),
    ("-6", &["`-6`: every rule is for IPv4"]),
    ("-m set --match-set hosts", &["`--match-set`: the option has no value"]),
    (
        "-m set --match-set hosts src --match-set hosts dst",
        &["`--match-set`: the option is given twice; keep one, or write `-m set`"],
    ),
    (
        "-m set --match-set hosts src --return-nomatch",
        &["`--return-nomatch`: a set is asked for membership alone"],
    ),
    (
        "-m set --set hosts src",
        &["`--set`: the option is of old; write `--match-set"],
    ),
    ("-m limit --limit 0/s", &["`0/s`: not a rate of packets"]),
    (
        "-m limit --limit 10001/s",
        &["`10001/s`: netfilter cannot count so fast"],
    ),
    ("-m limit ! --limit 5/s", &["`--limit`: the option cannot be negated"]),
    (
        "-m limit --limit 5/s --limit-burst 0",
        &["`0`: not a number that may stand here; give a number from 1 to 10000"],
    ),
    (
        "-m hashlimit --hashlimit-name x",
        &["`-m hashlimit`: the match asks for nothing; add `--hashlimit-upto …`"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s",
        &["`-m hashlimit`: the buckets have no name; add `--hashlimit-name NAME`"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5kb/s --hashlimit-name x",
        &["`5kb/s`: bytes are not limited, only packets"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-above 6/s --hashlimit-name x",
        &["`--hashlimit-above`: the rate is given twice"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-name x --hashlimit-mode src",
        &["`src`: not a mode of hashlimit"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-name x --hashlimit-srcmask 24",
        &["`--hashlimit-srcmask`: the address does not tell buckets apart; add srcip"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-name x --hashlimit-mode dstip --hashlimit-dstmask 0",
        &["`0`: not a number that may stand here"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-name a/b",
        &["`a/b`: a name has 1 to 254 bytes"],
    ),
    (
        "-m hashlimit --hashlimit-upto 5/s --hashlimit-name x --hashlimit-rate-match",
        &["`--hashlimit-rate-match`: rates are not measured"],
    ),
    (
        "-m mark --mark 0xff/0xf",
        &["`0xff/0xf`: the mask hides a part of the value; write 0xf/0xf"],
    ),
    ("-m mark --mark red", &["`red`: not a mark"]),
    (
        "-m comment --comment \"a\u{1b}[31m\"",
        &["`a\u{fffd}[31m`: a comment is printable text"],
    ),
    (
        "-m comment --comment \"x -j DROP",
        &["`\"x -j DROP`: the quote is not closed"],
    ),
    ("-m comment", &["`-m comment`: the match asks for nothing"]),
    (
        "-i a -i b",
        &["`-i`: the option is given twice; keep one, or write two rules"],
    ),
    ("-s 1.2.3.4 --src 1.2.3.4", &["`--src`: the option is given twice"]),
    ("-p tcp -p udp", &["`-p`: the option is given twice"]),
    ("-j DROP -g mine", &["`-g`: the option is given twice"]),
    ("! -j DROP", &["`-j`: the option cannot be negated"]),
    ("-j", &["`-j`: the option has no value"]),
    ("-j DROP !", &["`!`: there is nothing to negate"]),
    ("! ! -i web", &["`!`: there is nothing to negate"]),
    ("-j DROP # done", &["`#`: a comment takes a line of its own"]),
    ("-j DROP please", &["`please`: unexpected word"]),
    ("-f", &["`-f`: fragments are judged with their first"]),
    (
        "-c 1 2",
        &["`-c`: counters are not given among the options; write `[PACKETS:BYTES]` before `-A`"],
    ),
    (
        "-p tcp --dport=80",
        &["`--dport=80`: an option and its value are two words; write a blank instead: `--dport …`"],
    ),
    (
        "-ptcp",
        &["`-ptcp`: an option and its value are two words; write `-p tcp`"],
    ),
    (
        "-m conntrack --ctst NEW",
        &["`--ctst`: options are written out; write `--ctstate`"],
    ),
    ("--frobnicate", &["`--frobnicate`: unknown option"]),
    (
        "-m recent --name x --rcheck --seconds 5 -j DROP",
        &["`-m recent`: the filter keeps nothing of this; write `-m hashlimit"],
    ),
    (
        "-m physdev --physdev-in eth0 -j DROP",
        &["`-m physdev`: ports of a bridge have no option of their own; name the endpoint"],
    ),
    (
        "-m frob --nicate",
        &["`-m frob`: unknown match; write it with tcp, udp"],
    ),
    (
        "-j TCPMSS --clamp-mss-to-pmtu -p tcp --syn",
        &["`-j TCPMSS`: the filter decides about packets and does not change them"],
    ),
    (
        "-j DNAT --to-destination 1.2.3.4",
        &["`-j DNAT`: addresses are not translated by the filter; publish the port"],
    ),
    (
        "-j NFQUEUE --queue-num 5",
        &["`-j NFQUEUE`: no packet is handed to a program"],
    ),
    (
        "-j nowhere",
        &["`-j nowhere`: there is no such chain and no such target; declare it with a line `:nowhere - [0:0]`"],
    ),
    ("-j accept", &["`-j accept`: there is no such chain"]),
    ("-g nowhere", &["`-g nowhere`: there is no such chain"]),
    ("-g DROP", &["`-g DROP`: only a chain can be gone to; write `-j DROP`"]),
    (
        "-j OUTPUT",
        &["`-j OUTPUT`: a chain of netfilter's own cannot be jumped to"],
    ),
    (
        "-j FORWARD",
        &["`-j FORWARD`: a chain of netfilter's own cannot be jumped to"],
    ),
    (
        "-j REJECT --reject-with tcp-reset",
        &["`--reject-with tcp-reset`: only TCP knows a reset; add `-p tcp`"],
    ),
    (
        "! -p tcp -j REJECT --reject-with tcp-reset",
        &["`--reject-with tcp-reset`: only TCP knows a reset"],
    ),
    (
        "-j REJECT --reject-with nothing",
        &["`nothing`: not an answer that REJECT can give"],
    ),
    ("-j LOG --log-level loud", &["`loud`: not a level of the log"]),
    (
        "-j LOG --log-prefix 123456789012345678901234567890",
        &["a prefix has 1 to 29 bytes; shorten it"],
    ),
    (
        "-j LOG --log-prefix \"\"",
        &["a prefix has 1 to 29 bytes; leave the option out"],
    ),
    (
        "-j LOG --log-uid --log-uid",
        &["`--log-uid`: the option is given twice; keep one"],
    ),
    ("-j LOG --log-colour red", &["`--log-colour`: unknown option"]),
    (
        "-j NFLOG --nflog-group 65536",
        &["`65536`: not a number that may stand here"],
    ),
    (
        "-j NFLOG --nflog-range 64",
        &["`--nflog-range`: netfilter does not heed it either; write `--nflog-size`"],
    ),
];

#[test]
fn every_refusal_names_its_line_its_word_and_its_remedy() {
    for (rule, expected) in RULES {
        let errors = read(&format!("-A FORWARD {rule}")).expect_err(rule);
        assert_eq!(errors.faults.len(), expected.len(), "{rule}\n{errors}");
        for (message, piece) in errors.to_string().lines().zip(*expected) {
            assert!(
                message.starts_with("f:4: `") && message.contains(piece),
                "{rule}\n{message}\n{piece}"
            );
        }
        let whole = |fault: &crate::filter::Fault| !fault.reason.is_empty() && !fault.advice.is_empty();
        assert!(errors.faults.iter().all(whole), "{rule}");
    }
}

#[test]
fn a_set_without_a_file_of_sets_is_refused() {
    let errors = parse("f", &file("-A FORWARD -m set --match-set hosts src"), None).unwrap_err();
    let message =
        "f:4: `--match-set hosts`: no file of sets is given; give the output of `ipset save` beside the rules";
    assert_eq!(errors.to_string(), message);
}

#[test]
fn a_rule_has_only_so_many_matches() {
    let rule = |count| format!("-A FORWARD -p tcp{} -j nowhere", " -m tcp --dport 1".repeat(count));
    assert!(
        read(&rule(64)).unwrap_err().to_string().contains("`-j nowhere`"),
        "all of the rule is read"
    );
    let errors = read(&rule(50_000)).unwrap_err();
    let message = "f:4: `-m tcp`: a rule has at most 64 matches, and this is one more; jump to a chain";
    assert!(
        errors.faults.len() == 1 && errors.to_string().starts_with(message),
        "{errors}"
    );
}

#[test]
fn one_rule_too_many_is_refused_once() {
    let rules = "-A FORWARD -j ACCEPT\n".repeat(65_538);
    let errors = parse("f", &file(&rules), None).unwrap_err();
    let message = "f:65540: `-A`: a filter holds at most 65536 rules, and this is one more";
    assert!(
        errors.faults.len() == 1 && errors.to_string().starts_with(message),
        "{errors}"
    );
    let list = vec!["10.0.0.1"; 2000].join(",");
    let errors = parse("f", &file(&format!("-A FORWARD -s {list} -d {list}")), None).unwrap_err();
    assert!(
        errors.to_string().starts_with("f:4: `-A`: a filter holds at most"),
        "{errors}"
    );
}

#[test]
fn more_matches_than_fit_are_refused_once() {
    let list = (0..=255)
        .map(|net| format!("10.0.{net}.1"))
        .collect::<Vec<_>>()
        .join(",");
    let line = |count| {
        let matches = "-m comment --comment x ".repeat(count);
        file(&format!(
            "-A FORWARD -s {list} -d {list} {matches}-j DROP\n-A FORWARD -m comment --comment y"
        ))
    };
    let errors = parse("f", &line(9), None).unwrap_err();
    let message = "f:4: `-A`: the rules of a filter have at most 524288 matches, and this is one more; merge rules";
    assert!(
        errors.faults.len() == 1 && errors.to_string().starts_with(message),
        "{errors}"
    );
}
