//! What takes longer than a test may, each a program of the test package: `cargo xtask fuzz`, `load`, `differential`, `alike`
//! and `compliance`.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::privilege::Root;
use crate::{build_ebpf, command, oracles};

/// A program of the test package.
pub(crate) struct Program {
    name: &'static str,
    /// It runs other tools beside netbridge, netfilter's among them.
    has_oracles: bool,
}

/// Millions of packets through the programs in the kernel and through the core on the host.
pub(crate) const FUZZ: Program = Program {
    name: "netbridge-fuzz",
    has_oracles: false,
};

/// Fifty thousand connections, full tables, floods.
pub(crate) const LOAD: Program = Program {
    name: "netbridge-load",
    has_oracles: false,
};

/// The same events into netbridge and into the kernel's router.
pub(crate) const DIFFERENTIAL: Program = Program {
    name: "netbridge-differential",
    has_oracles: true,
};

/// The same rule files on netbridge and on netfilter.
pub(crate) const ALIKE: Program = Program {
    name: "netbridge-alike",
    has_oracles: true,
};

/// docs/rfc-compliance.md, written from a run.
pub(crate) const COMPLIANCE: Program = Program {
    name: "netbridge-compliance",
    has_oracles: true,
};

#[derive(Args, Default)]
// Its help would hide the one of the program that does the work.
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Arguments for the program; `--help` for all of them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Program {
    /// Builds everything, then becomes the program.
    pub(crate) fn run(&self, arguments: &Arguments) -> Result<()> {
        let root = Root::acquire("for namespaces, bpf(2) and netfilter")?;
        if self.has_oracles {
            oracles::ensure()?;
        }
        build_ebpf::build()?;
        let mut cargo = command::cargo();
        cargo
            .args("build --release --package netbridge-tests --bin".split(' '))
            .arg(self.name);
        command::run(&mut cargo)?;
        let mut program = root.program(command::host_target().join("release").join(self.name));
        let failure = program.args(&arguments.arguments).exec();
        Err(failure).with_context(|| format!("cannot run `{}`", command::show(&program)))
    }
}
