//! Filter files made of others: each is answered soon, with rules that are the same when they are shown and read again, or
//! with faults that have their place and remedy. Nothing panics.
//!
//! An [`input::Input`] is a file of rules, one of sets, and edits. [`campaign::run`] makes one after the other from those of
//! Docker, ufw and others and puts them to [`check`]; `cargo xtask fuzz --files` does so for long. What it finds is
//! kept in `tests/crashers/files`, where the test here replays it for ever.

pub mod campaign;
pub mod check;
pub mod clock;
pub mod guard;
pub mod input;
mod mutate;
mod words;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::campaign::{kept, replay, run, seeds};
    use super::check::Ended;
    use super::clock::Limits;
    use super::guard::judge;
    use super::input::Input;

    /// Tests are not optimised, and run beside others.
    const SLOW: Limits = Limits {
        read: Duration::from_secs(20),
        compile: Duration::from_secs(80),
        all: Duration::from_mins(5),
    };

    #[test]
    fn what_others_save_is_judged() {
        let seeds = seeds().unwrap();
        assert!(seeds.len() >= 8);
        for seed in seeds {
            let ended = judge(&seed, SLOW).unwrap();
            assert_eq!(ended == Ended::Refused, seed.rules.contains("-j MARK"));
            assert_eq!(Input::from_text(&seed.to_text()), seed);
        }
    }

    #[test]
    fn nothing_that_was_found_comes_back() {
        let files: Vec<_> = fs::read_dir(kept())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty());
        for path in files {
            replay(&path, SLOW).unwrap();
        }
    }

    #[test]
    fn a_short_run_finds_nothing() {
        let course = run(1, 300, None, SLOW).unwrap();
        assert_eq!(course.found, None);
        assert!(course.ended.len() >= 2, "{:?}", course.ended);
    }
}
