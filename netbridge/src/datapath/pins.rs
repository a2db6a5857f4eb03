//! Where an instance lives on the BPF file system: `<bpffs>/netbridge/<instance>/{maps,progs,links}`.
//!
//! The pin of the CONFIG map marks a complete instance: it is the last thing that a load pins and
//! the first that an unload removes. Without it, whatever else is there is litter of a process
//! that was killed, and the next load clears it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use netbridge_common::abi::Hook;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::geteuid;

use super::object::TOOLS;
use super::object::maps::{ALL, CONFIG};
use super::{DatapathError, HOOKS};

/// Where the BPF file system is, by custom.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";
/// What to do where there is none.
pub const MOUNT_ADVICE: &str =
    "`mount -t bpf bpf /sys/fs/bpf` mounts one; `ip netns exec` hides it: use `netbridge -n NETNS` instead";

/// Mode bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// The pins of one instance. Owns nothing: a name, not the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    bpffs: PathBuf,
    instance: String,
}

impl Pins {
    /// The pins of `instance` on the BPF file system mounted at `bpffs`.
    ///
    /// A name that is not letters, digits, `-` and `_` is refused by the first operation: the BPF file system takes no
    /// dots.
    pub fn new(bpffs: &Path, instance: &str) -> Self {
        Self {
            bpffs: bpffs.into(),
            instance: instance.into(),
        }
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The instance's directory.
    pub fn root(&self) -> PathBuf {
        self.parent().join(&self.instance)
    }

    /// True if a load finished here, of whatever version.
    pub fn exists(&self) -> bool {
        self.map(CONFIG).exists()
    }

    /// True if nothing of an instance of this version was removed since its load finished.
    pub(super) fn complete(&self) -> bool {
        let maps = ALL.iter().map(|name| self.map(name));
        let programs = HOOKS
            .map(Hook::name)
            .into_iter()
            .chain(TOOLS)
            .map(|name| self.program(name));
        maps.chain(programs).all(|pin| pin.exists())
    }

    /// Checks that `bpffs` is a BPF file system and that the instance's directories, as far as they exist, are ours alone.
    pub(super) fn verify(&self) -> Result<(), DatapathError> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if self.instance.is_empty() || !self.instance.bytes().all(valid) {
            return Err(DatapathError::Instance {
                name: self.instance.clone(),
            });
        }
        if !is_bpffs(&self.bpffs) {
            return Err(DatapathError::NoBpffs {
                path: self.bpffs.clone(),
            });
        }
        self.own_directories().iter().try_for_each(|path| verify_owner(path))
    }

    /// Makes the directories, empty of everything.
    pub(super) fn create(&self) -> Result<(), DatapathError> {
        for path in self.own_directories().iter().chain(&self.object_directories()) {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(DatapathError::file("make the directory", path)(error));
                }
                _ => verify_owner(path)?,
            }
        }
        Ok(())
    }

    /// Removes the pins and the directories, in the order that never leaves half an instance looking whole, and links
    /// before the programs they run.
    pub(super) fn remove(&self) -> Result<(), DatapathError> {
        self.verify()?;
        let config = self.map(CONFIG);
        absent_is_ok(fs::remove_file(&config)).map_err(DatapathError::file("remove", config))?;
        for path in self.object_directories() {
            absent_is_ok(fs::remove_dir_all(&path)).map_err(DatapathError::file("remove", path))?;
        }
        let root = self.root();
        absent_is_ok(fs::remove_dir(&root)).map_err(DatapathError::file("remove", root))?;
        let parent = self.parent();
        match absent_is_ok(fs::remove_dir(&parent)) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => {
                Err(DatapathError::file("remove", parent)(error))
            }
            _ => Ok(()),
        }
    }

    /// Pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.root().join("maps").join(name)
    }

    /// Pin of a program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root().join("progs").join(name)
    }

    /// Pin of the tcx link that runs a hook's program on an interface.
    pub(super) fn link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.root().join("links").join(format!("{ifindex}-{}", hook.name()))
    }

    /// Pin of the link that runs a program on the sockets of a cgroup.
    pub(super) fn socket_link(&self, program: &str) -> PathBuf {
        self.root().join("links").join(format!("cgroup-{program}"))
    }

    fn parent(&self) -> PathBuf {
        self.bpffs.join("netbridge")
    }

    fn own_directories(&self) -> [PathBuf; 2] {
        [self.parent(), self.root()]
    }

    fn object_directories(&self) -> [PathBuf; 3] {
        ["links", "progs", "maps"].map(|name| self.root().join(name))
    }
}

/// True if a BPF file system is mounted at `path`.
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Turns "there is none" into success.
pub(super) fn absent_is_ok(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Anyone may write to the root of a BPF file system on many hosts, so a directory of our name need not be ours.
fn verify_owner(path: &Path) -> Result<(), DatapathError> {
    let untrusted = |reason| {
        Err(DatapathError::Untrusted {
            path: path.into(),
            reason,
        })
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DatapathError::file("look at", path)(error)),
        Ok(found) if !found.is_dir() => untrusted("it is not a directory; remove it".into()),
        Ok(found) if found.uid() == geteuid().as_raw() && found.mode() & OTHERS == 0 => Ok(()),
        Ok(found) if found.uid() == geteuid().as_raw() => untrusted("others may enter it; `chmod 700` it".into()),
        Ok(found) if found.uid() == 0 => untrusted("it belongs to root; run netbridge as root".into()),
        Ok(found) => untrusted(format!(
            "it belongs to user {}, who may change it; remove it",
            found.uid()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use netbridge_common::abi::Hook;

    use super::{DatapathError, Pins};

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "a/b", "../a", "a.b", "a b", "ä"] {
            let pins = Pins::new(Path::new("/sys/fs/bpf"), name);
            assert!(matches!(pins.verify(), Err(DatapathError::Instance { .. })), "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_no_bpf_file_system_is_refused() {
        let pins = Pins::new(Path::new("/proc"), "a");
        assert!(matches!(pins.verify(), Err(DatapathError::NoBpffs { .. })));
        assert!(!pins.exists());
    }

    #[test]
    fn links_are_named_by_interface_and_hook() {
        let pins = Pins::new(Path::new("/sys/fs/bpf"), "a");
        let link = pins.link(7, Hook::ToUplink);
        assert_eq!(link, Path::new("/sys/fs/bpf/netbridge/a/links/7-to_uplink"));
    }
}
