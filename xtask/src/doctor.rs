//! `cargo xtask doctor`: what this machine has of what netbridge needs to be built, run and tested, and what to do
//! about the rest. Looks, and changes nothing.

use std::fs;

use anyhow::{Result, bail};

use crate::choice::{self, Missing};
use crate::oracles::{ORACLES, Oracle};
use crate::{command, privilege};

/// Oldest kernels with clsact programs as used here, and with tcx links, as major and minor version.
const CLSACT: (u32, u32) = (6, 1);
const TCX: (u32, u32) = (6, 6);

/// What was found out about one thing.
enum Finding {
    Good(String),
    /// Works, but worth knowing.
    Note(String),
    /// Nothing works without it: what is wrong, and what to do.
    Missing(String, String),
}

use Finding::{Good, Missing as Lacking, Note};

/// Prints the table; an error if something required is missing.
pub(crate) fn run() -> Result<()> {
    let mut checks = vec![("cargo", cargo())];
    checks.extend(ebpf());
    checks.extend([
        ("root", root()),
        ("kernel", kernel()),
        ("BTF", btf()),
        ("bpffs", bpffs()),
        ("BPF JIT", jit()),
    ]);
    checks.extend(ORACLES.map(|oracle| (oracle.program, installed(&oracle))));
    let mut missing = 0;
    for (name, finding) in checks {
        match finding {
            Good(what) => println!("ok       {name:<12} {what}"),
            Note(what) => println!("note     {name:<12} {what}"),
            Lacking(what, remedy) => {
                missing += 1;
                println!("missing  {name:<12} {what}\n         {:<12} → {remedy}", "");
            }
        }
    }
    if missing == 0 {
        Ok(())
    } else {
        bail!("required, and missing: {missing} (see above)")
    }
}

fn cargo() -> Finding {
    match command::output(command::cargo().arg("--version")) {
        Ok(version) => Good(version.trim().to_owned()),
        Err(error) => Lacking(format!("{error:#}"), "install Rust from https://rustup.rs".to_owned()),
    }
}

fn ebpf() -> Vec<(&'static str, Finding)> {
    match choice::choose(Missing::Report) {
        Ok((toolchain, linker)) => {
            vec![
                ("BPF compiler", Good(toolchain.describe())),
                ("bpf-linker", Good(linker.describe())),
            ]
        }
        Err(error) => {
            let reasons = format!("{error:#}").replace('\n', "\n                      ");
            let what = format!("`run`, `test` and `build-ebpf` will try to install one: {reasons}");
            vec![("BPF compiler", Note(what))]
        }
    }
}

fn root() -> Finding {
    if privilege::is_root() {
        return Good("this is root".to_owned());
    }
    match command::which("sudo") {
        Some(_) => Note("`run` and `test` will ask sudo, for namespaces and bpf(2)".to_owned()),
        None => Lacking(
            "neither root nor sudo".to_owned(),
            "run `run` and `test` as root".to_owned(),
        ),
    }
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        Some(version) if version >= TCX => Good(format!("{release}: tcx links")),
        Some(version) if version >= CLSACT => Note(format!(
            "{release}: clsact filters; tcx links come with {}.{}",
            TCX.0, TCX.1
        )),
        _ => Lacking(
            format!("`{release}` is older than {}.{}", CLSACT.0, CLSACT.1),
            "boot a newer kernel".to_owned(),
        ),
    }
}

/// Major and minor version of a kernel release such as `6.18.44-cloud`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn btf() -> Finding {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(file) => Good(format!("/sys/kernel/btf/vmlinux, {} KiB", file.len() / 1024)),
        Err(error) => Note(format!(
            "/sys/kernel/btf/vmlinux: {error}; maps and programs cannot be dumped with types"
        )),
    }
}

fn bpffs() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.split_whitespace().last() == Some("bpf")) {
        return Lacking(
            "not in /proc/filesystems".to_owned(),
            "boot a kernel with CONFIG_BPF_SYSCALL=y".to_owned(),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts
        .lines()
        .any(|line| line.split(' ').skip(1).take(2).eq(["/sys/fs/bpf", "bpf"]));
    if mounted {
        Good("mounted at /sys/fs/bpf".to_owned())
    } else {
        Note("not mounted; `run` and `test` mount their own, else: mount -t bpf bpf /sys/fs/bpf".to_owned())
    }
}

fn jit() -> Finding {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(text) if text.trim() == "0" => Note("off: slow; sysctl net.core.bpf_jit_enable=1 turns it on".to_owned()),
        Ok(_) => Good("on".to_owned()),
        Err(error) => Note(format!("cannot tell: /proc/sys/net/core/bpf_jit_enable: {error}")),
    }
}

fn installed(oracle: &Oracle) -> Finding {
    match oracle.find() {
        Some(file) => Good(file.display().to_string()),
        None => Note(format!("`test` will install it: apt-get install {}", oracle.package)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_of_all_kinds_are_read() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert_eq!(version(""), None);
        assert!(version("6.18") > Some(TCX));
    }
}
