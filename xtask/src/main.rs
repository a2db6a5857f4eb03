//! `cargo xtask`: everything one does to this repository, one file per command.
//!
//! A fresh clone needs nothing but cargo: the commands that need the eBPF object find or install its compiler and linker
//! themselves (see [`choice`]) and say what they chose.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod build_ebpf;
mod choice;
mod ci;
mod command;
mod doctor;
mod linker;
mod lint;
mod long;
mod oracles;
mod privilege;
mod run;
mod test;
mod toolchain;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs, tests and checks netbridge", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF programs into target/bpf/
    BuildEbpf,
    /// Bring up the example lab in a sandbox and prove its packet path with real traffic
    Run(run::Arguments),
    /// Run the tests
    Test(test::Arguments),
    /// Measure Linux bridges and netbridge side by side; `bench --help` tells how
    Bench(bench::Arguments),
    /// Write docs/rfc-compliance.md from a run of its rows
    Compliance,
    /// Compare netbridge with the kernel's router event by event: `--events N --seed N`
    Differential(long::Arguments),
    /// Compare what generated rule files mean to netbridge and to netfilter: `--files N --seed N`
    Alike(long::Arguments),
    /// Compare the programs in the kernel with the core on the host, 10 million packets each: `fuzz --help` tells how
    Fuzz(long::Arguments),
    /// Load netbridge with connections, full tables and floods for long: `load --help` tells how
    Load(long::Arguments),
    /// Check format, lints, documentation and dependencies
    Lint,
    /// Run all that decides whether a change may go in
    Ci,
    /// Say what this machine has and lacks
    Doctor,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::BuildEbpf => build_ebpf::build(),
        Command::Run(arguments) => run::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Compliance => long::COMPLIANCE.run(&long::Arguments::default()),
        Command::Differential(arguments) => long::DIFFERENTIAL.run(&arguments),
        Command::Alike(arguments) => long::ALIKE.run(&arguments),
        Command::Fuzz(arguments) => long::FUZZ.run(&arguments),
        Command::Load(arguments) => long::LOAD.run(&arguments),
        Command::Lint => lint::run(),
        Command::Ci => ci::run(),
        Command::Doctor => doctor::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
