//! Tells the compiler where the eBPF object is that the binary embeds. Building it is the work of `cargo xtask
//! build-ebpf`, since it takes another compiler.

use std::env;
use std::path::{Path, PathBuf};

/// Names another object to embed, by its absolute path; also the variable that the sources read.
const VARIABLE: &str = "NETBRIDGE_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let object = env::var_os(VARIABLE).map_or_else(built_by_xtask, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env={VARIABLE}={}", object.display()),
        Err(error) => println!(
            "cargo::error=no eBPF object at {} ({error}): run `cargo xtask build-ebpf`, or name one in {VARIABLE}",
            object.display()
        ),
    }
}

fn built_by_xtask() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/bpf/netbridge.o")
}
