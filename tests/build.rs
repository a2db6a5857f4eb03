//! Tells the compiler where the benchmark's eBPF object is. Building it is the work of `cargo xtask build-ebpf`, since
//! it takes another compiler.

use std::path::Path;

fn main() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let object = package.parent().unwrap_or(package).join("target/bpf/bench.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if object.exists() {
        println!("cargo::rustc-env=NETBRIDGE_BENCH_OBJECT={}", object.display());
    } else {
        println!(
            "cargo::error=no eBPF object at {}: run `cargo xtask build-ebpf`",
            object.display()
        );
    }
}
