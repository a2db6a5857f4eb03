//! What `cargo xtask bench` executes: every contestant side by side, in namespaces of its own.

use std::process::ExitCode;

use clap::Parser as _;
use netbridge_tests::bench::command::run;
use netbridge_tests::bench::options::Arguments;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("netbridge-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
