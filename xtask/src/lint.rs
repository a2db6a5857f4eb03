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

const DEPENDENCIES: Check = Check {
    name: "dependencies",
    cargo: "deny --all-features check",
};

/// Runs every check, also after a failure, and names those that failed.
pub(crate) fn run() -> Result<()> {
    build_ebpf::build()?;
    let deny = command::which("cargo-deny").map(|_| &DEPENDENCIES);
    if deny.is_none() {
        eprintln!(
            "== {}: not checked, cargo-deny is not installed (`cargo install cargo-deny`)",
            DEPENDENCIES.name
        );
    }
    let mut failed = Vec::new();
    for check in CHECKS.iter().chain(deny) {
        eprintln!("== {}", check.name);
        let mut cargo = command::cargo();
        cargo.args(check.cargo.split(' ')).env("RUSTDOCFLAGS", "-D warnings");
        if let Err(error) = command::run(&mut cargo) {
            eprintln!("{error:#}");
            failed.push(check.name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("checks failed: {}", failed.join(", "))
    }
}
