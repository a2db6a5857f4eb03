//! What netbridge makes on a machine, counted: to see that nothing of it is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapInfo, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};
use netbridge::datapath::{HOOKS, socket_programs};
use netbridge::netlink::in_namespace;
use netbridge::netns::Netns;
use netbridge_common::abi::Hook;
use serde::{Deserialize, Serialize};

use crate::cgroup::sandboxes;
use crate::sandbox::Sandbox;
use crate::wait::wait_until;

/// What is visible in a sandbox: the namespaces, pins and files in it, and the interfaces of the calling thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Named network namespaces.
    pub namespaces: BTreeSet<PathBuf>,
    /// Pins and their directories.
    pub pins: BTreeSet<PathBuf>,
    /// Files of state and locks.
    pub files: BTreeSet<PathBuf>,
    /// Interfaces.
    pub links: BTreeSet<String>,
}

impl Census {
    /// Counts now.
    pub fn take(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self {
            namespaces: tree(Path::new("/run/netns"))?,
            pins: tree(sandbox.bpffs())?,
            files: tree(&sandbox.state_dir())?,
            links: links(&Netns::current()?)?,
        })
    }
}

/// The interfaces of a namespace.
pub fn links(namespace: &Netns) -> Result<BTreeSet<String>> {
    let links = in_namespace(namespace, async |netlink| Ok(netlink.links().await?))?;
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// The kernel objects behind the pins of an instance. Their ids are the machine's, and never used again soon,
/// so this holds while other tests load and unload theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelObjects {
    /// Program ids.
    pub programs: BTreeSet<u32>,
    /// Map ids.
    pub maps: BTreeSet<u32>,
}

impl KernelObjects {
    /// Reads the ids behind the pins below `root`.
    pub fn of_pins(root: &Path) -> Result<Self> {
        let mut objects = Self::default();
        for pin in tree(&root.join("progs"))? {
            objects.programs.insert(
                ProgramInfo::from_pin(&pin)
                    .with_context(|| pin.display().to_string())?
                    .id(),
            );
        }
        for pin in tree(&root.join("maps"))? {
            objects
                .maps
                .insert(MapInfo::from_pin(&pin).with_context(|| pin.display().to_string())?.id());
        }
        ensure!(
            !objects.programs.is_empty() && !objects.maps.is_empty(),
            "nothing is pinned in {}",
            root.display()
        );
        Ok(objects)
    }

    /// Waits until the kernel has freed all of them, which it does a moment after the last reference is gone.
    pub fn wait_until_freed(&self) -> Result<()> {
        wait_until("programs and maps to be freed", Duration::from_secs(10), || {
            Ok(self.alive()? == Self::default())
        })
        .with_context(|| format!("still there: {:?}", self.alive()))
    }

    /// Those that are still loaded.
    pub fn alive(&self) -> Result<Self> {
        let mut alive = Self::default();
        // An object may go away between being listed and being asked: that one is not alive.
        alive
            .programs
            .extend(loaded_programs().flatten().map(|program| program.id()));
        alive.maps.extend(loaded_maps().flatten().map(|map| map.id()));
        alive.programs.retain(|id| self.programs.contains(id));
        alive.maps.retain(|id| self.maps.contains(id));
        Ok(alive)
    }
}

/// What of netbridge is on the machine: in the mount and network namespace of the caller, and in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Named network namespaces.
    pub namespaces: BTreeSet<PathBuf>,
    /// Pins and their directories.
    pub pins: BTreeSet<PathBuf>,
    /// Interfaces.
    pub links: BTreeSet<String>,
    /// Cgroups of sandboxes.
    pub cgroups: BTreeSet<PathBuf>,
    /// Programs with a name of ours, by id.
    pub programs: BTreeMap<u32, String>,
    /// Maps that those programs use.
    pub maps: BTreeSet<u32>,
}

impl Machine {
    /// Counts now.
    pub fn take() -> Result<Self> {
        let names: Vec<&str> = HOOKS
            .into_iter()
            .map(Hook::name)
            .chain(socket_programs())
            .chain(["ticks"])
            .collect();
        let mut machine = Self {
            namespaces: tree(Path::new("/run/netns"))?,
            pins: tree(Path::new("/sys/fs/bpf/netbridge"))?,
            links: links(&Netns::current()?)?,
            // Without cgroup v2 there are none.
            cgroups: sandboxes().unwrap_or_default(),
            ..Self::default()
        };
        // One that goes away between being listed and being asked is not there.
        for program in loaded_programs().flatten() {
            if let Some(name) = program.name_as_str()
                && names.contains(&name)
            {
                machine.programs.insert(program.id(), name.to_owned());
                machine
                    .maps
                    .extend(program.map_ids().ok().flatten().into_iter().flatten());
            }
        }
        Ok(machine)
    }

    /// What is here and was not there `before`.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        self.namespaces.retain(|name| !before.namespaces.contains(name));
        self.pins.retain(|pin| !before.pins.contains(pin));
        self.links.retain(|link| !before.links.contains(link));
        self.cgroups.retain(|cgroup| !before.cgroups.contains(cgroup));
        self.programs.retain(|id, _| !before.programs.contains_key(id));
        self.maps.retain(|id| !before.maps.contains(id));
        self
    }
}

/// Everything below a directory, by path; nothing if it does not exist.
fn tree(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    Ok(found)
}
