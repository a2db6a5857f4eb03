//! Files of sets.

use super::file;
use crate::filter::syntax::{FilterErrors, Parsed, parse};

fn read(sets: &str) -> Result<Parsed, FilterErrors> {
    let rules = "-A FORWARD -m set --match-set a src,src,src -m set --match-set b dst,dst,dst -j DROP";
    parse("f", &file(rules), Some(("s", sets)))
}

#[test]
fn sets_are_shown_as_they_are_read() {
    let text = "create a hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x60775946\n\
                add a 10.0.0.0/8\nadd a 10.1.1.1 nomatch\ncreate b list:set size 8\nadd b a\n";
    let parsed = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.ruleset.sets.to_string(), text);
    assert_eq!(parsed.ruleset.sets.0["a"].line, 1);
    let text = "# sets\n-exist create  a\thash:ip,port\n-N b hash:ip -exist\nadd a 1.2.3.4,80 -exist\n\
                -A a 1.2.3.4,icmp:8/0\n\nCOMMIT\n";
    assert_eq!(
        read(text).unwrap().ruleset.sets.to_string(),
        "create a hash:ip,port\nadd a 1.2.3.4,tcp:80\nadd a 1.2.3.4,icmp:echo-request\ncreate b hash:ip\n"
    );
}

#[test]
fn a_list_has_the_dimensions_of_its_members() {
    let text =
        "create m hash:ip,port\ncreate n hash:ip,port,net\ncreate a list:set\nadd a m\nadd a n\ncreate b hash:ip\n";
    let sets = read(text).unwrap().ruleset.sets;
    let dimensions: Vec<_> = sets
        .0
        .iter()
        .map(|(name, set)| (name.as_str(), set.dimensions))
        .collect();
    assert_eq!(dimensions, [("a", 3), ("b", 1), ("m", 2), ("n", 3)]);
    let rules = file("-A FORWARD -m set --match-set a src,dst");
    let errors = parse("f", &rules, Some(("s", text))).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("the set has 3 dimensions, and the rule looks up 2"),
        "{errors}"
    );
}

#[test]
fn a_set_is_in_a_list_once() {
    let text = "create m hash:ip\ncreate a list:set\nadd a m\nadd a m\ncreate b hash:ip\n";
    assert_eq!(read(text).unwrap().ruleset.sets.0["a"].elements.len(), 1);
}

#[test]
fn more_elements_than_fit_are_refused_once() {
    // 62 networks each, so 3,844 elements, of which 272 times as many fit.
    let range = "0.0.0.1-255.255.255.254";
    let sets = |lines| {
        let add = format!("add a {range},{range}\n").repeat(lines);
        format!("create a hash:net,net\n{add}create b hash:ip\nadd b 1.2.3.4\n")
    };
    let errors = read(&sets(275)).unwrap_err();
    let message = "s:274: `add`: sets hold at most 1048576 elements together, and this is one more; write networks";
    assert!(
        errors.faults.len() == 1 && errors.to_string().starts_with(message),
        "{errors}"
    );
}

/// A file of sets beside rules that ask for `a` and `b`, and what its faults say.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "create a hash:ip\ncreate b hash:ip\ndestroy c\n",
        &["s:3: `destroy`: not a line of `ipset save`"],
    ),
    (
        "create a hash:ip\ncreate b hash:ip\ncreate a hash:ip\n",
        &["s:3: `create a`: the set is created twice"],
    ),
    (
        "create a hash:ip\ncreate b hash:ip\nadd c 1.2.3.4\nadd c 1.2.3.5\n",
        &["s:3: `add c`: there is no such set; put `create c TYPE` before it"],
    ),
    (
        "create a hash:ip\ncreate b\n",
        &[
            "f:4: `--match-set b`: s has no such set",
            "s:2: `create b`: the set has no type",
        ],
    ),
    (
        "create a hash:ip\ncreate b hash:ip\ncreate 12345678901234567890123456789012 hash:ip\n",
        &["s:3: `12345678901234567890123456789012`: a set's name has 1 to 31 bytes"],
    ),
    (
        "create a hash:net,iface\ncreate b hash:ip family inet6 timeout 9\nadd b fe80::1\n",
        &[
            "s:1: `hash:net,iface`: a set does not hold interfaces; take hash:net",
            "s:2: `family inet6`: IPv6 is not filtered here",
            "s:2: `timeout 9`: elements of a set do not expire",
        ],
    ),
    (
        "create a hash:ip\nadd a 1.2.3.4 timeout 9\ncreate b hash:ip\nadd b\n",
        &[
            "s:2: `timeout 9`: elements of a set do not expire",
            "s:4: `add`: no element is given",
        ],
    ),
    (
        "create a list:set\nadd a later\nadd a b\ncreate later hash:ip\ncreate b hash:ip\n",
        &[
            "s:2: `later`: no set of this name is created before the list; put `create later TYPE` before it",
            "s:3: `b`: no set of this name is created before the list",
        ],
    ),
    (
        "create b list:set\ncreate a list:set\nadd a b\n",
        &["s:3: `b`: a list does not hold lists; add the sets that are in it"],
    ),
    (
        "create m hash:ip\nadd m nothing\ncreate a list:set\nadd a m before n\ncreate b list:set\nadd b m\n",
        &[
            "s:2: `nothing`: not a range of IPv4",
            "s:4: `before`: unknown option of an element",
        ],
    ),
];

#[test]
fn faults_of_sets_name_their_file() {
    for (sets, expected) in REFUSED {
        let errors = read(sets).expect_err(sets);
        assert_eq!(errors.faults.len(), expected.len(), "{sets}\n{errors}");
        for (message, piece) in errors.to_string().lines().zip(*expected) {
            assert!(message.starts_with(piece), "{sets}\n{message}\n{piece}");
        }
    }
}
