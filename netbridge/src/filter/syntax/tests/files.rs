//! Files as a whole: their tables and chains, what is refused of them and what is left alone.

use super::{file, read};
use crate::filter::syntax::{MAX_DEPTH, parse};

/// A file and what its faults say, places included.
const REFUSED: &[(&str, &[&str])] = &[
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
    ("*filter\n:FORWARD RETURN\nCOMMIT\n", &["f:2: `RETURN`: not a policy"]),
    (
        "-A FORWARD -j DROP\n*filter\n:FORWARD DROP\nCOMMIT\nCOMMIT\n",
        &[
            "f:1: `-A`: the line is outside of a table; put it between",
            "f:5: `COMMIT`: the line is outside of a table",
        ],
    ),
    (
        "*filter\n:FORWARD DROP\nCOMMIT\n*filter\n:FORWARD ACCEPT\n-A FORWARD -j MARK\nCOMMIT\n",
        &["f:4: `*filter`: the table is already given on line 1; merge the two"],
    ),
    (
        "*mangle\n*raw\nCOMMIT\n*filter\n:FORWARD DROP\nCOMMIT\n",
        &["f:2: `*raw`: the table before it is not closed; put `COMMIT` on the line before it"],
    ),
];

#[test]
fn a_file_out_of_order_is_refused() {
    for (text, expected) in REFUSED {
        let errors = parse("f", text, None).expect_err(text);
        assert_eq!(errors.faults.len(), expected.len(), "{text}\n{errors}");
        for (message, piece) in errors.to_string().lines().zip(*expected) {
            assert!(message.starts_with(piece), "{text}\n{message}\n{piece}");
        }
    }
}

/// Lines of a file that declares `mine`, and what is said about the first of them.
const LINES: &[(&str, &str)] = &[
    (
        ":FORWARD DROP [0:0]",
        "`:FORWARD`: the chain is declared twice; keep one declaration",
    ),
    (":mine - [0:0]", "`:mine`: the chain is declared twice"),
    (
        ":other ACCEPT [0:0]",
        "`ACCEPT`: a chain of the user's has no policy; write `:other - [0:0]`",
    ),
    (":LOG - [0:0]", "`LOG`: this is the name of a target; choose another"),
    (
        ":12345678901234567890123456789 - [0:0]",
        "`12345678901234567890123456789`: a chain's name has at most 28 bytes",
    ),
    (
        ":other - [0:x]",
        "`[0:x]`: unexpected word; end the line with [PACKETS:BYTES]",
    ),
    (":other - [0:0] more", "`more`: unexpected word"),
    (": - [0:0]", "`-`: not a name for a chain"),
    ("-A", "`-A`: the rule names no chain"),
    (
        "-A nowhere -j DROP\n-A nowhere -j DROP",
        "`-A nowhere`: there is no such chain; add `:nowhere - [0:0]` before it",
    ),
    ("-A PREROUTING -j DROP", "`-A PREROUTING`: there is no such chain"),
    ("-I FORWARD -j DROP", "`-I`: not a rule; write `-A FORWARD …` where"),
    ("-P FORWARD DROP", "`-P`: not a rule; write `:FORWARD ACCEPT [0:0]` or"),
    ("-N other", "`-N`: not a rule; write `:CHAIN - [0:0]`"),
    ("[1] -A FORWARD -j DROP", "`[1]`: not a rule"),
    ("[0:0]", "`[0:0]`: not a rule"),
    ("forward everything", "`forward`: not a rule"),
];

#[test]
fn a_line_that_is_none_is_refused() {
    for (line, expected) in LINES {
        let errors = read(line).expect_err(line);
        assert_eq!(errors.faults.len(), 1, "{line}\n{errors}");
        assert!(errors.to_string().starts_with(&format!("f:4: {expected}")), "{errors}");
    }
}

#[test]
fn a_table_of_buckets_has_one_rate() {
    let table = |name: &str, more: &str| {
        format!("-m hashlimit --hashlimit-upto 5/sec --hashlimit-name {name} {more} -j ACCEPT\n")
    };
    let read = |other: &str| {
        let (one, three) = (table("a", ""), table("b", "--hashlimit-mode dstip"));
        parse(
            "f",
            &format!(
                "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n-A FORWARD -j mine\n-A mine {one}-A FORWARD {other}-A mine {three}COMMIT\n"
            ),
            None,
        )
    };
    for (name, more) in [
        ("a", ""),
        ("a", "--hashlimit-htable-expire 9"),
        ("c", "--hashlimit-burst 9"),
    ] {
        assert!(read(&table(name, more)).is_ok(), "{more}");
    }
    for (name, more, told) in [
        (
            "a",
            "--hashlimit-burst 9",
            "f:6: `--hashlimit-name a`: the buckets of this name have another rate or mode on line 5;",
        ),
        (
            "b",
            "--hashlimit-mode srcip",
            "f:7: `--hashlimit-name b`: the buckets of this name have another rate or mode on line 6;",
        ),
    ] {
        let errors = read(&table(name, more)).unwrap_err();
        assert_eq!(errors.faults.len(), 1, "{errors}");
        assert!(errors.to_string().starts_with(told), "{errors}");
    }
}

#[test]
fn chains_that_lead_round_in_circles_are_refused() {
    let text = "*filter\n:FORWARD DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n:c - [0:0]\n-A FORWARD -j a\n-A a -j b\n\
                -A b -g c\n-A c -p tcp -j a\n-A b -j b\n-A FORWARD -j c\nCOMMIT\n";
    let errors = parse("f", text, None).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "f:9: `a`: the chain leads back to itself: a → b → c → a; take one of these jumps out\n\
         f:10: `b`: the chain leads back to itself: b → b; take one of these jumps out"
    );
}

#[test]
fn a_long_circle_is_named_shortly_and_once_for_each_pair_of_chains() {
    let declared: Vec<_> = (0..20).map(|number| format!(":c{number} - [0:0]")).collect();
    let rules: Vec<_> = (1..20)
        .map(|number| format!("-A c{} -j c{number}", number - 1))
        .collect();
    let (declared, rules) = (declared.join("\n"), rules.join("\n"));
    let back = "-A c19 -j c0\n".repeat(3);
    let text = format!("*filter\n:FORWARD DROP [0:0]\n{declared}\n-A FORWARD -j c0\n{rules}\n{back}COMMIT\n");
    assert_eq!(
        parse("f", &text, None).unwrap_err().to_string(),
        "f:43: `c0`: the chain leads back to itself: c0 → c1 → c2 → c3 → c4 → c5 → c6 → … → c19 → c0; \
         take one of these jumps out"
    );
}

#[test]
fn chains_that_nobody_declares_are_told_once_each() {
    let rules = (0..500)
        .map(|number| format!("-A c{number}\n-A c{number}\n"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(parse("f", &file(&rules), None).unwrap_err().faults.len(), 500);
}

#[test]
fn chains_are_as_deep_within_one_another_as_for_netfilter() {
    let deep = |count: usize| {
        let name = |number| {
            if number == 0 {
                "FORWARD".to_owned()
            } else {
                format!("c{number}")
            }
        };
        let declared: Vec<_> = (1..count).map(|number| format!(":c{number} - [0:0]")).collect();
        let rules: Vec<_> = (1..count)
            .map(|number| format!("-A {} -j c{number}", name(number - 1)))
            .collect();
        let (declared, rules) = (declared.join("\n"), rules.join("\n"));
        parse(
            "f",
            &format!("*filter\n:FORWARD DROP [0:0]\n{declared}\n{rules}\nCOMMIT\n"),
            None,
        )
    };
    assert_eq!(deep(MAX_DEPTH).unwrap().ruleset.chains.len(), 16);
    let errors = deep(MAX_DEPTH + 3).unwrap_err();
    let message = "f:36: `c16`: netfilter takes 16 chains within one another, and this is one more";
    assert!(
        errors.faults.len() == 1 && errors.to_string().starts_with(message),
        "{errors}"
    );
}

#[test]
fn a_long_way_through_chains_is_followed() {
    let count = 20_000;
    let declared: Vec<_> = (0..count).map(|number| format!(":c{number} - [0:0]")).collect();
    let rules: Vec<_> = (1..count)
        .map(|number| format!("-A c{} -j c{number}", number - 1))
        .collect();
    let (declared, rules) = (declared.join("\n"), rules.join("\n"));
    let text = format!("*filter\n:FORWARD DROP [0:0]\n{declared}\n-A FORWARD -j c0\n{rules}\nCOMMIT\n");
    let errors = parse("f", &text, None).unwrap_err();
    assert_eq!(errors.faults.len(), 1);
}

#[test]
fn all_faults_are_listed_at_once() {
    let text = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A DOCKER -f\n-A FORWARD -j DOCKER -i eth: --syn\n\
                -A FORWARD -m set --match-set nowhere src -j MARK\n-A FORWARD -m set --match-set bad src\n";
    let errors = parse("rules.v4", text, Some(("sets", "create bad hash:ip timeout 5\n"))).unwrap_err();
    let places: Vec<_> = errors
        .faults
        .iter()
        .map(|fault| (fault.file.as_deref(), fault.line, fault.token.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (None, 4, "-f"),
            (None, 5, "--syn"),
            (None, 5, "eth:"),
            (None, 6, "-j MARK"),
            (None, 6, "--match-set nowhere"),
            (None, 7, "end of file"),
            (Some("sets"), 1, "timeout 5"),
        ]
    );
    let shown = errors.to_string();
    assert!(
        shown.starts_with("rules.v4:4: `-f`") && shown.contains("\nsets:1: `timeout 5`"),
        "{shown}"
    );
}

#[test]
fn what_is_not_forwards_is_left_alone_and_noted() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DNAT --to 1.2.3.4\n[1:2] -A POSTROUTING -j MASQUERADE\n\
                COMMIT\n*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:used - [0:0]\n\
                :idle - [0:0]\n-A INPUT -m recent --set\n-A FORWARD -j used\n-A idle -j MARK --set-mark 1\n\
                -A idle -j idle\nCOMMIT\n*security\nCOMMIT\n";
    let sets = "create unused hash:net,iface timeout 5\nadd unused 10.0.0.0/8,eth0\n";
    let parsed = parse("f", text, Some(("s", sets))).unwrap_or_else(|errors| panic!("{errors}"));
    let notes: Vec<_> = parsed.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "1: `*nat`: rules left alone: 2; of the tables only *filter is read",
            "7: `INPUT`: rules left alone: 1, policy: DROP; only FORWARD is filtered",
            "11: `idle`: rules left alone: 2; FORWARD does not reach the chain",
            "17: `*security`: rules left alone: 0; of the tables only *filter is read",
            "1: `unused`: the set is left alone: no rule asks for it",
        ]
    );
    assert_eq!(parsed.notes[4].file.as_deref(), Some("s"));
    assert_eq!(parsed.ruleset.chains.len(), 2);
    assert!(parsed.ruleset.sets.0.is_empty());
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let rules = format!("\u{feff}{}", file("-A FORWARD -m set --match-set a src -j DROP"));
    let parsed = parse("f", &rules, Some(("s", "\u{feff}create a hash:ip\n"))).unwrap();
    assert_eq!(parsed.ruleset.chains[0].rules.len(), 1);
}

#[test]
fn a_chain_may_be_declared_after_it_is_named() {
    let text = "*filter\n-A FORWARD -j late\n:FORWARD DROP [0:0]\n:late - [0:0]\nCOMMIT\n";
    assert_eq!(parse("f", text, None).unwrap().ruleset.chains.len(), 2);
    assert!(parse("f", &file("-A mine -j DROP"), None).unwrap().ruleset.chains.len() == 1);
}
