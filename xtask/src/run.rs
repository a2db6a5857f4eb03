//! `cargo xtask run`: the example lab in a sandbox of its own, checked with real traffic.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privilege::Root;
use crate::{build_ebpf, command};

const CHECKER: &str = "netbridge-proof";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Arguments for the checker: `--once` to end after the checks, `--json` for machines
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    checker: Vec<String>,
}

/// Builds everything, then becomes the checker: its output, its signals and its exit code are the command's own.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = Root::acquire("for namespaces and bpf(2)")?;
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo.args("build --release --package netbridge --package netbridge-tests --bin netbridge --bin".split(' '));
    cargo.arg(CHECKER);
    command::run(&mut cargo)?;
    let checker = command::host_target().join("release").join(CHECKER);
    let mut checker = root.program(checker);
    let failure = checker.args(&arguments.checker).exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&checker)))
}
