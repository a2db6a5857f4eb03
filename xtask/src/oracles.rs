//! The programs whose word the tests take over netbridge's own.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::apt;

/// A program, and the Debian package it comes in.
pub(crate) struct Oracle {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const ORACLES: [Oracle; 9] = [
    Oracle::new("ip", "iproute2"),
    Oracle::new("tcpdump", "tcpdump"),
    Oracle::new("nft", "nftables"),
    Oracle::new("iptables-legacy", "iptables"),
    Oracle::new("ipset", "ipset"),
    Oracle::new("conntrack", "conntrack"),
    Oracle::new("ping", "iputils-ping"),
    Oracle::new("bpftool", "bpftool"),
    Oracle::new("sysctl", "procps"),
];

impl Oracle {
    pub(crate) const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Where it is. Administrators' programs are not on the `PATH` of other users of Debian.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .map(|dir| dir.join(self.program))
            .find(|file| file.is_file())
    }
}

/// Installs those of the tests that are missing.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&Oracle> = ORACLES.iter().filter(|oracle| oracle.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing).with_context(|| {
        let programs: Vec<&str> = missing.iter().map(|oracle| oracle.program).collect();
        format!("the tests need {}, which this machine lacks", programs.join(", "))
    })
}

/// Installs the packages that these come in.
pub(crate) fn install(oracles: &[&Oracle]) -> Result<()> {
    let packages: Vec<&str> = oracles.iter().map(|oracle| oracle.package).collect();
    apt::install(&packages)
}
