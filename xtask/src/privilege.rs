//! What needs root, and how to come by it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Whether this process acts as root: /proc/self belongs to its effective user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The words to put before a program that needs root: none for root, else `sudo -E`, announced with the reason.
///
/// The password is asked for here, once and before any long work, so that nobody comes back to a prompt.
pub(crate) fn prefix(why: &str) -> Result<&'static [&'static str]> {
    if is_root() {
        return Ok(&[]);
    }
    if command::which("sudo").is_none() {
        bail!("root is needed {why}, and there is no sudo here: run this command as root");
    }
    eprintln!("root is needed {why}: asking sudo");
    command::run(command::program("sudo").arg("-v"))?;
    Ok(&["sudo", "-E"])
}

/// A program to be run as root. `why` completes "root is needed …".
pub(crate) fn program(name: impl AsRef<OsStr>, why: &str) -> Result<Command> {
    Ok(match prefix(why)? {
        [first, rest @ ..] => {
            let mut command = command::program(first);
            command.args(rest).arg(name);
            command
        }
        [] => command::program(name),
    })
}
