//! The cgroup of a lab: the programs on sockets of its host namespace run for the processes there, and for no others of the
//! machine. `lab exec host` runs its command in it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::datapath::check_cgroup;
use crate::model::Name;
use crate::netns::Netns;
use crate::ops::Options;

/// Where a lab's cgroup will be; `None` where one is named, which is then the lab's too, and where the machine has none.
///
/// The machine has one hierarchy, and may have labs of one name in several namespaces: the caller's is in it, by the number
/// that it has for as long as the machine runs.
pub(super) fn place(options: &Options, lab: &Name) -> Result<Option<PathBuf>> {
    if options.cgroup.is_some() {
        return Ok(None);
    }
    let cookie = Netns::current()?.cookie()?;
    let root = check_cgroup(None).ok();
    Ok(root.map(|root| Path::new(&root).join(format!("netbridge-lab-{lab}-{cookie:x}"))))
}

/// Makes it. Where that is not allowed the lab does without, and its published ports say so.
pub(super) fn make(cgroup: Option<&Path>) {
    if let Some(path) = cgroup {
        let _not_allowed = fs::create_dir(path);
    }
}

/// Removes it; one that is gone is fine.
pub(super) fn remove(cgroup: &Path) -> Result<()> {
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            let pids: Vec<&str> = pids.lines().collect();
            let path = cgroup.display();
            Err(error).with_context(|| format!("remove cgroup {path}: end its processes first: {}", pids.join(", ")))
        }
        other => other.with_context(|| format!("remove cgroup {}", cgroup.display())),
    }
}

/// Moves this process there. Where it cannot be, it is led to no published port, and lacks nothing else.
pub(super) fn enter(cgroup: &Path) {
    // The process that writes.
    let _stays = fs::write(cgroup.join("cgroup.procs"), "0");
}
