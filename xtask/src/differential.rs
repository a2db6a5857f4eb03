//! `cargo xtask differential`: the same events into netbridge and into the kernel's router.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privilege::Root;
use crate::{build_ebpf, command, oracles};

const COMPARER: &str = "netbridge-differential";

#[derive(Args)]
// Its help would hide the one of the program that does the work.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the comparing program: `--events N`, `--seed N`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    comparer: Vec<String>,
}

/// Builds everything, then becomes the comparing program.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = Root::acquire("for namespaces, bpf(2) and netfilter")?;
    oracles::ensure()?;
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo
        .args("build --release --package netbridge-tests --bin".split(' '))
        .arg(COMPARER);
    command::run(&mut cargo)?;
    let mut comparer = root.program(command::host_target().join("release").join(COMPARER));
    let failure = comparer.args(&arguments.comparer).exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&comparer)))
}
