//! `cargo xtask lint`: format, lints, documentation, dependencies.

use anyhow::{Result, bail};

use crate::{build_ebpf, command};

/// One call of cargo.
struct Check {
    name: &'static str,
    cargo: &'static str,
}

const CHECKS: [Check; 4] = [
    Check {
        name: "format",
        cargo: "fmt --all --check",
    },
    Check {
        name: "lints",
        cargo: "clippy --workspace --exclude netbridge-ebpf --all-features --all-targets --keep-going -- -D warnings",
    },
    // The eBPF programs, looked at by the host's clippy: the profile has the `panic = "abort"` that a program without
    // std needs, and the directory of its own keeps the other builds warm.
    Check {
        name: "lints of the eBPF programs",
        cargo: "clippy --package netbridge-ebpf --profile bpf --target-dir target/bpf-lint -- -D warnings",
    },
    Check {
        name: "documentation",
        cargo: "doc --no-deps --all-features --package netbridge --package netbridge-common",
    },
];

/// The release of cargo-deny that is installed where there is none.
const DENY: &str = "0.20.2";

/// Runs every check, also after a failure, and names those that failed.
pub(crate) fn run() -> Result<()> {
    build_ebpf::build()?;
    let mut failed = Vec::new();
    for check in CHECKS {
        eprintln!("== {}", check.name);
        let mut cargo = command::cargo();
        cargo.args(check.cargo.split(' ')).env("RUSTDOCFLAGS", "-D warnings");
        if let Err(error) = command::run(&mut cargo) {
            eprintln!("{error:#}");
            failed.push(check.name);
        }
    }
    eprintln!("== dependencies");
    if let Err(error) = dependencies() {
        eprintln!("{error:#}");
        failed.push("dependencies");
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("checks failed: {}", failed.join(", "))
    }
}

/// Licences and origins of what is linked in. Not the advisories: they change from day to day, and fetching them takes
/// a network that a build does not have everywhere; `cargo deny check advisories` asks for them.
fn dependencies() -> Result<()> {
    let own = command::tools().join("bin/cargo-deny");
    let deny = match command::which("cargo-deny") {
        Some(deny) => deny,
        None if own.exists() => own,
        None => {
            let mut cargo = command::cargo();
            cargo.args(["install", "cargo-deny", "--version", DENY, "--locked", "--root"]);
            cargo.arg(command::tools());
            command::step("building cargo-deny into target/tools", "cargo-deny", &mut cargo)?;
            own
        }
    };
    let mut deny = command::program(deny);
    deny.args("--all-features --log-level error check bans licenses sources".split(' '));
    command::run(&mut deny)
}
