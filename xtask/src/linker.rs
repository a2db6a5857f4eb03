//! bpf-linker: links LLVM bitcode into an eBPF object, and must know the bitcode of the compiler that wrote it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::choice::Missing;
use crate::toolchain::minor;
use crate::{apt, command};

/// Names the linker to take, by path.
pub(crate) const VARIABLE: &str = "NETBRIDGE_BPF_LINKER";
/// The release that is installed where there is none.
const VERSION: &str = "0.13.0";
/// The newest LLVM that `VERSION` can be built with, which is also the one in its prebuilt binaries.
const NEWEST_LLVM: u32 = 23;
/// The first release whose prebuilt, statically linked binaries carry `NEWEST_LLVM`.
const FIRST_STATIC: u32 = 11;

/// A usable linker.
pub(crate) struct Linker {
    path: PathBuf,
    version: String,
    /// Major version of the LLVM it was linked with, and how that is known.
    llvm: (u32, &'static str),
    /// Why it was chosen.
    why: String,
}

impl Linker {
    /// The linker the user names, if any: one that does not even run is an error before anything is installed for it.
    pub(crate) fn named() -> Result<Option<Self>> {
        let Some(path) = env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let linker = Self::at(path.clone().into(), format!("{VARIABLE} names it"));
        linker
            .map(Some)
            .with_context(|| format!("{VARIABLE}={} is of no use", path.display()))
    }

    /// A linker that reads the bitcode of LLVM `llvm`: the one the user names, else the one on PATH, else one of our
    /// own in `target/tools`, which is installed if need be and allowed.
    pub(crate) fn choose(llvm: u32, missing: Missing) -> Result<Self> {
        if let Some(named) = Self::named()? {
            return named.reading(llvm);
        }
        let own = command::tools().join("bin/bpf-linker");
        let on_path = command::which("bpf-linker").map(|path| (path, "it is on PATH"));
        let ours = own.exists().then(|| (own.clone(), "installed here by an earlier run"));
        let mut reasons = String::new();
        for (path, why) in on_path.into_iter().chain(ours) {
            match Self::at(path, why.to_owned()).and_then(|linker| linker.reading(llvm)) {
                Ok(linker) => return Ok(linker),
                Err(reason) => reasons = format!("{reasons}; {reason:#}"),
            }
        }
        if missing == Missing::Report {
            bail!("no bpf-linker for LLVM {llvm}{reasons}; `cargo xtask build-ebpf` installs one");
        }
        install(llvm).with_context(|| format!("no bpf-linker for LLVM {llvm}{reasons}"))?;
        Self::at(own, "installed, as there was none for this compiler".to_owned())?.reading(llvm)
    }

    /// The linker at `path`, or why it is none.
    fn at(path: PathBuf, why: String) -> Result<Self> {
        let output = command::output(command::program(&path).arg("--version").env_remove("LD_LIBRARY_PATH"))?;
        let Some(version) = output.trim().strip_prefix("bpf-linker ").map(str::to_owned) else {
            bail!("{} is not a bpf-linker", path.display());
        };
        let libraries = command::output(command::program("ldd").arg(&path).env_remove("LD_LIBRARY_PATH"));
        let llvm = match llvm_among(&libraries.unwrap_or_default()) {
            Some(llvm) => (llvm, ""),
            None if minor(&version) >= FIRST_STATIC => (NEWEST_LLVM, ", as its release says"),
            None => bail!("{} {version} does not tell which LLVM it reads", path.display()),
        };
        Ok(Self {
            path,
            version,
            llvm,
            why,
        })
    }

    /// This linker, provided that it reads the bitcode of LLVM `wanted`.
    fn reading(self, wanted: u32) -> Result<Self> {
        if self.llvm.0 < wanted {
            bail!(
                "{} {} reads bitcode up to LLVM {}, not {wanted}",
                self.path.display(),
                self.version,
                self.llvm.0
            );
        }
        Ok(self)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is and why it was chosen, for people.
    pub(crate) fn describe(&self) -> String {
        let (llvm, how) = self.llvm;
        format!(
            "bpf-linker {} (LLVM {llvm}{how}) at {}: {}",
            self.version,
            self.path.display(),
            self.why
        )
    }
}

/// The major version in the name of the LLVM library among those a program is linked with: `libLLVM.so.22.1`,
/// `libLLVM-22.so`.
fn llvm_among(libraries: &str) -> Option<u32> {
    let (_, name) = libraries.split_once("libLLVM")?;
    let digits = name.trim_start_matches(['.', '-', 's', 'o']);
    let end = digits
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// Installs a linker into `target/tools`: built with an LLVM of this machine, else prebuilt where cargo-binstall can
/// fetch it, else built with an LLVM from Debian.
fn install(llvm: u32) -> Result<()> {
    let usable = llvm..=NEWEST_LLVM;
    if usable.is_empty() {
        bail!("bpf-linker {VERSION} knows no LLVM newer than {NEWEST_LLVM}: take an older compiler");
    }
    if let Some((prefix, major)) = usable.clone().find_map(|major| Some((llvm_prefix(major)?, major))) {
        return build(&prefix, major);
    }
    if command::which("cargo-binstall").is_some() {
        let mut binstall = command::cargo();
        binstall.args(["binstall", "--no-confirm", "--force", "--version", VERSION, "--root"]);
        binstall.arg(command::tools()).arg("bpf-linker");
        return command::step("fetching bpf-linker into target/tools", "bpf-linker", &mut binstall);
    }
    for major in usable {
        if apt::present() && apt::offers(&format!("llvm-{major}-dev"))? {
            apt::install(&[&format!("llvm-{major}-dev"), &format!("libpolly-{major}-dev"), "g++"])?;
            let prefix = llvm_prefix(major).with_context(|| format!("llvm-{major}-dev brought no llvm-config"))?;
            return build(&prefix, major);
        }
    }
    bail!(
        "there is no LLVM {llvm} to {NEWEST_LLVM} here to build it with; install one (Debian: llvm-{llvm}-dev \
         libpolly-{llvm}-dev; Fedora: llvm-devel), or fetch the binary with `cargo binstall bpf-linker`, or name one \
         in {VARIABLE}"
    )
}

/// Where LLVM `major` is installed with what it takes to link against it.
fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let debian = format!("/usr/lib/llvm-{major}/bin/llvm-config");
    for config in [debian, format!("llvm-config-{major}"), "llvm-config".to_owned()] {
        let ask = |what| command::output(command::program(&config).arg(what)).map(|answer| answer.trim().to_owned());
        let (Ok(version), Ok(libraries), Ok(prefix)) = (ask("--version"), ask("--libdir"), ask("--prefix")) else {
            continue;
        };
        if version.starts_with(&format!("{major}.")) && Path::new(&libraries).join("libLLVM.so").exists() {
            return Some(prefix.into());
        }
    }
    None
}

fn build(llvm: &Path, major: u32) -> Result<()> {
    // The second directory spares the user cargo's advice to put it on PATH.
    let mut search = vec![llvm.join("bin"), command::tools().join("bin")];
    search.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut cargo = command::cargo();
    cargo.args([
        "install",
        "bpf-linker",
        "--version",
        VERSION,
        "--locked",
        "--force",
        "--no-default-features",
    ]);
    cargo
        .arg("--features")
        .arg(format!("llvm-{major}"))
        .arg("--root")
        .arg(command::tools());
    cargo.env("LLVM_PREFIX", llvm).env("PATH", env::join_paths(search)?);
    eprintln!("building bpf-linker {VERSION} with LLVM {major} into target/tools (about a minute)");
    command::run(&mut cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker_is_read_off_its_libraries() {
        assert_eq!(
            llvm_among("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x1)"),
            Some(22)
        );
        assert_eq!(llvm_among("\tlibLLVM-17.so => /usr/lib/libLLVM-17.so (0x1)"), Some(17));
        assert_eq!(llvm_among("\tlibc.so.6 => /lib/libc.so.6 (0x1)"), None);
        assert_eq!(llvm_among(""), None);
    }

    #[test]
    fn a_compiler_newer_than_every_linker_is_told_so() {
        let Err(error) = install(NEWEST_LLVM + 1) else {
            panic!("installed")
        };
        assert!(error.to_string().contains("take an older compiler"), "{error}");
    }
}
