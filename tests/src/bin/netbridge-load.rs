//! What `cargo xtask load` executes: many connections, full tables, floods, every packet counted.

use std::process::ExitCode;

use clap::Parser as _;
use netbridge_tests::load::command::{Arguments, run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netbridge-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
