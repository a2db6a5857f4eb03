//! What needs root, and how to come by it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// The leave to run programs as root.
pub(crate) struct Root {
    /// What goes before such a program: nothing for root, else sudo.
    prefix: &'static [&'static str],
}

impl Root {
    /// Asks sudo unless this is root, and says so; `why` completes "root is needed …". To be called before any long
    /// work, so that nobody comes back to a prompt.
    pub(crate) fn acquire(why: &str) -> Result<Self> {
        if is_root() {
            return Ok(Self { prefix: &[] });
        }
        if command::which("sudo").is_none() {
            bail!("root is needed {why}, and there is no sudo here: run this command as root");
        }
        eprintln!("root is needed {why}: asking sudo");
        command::run(command::program("sudo").arg("-v"))?;
        Ok(Self {
            prefix: &["sudo", "-E"],
        })
    }

    /// The words that go before a program to run it as root; none if this is root.
    pub(crate) fn prefix(&self) -> &'static [&'static str] {
        self.prefix
    }

    /// A program to be run as root.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        match self.prefix {
            [sudo, options @ ..] => {
                let mut command = command::program(sudo);
                command.args(options).arg(name);
                command
            }
            [] => command::program(name),
        }
    }
}

/// Whether this process acts as root: /proc/self belongs to its effective user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
