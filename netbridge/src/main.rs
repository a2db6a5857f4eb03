//! The command `netbridge`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    netbridge::cli::run()
}
