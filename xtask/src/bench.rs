//! `cargo xtask bench`: Linux bridges with iptables and nftables, and netbridge, measured side by side.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::oracles::{self, Oracle};
use crate::privilege::Root;
use crate::{build_ebpf, command};

const MEASURER: &str = "netbridge-bench";

/// What the contestants are set up with, and what our load programs are compared with.
const TOOLS: [Oracle; 7] = [
    Oracle::new("ip", "iproute2"),
    Oracle::new("iptables-nft", "iptables"),
    Oracle::new("iptables-legacy", "iptables"),
    Oracle::new("ipset", "ipset"),
    Oracle::new("nft", "nftables"),
    Oracle::new("iperf3", "iperf3"),
    Oracle::new("sockperf", "sockperf"),
];

#[derive(Args)]
// Its help would hide the one of the program that does the work.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the measuring program: `--quick`, `--help` for all of them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    measurer: Vec<String>,
}

/// Installs and builds everything, then becomes the measuring program: its output, its signals and its exit code are the
/// command's own.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let only_tells = ["-h", "--help", "-V", "--version", "--list"];
    let measures = !arguments
        .measurer
        .iter()
        .any(|word| only_tells.contains(&word.as_str()));
    let root = measures
        .then(|| Root::acquire("for namespaces, bpf(2) and netfilter"))
        .transpose()?;
    if root.is_some() {
        prepare();
    }
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo.args("build --release --package netbridge-tests --bin netbridge-under-test --bin".split(' '));
    cargo.arg(MEASURER);
    command::run(&mut cargo)?;
    let measurer = command::host_target().join("release").join(MEASURER);
    let mut measurer = match root {
        Some(root) => root.program(measurer),
        None => command::program(measurer),
    };
    let failure = measurer.args(&arguments.measurer).exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&measurer)))
}

/// Installs the tools that are missing, package by package: one that cannot be had keeps none of the others away, and
/// the benchmark names the contestants that are absent for it.
fn prepare() {
    for tool in &TOOLS {
        if tool.find().is_some() {
            continue;
        }
        if let Err(error) = oracles::install(&[tool]) {
            eprintln!("{} is missing and stays so: {error:#}", tool.program);
        }
    }
}
