//! Every reason to drop a packet, produced by the programs in the kernel.

use anyhow::{Context as _, Result, ensure};
use netbridge_common::abi::Reason;
use netbridge_common::host::cases::{FULL, cases};
use netbridge_common::host::rewrite::apply;

use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::kernel::Outcome;

#[test]
fn every_reason_is_produced_and_counted_in_the_kernel() -> Result<()> {
    with_kernel(FULL, |kernel| {
        let mut produced = Vec::new();
        for case in cases() {
            let name = case.name;
            kernel.install(&case.env).context(name)?;
            let before = kernel.dropped(case.reason)?;
            let outcome = kernel.run(case.hook, &case.frame).context(name)?;
            let verdict = case.env.run(case.hook, &case.frame);
            let mut bytes = case.frame.bytes.clone();
            apply(&verdict, &mut bytes);
            let expected = Outcome::expected(&verdict, bytes);
            ensure!(outcome == expected, "{name}: {outcome:x?}, expected {expected:x?}");
            ensure!(outcome.reason == case.reason as u8, "{name}: {outcome:x?}");
            ensure!(kernel.dropped(case.reason)? == before + 1, "{name}: not counted");
            produced.push(case.reason);
        }
        let missing = Reason::ALL.iter().skip(1).filter(|reason| !produced.contains(reason));
        ensure!(missing.eq(&[]), "no case for some reason");
        Ok(())
    })
}
