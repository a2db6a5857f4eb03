//! `cargo xtask lint`: format, lints, documentation, dependencies.

use anyhow::{Result, bail};

use crate::{build_ebpf, command};

/// A check: its name, the arguments of cargo, the environment.
type Check = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const CHECKS: [Check; 4] = [
    ("format", &["fmt", "--all", "--check"], &[]),
    (
        "lints",
        &[
            "clippy",
            "--workspace",
            "--exclude",
            "netbridge-ebpf",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    // The eBPF programs, looked at by the host's clippy: the profile has the `panic = "abort"` that a program without
    // std needs, and the directory of its own keeps the other builds warm.
    (
        "lints of the eBPF programs",
        &[
            "clippy",
            "--package",
            "netbridge-ebpf",
            "--profile",
            "bpf",
            "--target-dir",
            "target/bpf-lint",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
    (
        "documentation",
        &[
            "doc",
            "--no-deps",
            "--package",
            "netbridge",
            "--package",
            "netbridge-common",
        ],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ),
];

/// Runs every check, also after a failure, and names those that failed.
pub(crate) fn run() -> Result<()> {
    build_ebpf::build()?;
    let mut checks = CHECKS.to_vec();
    if command::which("cargo-deny").is_some() {
        checks.push(("dependencies", &["deny", "check"], &[]));
    } else {
        eprintln!("== dependencies: not checked, cargo-deny is not installed (`cargo install cargo-deny`)");
    }
    let mut failed = Vec::new();
    for (name, arguments, environment) in checks {
        eprintln!("== {name}");
        let mut cargo = command::cargo();
        cargo.args(arguments).envs(environment.iter().copied());
        if let Err(error) = command::run(&mut cargo) {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("checks failed: {}", failed.join(", "))
    }
}
