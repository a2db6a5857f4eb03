//! The processors that a thread may use: fewer than the machine has where a cpuset or an affinity says so.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const OWN: Pid = Pid::from_raw(0);

/// Those that the calling thread may use, at least one, in ascending order.
pub fn allowed() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(OWN).context("cannot tell which processors may be used")?;
    let numbers = 0..CpuSet::count();
    Ok(numbers.filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// Two different ones, or the same twice if there is one only.
pub fn two() -> Result<[usize; 2]> {
    let allowed = allowed()?;
    let first = *allowed.first().context("no processor may be used")?;
    Ok([first, allowed.get(1).copied().unwrap_or(first)])
}

/// Keeps the calling thread, and what it starts, to one.
pub fn keep_to(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)
        .with_context(|| format!("processor {cpu} is beyond the mask"))?;
    sched_setaffinity(OWN, &only).with_context(|| format!("cannot keep to processor {cpu}"))
}
