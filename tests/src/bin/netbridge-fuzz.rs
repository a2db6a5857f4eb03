//! What `cargo xtask fuzz` executes: the programs in the kernel against the core on the host, millions of packets long.

use std::process::ExitCode;

use clap::Parser as _;
use netbridge_tests::fuzz::command::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("netbridge-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
