//! What `cargo xtask run` executes: the example lab, brought up in a sandbox and checked with real sockets.

use std::process::ExitCode;

use clap::Parser as _;
use netbridge_tests::proof::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("netbridge-proof: {error:#}");
            ExitCode::FAILURE
        }
    }
}
