//! Which compiler and linker build the eBPF programs: what this machine has, else what can be installed.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

use crate::linker::{self, Linker};
use crate::toolchain::{self, Toolchain};
use crate::{apt, command};

/// Names the toolchain to take: the directory of one, or the name rustup knows it by.
const VARIABLE: &str = "NETBRIDGE_BPF_TOOLCHAIN";
/// The nightly to install where there is none: of the LLVM generation that Debian's packages and bpf-linker have too.
const NIGHTLY: &str = "nightly-2026-05-20";
/// Debian's newest compiler, kept for browsers, and the source of its library.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Whether a search may change the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// What is missing is installed: compilers and linkers into `target/tools`, Debian packages into the system.
    Install,
    /// What is missing is reported.
    Report,
}

/// Chooses a compiler and a linker that fit together, in the order: what the user names, a rustup nightly with its
/// library source, the system's Rust with the same, and last what can be installed. Says what it passed over.
pub(crate) fn choose(missing: Missing) -> Result<(Toolchain, Linker)> {
    Linker::named()?;
    let with_linker = |toolchain: Toolchain| {
        let linker = Linker::choose(toolchain.llvm(), missing)?;
        Ok((toolchain, linker))
    };
    if let Some(name) = env::var_os(VARIABLE) {
        let name = name.to_string_lossy();
        return named(&name)
            .and_then(with_linker)
            .with_context(|| format!("{VARIABLE}={name} is of no use"));
    }
    let present = candidates().into_iter().map(|(prefix, why)| Toolchain::at(prefix, why));
    let installers: &[fn() -> Result<Toolchain>] = match missing {
        Missing::Install => &[install_with_rustup, install_with_apt],
        Missing::Report => &[],
    };
    let mut passed_over = Vec::new();
    for toolchain in present.chain(installers.iter().map(|install| install())) {
        match toolchain.and_then(with_linker) {
            Ok(chosen) => {
                for reason in passed_over {
                    eprintln!("passed over: {reason:#}");
                }
                return Ok(chosen);
            }
            Err(reason) => passed_over.push(reason),
        }
    }
    let reasons: Vec<String> = passed_over.iter().map(|reason| format!("\n  - {reason:#}")).collect();
    bail!(
        "found no Rust toolchain for eBPF:{}\nInstall one of these and run this again:\n  \
         rustup toolchain install nightly --component rust-src\n  apt-get install {}\n\
         or name one in {VARIABLE} (a directory or rustup's name for it), and its linker in {}",
        reasons.concat(),
        DEBIAN.join(" "),
        linker::VARIABLE
    )
}

fn named(name: &str) -> Result<Toolchain> {
    let prefix = if name.contains('/') {
        name.into()
    } else {
        rustup_prefix(name)?
    };
    Toolchain::at(prefix, format!("{VARIABLE} names it"))
}

/// The toolchains that may serve, best first: each with the reason that would speak for it.
fn candidates() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let list = command::output(command::program("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| name.starts_with("nightly")) {
        if let Ok(prefix) = rustup_prefix(name) {
            found.push((prefix, format!("rustup's {name} has the library source")));
        }
    }
    for prefix in installed_earlier() {
        found.push((prefix, "installed here by an earlier run".to_owned()));
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

fn installed_earlier() -> Vec<PathBuf> {
    let toolchains = fs::read_dir(own_rustup().join("toolchains"));
    toolchains
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn install_with_rustup() -> Result<Toolchain> {
    if command::which("rustup").is_none() {
        bail!("rustup is not installed");
    }
    let mut rustup = command::program("rustup");
    rustup.args([
        "toolchain",
        "install",
        NIGHTLY,
        "--no-self-update",
        "--profile",
        "minimal",
    ]);
    rustup.args(["--component", "rust-src"]);
    toolchain::isolate(&mut rustup).env("RUSTUP_HOME", own_rustup());
    command::step(
        &format!("installing Rust {NIGHTLY} into target/tools"),
        "rustup",
        &mut rustup,
    )?;
    let prefix = installed_earlier().pop().context("rustup installed nothing")?;
    Toolchain::at(prefix, "installed with rustup, as there was none".to_owned())
}

fn install_with_apt() -> Result<Toolchain> {
    apt::install(&DEBIAN)?;
    Toolchain::at("/usr".into(), "installed with apt, as there was none".to_owned())
}
