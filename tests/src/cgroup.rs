//! A cgroup of its own for a sandbox: netbridge's programs on sockets run there and nowhere else on the machine.
//!
//! It is a threaded cgroup (cgroup v2), so that one thread of a test program can be in it with all that it starts, and the
//! others not. The kernel removes no cgroup by itself: what a killed process left is removed by the next sandbox.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netbridge::datapath::check_cgroup;

use crate::wait::wait_until;

/// What names of these cgroups begin with; the process and a number follow.
const PREFIX: &str = "netbridge-sandbox-";

/// Numbers of this process's cgroups.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The cgroup of a thread, until it is dropped.
#[derive(Debug)]
pub struct Cgroup {
    /// The parent, held open: a test may mount something over the hierarchy.
    parent: File,
    name: String,
}

impl Cgroup {
    /// Moves the calling thread into a fresh child of its cgroup. Threads and processes that it starts begin there.
    pub fn enter() -> Result<Self> {
        let cgroup = Self::make(&own()?)?;
        let write = |file, text| {
            let path = cgroup.path().join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
        };
        write("cgroup.type", "threaded")?;
        // The thread that writes.
        write("cgroup.threads", "0")?;
        Ok(cgroup)
    }

    /// Makes a cgroup for whole processes, with nobody in it. It is a child of the root: where there are threaded cgroups,
    /// no other takes processes beside them.
    pub fn apart() -> Result<Self> {
        Self::make(Path::new(&check_cgroup(None)?))
    }

    fn make(parent: &Path) -> Result<Self> {
        remove_stale(parent);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", process::id());
        let path = parent.join(&name);
        let parent = File::open(parent).with_context(|| format!("cannot open cgroup {}", parent.display()))?;
        fs::create_dir(&path).with_context(|| format!("cannot make cgroup {}", path.display()))?;
        Ok(Self { parent, name })
    }

    /// Its directory.
    pub fn path(&self) -> PathBuf {
        self.parent().join(&self.name)
    }

    fn parent(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.parent.as_raw_fd()).into()
    }

    /// Moves what is left in it to the parent, and removes it with its children.
    fn leave(&self) -> bool {
        for path in subtree(&self.path()) {
            let threads = fs::read_to_string(path.join("cgroup.threads")).unwrap_or_default();
            for thread in threads.lines() {
                // It may end meanwhile.
                let _gone = fs::write(self.parent().join("cgroup.threads"), thread);
            }
            let _busy = fs::remove_dir(path);
        }
        !self.path().exists()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let left = wait_until("a cgroup to be empty", Duration::from_secs(5), || Ok(self.leave()));
        if let Err(error) = left {
            eprintln!("cgroup {} stays: {error:#}", self.name);
        }
    }
}

/// Cgroups of sandboxes: in the calling thread's cgroup, and at the root, where those lie that were made apart.
pub fn sandboxes() -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for parent in [own()?, check_cgroup(None)?.into()] {
        let children = fs::read_dir(parent)?.flatten();
        let ours = children.filter(|child| child.file_name().to_string_lossy().starts_with(PREFIX));
        found.extend(ours.map(|child| child.path()));
    }
    Ok(found)
}

/// The calling thread's cgroup.
fn own() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/thread-self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new(&check_cgroup(None)?).join(path.context("this thread is in no cgroup of version 2")?))
}

/// Removes what processes that are gone left.
fn remove_stale(parent: &Path) {
    for child in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = child.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let holder = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(holder).exists() {
            for path in subtree(&child.path()) {
                // Somebody else may be faster.
                let _gone = fs::remove_dir(path);
            }
        }
    }
}

/// A cgroup and all below it, children first.
fn subtree(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for child in fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(subtree(&child.path()));
        }
    }
    found.push(path.to_owned());
    found
}
