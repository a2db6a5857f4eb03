//! Makes a course of steps on which the two sides do not agree as short as can be (delta debugging).

use std::time::{Duration, Instant};

use anyhow::Result;
use netbridge_common::host::HostEnv;

use super::case::Case;
use super::kernel::Kernel;

/// Leaves out steps, in ever smaller pieces, for as long as the rest still diverges when it is replayed in a fresh world.
/// A case that does not diverge when it is replayed comes back as it is; when `patience` is over, one as short as it is then.
pub fn shrink(kernel: &mut Kernel, case: &Case, fault: fn(&mut HostEnv), patience: Option<Duration>) -> Result<Case> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut best = case.clone();
    if !best.diverges(kernel, fault)? {
        return Ok(best);
    }
    let mut piece = best.steps.len().div_ceil(2);
    loop {
        let mut from = 0;
        let before = best.steps.len();
        while from < best.steps.len() && !is_over() {
            let mut shorter = best.clone();
            drop(shorter.steps.drain(from..best.steps.len().min(from + piece)));
            if shorter.diverges(kernel, fault)? {
                best = shorter;
            } else {
                from += piece;
            }
        }
        let done = piece <= 1 && best.steps.len() == before;
        if done || is_over() {
            return Ok(best);
        }
        piece = piece.div_ceil(2);
    }
}
