//! `cargo xtask ci`: all that decides whether a change may go in; `.ci/run` is the same for a machine.

use anyhow::Result;

use crate::{lint, test};

/// Runs every test, then every lint.
pub(crate) fn run() -> Result<()> {
    test::run(&test::Arguments::default())?;
    lint::run()
}
