//! `cargo xtask fuzz`: millions of packets through the programs in the kernel and through the core on the host.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privilege::Root;
use crate::{build_ebpf, command};

const FUZZER: &str = "netbridge-fuzz";

#[derive(Args)]
// Its help would hide the one of the program that does the work.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the fuzzing program: `--packets N`, `--program NAME`, `--seed S`, `--seconds N`, `--replay FILE`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    fuzzer: Vec<String>,
}

/// Builds everything, then becomes the fuzzing program.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = Root::acquire("for namespaces and bpf(2)")?;
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo
        .args("build --release --package netbridge-tests --bin".split(' '))
        .arg(FUZZER);
    command::run(&mut cargo)?;
    let mut fuzzer = root.program(command::host_target().join("release").join(FUZZER));
    let failure = fuzzer.args(&arguments.fuzzer).exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&fuzzer)))
}
