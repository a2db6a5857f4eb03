//! Changes of rules that are patches, and those for which all is compiled.

use netbridge_common::abi::PATCHES;

use super::*;
use crate::facts::{HostFacts, KernelFacts};
use crate::filter::edit::Words;
use crate::filter::tables::{Bank, Room};
use crate::filter::{Change, Edit};

/// Room of a bank that some tables have taken.
const ROOM: Room = Room {
    words: 1024,
    boxes: 128,
    limits: 2,
    places: 5,
};

fn loaded(rules: &str) -> State {
    // Long enough to be worth a patch.
    let padding = "#".repeat(1 << 15);
    let text = format!("{padding}\n*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n:spare - [0:0]\n{rules}\nCOMMIT\n");
    filter_load(&state(), &host(), &FilterSource::new("f", text), false)
        .unwrap()
        .state
}

/// The host of a state whose filter is in force with so many patches.
fn in_force(state: &State, patches: u32) -> HostFacts {
    let digest = digest(state.filter.as_ref().unwrap(), &world(state, &host().links));
    let bank = Bank {
        digest,
        patches,
        room: ROOM,
    };
    HostFacts {
        kernel: KernelFacts {
            hz: 250,
            serial: 7,
            bank: Some(bank),
        },
        ..host()
    }
}

fn change(kind: &str, words: &str) -> Edit {
    let words = Words::read(&[words.to_owned()]).unwrap();
    let rules = || words.rules().unwrap();
    let change = match (kind, words.number) {
        ("append", _) => Change::Append(rules()),
        ("insert", number) => Change::Insert(number.unwrap_or(1), rules()),
        ("delete", Some(number)) => Change::DeleteNumber(number),
        ("delete", None) => Change::Delete(rules()),
        (_, number) => Change::Zero(number),
    };
    let chain = words.chain.unwrap_or_else(|| "FORWARD".to_owned());
    Edit {
        chain: Some(chain),
        change,
    }
}

/// The patch that a change is, with the state afterwards; none if all is compiled.
fn patched(state: &State, host: &HostFacts, kind: &str, words: &str) -> Option<(Patched, State)> {
    let mut plan = filter_edit(state, host, &change(kind, words)).unwrap();
    match plan.steps.remove(0) {
        Step::PatchFilter(patched) => Some((*patched, plan.state)),
        _ => None,
    }
}

const RULES: &str = "-A FORWARD -s 10.0.0.1 -j ACCEPT\n-A FORWARD -j mine\n-A FORWARD -m limit --limit 1/s -j LOG\n\
    -A FORWARD -s 10.0.0.2,10.0.0.3 -j ACCEPT\n-A mine -s 10.0.0.9 -j RETURN";

#[test]
fn a_rule_of_its_own_is_a_patch() {
    let state = loaded(RULES);
    let host = in_force(&state, 3);
    for (kind, words) in [
        ("append", "-s 10.0.0.2 -j DROP"),
        ("append", "-A FORWARD -s 10.0.0.2,10.0.0.4 -j DROP"),
        ("append", "-A mine -s 10.0.0.2 -j DROP"),
        ("insert", "6 -s 10.0.0.2 -j DROP"),
        ("insert", "-I mine 2 -p tcp --dport 80 -j LOG"),
        ("delete", "5"),
        ("delete", "-s 10.0.0.3 -j ACCEPT"),
        ("delete", "-D mine 1"),
    ] {
        let edit = change(kind, words);
        let (patched, new) = patched(&state, &host, kind, words).unwrap_or_else(|| panic!("{kind} {words}"));
        let filter = new.filter.unwrap();
        let mut expected = state.filter.as_ref().unwrap().in_force().unwrap().ruleset;
        edit.apply(&mut expected).unwrap();
        assert_eq!(filter.in_force().unwrap().ruleset.to_string(), expected.to_string());
        assert_eq!(filter.text, state.filter.as_ref().unwrap().text);
        let head = &patched.tables.head;
        assert_eq!(head.first_place, ROOM.places);
        assert!(head.words > ROOM.words && head.boxes > ROOM.boxes && head.limits <= ROOM.limits + 1);
        let world = world(&state, &host.links);
        assert_eq!((head.digest, head.parties), (digest(&filter, &world), 0));
    }
}

#[test]
fn what_a_rule_ends_for_its_packets_is_not_compiled() {
    let state = loaded(RULES);
    let places = |words: &str| {
        let (patched, _) = patched(&state, &in_force(&state, 0), "insert", words).unwrap();
        patched.tables.head.places - patched.tables.head.first_place
    };
    // The rule, or one before it that ends it for them, and the policy.
    assert_eq!(places("-s 10.0.0.1 -j DROP"), 2);
    assert_eq!(places("2 -s 10.0.0.1 -j DROP"), 2);
    assert_eq!(places("6 -s 10.0.0.2 -j DROP"), places("5 -s 10.0.0.2 -j DROP"));
    assert_eq!(places("2 -s 10.0.0.5 -j DROP"), 2);
    assert!(places("2 -s 10.0.0.5 -m conntrack --ctstate NEW -j DROP") > 3);
}

#[test]
fn what_concerns_more_than_its_packets_is_compiled_whole() {
    let state = loaded(RULES);
    let host = in_force(&state, 0);
    for (kind, words) in [
        ("append", "-s 10.0.0.2 -j spare"),
        (
            "append",
            "-s 10.0.0.2 -m hashlimit --hashlimit-upto 1/s --hashlimit-name t -j DROP",
        ),
        ("append", "-s 10.0.0.2 -m limit --limit 1/s -j DROP"),
        ("append", "[1:2] -A FORWARD -s 10.0.0.2 -j DROP"),
        ("delete", "2"),
        ("zero", "1"),
    ] {
        assert!(patched(&state, &host, kind, words).is_none(), "{kind} {words}");
    }
    let rule = ("append", "-s 10.0.0.2 -j DROP");
    assert!(
        patched(&state, &in_force(&state, PATCHES), rule.0, rule.1).is_none(),
        "no patch is left"
    );
    let mut other = in_force(&state, 0);
    other.kernel.bank.as_mut().unwrap().digest += 1;
    assert!(
        patched(&state, &other, rule.0, rule.1).is_none(),
        "something else is in force"
    );
    let mut full = in_force(&state, 0);
    full.kernel.bank.as_mut().unwrap().room.words = u32::MAX - 1024;
    assert!(patched(&state, &full, rule.0, rule.1).is_none(), "there is no room");
    let many: Vec<String> = (0..600)
        .map(|port| format!("-A FORWARD -p tcp --dport {port} -j ACCEPT"))
        .collect();
    let many = loaded(&many.join("\n"));
    assert!(
        patched(&many, &in_force(&many, 0), rule.0, rule.1).is_none(),
        "most rules are concerned"
    );
    assert!(patched(&many, &in_force(&many, 0), "append", "-p tcp --dport 7 -j DROP").is_some());
}

#[test]
fn what_is_wrong_with_a_change_is_said_as_ever() {
    let state = loaded(RULES);
    for (kind, words, told) in [
        ("append", "-A none -s 10.0.0.2 -j DROP", "chain none"),
        ("append", "-A spare -s 10.0.0.2 -j DROP", "does not reach it"),
        ("append", "-i nowhere -s 10.0.0.2 -j DROP", "nowhere"),
        ("insert", "7 -s 10.0.0.2 -j DROP", "the chain has 5 rules"),
        ("insert", "0 -s 10.0.0.2 -j DROP", "rule 0"),
        ("delete", "6", "the chain has 5 rules"),
        ("delete", "-s 10.0.0.7 -j ACCEPT", "has no such rule"),
    ] {
        let faults = filter_edit(&state, &in_force(&state, 0), &change(kind, words)).unwrap_err();
        assert!(faults.to_string().contains(told), "{kind} {words}: {faults}");
    }
}

#[test]
fn a_change_of_a_changed_filter_counts_from_what_it_is() {
    let state = loaded(RULES);
    let (_, state) = patched(&state, &in_force(&state, 0), "insert", "-s 10.0.0.8 -j DROP").unwrap();
    let (_, state) = patched(&state, &in_force(&state, 1), "insert", "3 -s 10.0.0.7 -j DROP").unwrap();
    let (_, state) = patched(&state, &in_force(&state, 2), "delete", "1").unwrap();
    let (_, state) = patched(&state, &in_force(&state, 3), "delete", "-s 10.0.0.7 -j DROP").unwrap();
    let rules = state.filter.as_ref().unwrap().in_force().unwrap().ruleset;
    assert_eq!(
        rules.to_string(),
        loaded(RULES).filter.unwrap().in_force().unwrap().ruleset.to_string()
    );
    // What is compiled whole is written anew, and begins with no changes.
    let plan = filter_edit(&state, &host(), &change("append", "-s 10.0.0.8 -j DROP")).unwrap();
    let filter = plan.state.filter.unwrap();
    assert!(filter.journal.is_empty() && filter.text.contains("-A FORWARD -s 10.0.0.8/32 -j DROP\n"));
    let zeroed = filter_edit(&state, &host(), &change("zero", "1")).unwrap();
    assert!(
        zeroed.state.filter.unwrap().journal.is_empty(),
        "places would be those of another text"
    );
}
