//! What RFCs ask for, on netbridge and on the kernel.

use anyhow::{Result, ensure};
use netbridge_tests::conformance::{report, run};

#[test]
fn what_is_met_is_what_the_lists_and_the_document_say() -> Result<()> {
    let both = run(|_| true)?;
    let surprises = report::surprises(&both);
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    report::compare(&report::render(&both)?)
}
