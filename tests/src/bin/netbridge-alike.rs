//! What `cargo xtask alike` executes: generated rule files on netbridge and on netfilter, packet by packet.

use std::process::ExitCode;

use clap::Parser;
use netbridge_tests::alike::generated;

#[derive(Parser)]
#[command(about = "Compares what rule files mean to netbridge and to netfilter")]
struct Arguments {
    /// How many files
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// What the first is made from; each other one is made from the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match generated(arguments.seed, arguments.files) {
        Ok(summary) => {
            println!("{}", summary.text());
            for refused in &summary.refused {
                println!("refused: {refused}");
            }
            for difference in &summary.differences {
                println!("\n{difference}");
            }
            if summary.differences.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("netbridge-alike: {error:#}");
            ExitCode::FAILURE
        }
    }
}
