//! What the verifier walks to accept each program: a budget, so that growth is a decision.

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::Hook;
use netbridge_common::host::cases::FULL;

use netbridge_tests::fuzz::bed::with_kernel;

/// Instructions walked, at most; a quarter above what it was when the figure was last changed. The kernel refuses
/// a program at 1,000,000.
const BUDGET: [(Hook, u32); 4] = [
    (Hook::FromContainer, 192_000),
    (Hook::ToContainer, 13_500),
    (Hook::FromUplink, 127_000),
    (Hook::ToUplink, 174_000),
];

#[test]
fn the_verifier_walks_no_more_than_its_budget() -> Result<()> {
    with_kernel(FULL, |kernel| {
        for (hook, budget) in BUDGET {
            let walked = kernel.datapath().verified_instructions(hook)?;
            let walked = walked.context("the kernel does not say what it walked")?;
            println!("{}: {walked} of {budget}", hook.name());
            ensure!(
                walked <= budget,
                "{}: {walked} instructions, {budget} allowed",
                hook.name()
            );
        }
        Ok(())
    })
}
