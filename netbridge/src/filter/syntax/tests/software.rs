//! What the software of container hosts loads. The fixtures are what `iptables-save` 1.8.9 and `ipset save` 7.17 wrote
//! after loading such rules; only the date is changed.

use super::meaning;
use crate::filter::syntax::{Parsed, Target, parse};

/// Files that are taken: name, rules, sets, and the beginnings of the notes.
const TAKEN: [(&str, &str, Option<&str>, &[&str]); 7] = [
    (
        "docker-20",
        include_str!("../../fixtures/docker-20.rules"),
        None,
        &["33: `*nat`: rules left alone: 8; of the tables only *filter is read"],
    ),
    (
        "docker-28",
        include_str!("../../fixtures/docker-28.rules"),
        Some(include_str!("../../fixtures/docker-28.ipset")),
        &[
            "2: `*raw`: rules left alone: 1;",
            "4: `docker-ext-bridges-v6`: the set is left alone: no rule asks for it",
        ],
    ),
    (
        "ufw",
        include_str!("../../fixtures/ufw.rules"),
        None,
        &[
            "3: `INPUT`: rules left alone: 6, policy: DROP; only FORWARD is filtered",
            "5: `OUTPUT`: rules left alone: 6, policy: ACCEPT;",
            "7: `ufw-after-input`: rules left alone: 2; FORWARD does not reach the chain",
        ],
    ),
    (
        "firewalld",
        include_str!("../../fixtures/firewalld.rules"),
        Some(include_str!("../../fixtures/firewalld.ipset")),
        &["2: `*mangle`: rules left alone: 1;"],
    ),
    (
        "kube-proxy",
        include_str!("../../fixtures/kube-proxy.rules"),
        None,
        &["36: `*nat`: rules left alone: 2;"],
    ),
    (
        "plain",
        include_str!("../../fixtures/iptables-nft-save.rules"),
        None,
        &[],
    ),
    (
        "counted",
        include_str!("../../fixtures/iptables-legacy-save-counters.rules"),
        None,
        &[],
    ),
];

fn read(name: &str) -> Parsed {
    let (name, rules, sets, _) = TAKEN.iter().find(|(known, _, _, _)| *known == name).unwrap();
    parse(name, rules, sets.map(|sets| ("sets", sets))).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn what_others_load_is_taken() {
    for (name, _, _, notes) in TAKEN {
        let parsed = read(name);
        let shown: Vec<_> = parsed.notes.iter().map(ToString::to_string).collect();
        for note in notes {
            assert!(
                shown.iter().any(|shown| shown.starts_with(note)),
                "{name}: {note}\n{shown:#?}"
            );
        }
        let sets = parsed.ruleset.sets.to_string();
        let again = parse(
            "again",
            &parsed.ruleset.with_counters().to_string(),
            Some(("sets", &sets)),
        );
        assert_eq!(
            again.map(|again| meaning(again.ruleset)),
            Ok(meaning(parsed.ruleset)),
            "{name}"
        );
    }
}

/// Every rule that is reached, byte for byte as `iptables-save` had written it.
#[test]
fn what_others_load_is_shown_as_they_saved_it() {
    for (name, text, _, _) in TAKEN {
        let lines: Vec<_> = text.lines().collect();
        for chain in &read(name).ruleset.chains {
            for rule in &chain.rules {
                let saved = lines[rule.line - 1].trim_start_matches("[0:0] ");
                assert_eq!(rule.in_chain(&chain.name).to_string(), saved, "{name}:{}", rule.line);
            }
        }
    }
}

#[test]
fn chains_are_those_that_forward_reaches() {
    for (name, chains) in [
        (
            "docker-20",
            vec![
                "FORWARD",
                "DOCKER",
                "DOCKER-ISOLATION-STAGE-1",
                "DOCKER-ISOLATION-STAGE-2",
                "DOCKER-USER",
            ],
        ),
        (
            "ufw",
            vec![
                "FORWARD",
                "ufw-after-forward",
                "ufw-after-logging-forward",
                "ufw-before-forward",
                "ufw-before-logging-forward",
                "ufw-reject-forward",
                "ufw-track-forward",
                "ufw-user-forward",
                "ufw-user-limit-accept",
            ],
        ),
    ] {
        let parsed = read(name);
        let names: Vec<_> = parsed.ruleset.chains.iter().map(|chain| chain.name.as_str()).collect();
        assert_eq!(names, chains);
    }
    let firewalld = read("firewalld").ruleset;
    let gone_to = |rule: &&crate::filter::syntax::Rule| matches!(rule.target, Target::Goto(_));
    assert_eq!(
        firewalld
            .chains
            .iter()
            .flat_map(|chain| &chain.rules)
            .filter(gone_to)
            .count(),
        5
    );
}

/// Calico keeps its verdicts in the mark, which the filter does not write; nothing else of its rules is in the way.
#[test]
fn calico_is_refused_for_its_marks_alone() {
    let text = include_str!("../../fixtures/calico.rules");
    let sets = include_str!("../../fixtures/calico.ipset");
    let errors = parse("calico", text, Some(("sets", sets))).unwrap_err();
    let marked = |(number, line): (usize, &str)| line.contains("-j MARK").then_some(number + 1);
    let expected: Vec<_> = text.lines().enumerate().filter_map(marked).collect();
    let lines: Vec<_> = errors.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, expected);
    assert!(errors.faults.iter().all(|fault| fault.token == "-j MARK"), "{errors}");
    let unmarked: Vec<_> = text.lines().filter(|line| !line.contains("-j MARK")).collect();
    parse("calico", &unmarked.join("\n"), Some(("sets", sets))).unwrap_or_else(|errors| panic!("{errors}"));
}
