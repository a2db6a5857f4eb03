//! Makes a course of steps on which the two sides do not agree as short as can be (delta debugging).

use std::time::{Duration, Instant};

use anyhow::Result;
use netbridge_common::host::HostEnv;

use super::case::Case;
use super::kernel::Kernel;

/// When to be content with what there is.
const PATIENCE: Duration = Duration::from_mins(2);

/// Leaves out steps, in ever smaller pieces, for as long as the rest still diverges when it is replayed in a fresh world.
/// A case that does not diverge when it is replayed comes back as it is.
pub fn shrink(kernel: &mut Kernel, case: &Case, fault: fn(&mut HostEnv)) -> Result<Case> {
    let deadline = Instant::now() + PATIENCE;
    let mut best = case.clone();
    if !best.diverges(kernel, fault)? {
        return Ok(best);
    }
    let mut piece = best.steps.len().div_ceil(2);
    loop {
        let mut from = 0;
        let before = best.steps.len();
        while from < best.steps.len() && Instant::now() < deadline {
            let mut shorter = best.clone();
            drop(shorter.steps.drain(from..best.steps.len().min(from + piece)));
            if shorter.diverges(kernel, fault)? {
                best = shorter;
            } else {
                from += piece;
            }
        }
        let done = piece <= 1 && best.steps.len() == before;
        if done || Instant::now() >= deadline {
            return Ok(best);
        }
        piece = piece.div_ceil(2);
    }
}
