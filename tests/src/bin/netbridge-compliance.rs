//! What `cargo xtask compliance` executes: all rows on both routers, written down.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use netbridge_tests::conformance::{report, run};

fn main() -> ExitCode {
    match write() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netbridge-compliance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the document; false if it holds what the lists of known failures do not.
fn write() -> Result<bool> {
    let both = run(|_| true)?;
    let path = report::path();
    std::fs::write(&path, report::render(&both)?).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote docs/rfc-compliance.md");
    let surprises = report::surprises(&both);
    for surprise in &surprises {
        eprintln!("{surprise}");
    }
    if !surprises.is_empty() {
        eprintln!("tests/src/conformance/known.rs lists what is known not to be met");
    }
    Ok(surprises.is_empty())
}
