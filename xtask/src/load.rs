//! `cargo xtask load`: fifty thousand connections, full tables, floods.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privilege::Root;
use crate::{build_ebpf, command};

const LOADER: &str = "netbridge-load";

#[derive(Args)]
// Its help would hide the one of the program that does the work.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the loading program: `--help` for all of them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    loader: Vec<String>,
}

/// Builds everything, then becomes the loading program.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = Root::acquire("for namespaces and bpf(2)")?;
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo
        .args("build --release --package netbridge-tests --bin".split(' '))
        .arg(LOADER);
    command::run(&mut cargo)?;
    let mut loader = root.program(command::host_target().join("release").join(LOADER));
    let failure = loader.args(&arguments.loader).exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&loader)))
}
