//! Tells the compiler where the benchmark's eBPF object is, and of which commit the sources are. Building the object is
//! the work of `cargo xtask build-ebpf`, since it takes another compiler.

use std::path::Path;
use std::process::Command;

/// What of the workspace the benchmark's figures depend on.
const SOURCES: [&str; 4] = ["netbridge", "netbridge-common", "netbridge-ebpf", "tests/src"];

fn main() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = package.parent().unwrap_or(package);
    let object = workspace.join("target/bpf/bench.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if object.exists() {
        println!("cargo::rustc-env=NETBRIDGE_BENCH_OBJECT={}", object.display());
    } else {
        println!(
            "cargo::error=no eBPF object at {}: run `cargo xtask build-ebpf`",
            object.display()
        );
    }
    if let Some(commit) = git(
        workspace,
        &["describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
    ) {
        println!("cargo::rustc-env=NETBRIDGE_COMMIT={commit}");
    }
    // A commit writes the log of HEAD.
    let log = git(workspace, &["rev-parse", "--git-path", "logs/HEAD"]);
    let log = log.map(|log| workspace.join(log)).filter(|log| log.exists());
    for path in SOURCES.map(|source| workspace.join(source)).iter().chain(&log) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// What git says; none outside of a repository.
fn git(workspace: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // The tree may belong to another user than the one who builds.
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(workspace)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
