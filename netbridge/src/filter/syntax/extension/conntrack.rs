//! `conntrack` and `state`: what is known of the packet's flow.

use std::fmt;

use super::{
    super::{
        Direction, Extension, Match, States,
        fault::Refusal,
        given::{Build, Opt, Spec},
    },
    option,
};

/// Why most of `conntrack`'s options are refused.
const NOT_KEPT: &str = "the filter is not told this of a flow";
const WRITE_ADDRESSES: &str = "match the packet's own addresses and ports: `-s`, `-d`, `--dport`, with `--ctdir`";

pub(super) static CONNTRACK: Spec = Spec {
    name: "conntrack",
    protocols: &[],
    options: &[Opt::new(&["--ctstate"]), Opt::new(&["--ctdir"]).plain()],
    refused: &[
        ("--ctproto", NOT_KEPT, "write `-p PROTOCOL`"),
        ("--ctorigsrc", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctorigdst", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctreplsrc", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctrepldst", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctorigsrcport", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctorigdstport", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctreplsrcport", NOT_KEPT, WRITE_ADDRESSES),
        ("--ctrepldstport", NOT_KEPT, WRITE_ADDRESSES),
        (
            "--ctstatus",
            NOT_KEPT,
            "write `--ctstate` with ESTABLISHED for SEEN_REPLY, or with SNAT or DNAT",
        ),
        (
            "--ctexpire",
            NOT_KEPT,
            "remove it; `netbridge ct ls` shows what is left",
        ),
    ],
    build: Build::Match(|given| {
        let states = given.read("--ctstate", States::parse);
        let direction = given.value("--ctdir", direction);
        (states.is_some() || direction.is_some()).then_some(Extension::Conntrack { states, direction })
    }),
};

pub(super) static STATE: Spec = Spec {
    name: "state",
    protocols: &[],
    options: &[Opt::new(&["--state"])],
    refused: &[],
    build: Build::Match(|given| given.read("--state", plain_states).map(Extension::State)),
};

fn direction(word: &str) -> Result<Direction, Refusal> {
    if word.eq_ignore_ascii_case("ORIGINAL") {
        Ok(Direction::Original)
    } else if word.eq_ignore_ascii_case("REPLY") {
        Ok(Direction::Reply)
    } else {
        Err(Refusal::new(
            word,
            "not a direction of a flow",
            "give ORIGINAL or REPLY",
        ))
    }
}

/// States as `-m state` knows them, which are not all.
fn plain_states(list: &str) -> Result<States, Refusal> {
    let states = States::parse(list)?;
    if states.bits() & (States::SNAT | States::DNAT) != 0 {
        let advice = "write `-m conntrack --ctstate …`";
        return Err(Refusal::new(list, "`state` does not know SNAT and DNAT", advice));
    }
    Ok(states)
}

pub(super) fn show(
    f: &mut fmt::Formatter<'_>,
    states: Option<&Match<States>>,
    direction: Option<Direction>,
) -> fmt::Result {
    write!(f, "-m conntrack")?;
    option(f, "--ctstate", states)?;
    match direction {
        Some(Direction::Original) => write!(f, " --ctdir ORIGINAL"),
        Some(Direction::Reply) => write!(f, " --ctdir REPLY"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_and_states_by_name() {
        assert_eq!(direction("reply"), Ok(Direction::Reply));
        assert_eq!(direction("ORIGINAL"), Ok(Direction::Original));
        assert!(direction("BOTH").is_err());
        assert!(plain_states("NEW,UNTRACKED").is_ok());
        assert!(plain_states("NEW,DNAT").is_err());
    }
}
