//! What `netbridge-bench` does, from its arguments to its files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::against;
use super::case::Case;
use super::chart;
use super::contestants;
use super::control;
use super::crosscheck;
use super::forwarding;
use super::machine::Watch;
use super::options::Arguments;
use super::progress::Progress;
use super::report;
use super::results::{CaseName, Failure, Options, Results, portable};
use super::runner::{self, Schedule};
use super::series::Absence;
use super::sockets;
use super::world::World;
use crate::sandbox::{Sandbox, within};

/// Where runs are kept, each in a directory named after its start.
const RUNS: &str = "target/bench";
/// When a run's last round should be over: the whole is to take less than 25 minutes, a quick one less than 5.
const TIME: Duration = Duration::from_mins(21);
const QUICK_TIME: Duration = Duration::from_secs(200);
/// How often another tool and our load programs are compared, in a full run; a quick one does it once.
const CHECK_ROUNDS: usize = 3;
/// Exit code after SIGINT, as shells expect it.
const INTERRUPTED: u8 = 130;
/// What stands for a case where our load programs could not be compared.
const CHECKS: &str = "comparison with other tools";
/// What stands for a case where a contestant could not be set up at all.
const SET_UP: &str = "set-up";

/// Runs the benchmark; returns the exit code: 0 if every cell has a figure or a reason, 1 if something went wrong.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let cases = picked(arguments)?;
    if arguments.list {
        let ids: Vec<String> = cases.iter().map(|case| case.id() + "\n").collect();
        std::io::stdout().write_all(ids.concat().as_bytes())?;
        return Ok(0);
    }
    let old = arguments.against.as_deref().map(Results::read).transpose()?;
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let output = output(arguments, &started)?;
    let stop = stop_on_signals()?;
    let watch = Watch::begin()?;
    let options = Options {
        quick: arguments.quick,
        rounds: arguments.rounds(),
        contestants: arguments.contestants(),
        cases: arguments.cases.clone(),
    };
    let names = cases.iter().map(|case| CaseName {
        id: case.id(),
        title: case.title(),
    });
    let mut results = Results::new(started, watch.machine().clone(), options, names.collect());
    let begin = Instant::now();
    within(|sandbox| measure(arguments, sandbox, &mut results, &stop))?;
    if stop.load(Ordering::Relaxed) {
        eprintln!("interrupted: everything is undone, and nothing was written");
        return Ok(INTERRUPTED);
    }
    results.seconds = begin.elapsed().as_secs_f64();
    results.machine = watch.end()?;
    let changes = old.map(|old| against::changes(&old, &results));
    write(&output, &results, changes.as_deref())?;
    tell(arguments, &output, &results, changes.as_deref())?;
    Ok(u8::from(!results.errors.is_empty()))
}

/// Every workload's cases, in the order of a run; to be made on the thread that measures them.
fn all_cases(quick: bool) -> Vec<Box<dyn Case>> {
    [forwarding::cases(quick), sockets::cases(quick), control::cases(quick)]
        .into_iter()
        .flatten()
        .collect()
}

/// The cases asked for.
fn picked(arguments: &Arguments) -> Result<Vec<Box<dyn Case>>> {
    let selection = arguments.selection()?;
    let mut cases = all_cases(arguments.quick);
    cases.retain(|case| selection.picks(&case.id()));
    if cases.is_empty() {
        bail!(
            "no case matches `{}`; `--list` without `--case` prints them all",
            arguments.cases.join("`, `")
        );
    }
    Ok(cases)
}

/// The directory to write; it does not exist yet, or is empty.
fn output(arguments: &Arguments, started: &str) -> Result<PathBuf> {
    let stamp = started.replace(':', "-");
    let output = arguments.output.clone().unwrap_or_else(|| Path::new(RUNS).join(stamp));
    match fs::read_dir(&output).map(|mut entries| entries.next().is_none()) {
        Ok(false) => bail!("{} is not empty; name a new directory", output.display()),
        Ok(true) => Ok(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(output),
        Err(error) => Err(error).with_context(|| format!("cannot write to {}", output.display())),
    }
}

/// A flag that SIGINT and SIGTERM raise; a second signal ends the process, and with it the sandbox.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and raises it.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot catch signals")?;
    }
    Ok(stop)
}

/// Sets the contestants up, measures, and takes them down.
fn measure(arguments: &Arguments, sandbox: &Sandbox, results: &mut Results, stop: &AtomicBool) -> Result<()> {
    let begin = Instant::now();
    let cases = picked(arguments)?;
    let mut worlds = set_up(arguments, sandbox, results, stop);
    if worlds.is_empty() && !stop.load(Ordering::Relaxed) {
        bail!("none of the contestants could be set up");
    }
    let time = if arguments.quick { QUICK_TIME } else { TIME };
    let schedule = Schedule {
        rounds: arguments.rounds(),
        deadline: arguments.rounds.is_none().then(|| begin + time),
    };
    let mut progress = Progress::new();
    let outcome = runner::run(&cases, &mut worlds, schedule, &mut progress, stop);
    progress.finish();
    results.series = outcome.series;
    results.absences.extend(outcome.absences);
    results.errors.extend(outcome.errors);
    if !stop.load(Ordering::Relaxed) && cases.iter().any(|case| case.id().starts_with("sockets/")) {
        let rounds = if arguments.quick { 1 } else { CHECK_ROUNDS };
        cross_check(&worlds, rounds, results);
    }
    Ok(())
}

/// The contestants' worlds. Who cannot take part is told of, in the results too.
fn set_up(arguments: &Arguments, sandbox: &Sandbox, results: &mut Results, stop: &AtomicBool) -> Vec<Box<dyn World>> {
    let mut worlds = Vec::new();
    for contestant in arguments.contestants() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        eprintln!("setting up {contestant}");
        let reason = match contestants::absent(contestant) {
            Some(reason) => {
                eprintln!("{contestant} is absent: {reason}");
                reason
            }
            None => match contestants::build(contestant, sandbox) {
                Ok(world) => {
                    worlds.push(world);
                    continue;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    eprintln!("error: {error}");
                    results.errors.push(Failure {
                        case: SET_UP.to_owned(),
                        contestant,
                        error: portable(&error),
                    });
                    "could not be set up".to_owned()
                }
            },
        };
        let absences = results.cases.iter().map(|case| Absence {
            case: case.id.clone(),
            contestant,
            metric: None,
            reason: portable(&reason),
        });
        results.absences.extend(absences);
    }
    worlds
}

/// Our load programs beside others', through the first contestant that has two namespaces.
fn cross_check(worlds: &[Box<dyn World>], rounds: usize, results: &mut Results) {
    use super::contestant::Contestant::Loopback;
    let Some(world) = worlds.iter().find(|world| world.contestant() != Loopback) else {
        return;
    };
    eprintln!("comparing our load programs with iperf3 and sockperf");
    match crosscheck::checks(world.contestant(), world.layout(), rounds) {
        Ok(checks) => results.checks = checks,
        Err(error) => results.errors.push(Failure {
            case: CHECKS.to_owned(),
            contestant: world.contestant(),
            error: portable(&format!("{error:#}")),
        }),
    }
}

/// Writes all files of a run, or none.
fn write(output: &Path, results: &Results, changes: Option<&str>) -> Result<()> {
    let charts = chart::all(results);
    let pictures: Vec<(String, String)> = charts
        .iter()
        .map(|chart| (chart.file.to_owned(), chart.title.clone()))
        .collect();
    let mut files = vec![
        ("results.json", results.to_json()?),
        ("report.md", report::markdown(results, &pictures, changes)),
    ];
    files.extend(charts.into_iter().map(|chart| (chart.file, chart.svg)));
    let mut unfinished = output.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = fs::create_dir_all(&unfinished)
        .and_then(|()| {
            files
                .iter()
                .try_for_each(|(name, text)| fs::write(unfinished.join(name), text))
        })
        // Onto an empty directory if there is one.
        .and_then(|()| fs::rename(&unfinished, output));
    if written.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    written.with_context(|| format!("cannot write to {}", output.display()))
}

/// Says what came out and where it is.
fn tell(arguments: &Arguments, output: &Path, results: &Results, changes: Option<&str>) -> Result<()> {
    let mut text = if arguments.json {
        results.to_json()?
    } else {
        report::summary(results)
    };
    if let Some(changes) = changes {
        if arguments.json {
            eprint!("{changes}");
        } else {
            text = format!("{text}{changes}\n");
        }
    }
    // A reader that went away does not change what was measured.
    let _ = std::io::stdout().write_all(text.as_bytes());
    eprintln!("report: {}", output.join("report.md").display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture;
    use super::*;

    #[test]
    fn ids_are_unique_and_of_the_agreed_form() {
        for quick in [false, true] {
            let arguments = Arguments {
                quick,
                ..Arguments::default()
            };
            let ids: Vec<String> = picked(&arguments).unwrap().iter().map(|case| case.id()).collect();
            let unique: BTreeSet<&String> = ids.iter().collect();
            assert_eq!(unique.len(), ids.len());
            for id in ids {
                let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
                let parts: Vec<&str> = id.split('/').collect();
                assert!((2..=3).contains(&parts.len()), "{id}");
                assert!(
                    parts.iter().all(|part| !part.is_empty() && part.chars().all(plain)),
                    "{id}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let cases = vec!["no-such-case".to_owned()];
        let arguments = Arguments {
            cases,
            ..Arguments::default()
        };
        let error = picked(&arguments).err().unwrap().to_string();
        assert!(error.contains("no-such-case") && error.contains("--list"), "{error}");
    }

    #[test]
    fn a_run_is_written_whole_and_never_over_another() {
        let parent = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            output: Some(parent.path().join("run")),
            ..Arguments::default()
        };
        let results = fixture::results();
        let to = output(&arguments, "now").unwrap();
        write(&to, &results, None).unwrap();
        let names: BTreeSet<String> = fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        for name in ["results.json", "report.md", "net-cost.svg"] {
            assert!(names.contains(name), "{names:?}");
        }
        assert!(Results::read(&to.join("results.json")).unwrap() == results);
        assert!(output(&arguments, "now").is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
