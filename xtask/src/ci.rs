//! `cargo xtask ci`: all that decides whether a change may go in.

use anyhow::Result;

use crate::{build_ebpf, doctor, lint, test};

/// Builds the object, checks the machine, runs every test and every lint.
pub(crate) fn run() -> Result<()> {
    build_ebpf::build()?;
    doctor::run()?;
    test::run(&test::Arguments::default())?;
    lint::run()
}
