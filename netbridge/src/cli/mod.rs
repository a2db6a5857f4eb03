//! The command line: arguments to requests, replies to text or JSON.

mod args;
mod commands;
mod lab;
mod monitor;
mod reply;
mod views;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::ops::Failure;
use crate::plan::resolve_target;
use args::Cli;
use reply::{Reply, print_failure};

/// Runs the command that the process was given, and says how it ended.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    match execute(cli) {
        Ok(reply) => {
            reply.print(json);
            ExitCode::from(reply.code)
        }
        Err(failure) => {
            print_failure(&failure, json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The namespace is entered while the process has one thread: everything after it is inside.
fn execute(cli: Cli) -> Result<Reply, Failure> {
    if let Some(host) = &cli.global.host {
        resolve_target(host)?.enter().map_err(anyhow::Error::from)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the asynchronous runtime")?;
    runtime.block_on(commands::dispatch(cli.global, cli.command))
}
