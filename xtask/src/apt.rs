//! Debian's packages, for a machine that has neither compiler nor LLVM.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::command;
use crate::privilege::Root;

const WHY: &str = "to install Debian packages";

/// The package lists are fetched once per run, and only if something is to be installed.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Whether this machine takes its packages from apt.
pub(crate) fn present() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

/// Whether the archive has a package of this name. Fetches the package lists first.
pub(crate) fn offers(package: &str) -> Result<bool> {
    update()?;
    let policy = command::output(
        command::program("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C"),
    )?;
    Ok(policy
        .lines()
        .any(|line| line.trim_start().starts_with("Candidate:") && !line.contains("(none)")))
}

/// Installs packages, and never at the price of another one: what would have to be removed for them is left in peace.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    update()?;
    let mut apt = Root::acquire(WHY)?.program("env");
    apt.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=120",
    ]);
    apt.args(["install", "-y", "-q", "--no-install-recommends", "--no-remove"])
        .args(packages);
    command::step(
        &format!("installing {} with apt", packages.join(" ")),
        "apt-install",
        &mut apt,
    )
}

fn update() -> Result<()> {
    if !present() {
        bail!("this is not a Debian machine (there is no apt-get)");
    }
    if UPDATED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut apt = Root::acquire(WHY)?.program("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=120", "-q", "update"]);
    command::step("fetching Debian's package lists", "apt-update", &mut apt)?;
    UPDATED.store(true, Ordering::Relaxed);
    Ok(())
}
