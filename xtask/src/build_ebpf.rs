//! `cargo xtask build-ebpf`: the eBPF programs, as the object files that the netbridge binary and the benchmark embed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::choice::{self, Missing};
use crate::command;
use crate::linker::Linker;
use crate::toolchain::Toolchain;

const TRIPLE: &str = "bpfel-unknown-none";
/// The third instruction set (Linux 5.1): arithmetic and jumps on 32 bits, which most of what a packet holds fits.
const TARGET_CPU: &str = "target-cpu=v3";
/// Memory is copied and cleared in line: a call to a loop over its bytes costs more than the rest of a packet's way.
const EXPAND_MEMORY: &str = "link-arg=--disable-expand-memcpy-in-order";
/// Between the flags in `CARGO_ENCODED_RUSTFLAGS`, so that a path may contain spaces.
const FLAG_SEPARATOR: &str = "\x1f";

/// One object: what cargo calls the program it links, and the file in `target/bpf` that is embedded.
struct Object {
    program: &'static str,
    file: &'static str,
}

const OBJECTS: [Object; 2] = [
    Object {
        program: "netbridge-ebpf",
        file: "netbridge.o",
    },
    Object {
        program: "netbridge-bench-ebpf",
        file: "bench.o",
    },
];

/// Builds the objects, installing what that takes.
pub(crate) fn build() -> Result<()> {
    let (toolchain, linker) = choice::choose(Missing::Install)?;
    eprintln!("eBPF compiler: {}", toolchain.describe());
    eprintln!("eBPF linker:   {}", linker.describe());
    let built = compile(&toolchain, &linker)?;
    for object in OBJECTS {
        let file = command::target().join("bpf").join(object.file);
        let new = install(&built.join(object.program), &file)?;
        let outcome = if new { "new" } else { "unchanged" };
        let size = fs::metadata(&file).map_or(0, |file| file.len().div_ceil(1024));
        let shown = file.strip_prefix(command::workspace()).unwrap_or(&file).display();
        eprintln!("eBPF object:   {shown}, {size} KiB, {outcome}");
    }
    Ok(())
}

/// Has cargo build `core` and the programs, in a target directory apart from the one of the host's compiler; returns
/// where they are.
fn compile(toolchain: &Toolchain, linker: &Linker) -> Result<PathBuf> {
    let target = command::target().join("bpf-build");
    let linker = format!("linker={}", linker.path().display());
    let flags = [
        linker.as_str(),
        TARGET_CPU,
        "link-arg=--btf",
        EXPAND_MEMORY,
        "debuginfo=2",
    ];
    let flags = flags.map(|flag| format!("-C{flag}")).join(FLAG_SEPARATOR);
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--locked", "--package", "netbridge-ebpf", "--profile", "bpf"]);
    cargo
        .args(["--target", TRIPLE, "-Z", "build-std=core", "--target-dir"])
        .arg(&target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
    command::run(&mut cargo)?;
    Ok(target.join(TRIPLE).join("bpf"))
}

/// Puts an object where a build script looks for it. An object with the same bytes stays as it is, and
/// nothing that embeds it is rebuilt.
fn install(built: &Path, object: &Path) -> Result<bool> {
    let bytes = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(object).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    let unfinished = object.with_extension("o.new");
    fs::create_dir_all(command::target().join("bpf"))
        .and_then(|()| fs::write(&unfinished, bytes))
        .and_then(|()| fs::rename(&unfinished, object))
        .with_context(|| format!("cannot write {}", object.display()))?;
    Ok(true)
}
