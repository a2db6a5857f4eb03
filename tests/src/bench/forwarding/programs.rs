//! How long netbridge's programs run, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};

use crate::bench::world::World;

/// What the kernel counted of all programs of a world.
#[derive(Clone, Copy)]
struct Runs {
    time: Duration,
    count: u64,
}

/// Nanoseconds that the programs of a world run for one of the frames that `send` sends. The kernel reads a clock before
/// and after each run, and the figure holds one reading: it is for comparing programs, not for adding up.
pub(super) fn run_time(world: &mut dyn World, send: impl FnOnce(&mut dyn World) -> Result<u32>) -> Result<f64> {
    let _counting = enable_stats(Stats::RunTime).context("cannot have the kernel count the run time of programs")?;
    let before = runs(world)?;
    let frames = send(world)?;
    let after = runs(world)?;
    let count = after.count - before.count;
    let time = after.time.saturating_sub(before.time);
    ensure!(
        count >= u64::from(frames),
        "netbridge's programs ran {count} times for {frames} frames"
    );
    Ok(time.as_secs_f64() * 1e9 / f64::from(frames))
}

fn runs(world: &dyn World) -> Result<Runs> {
    let programs = world.programs()?;
    Ok(Runs {
        time: programs.iter().map(ProgramInfo::run_time).sum(),
        count: programs.iter().map(ProgramInfo::run_count).sum(),
    })
}
