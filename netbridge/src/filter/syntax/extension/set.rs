//! `set`: membership in a set.

use std::fmt;

use super::super::{
    Extension, Match, SetMatch,
    fault::Refusal,
    given::{Build, Given, Opt, Spec},
};

/// Dimensions that netfilter takes.
const MAX_DIMENSIONS: usize = 6;

/// Why and instead of what the options of `--match-set` are refused.
const PLAIN: &str = "a set is asked for membership alone";
const LEAVE_OUT: &str = "leave it out";

pub(super) static SET: Spec = Spec {
    name: "set",
    protocols: &[],
    options: &[Opt::new(&["--match-set"]).values(2)],
    refused: &[
        ("--set", "the option is of old", "write `--match-set NAME src,dst`"),
        (
            "--return-nomatch",
            PLAIN,
            "put what it excepts into a set of its own, and match that",
        ),
        ("--update-counters", PLAIN, LEAVE_OUT),
        ("--update-subcounters", PLAIN, LEAVE_OUT),
        ("--packets-eq", PLAIN, LEAVE_OUT),
        ("--packets-lt", PLAIN, LEAVE_OUT),
        ("--packets-gt", PLAIN, LEAVE_OUT),
        ("--bytes-eq", PLAIN, LEAVE_OUT),
        ("--bytes-lt", PLAIN, LEAVE_OUT),
        ("--bytes-gt", PLAIN, LEAVE_OUT),
    ],
    build: Build::Match(build),
};

fn build(given: &mut Given<'_>) -> Option<Extension> {
    let Match { value, negated } = given.words("--match-set")?;
    let [name, directions] = value else { return None };
    match directions_of(directions) {
        Ok(source) => Some(Extension::Set(Match {
            value: SetMatch {
                name: name.clone().into_owned(),
                source,
            },
            negated,
        })),
        Err(refusal) => {
            given.faults.push(refusal);
            None
        }
    }
}

fn directions_of(list: &str) -> Result<Vec<bool>, Refusal> {
    let direction = |word: &str| match word {
        "src" => Ok(true),
        "dst" => Ok(false),
        _ => Err(Refusal::new(
            word,
            "not a direction",
            "give src or dst for each dimension of the set, commas between",
        )),
    };
    let directions: Vec<bool> = list.split(',').map(direction).collect::<Result<_, _>>()?;
    if directions.len() > MAX_DIMENSIONS {
        let reason = format!("there are at most {MAX_DIMENSIONS} directions");
        return Err(Refusal::new(list, reason, "give one for each dimension of the set"));
    }
    Ok(directions)
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, set: &Match<SetMatch>) -> fmt::Result {
    let not = if set.negated { "! " } else { "" };
    write!(f, "-m set {not}--match-set {}", set.value.name)?;
    for (index, source) in set.value.source.iter().enumerate() {
        let before = if index == 0 { ' ' } else { ',' };
        write!(f, "{before}{}", if *source { "src" } else { "dst" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_directions() {
        assert_eq!(directions_of("src"), Ok(vec![true]));
        assert_eq!(directions_of("src,dst,dst"), Ok(vec![true, false, false]));
        for list in ["", "src,", "SRC", "both", "src,src,src,src,src,src,src"] {
            assert!(directions_of(list).is_err(), "{list}");
        }
    }
}
