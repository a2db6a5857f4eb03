//! Properties that hold for every rule set and for every text.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    generate::{prefix, ruleset},
    meaning,
};
use crate::filter::syntax::{Counters, FilterErrors, Prefix, Ruleset, Target, parse, rule};

/// Words of the language and others.
const WORDS: [&str; 90] = [
    "*filter",
    "*nat",
    "COMMIT",
    ":FORWARD",
    ":INPUT",
    ":mine",
    "DROP",
    "-",
    "[0:0]",
    "[1:2]",
    "-A",
    "FORWARD",
    "INPUT",
    "mine",
    "!",
    "-s",
    "-d",
    "-i",
    "-o",
    "-p",
    "tcp",
    "udp",
    "icmp",
    "eth+",
    "+",
    "--dport",
    "--sport",
    "80:90",
    ":",
    "--syn",
    "--tcp-flags",
    "SYN,ACK",
    "SYN",
    "--icmp-type",
    "8/0",
    "-m",
    "multiport",
    "--dports",
    "80,443",
    "conntrack",
    "--ctstate",
    "NEW,",
    "--ctdir",
    "REPLY",
    "state",
    "--state",
    "mac",
    "--mac-source",
    "2:3:4:5:6:7",
    "iprange",
    "--src-range",
    "10.0.0.1-10.0.0.2",
    "addrtype",
    "--dst-type",
    "LOCAL",
    "set",
    "--match-set",
    "hosts",
    "src,dst",
    "limit",
    "--limit",
    "5/min",
    "--limit-burst",
    "hashlimit",
    "--hashlimit-upto",
    "--hashlimit-name",
    "--hashlimit-mode",
    "srcip",
    "mark",
    "--mark",
    "0x1/0xf",
    "comment",
    "--comment",
    "recent",
    "\"",
    "\\",
    "-j",
    "-g",
    "ACCEPT",
    "REJECT",
    "--reject-with",
    "tcp-reset",
    "LOG",
    "--log-prefix",
    "MARK",
    "10.0.0.0/8,10.1.1.1",
    "é",
    "#",
    "\n-A FORWARD",
    "\n",
];

/// Words of the language of sets, and others.
const SET_WORDS: [&str; 30] = [
    "create",
    "add",
    "hosts",
    "others",
    "hash:ip",
    "hash:net",
    "hash:ip,port",
    "list:set",
    "bitmap:port",
    "bitmap:ip",
    "range",
    "0-1023",
    "10.0.0.0/24",
    "10.0.0.1-10.0.0.9",
    "10.0.0.1,tcp:80",
    "icmp:8/0",
    "netmask",
    "24",
    "timeout",
    "nomatch",
    "comment",
    "\"",
    "-exist",
    "family",
    "inet6",
    "COMMIT",
    "é",
    "del",
    "\n",
    "\n",
];

fn scrambled(words: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    let words = prop_oneof![5 => select(words.to_vec()), 1 => Just("\n-A FORWARD")];
    vec(words, 0..60).prop_map(|words| words.join(" "))
}

/// What a well-formed file may hold, scrambled within its lines.
fn framed() -> impl Strategy<Value = String> {
    scrambled(&WORDS).prop_map(|text| format!("*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n{text}\nCOMMIT\n"))
}

fn uncounted(mut rules: Ruleset) -> Ruleset {
    for rule in rules.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        rule.counters = Counters::default();
    }
    rules
}

fn read(rules: &str, sets: &str) -> Result<Ruleset, FilterErrors> {
    parse("f", rules, Some(("s", sets))).map(|parsed| {
        assert_eq!(parsed.notes, []);
        meaning(parsed.ruleset)
    })
}

fn check_places(errors: &FilterErrors, text: &str, sets: &str) {
    assert!(!errors.faults.is_empty());
    let (others, own): (Vec<_>, Vec<_>) = errors.faults.iter().partition(|fault| fault.file.is_some());
    for (faults, text) in [(own, text), (others, sets)] {
        let lines = text.lines().count().max(1);
        assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
        assert!(faults.is_sorted_by_key(|fault| fault.line));
        assert!(
            faults
                .iter()
                .all(|fault| !fault.reason.is_empty() && !fault.advice.is_empty())
        );
    }
}

proptest! {
    #[test]
    fn shown_rules_are_read_back(rules in ruleset()) {
        let sets = rules.sets.to_string();
        prop_assert_eq!(read(&rules.with_counters().to_string(), &sets), Ok(rules.clone()));
        prop_assert_eq!(read(&rules.to_string(), &sets), Ok(uncounted(rules)));
    }

    #[test]
    fn a_rule_that_is_shown_alone_is_the_same(rules in ruleset()) {
        for (chain, one) in rules.chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule))) {
            let again = rule(&one.in_chain(&chain.name).to_string()).unwrap();
            prop_assert_eq!(&again.chain, &chain.name);
            prop_assert!(again.rules.len() == 1 && again.rules[0].to_string() == one.to_string());
            prop_assert_eq!(rule(&one.to_string()).unwrap().rules[0].to_string(), one.to_string());
        }
    }

    #[test]
    fn lists_are_the_rules_that_they_stand_for(
        sources in vec(prefix(), 1..4),
        destinations in vec(prefix(), 1..4),
    ) {
        let list = |prefixes: &[Prefix]| prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let single = rule(&format!("-s {} -d {} -j DROP", list(&sources), list(&destinations))).unwrap();
        let pairs = sources.iter().flat_map(|source| destinations.iter().map(move |destination| (source, destination)));
        prop_assert_eq!(single.rules.len(), sources.len() * destinations.len());
        for (rule, (source, destination)) in single.rules.iter().zip(pairs) {
            prop_assert_eq!(rule.source.as_ref().map(|source| &source.value), Some(source));
            prop_assert_eq!(rule.destination.as_ref().map(|destination| &destination.value), Some(destination));
            prop_assert_eq!(&rule.target, &Target::Drop);
        }
    }

    #[test]
    fn any_text_is_answered(
        text in prop_oneof![scrambled(&WORDS), framed(), framed(), any::<String>()],
        sets in prop_oneof![Just("create hosts hash:ip\n".to_owned()), scrambled(&SET_WORDS), any::<String>()],
    ) {
        match parse("f", &text, Some(("s", &sets))) {
            Ok(parsed) => {
                let rules = uncounted(meaning(parsed.ruleset));
                prop_assert_eq!(read(&rules.to_string(), &rules.sets.to_string()), Ok(rules));
            }
            Err(errors) => check_places(&errors, &text, &sets),
        }
    }

    #[test]
    fn any_text_of_sets_is_answered(sets in prop_oneof![3 => scrambled(&SET_WORDS), 1 => any::<String>()]) {
        let rules = super::file("-A FORWARD -m set --match-set hosts src\n-A FORWARD -m set --match-set others src,dst");
        match parse("f", &rules, Some(("s", &sets))) {
            Ok(parsed) => {
                let rules = meaning(parsed.ruleset);
                let again = parse("f", &rules.to_string(), Some(("s", &rules.sets.to_string())));
                prop_assert_eq!(again.map(|again| meaning(again.ruleset)), Ok(rules));
            }
            Err(errors) => check_places(&errors, &rules, &sets),
        }
    }

    #[test]
    fn any_rule_alone_is_answered(text in prop_oneof![scrambled(&WORDS), any::<String>()]) {
        match rule(&text) {
            Ok(single) => prop_assert!(!single.rules.is_empty()),
            Err(errors) => prop_assert!(errors.faults.iter().all(|fault| fault.line == 1)),
        }
    }
}
