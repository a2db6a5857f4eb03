//! The Rust toolchain for eBPF: one that can build `core` for `bpfel-unknown-none`, which takes its library source.
//!
//! A toolchain here is a directory with `bin/cargo`, `bin/rustc` and `lib/rustlib/src`: that is what rustup's toolchains
//! and Debian's packages have in common. `RUSTC_BOOTSTRAP` lets a stable one build `core` as a nightly does.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use crate::linker::Linker;
use crate::{apt, command};

/// Names the toolchain to take: the directory of one, or the name rustup knows it by.
pub(crate) const VARIABLE: &str = "NETBRIDGE_BPF_TOOLCHAIN";
/// The nightly to install where there is none: of the LLVM generation that Debian's packages and bpf-linker have too.
const NIGHTLY: &str = "nightly-2026-05-20";
/// Debian's newest compiler, kept for browsers, and the source of its library.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// The oldest compiler that builds this workspace.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A usable toolchain.
pub(crate) struct Toolchain {
    prefix: PathBuf,
    /// Version of rustc, such as `1.96.0`.
    release: String,
    /// Major version of the LLVM it writes bitcode with.
    llvm: u32,
    /// Why it was chosen.
    why: String,
}

/// Whether a search may change the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// What is missing is installed: compilers and linkers into `target/tools`, Debian packages into the system.
    Install,
    /// What is missing is reported.
    Report,
}

impl Toolchain {
    /// The toolchain in `prefix`, or what it lacks.
    fn at(prefix: PathBuf, why: String) -> Result<Self> {
        let rustc = prefix.join("bin/rustc");
        if !rustc.exists() || !prefix.join("bin/cargo").exists() {
            bail!("{} has no bin/rustc and bin/cargo", prefix.display());
        }
        let version = command::output(isolate(&mut command::program(&rustc)).arg("-vV"))?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
                .with_context(|| format!("`{} -vV` has no line `{name}`", rustc.display()))
        };
        let release = field("release:")?.to_owned();
        if minor(&release) < minor(OLDEST) {
            bail!("{} is rustc {release}, older than {OLDEST}", rustc.display());
        }
        let llvm = field("LLVM version:")?
            .split('.')
            .next()
            .and_then(|major| major.parse().ok());
        let llvm = llvm.with_context(|| format!("`{} -vV` names no LLVM version", rustc.display()))?;
        if !prefix.join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
            bail!(
                "{} (rustc {release}) lacks the source of the library, rust-src",
                prefix.display()
            );
        }
        Ok(Self {
            prefix,
            release,
            llvm,
            why,
        })
    }

    /// This toolchain's cargo, shielded from the one that runs xtask.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = command::program(self.prefix.join("bin/cargo"));
        isolate(&mut cargo)
            .env("RUSTC", self.prefix.join("bin/rustc"))
            .env("RUSTC_BOOTSTRAP", "1");
        cargo
    }

    /// What it is and why it was chosen, for people.
    pub(crate) fn describe(&self) -> String {
        format!(
            "rustc {} (LLVM {}) in {}: {}",
            self.release,
            self.llvm,
            self.prefix.display(),
            self.why
        )
    }
}

/// Chooses a compiler and a linker that fit together, in the order: what the user names, a rustup nightly with its
/// library source, the system's Rust with the same, and last what can be installed. Says what it passed over.
pub(crate) fn choose(missing: Missing) -> Result<(Toolchain, Linker)> {
    let with_linker = |toolchain: Toolchain| {
        let linker = Linker::choose(toolchain.llvm, missing);
        linker.map(|linker| (toolchain, linker))
    };
    if let Some(name) = env::var_os(VARIABLE) {
        let name = name.to_string_lossy().into_owned();
        let prefix = if name.contains('/') {
            Ok(name.clone().into())
        } else {
            rustup_prefix(&name)
        };
        let toolchain = prefix.and_then(|prefix| Toolchain::at(prefix, format!("{VARIABLE} names it")));
        return toolchain
            .and_then(with_linker)
            .with_context(|| format!("{VARIABLE}={name} is of no use"));
    }
    let mut passed_over = Vec::new();
    for (prefix, why) in candidates() {
        match Toolchain::at(prefix, why).and_then(with_linker) {
            Ok(chosen) => {
                for reason in passed_over {
                    eprintln!("passed over: {reason:#}");
                }
                return Ok(chosen);
            }
            Err(reason) => passed_over.push(reason),
        }
    }
    if missing == Missing::Install {
        for install in [install_with_rustup, install_with_apt] {
            match install().and_then(with_linker) {
                Ok(chosen) => return Ok(chosen),
                Err(reason) => passed_over.push(reason),
            }
        }
    }
    let reasons: Vec<String> = passed_over.iter().map(|reason| format!("\n  - {reason:#}")).collect();
    bail!(
        "found no Rust toolchain for eBPF:{}\nInstall one of these and run this again:\n  \
         rustup toolchain install nightly --component rust-src\n  apt-get install {}\n\
         or name one in {VARIABLE} (a directory or rustup's name for it), and its linker in {}",
        reasons.concat(),
        DEBIAN.join(" "),
        crate::linker::VARIABLE
    )
}

/// The toolchains that may serve, best first: each with the reason that would speak for it.
fn candidates() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let list = command::output(command::program("rustup").args(["toolchain", "list"])).unwrap_or_default();
    for name in list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
    {
        if let Ok(prefix) = rustup_prefix(name) {
            found.push((prefix, format!("rustup's {name} has the library source")));
        }
    }
    for entry in fs::read_dir(own_rustup().join("toolchains"))
        .into_iter()
        .flatten()
        .flatten()
    {
        found.push((entry.path(), "installed here by an earlier run".to_owned()));
    }
    found.push(("/usr".into(), "the system's Rust has the library source".to_owned()));
    found
}

fn rustup_prefix(name: &str) -> Result<PathBuf> {
    let mut rustup = command::program("rustup");
    rustup
        .args(["run", name, "rustc", "--print", "sysroot"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    Ok(command::output(&mut rustup)?.trim().into())
}

/// rustup's directory for the toolchain installed by us: the user's toolchains and settings are theirs.
fn own_rustup() -> PathBuf {
    command::tools().join("rustup")
}

fn install_with_rustup() -> Result<Toolchain> {
    if command::which("rustup").is_none() {
        bail!("rustup is not installed");
    }
    let mut rustup = command::program("rustup");
    rustup.args(["toolchain", "install", NIGHTLY, "--no-self-update"]);
    rustup.args(["--profile", "minimal", "--component", "rust-src"]);
    isolate(&mut rustup).env("RUSTUP_HOME", own_rustup());
    command::step(
        &format!("installing Rust {NIGHTLY} into target/tools"),
        "rustup",
        &mut rustup,
    )?;
    let installed = fs::read_dir(own_rustup().join("toolchains")).context("rustup installed nothing")?;
    let prefix = installed
        .flatten()
        .map(|entry| entry.path())
        .next()
        .context("rustup installed nothing")?;
    Toolchain::at(prefix, "installed with rustup, as there was none".to_owned())
}

fn install_with_apt() -> Result<Toolchain> {
    apt::install(&DEBIAN)?;
    Toolchain::at("/usr".into(), "installed with apt, as there was none".to_owned())
}

/// Takes away what `cargo xtask`, run by another toolchain, has set for its own compiler and libraries.
fn isolate(command: &mut Command) -> &mut Command {
    for variable in [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(variable);
    }
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(variable);
    }
    command
}

/// The minor version of a release such as `1.96.0-nightly`.
fn minor(release: &str) -> u32 {
    release
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_compare_as_numbers() {
        assert!(minor("1.101.0-nightly") > minor("1.95"));
        assert_eq!(minor("nonsense"), 0);
    }

    #[test]
    fn a_directory_without_a_compiler_is_refused_by_name() {
        let Err(error) = Toolchain::at("/nonexistent".into(), String::new()) else {
            panic!("accepted")
        };
        assert!(error.to_string().contains("/nonexistent has no bin/rustc"), "{error}");
    }

    #[test]
    fn the_child_does_not_inherit_the_compiler_of_xtask() {
        let mut command = Command::new("true");
        isolate(&mut command);
        assert!(
            command
                .get_envs()
                .any(|(name, value)| name == "RUSTUP_TOOLCHAIN" && value.is_none())
        );
    }
}
