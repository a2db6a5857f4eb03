//! `cargo xtask compliance`: docs/rfc-compliance.md, written from a run.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::privilege::Root;
use crate::{build_ebpf, command, oracles};

const WRITER: &str = "netbridge-compliance";

/// Builds everything, then becomes the program that writes the document.
pub(crate) fn run() -> Result<()> {
    let root = Root::acquire("for namespaces, bpf(2) and netfilter")?;
    oracles::ensure()?;
    build_ebpf::build()?;
    let mut cargo = command::cargo();
    cargo
        .args("build --package netbridge-tests --bin".split(' '))
        .arg(WRITER);
    command::run(&mut cargo)?;
    let mut writer = root.program(command::host_target().join("debug").join(WRITER));
    let failure = writer.exec();
    Err(failure).with_context(|| format!("cannot run `{}`", command::show(&writer)))
}
