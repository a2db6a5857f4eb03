//! The filter: what fits, and rules that come and go.

use super::*;
use crate::filter::edit::Words;
use crate::filter::syntax::{Counters, Ruleset};
use crate::filter::{Change, Edit, Tally};
use crate::model::FaultKind;

const TEXT: &str = "*filter\n:FORWARD DROP [3:4]\n:mine - [0:0]\n:spare - [0:0]\n\
    [7:8] -A FORWARD -i web -j mine\n-A mine -m set --match-set hosts src -j RETURN\n\
    -A spare -m ttl --ttl 3 -j DROP\nCOMMIT\n";

fn loaded() -> State {
    let source = FilterSource {
        sets: Some(crate::state::SetSource {
            file: "sets".to_owned(),
            text: "create hosts hash:ip\nadd hosts 10.0.0.1\n".into(),
        }),
        ..FilterSource::new("f", TEXT)
    };
    filter_load(&state(), &host(), &source, false).unwrap().state
}

fn words(line: &str) -> Words {
    Words::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).unwrap()
}

fn edit(chain: &str, change: Change) -> Edit {
    Edit {
        chain: Some(chain.to_owned()),
        change,
    }
}

fn append(chain: &str, line: &str) -> Edit {
    edit(chain, Change::Append(words(line).rules().unwrap()))
}

#[test]
fn counters_of_a_file_are_taken_only_if_asked_for() {
    let source = FilterSource::new("f", "*filter\n:FORWARD DROP [3:4]\n[7:8] -A FORWARD -j DROP\nCOMMIT\n");
    let tally = |counters| {
        let plan = filter_load(&state(), &host(), &source, counters).unwrap();
        assert!(matches!(plan.steps.as_slice(), [Step::LoadFilter(Some(_))]));
        plan.state.filter.unwrap().tally
    };
    assert_eq!(tally(false), Tally::default());
    assert_eq!(serde_json::to_string(&tally(true)).unwrap(), r#""0 7:8 3:4""#);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_touched() {
    let limits: Vec<String> = (1..=1100)
        .map(|port| format!("-A FORWARD -p udp --dport {port} -m limit --limit 1/s -j ACCEPT\n"))
        .collect();
    let limits = limits.concat();
    let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n{limits}COMMIT\n");
    let faults = filter_load(&state(), &host(), &FilterSource::new("f", text), false).unwrap_err();
    assert_eq!(faults.kind(), Some(FaultKind::Usage));
    assert!(
        faults
            .to_string()
            .starts_with("f:1027: `-A FORWARD -p udp -m udp --dport 1025 "),
        "{faults}"
    );
}

#[test]
fn a_rule_comes_into_the_text_and_the_rest_stays() {
    let plan = filter_edit(&loaded(), &host(), &append("mine", "-o web -j DROP")).unwrap();
    let source = plan.state.filter.unwrap();
    assert_eq!(
        &*source.text,
        "*filter\n:FORWARD DROP [0:0]\n:mine - [0:0]\n:spare - [0:0]\n-A FORWARD -i web -j mine\n\
         -A mine -m set --match-set hosts src -j RETURN\n-A mine -o web -j DROP\n-A spare -m ttl --ttl 3 -j DROP\nCOMMIT\n"
    );
    assert_eq!(source.sets, loaded().filter.unwrap().sets);
    assert!(matches!(plan.steps.as_slice(), [Step::EditFilter(_)]));
    // Nothing leads to the chain any more, and it is still there for a rule that does.
    let state = State {
        filter: Some(source),
        ..state()
    };
    let plan = filter_edit(&state, &host(), &edit("FORWARD", Change::DeleteNumber(1))).unwrap();
    let text = &plan.state.filter.as_ref().unwrap().text;
    assert!(text.contains("\n-A mine -o web -j DROP\n"), "{}", &**text);
    let back = filter_edit(&plan.state, &host(), &append("FORWARD", "-j mine")).unwrap();
    assert!(
        back.state
            .filter
            .unwrap()
            .text
            .contains("-A FORWARD -j mine\n-A mine -m set")
    );
}

#[test]
fn rules_that_lead_nowhere_are_not_read_again_and_are_what_would_be_read() {
    let changes = [
        Change::Append(words("-s 10.0.0.1,10.0.0.2 -p tcp --dport 80 -j LOG").rules().unwrap()),
        Change::Insert(1, words("-m limit --limit 1/s -j DROP").rules().unwrap()),
        Change::DeleteNumber(1),
        Change::Zero(None),
    ];
    for (chain, change) in ["FORWARD", "mine"]
        .into_iter()
        .flat_map(|chain| changes.clone().map(|change| (chain, change)))
    {
        let plan = filter_edit(&loaded(), &host(), &edit(chain, change)).unwrap();
        let [Step::EditFilter(edited)] = plan.steps.as_slice() else {
            panic!("{:?}", plan.steps)
        };
        let read = plan.state.filter.unwrap().in_force().unwrap().ruleset;
        let bare = |rules: &Ruleset| {
            let mut rules = rules.clone();
            for chain in &mut rules.chains {
                (chain.counters, chain.stood) = (Counters::default(), None);
                for rule in &mut chain.rules {
                    (rule.counters, rule.stood) = (Counters::default(), None);
                }
            }
            rules
        };
        assert_eq!(bare(&edited.compiled.rules), bare(&read));
    }
}

#[test]
fn an_edit_without_a_filter_begins_with_one_that_accepts() {
    let plan = filter_edit(&state(), &host(), &append("FORWARD", "-s 10.0.0.1,10.0.0.2 -j DROP")).unwrap();
    assert_eq!(
        &*plan.state.filter.unwrap().text,
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.0.0.1/32 -j DROP\n-A FORWARD -s 10.0.0.2/32 -j DROP\nCOMMIT\n"
    );
    for change in [Change::DeleteNumber(1), Change::Zero(None)] {
        let faults = filter_edit(&state(), &host(), &edit("FORWARD", change)).unwrap_err();
        assert_eq!(faults.kind(), Some(FaultKind::NotFound));
    }
}

#[test]
fn counters_begin_at_zero_with_the_text_as_it_is() {
    let plan = filter_edit(&loaded(), &host(), &edit("mine", Change::Zero(Some(1)))).unwrap();
    let source = plan.state.filter.unwrap();
    assert_eq!((source.file.as_str(), &*source.text), ("f", TEXT));
    assert!(filter_edit(&loaded(), &host(), &edit("mine", Change::Zero(Some(2)))).is_err());
}

#[test]
fn an_edit_that_cannot_be_is_refused_by_the_rule() {
    for (edit, kind, told) in [
        (
            append("FORWARD", "-j theirs"),
            FaultKind::Usage,
            "`-A FORWARD -j theirs`: `-j theirs`: there is no such chain",
        ),
        (append("mine", "-j mine"), FaultKind::Usage, "leads back to itself"),
        (
            append("mine", "-j spare"),
            FaultKind::Usage,
            "`-A spare -m ttl --ttl 3 -j DROP`",
        ),
        (
            append("mine", "-i gone -j DROP"),
            FaultKind::NotFound,
            "`-A mine -i gone -j DROP`: `gone`",
        ),
        (
            append("spare", "-j DROP"),
            FaultKind::NotFound,
            "FORWARD does not reach it",
        ),
        (append("theirs", "-j DROP"), FaultKind::NotFound, "does not exist"),
        (
            edit("mine", Change::DeleteNumber(2)),
            FaultKind::NotFound,
            "the chain has 1 rules",
        ),
    ] {
        let faults = filter_edit(&loaded(), &host(), &edit).unwrap_err();
        assert!(faults.to_string().contains(told), "{told}: {faults}");
        assert_eq!(faults.kind(), Some(kind), "{faults}");
    }
}
