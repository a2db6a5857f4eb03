//! `cargo xtask test`: the tiers of tests, from the cheapest to the one with real traffic.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::privilege::Root;
use crate::{build_ebpf, command, oracles};

#[derive(Args, Default)]
pub(crate) struct Arguments {
    /// Which tests
    #[arg(value_enum, default_value_t = Tier::All)]
    tier: Tier,
    /// Arguments for the test programs, such as part of a test's name
    #[arg(last = true)]
    harness: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// All that needs no privilege: the core, the controller's pure parts, the examples in the documentation
    Unit,
    /// The eBPF programs, one packet at a time, in the kernel's test runner
    Program,
    /// Namespaces with real sockets
    Netns,
    /// Everything
    #[default]
    All,
}

/// One call of cargo.
struct Suite {
    tier: Tier,
    name: &'static str,
    cargo: &'static str,
    root: bool,
}

const SUITES: [Suite; 4] = [
    Suite {
        tier: Tier::Unit,
        name: "unit",
        cargo: "--workspace --exclude netbridge-ebpf --exclude netbridge-tests --all-features",
        root: false,
    },
    Suite {
        tier: Tier::Unit,
        name: "unit (fixtures)",
        cargo: "--package netbridge-tests --lib --bins",
        root: false,
    },
    Suite {
        tier: Tier::Program,
        name: "program",
        cargo: "--package netbridge-tests --test program",
        root: true,
    },
    Suite {
        tier: Tier::Netns,
        name: "netns",
        cargo: "--package netbridge-tests --test netns",
        root: true,
    },
];

/// Runs the tier's suites, the later ones also after a failure, and names those that failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let suites = SUITES
        .iter()
        .filter(|suite| arguments.tier == Tier::All || arguments.tier == suite.tier);
    let suites: Vec<&Suite> = suites.collect();
    let sudo = if suites.iter().any(|suite| suite.root) {
        let root = Root::acquire("for tests with namespaces and bpf(2)")?;
        oracles::ensure()?;
        root.prefix()
    } else {
        &[]
    };
    build_ebpf::build()?;
    let census = if suites.iter().any(|suite| suite.root) {
        Some(Census::before(sudo)?)
    } else {
        None
    };
    let mut failed = Vec::new();
    for suite in suites {
        eprintln!("== tests: {}", suite.name);
        let mut cargo = command::cargo();
        cargo
            .args(["test", "--no-fail-fast"])
            .args(suite.cargo.split(' '))
            .arg("--")
            .args(&arguments.harness);
        if suite.root && !sudo.is_empty() {
            cargo.env(runner_variable()?, sudo.join(" "));
        }
        if let Err(error) = command::run(&mut cargo) {
            eprintln!("{error:#}");
            failed.push(suite.name);
        }
    }
    if let Some(census) = census
        && let Err(error) = census.after()
    {
        eprintln!("{error:#}");
        failed.push("nothing left behind");
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("tests failed: {}", failed.join(", "))
    }
}

/// What of netbridge was on the machine before the tests: nothing may be added when they end.
struct Census {
    sudo: &'static [&'static str],
    file: PathBuf,
}

impl Census {
    /// Counts, into a file.
    fn before(sudo: &'static [&'static str]) -> Result<Self> {
        let file = command::host_target().join("census.json");
        fs::create_dir_all(command::host_target()).context("cannot make the target directory")?;
        let output = fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        let census = Self { sudo, file };
        command::run(census.command()?.stdout(output))?;
        Ok(census)
    }

    /// Counts again, and fails if anything has come.
    fn after(&self) -> Result<()> {
        eprintln!("== what the tests left behind");
        command::run(self.command()?.arg(&self.file))
    }

    /// The counting program, as root.
    fn command(&self) -> Result<Command> {
        let mut cargo = command::cargo();
        cargo.args([
            "run",
            "--quiet",
            "--package",
            "netbridge-tests",
            "--bin",
            "netbridge-census",
            "--",
        ]);
        if !self.sudo.is_empty() {
            cargo.env(runner_variable()?, self.sudo.join(" "));
        }
        Ok(cargo)
    }
}

/// The variable by which cargo is told to start this machine's test programs through another one.
fn runner_variable() -> Result<String> {
    let version = command::output(command::cargo().arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`cargo -vV` names no host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_variable_is_one_cargo_reads() {
        let name = runner_variable().unwrap();
        assert!(name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER"), "{name}");
        assert!(
            name.chars()
                .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
        );
    }
}
