//! What RFCs ask for, on netbridge and on the kernel.

use anyhow::{Result, ensure};
use netbridge_tests::conformance::{differential, report, run};

#[test]
fn what_is_met_is_what_the_lists_and_the_document_say() -> Result<()> {
    let both = run(|_| true)?;
    let surprises = report::surprises(&both);
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    report::compare(&report::render(&both)?)
}

#[test]
fn the_same_events_come_to_the_same_but_for_what_is_explained() -> Result<()> {
    let summary = differential::run(1, 6000, |_| {})?;
    println!("{}", summary.text());
    // Packets that arrive nowhere agree too.
    ensure!(summary.arrivals > 3000, "only {} packets arrived", summary.arrivals);
    let unused = summary.unused();
    ensure!(unused.is_empty(), "explanations of nothing: {unused:?}");
    Ok(())
}
