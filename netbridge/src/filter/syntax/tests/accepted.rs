//! Forms that are taken, each beside the form that `iptables-save` 1.8.9 gives it.

use super::{file, read};
use crate::filter::syntax::{Counters, Policy, parse};

/// Rules without `-A FORWARD`; an empty second text says that the first is shown as it is.
const ACCEPTED: &[(&str, &str)] = &[
    ("", ""),
    ("-j ACCEPT", ""),
    ("--jump DROP", "-j DROP"),
    ("-j RETURN", ""),
    ("-j mine", ""),
    ("-g mine", ""),
    ("--goto mine", "-g mine"),
    ("-j DROP -i web", "-i web -j DROP"),
    ("--in-interface web --out-interface app", "-i web -o app"),
    ("! -i web ! -o eth0.100 -j DROP", ""),
    ("-i eth+ ! -o a++ -j DROP", ""),
    ("-i + -o + -j DROP", "-j DROP"),
    ("-s 10.0.0.1/8 -d 10.0.0.1", "-s 10.0.0.0/8 -d 10.0.0.1/32"),
    ("--source 10.0.0.1/255.0.0.0", "-s 10.0.0.0/8"),
    ("--src 10.1.2.3/255.0.255.0", "-s 10.0.2.0/255.0.255.0"),
    ("! --dst 10.0.0.0/8 ! -s 1.2.3.4", "! -s 1.2.3.4/32 ! -d 10.0.0.0/8"),
    ("-s 0.0.0.0/0 -d 1.2.3.4/0 -j DROP", "-j DROP"),
    ("-p tcp", ""),
    ("! -p tcp -j DROP", ""),
    ("--protocol 17", "-p udp"),
    ("-p 253", ""),
    ("-p all -j DROP", "-j DROP"),
    ("-p tcp -m tcp -j DROP", ""),
    ("-p tcp --dport 80", "-p tcp -m tcp --dport 80"),
    ("-m tcp --dport 80 -p 6", "-p tcp -m tcp --dport 80"),
    ("-p tcp --sport 0:65535 -j DROP", "-p tcp -m tcp -j DROP"),
    (
        "-p tcp ! --sport 80:90 ! --dport 5 --syn",
        "-p tcp -m tcp ! --sport 80:90 ! --dport 5 --tcp-flags FIN,SYN,RST,ACK SYN",
    ),
    ("-p tcp ! --syn", "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"),
    (
        "-p tcp --tcp-flags ALL NONE",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE",
    ),
    ("-p tcp --tcp-flags NONE NONE", "-p tcp -m tcp"),
    (
        "-p tcp ! --tcp-flags SYN,FIN SYN,FIN",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN FIN,SYN",
    ),
    (
        "-p udp --match udp --source-port 1024: --destination-port :53",
        "-p udp -m udp --sport 1024:65535 --dport 0:53",
    ),
    ("-p tcp -m conntrack --ctstate NEW -m tcp --dport 80 -j DROP", ""),
    (
        "-p tcp -m comment --comment x --dport 80",
        "-p tcp -m comment --comment x -m tcp --dport 80",
    ),
    ("-p icmp -m icmp --icmp-type any", ""),
    ("-p icmp --icmp-type echo-request", "-p icmp -m icmp --icmp-type 8"),
    ("-p icmp -m icmp ! --icmp-type 3/1", ""),
    ("-p icmp -m icmp --icmp-type 3 -m icmp --icmp-type 3/1", ""),
    ("-p tcp -m multiport --dports 80,443,100:200", ""),
    (
        "-p udp -m multiport ! --source-ports 80",
        "-p udp -m multiport ! --sports 80",
    ),
    ("-p udp -m multiport --ports 80", ""),
    ("-p tcp -m multiport --sports 80 -m multiport --dports 90", ""),
    ("-m conntrack --ctdir REPLY", ""),
    (
        "-m conntrack --ctstate DNAT,SNAT,UNTRACKED,NEW --ctdir original",
        "-m conntrack --ctstate NEW,UNTRACKED,SNAT,DNAT --ctdir ORIGINAL",
    ),
    ("-m conntrack ! --ctstate INVALID", ""),
    (
        "-m conntrack -j ACCEPT --ctstate NEW",
        "-m conntrack --ctstate NEW -j ACCEPT",
    ),
    (
        "-m conntrack -m comment --comment x --ctstate NEW",
        "-m conntrack --ctstate NEW -m comment --comment x",
    ),
    ("-m state ! --state INVALID,UNTRACKED", ""),
    (
        "-m mac ! --mac-source A:b:C:0:FF:9",
        "-m mac ! --mac-source 0a:0b:0c:00:ff:09",
    ),
    (
        "-m iprange --src-range 1.2.3.4",
        "-m iprange --src-range 1.2.3.4-1.2.3.4",
    ),
    (
        "-m iprange ! --src-range 1.2.3.4-1.2.3.9 --dst-range 5.6.7.8-5.6.7.9",
        "",
    ),
    (
        "-m addrtype --src-type local,UNICAST ! --dst-type MULTICAST,BROADCAST",
        "-m addrtype --src-type UNICAST,LOCAL ! --dst-type BROADCAST,MULTICAST",
    ),
    ("-m set --match-set hosts src", ""),
    (
        "-m set ! --match-set services src,dst -m set --match-set hosts dst,src",
        "",
    ),
    ("-m limit", "-m limit --limit 3/hour"),
    ("-m limit --limit 60/min --limit-burst 5", "-m limit --limit 1/sec"),
    (
        "-m limit --limit 100/m --limit-burst 10000",
        "-m limit --limit 100/min --limit-burst 10000",
    ),
    (
        "-m hashlimit --hashlimit 60/min --hashlimit-name x",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name x --hashlimit-htable-expire 60000",
    ),
    (
        "-m hashlimit --hashlimit-upto 5/min --hashlimit-burst 9 --hashlimit-mode dstport,srcip --hashlimit-name x \
         --hashlimit-srcmask 24",
        "-m hashlimit --hashlimit-upto 5/min --hashlimit-burst 9 --hashlimit-mode srcip,dstport --hashlimit-name x \
         --hashlimit-srcmask 24",
    ),
    (
        "-m hashlimit --hashlimit-above 5/min --hashlimit-name x --hashlimit-htable-gcinterval 500 \
         --hashlimit-htable-max 100 --hashlimit-htable-size 64 --hashlimit-htable-expire 60000",
        "-m hashlimit --hashlimit-above 5/min --hashlimit-burst 5 --hashlimit-name x --hashlimit-htable-size 64 \
         --hashlimit-htable-max 100 --hashlimit-htable-gcinterval 500",
    ),
    (
        "-m hashlimit ! --hashlimit-upto 10/s --hashlimit-name x",
        "-m hashlimit --hashlimit-above 10/sec --hashlimit-burst 5 --hashlimit-name x",
    ),
    ("-m mark --mark 12", "-m mark --mark 0xc"),
    ("-m mark ! --mark 0x4000/0x4000", ""),
    ("-m comment --comment a -m comment --comment b", ""),
    ("-m comment --comment ! -j DROP", r#"-m comment --comment "!" -j DROP"#),
    ("-m comment --comment -j -j DROP", ""),
    (
        r#"-m comment --comment "it's \"a # b\" \\""#,
        r#"-m comment --comment "it\'s \"a # b\" \\""#,
    ),
    (r#"-m comment --comment "" -j DROP"#, ""),
    ("-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"),
    (
        "-p tcp -j REJECT --reject-with tcp-rst",
        "-p tcp -j REJECT --reject-with tcp-reset",
    ),
    (
        "-j REJECT --reject-with admin-prohib",
        "-j REJECT --reject-with icmp-admin-prohibited",
    ),
    ("-j LOG", ""),
    (
        "-j LOG --log-level debug --log-prefix \"[UFW BLOCK] \" --log-macdecode --log-tcp-options --log-ip-options \
         --log-uid --log-tcp-sequence",
        "-j LOG --log-prefix \"[UFW BLOCK] \" --log-level 7 --log-tcp-sequence --log-tcp-options --log-ip-options \
         --log-uid --log-macdecode",
    ),
    ("-j LOG --log-level 4 --log-prefix !", "-j LOG --log-prefix \"!\""),
    (
        "-j NFLOG --nflog-group 5 --nflog-prefix \"x y\" --nflog-size 64 --nflog-threshold 10",
        "-j NFLOG --nflog-prefix \"x y\" --nflog-group 5 --nflog-size 64 --nflog-threshold 10",
    ),
    ("-j NFLOG --nflog-group 0 --nflog-threshold 0", "-j NFLOG"),
];

#[test]
fn every_form_is_taken_and_shown_canonically() {
    for (text, canonical) in ACCEPTED {
        let canonical = if canonical.is_empty() { text } else { canonical };
        let parsed = read(&format!("-A FORWARD {text}")).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        let rules = &parsed.ruleset.chains[0].rules;
        assert_eq!((rules.len(), rules[0].line), (1, 4), "{text}");
        assert_eq!(rules[0].to_string(), *canonical, "{text}");
        let again = read(&rules[0].in_chain("FORWARD").to_string()).unwrap();
        assert_eq!(again.ruleset.chains[0].rules, *rules, "{text}");
    }
}

#[test]
fn a_list_of_addresses_is_a_rule_for_each() {
    let parsed = read("-A FORWARD -s 1.2.3.4,0.0.0.0/0 -d 9.9.9.9,8.8.8.8,9.9.9.9 -j DROP").unwrap();
    let rules = &parsed.ruleset.chains[0].rules;
    let shown: Vec<_> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "-s 1.2.3.4/32 -d 9.9.9.9/32 -j DROP",
            "-s 1.2.3.4/32 -d 8.8.8.8/32 -j DROP",
            "-s 1.2.3.4/32 -d 9.9.9.9/32 -j DROP",
            "-d 9.9.9.9/32 -j DROP",
            "-d 8.8.8.8/32 -j DROP",
            "-d 9.9.9.9/32 -j DROP",
        ]
    );
    assert!(rules.iter().all(|rule| rule.line == 4));
}

#[test]
fn what_surrounds_the_rules_is_read_and_shown() {
    let text = "# a comment\n\n*filter\n:INPUT ACCEPT [1:2]\n  # another\n:FORWARD ACCEPT [3:4]\n:mine - [5:6]\n\
                [7:8] -A FORWARD -j mine\r\n--append mine -j DROP\nCOMMIT\n#\n";
    let parsed = parse("f", text, None).unwrap();
    let rules = &parsed.ruleset;
    assert_eq!((rules.policy, parsed.notes.len()), (Policy::Accept, 0));
    assert_eq!(rules.chains[0].counters, Counters { packets: 3, bytes: 4 });
    assert_eq!((rules.chains[0].line, rules.chains[1].line), (6, 7));
    assert_eq!(rules.chains[0].rules[0].counters, Counters { packets: 7, bytes: 8 });
    assert_eq!(
        rules.to_string(),
        "*filter\n:FORWARD ACCEPT [3:4]\n:mine - [0:0]\n-A FORWARD -j mine\n-A mine -j DROP\nCOMMIT\n"
    );
    assert_eq!(
        rules.with_counters().to_string(),
        "*filter\n:FORWARD ACCEPT [3:4]\n:mine - [0:0]\n[7:8] -A FORWARD -j mine\n[0:0] -A mine -j DROP\nCOMMIT\n"
    );
}

#[test]
fn a_full_filter_is_taken() {
    let rules = "-A FORWARD -j ACCEPT\n".repeat(65_536);
    assert_eq!(
        parse("f", &file(&rules), None).unwrap().ruleset.chains[0].rules.len(),
        65_536
    );
}
