//! The Rust toolchain for eBPF: one that can build `core` for `bpfel-unknown-none`, which takes its library source.
//!
//! A toolchain here is a directory with `bin/cargo`, `bin/rustc` and `lib/rustlib/src`: that is what rustup's toolchains
//! and Debian's packages have in common. `RUSTC_BOOTSTRAP` lets a stable one build `core` as a nightly does.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command;

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

impl Toolchain {
    /// The toolchain in `prefix`, or what it lacks.
    pub(crate) fn at(prefix: PathBuf, why: String) -> Result<Self> {
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

    /// Major version of its LLVM.
    pub(crate) fn llvm(&self) -> u32 {
        self.llvm
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

/// Takes away what `cargo xtask`, run by another toolchain, has set for its own compiler and libraries.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
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

/// The minor version of a release such as `1.96.0-nightly`; 0 if it has none.
pub(crate) fn minor(release: &str) -> u32 {
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
