//! How long netbridge's programs run, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use netbridge::datapath::HOOKS;

/// What the kernel counted of all of netbridge's programs.
#[derive(Clone, Copy)]
struct Runs {
    time: Duration,
    count: u64,
}

/// Nanoseconds that netbridge's programs run for one of `frames` that `send` sends. The kernel reads a clock before and
/// after each run, and the figure holds one reading: it is for comparing programs, not for adding up.
pub(super) fn run_time(send: impl FnOnce() -> Result<u32>) -> Result<f64> {
    let _counting = enable_stats(Stats::RunTime).context("cannot have the kernel count the run time of programs")?;
    let before = runs()?;
    let frames = send()?;
    let after = runs()?;
    let count = after.count - before.count;
    let time = after.time.saturating_sub(before.time);
    ensure!(
        count >= u64::from(frames),
        "netbridge's programs ran {count} times for {frames} frames"
    );
    Ok(time.as_secs_f64() * 1e9 / f64::from(frames))
}

fn runs() -> Result<Runs> {
    let mut runs = Runs {
        time: Duration::ZERO,
        count: 0,
    };
    for program in loaded_programs() {
        let program = program.context("cannot list the loaded programs")?;
        if program
            .name_as_str()
            .is_some_and(|name| HOOKS.iter().any(|hook| hook.name() == name))
        {
            runs.time += program.run_time();
            runs.count += program.run_count();
        }
    }
    Ok(runs)
}
