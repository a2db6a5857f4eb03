//! Forms that are taken, each beside the canonical form it is shown in.

use serde_json::json;

use super::{file, meaning};
use crate::filter::{Verdict, parse};

const ACCEPTED: &[(&str, &str)] = &[
    ("-A FORWARD -j ACCEPT", "-A FORWARD -j ACCEPT"),
    ("--append FORWARD --jump DROP", "-A FORWARD -j DROP"),
    ("[12:3456] -A FORWARD -j DROP", "-A FORWARD -j DROP"),
    ("  -A\tFORWARD  -j DROP\r", "-A FORWARD -j DROP"),
    ("-A FORWARD -j DROP -i web", "-A FORWARD -i web -j DROP"),
    (
        "-A FORWARD --in-interface web --out-interface app -j DROP",
        "-A FORWARD -i web -o app -j DROP",
    ),
    (
        "-A FORWARD ! -i web ! -o eth0.100 -j DROP",
        "-A FORWARD ! -i web ! -o eth0.100 -j DROP",
    ),
    (
        "-A FORWARD -s 10.0.0.1/8 -d 10.0.0.1 -j DROP",
        "-A FORWARD -s 10.0.0.0/8 -d 10.0.0.1/32 -j DROP",
    ),
    (
        "-A FORWARD --source 10.0.0.1/255.0.0.0 -j DROP",
        "-A FORWARD -s 10.0.0.0/8 -j DROP",
    ),
    (
        "-A FORWARD --src 10.1.2.3/255.0.255.0 -j DROP",
        "-A FORWARD -s 10.0.2.0/255.0.255.0 -j DROP",
    ),
    (
        "-A FORWARD ! --destination 10.0.0.0/8 -j DROP",
        "-A FORWARD ! -d 10.0.0.0/8 -j DROP",
    ),
    (
        "-A FORWARD ! --dst 10.0.0.0/8 ! -s 1.2.3.4 -j DROP",
        "-A FORWARD ! -s 1.2.3.4/32 ! -d 10.0.0.0/8 -j DROP",
    ),
    ("-A FORWARD -s 0.0.0.0/0 -d 1.2.3.4/0 -j DROP", "-A FORWARD -j DROP"),
    ("-A FORWARD -p tcp -j DROP", "-A FORWARD -p tcp -j DROP"),
    ("-A FORWARD --protocol 17 -j DROP", "-A FORWARD -p udp -j DROP"),
    ("-A FORWARD -p ICMP -j DROP", "-A FORWARD -p icmp -j DROP"),
    ("-A FORWARD -p 47 -j DROP", "-A FORWARD -p gre -j DROP"),
    ("-A FORWARD -p 253 -j DROP", "-A FORWARD -p 253 -j DROP"),
    ("-A FORWARD -p all -j DROP", "-A FORWARD -j DROP"),
    ("-A FORWARD -p 0 -j DROP", "-A FORWARD -j DROP"),
    ("-A FORWARD -p tcp -m tcp -j DROP", "-A FORWARD -p tcp -j DROP"),
    (
        "-A FORWARD -p tcp --dport 80 -j DROP",
        "-A FORWARD -p tcp -m tcp --dport 80 -j DROP",
    ),
    (
        "-A FORWARD -m tcp --dport 80 -p 6 -j DROP",
        "-A FORWARD -p tcp -m tcp --dport 80 -j DROP",
    ),
    (
        "-A FORWARD -p udp --match udp --source-port 1024: --destination-port :53 -j DROP",
        "-A FORWARD -p udp -m udp --sport 1024:65535 --dport 0:53 -j DROP",
    ),
    (
        "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    (
        "-A FORWARD -m state --state NEW -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate NEW -j ACCEPT",
    ),
    (
        "-A FORWARD -m comment --comment plain -j DROP",
        "-A FORWARD -m comment --comment plain -j DROP",
    ),
    (
        "-A FORWARD -m comment --comment ! -j DROP",
        r#"-A FORWARD -m comment --comment "!" -j DROP"#,
    ),
    (
        "-A FORWARD -m comment --comment -j -j DROP",
        "-A FORWARD -m comment --comment -j -j DROP",
    ),
    (
        r#"-A FORWARD -m comment --comment "it's \"a # b\" \\" -j DROP"#,
        r#"-A FORWARD -m comment --comment "it\'s \"a # b\" \\" -j DROP"#,
    ),
    (
        r#"-A FORWARD -m comment --comment "" -j DROP"#,
        r#"-A FORWARD -m comment --comment "" -j DROP"#,
    ),
];

#[test]
fn every_form_is_taken_and_shown_canonically() {
    for (rule, canonical) in ACCEPTED {
        let rules = parse("f", &file(rule)).unwrap_or_else(|errors| panic!("{rule}\n{errors}"));
        assert_eq!(rules.rules.len(), 1);
        assert_eq!(rules.rules[0].line, 3);
        assert_eq!(rules.rules[0].text, rule.trim());
        assert_eq!(rules.rules[0].to_string(), *canonical, "{rule}");
        let again = parse("f", &rules.to_string()).unwrap_or_else(|errors| panic!("{rule}\n{errors}"));
        assert_eq!(meaning(&again), meaning(&rules), "{rule}");
    }
}

#[test]
fn what_surrounds_the_rules_is_read() {
    let text =
        "# a comment\n\n*filter\n:INPUT ACCEPT [1:2]\n  # another\n:FORWARD ACCEPT\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n#\n";
    let rules = parse("f", text).unwrap();
    assert_eq!((rules.policy, rules.rules.len()), (Verdict::Accept, 0));
    assert_eq!(
        rules.to_string(),
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
    );
}

#[test]
fn a_full_filter_is_taken() {
    let rules = vec!["-A FORWARD -j ACCEPT"; 64].join("\n");
    assert_eq!(parse("f", &file(&rules)).unwrap().rules.len(), 64);
}

/// The fixtures are what iptables 1.8.9 saved after loading one file into either of its backends,
/// the legacy one with counters; only the date is changed.
#[test]
fn what_iptables_saves_is_taken_as_it_is() {
    let nft = include_str!("../fixtures/iptables-nft-save.rules");
    let legacy = include_str!("../fixtures/iptables-legacy-save-counters.rules");
    let rules = parse("nft", nft).unwrap_or_else(|errors| panic!("{errors}"));
    let others = parse("legacy", legacy).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(meaning(&rules), meaning(&others));
    assert_eq!((rules.policy, rules.rules.len()), (Verdict::Drop, 13));
    for rule in &rules.rules {
        let as_saved = rule.text.replace("-m state --state", "-m conntrack --ctstate");
        let bare_match = as_saved.replace("-p tcp -m tcp -j", "-p tcp -j");
        assert_eq!(rule.to_string(), bare_match, "line {}", rule.line);
    }
}

#[test]
fn rules_serialise_for_machines() {
    let rule = "-A FORWARD ! -s 10.0.0.0/8 -o app -p tcp --dport 80:90 -m conntrack --ctstate NEW -j ACCEPT";
    let rules = parse("f", &file(rule)).unwrap();
    assert_eq!(
        serde_json::to_value(&rules).unwrap(),
        json!({ "policy": "DROP", "rules": [{
            "line": 3,
            "text": rule,
            "source": { "value": "10.0.0.0/8", "negated": true },
            "out_interface": { "value": "app", "negated": false },
            "protocol": "tcp",
            "destination_ports": { "first": 80, "last": 90 },
            "states": ["NEW"],
            "verdict": "ACCEPT",
        }] })
    );
}
