//! What `cargo xtask differential` executes: seeded events into netbridge and into the kernel's router.

use std::process::ExitCode;

use clap::Parser;
use netbridge_tests::conformance::differential::run;

#[derive(Parser)]
#[command(about = "Compares netbridge and netfilter event by event")]
struct Arguments {
    /// How many events
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// What they are made from; the same seed makes the same events as long as both routers agree
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.seed, arguments.events, |done| eprintln!("{done} events")) {
        Ok(summary) => {
            print!("{}", summary.text());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("netbridge-differential: {error:#}");
            ExitCode::FAILURE
        }
    }
}
