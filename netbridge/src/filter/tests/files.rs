//! Files that are refused as a whole, or for more than one reason.

use super::file;
use crate::filter::parse;

/// A file and what its faults say, places included.
const FILES: &[(&str, &[&str])] = &[
    (
        "",
        &["f:1: `end of file`: there is no table *filter; begin with `*filter`"],
    ),
    ("# nothing\n\n", &["f:2: `end of file`: there is no table *filter"]),
    (
        "*filter\n:FORWARD DROP\n",
        &["f:2: `end of file`: the last table is not closed; add a line `COMMIT`"],
    ),
    (
        "*filter\nCOMMIT\n",
        &["f:1: `*filter`: the policy of FORWARD is not given; add `:FORWARD ACCEPT [0:0]` or"],
    ),
    (
        "*filter\n:FORWARD - [0:0]\nCOMMIT\n",
        &["f:2: `-`: not a policy; give ACCEPT or DROP"],
    ),
    ("*filter\n:FORWARD\nCOMMIT\n", &["f:2: ``: not a policy"]),
    (
        "-A FORWARD -j DROP\n*filter\n:FORWARD DROP\nCOMMIT\nCOMMIT\n",
        &[
            "f:1: `-A`: the line is outside of a table; put it between",
            "f:5: `COMMIT`: the line is outside of a table",
        ],
    ),
    (
        "*filter\n:FORWARD DROP\nCOMMIT\n*filter\n:FORWARD ACCEPT\n-A FORWARD -j REJECT\nCOMMIT\n",
        &["f:4: `*filter`: the table is already given on line 1; merge the two"],
    ),
    (
        "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n*filter\n:FORWARD DROP\nCOMMIT\n",
        &["f:1: `*nat`: only the table *filter is read; remove the table"],
    ),
    (
        "*mangle\n*raw\nCOMMIT\n*filter\n:FORWARD DROP\nCOMMIT\n",
        &[
            "f:1: `*mangle`: only the table *filter is read",
            "f:2: `*raw`: the table before it is not closed; put `COMMIT` on the line before it",
            "f:2: `*raw`: only the table *filter is read",
        ],
    ),
];

#[test]
fn a_file_out_of_order_is_refused() {
    for (text, expected) in FILES {
        let errors = parse("f", text).expect_err(text);
        assert_eq!(errors.faults.len(), expected.len(), "{text}\n{errors}");
        for (message, piece) in errors.to_string().lines().zip(*expected) {
            assert!(message.starts_with(piece), "{text}\n{message}\n{piece}");
        }
    }
}

#[test]
fn all_faults_are_listed_at_once() {
    let text = "*nat\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER -i eth+ --syn\n\
                -A FORWARD -j ACCEPT\n-A INPUT -j ACCEPT\n";
    let errors = parse("rules.v4", text).unwrap_err();
    let places: Vec<_> = errors
        .faults
        .iter()
        .map(|fault| (fault.line, fault.token.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (1, "*nat"),
            (5, ":DOCKER"),
            (6, "-j DOCKER"),
            (6, "eth+"),
            (6, "--syn"),
            (8, "-A INPUT"),
            (8, "end of file"),
        ]
    );
    assert!(errors.to_string().lines().all(|line| line.starts_with("rules.v4:")));
}

#[test]
fn one_rule_too_many_is_refused_once() {
    let rules = vec!["-A FORWARD -j ACCEPT"; 70].join("\n");
    let errors = parse("f", &file(&rules)).unwrap_err();
    let message =
        "f:67: `-A FORWARD`: a filter holds at most 64 rules, and this is one more; merge rules or remove some";
    assert_eq!(errors.to_string(), message);
}
