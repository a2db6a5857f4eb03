//! Counts what of netbridge is on the machine, and tells what has come since an earlier count.
//!
//! `netbridge-census > FILE` before a test run and `netbridge-census FILE` after it show whether the run left
//! anything behind: interfaces, namespaces, pins, programs, maps.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use netbridge_tests::census::Machine;
use netbridge_tests::wait::wait_until;

/// Counts what of netbridge is on the machine: interfaces, namespaces, pins, programs, maps.
#[derive(Debug, Parser)]
struct Arguments {
    /// An earlier count: tell what has come since, and fail if there is anything.
    before: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netbridge-census: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if nothing has come.
fn run(arguments: &Arguments) -> Result<bool> {
    let Some(path) = &arguments.before else {
        println!("{}", serde_json::to_string_pretty(&Machine::take()?)?);
        return Ok(true);
    };
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let before: Machine = serde_json::from_reader(file).with_context(|| format!("{} is no census", path.display()))?;
    let left = || anyhow::Ok(Machine::take()?.since(&before));
    // The kernel frees programs and namespaces a moment after their last user is gone.
    let clean = wait_until("what was left to go", Duration::from_secs(10), || {
        Ok(left()? == Machine::default())
    });
    match clean {
        Ok(()) => println!("nothing is left behind: no interface, namespace, pin, program or map"),
        Err(_) => println!("left behind: {}", serde_json::to_string_pretty(&left()?)?),
    }
    Ok(clean.is_ok())
}
