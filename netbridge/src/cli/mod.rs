//! The command line: arguments to requests, replies to text or JSON.

mod args;
mod commands;
mod ct;
mod filter;
mod lab;
#[cfg(test)]
mod manual;
mod monitor;
mod port;
mod reply;
mod views;

use std::env;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::model::Fault;
use crate::ops::Failure;
use crate::plan::resolve_target;
use args::Cli;
use reply::{Reply, print_failure};

/// Runs the command that the process was given, and says how it ended.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse_from(filter::rule_apart(env::args_os())) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && json_wanted() => {
            print_failure(&misuse(&error).into(), true);
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
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

/// Whether the arguments, which cannot be read, ask for JSON.
fn json_wanted() -> bool {
    env::args_os().any(|argument| argument == "-j" || argument == "--json")
}

/// What is wrong with the arguments.
fn misuse(error: &clap::Error) -> Fault {
    let text = error.to_string();
    let (why, _) = text.split_once("\n\n").unwrap_or((&text, ""));
    let why = why.strip_prefix("error: ").unwrap_or(why);
    Fault::usage("arguments", why.trim(), "`netbridge help` lists what there is")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misuse_is_told_without_the_usage() {
        let error = Cli::try_parse_from(["netbridge", "net", "bogus"]).unwrap_err();
        assert_eq!(misuse(&error).why, "unrecognized subcommand 'bogus'");
        let error = Cli::try_parse_from(["netbridge", "attach"]).unwrap_err();
        assert!(misuse(&error).why.contains("--net <NAME>"), "{}", misuse(&error).why);
    }
}
