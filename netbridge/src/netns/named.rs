//! Making and removing the namespaces of `ip netns`: a name is a file onto which the namespace is bind-mounted.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::spec::named_path;
use super::{NAMED, Netns, NetnsError, OF_THIS_THREAD, on_fresh_thread};

impl Netns {
    /// Makes a namespace that `ip netns` sees, as `ip netns add NAME` does. Its `lo` is down.
    ///
    /// On failure nothing is left but the directory, which is made when missing.
    pub fn create_named(name: &str) -> Result<Self, NetnsError> {
        let path = named_path(name)?;
        prepare_directory()?;
        match OpenOptions::new().write(true).create_new(true).mode(0o000).open(&path) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NetnsError::Exists { name: name.to_owned() });
            }
            Err(e) => return Err(NetnsError::new("create", path.display(), e)),
        }
        let made = on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| NetnsError::new("create network namespace", name, e))?;
            bind(Path::new(OF_THIS_THREAD), &path, MsFlags::MS_BIND)?;
            Self::open_file(&path, name.to_owned()).inspect_err(|_| {
                // The failure itself is what the caller has to know.
                let _ = umount2(&path, MntFlags::MNT_DETACH);
            })
        });
        made.inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    /// Removes the name, as `ip netns del NAME` does: the namespace goes with its last process and last opener.
    ///
    /// A file that a crash left without its namespace is removed too.
    pub fn remove_named(name: &str) -> Result<(), NetnsError> {
        let path = named_path(name)?;
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: not a mount point, that is, a file without a namespace, or a link to one.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::ENOENT) => {
                return Err(NetnsError::NotFound {
                    spec: name.to_owned(),
                    path,
                });
            }
            Err(e) => return Err(NetnsError::new("unmount", path.display(), e)),
        }
        fs::remove_file(&path).map_err(|e| NetnsError::new("remove", path.display(), e))
    }
}

/// Makes `/run/netns` a shared mount, as `ip netns` does, so that a name made in one mount namespace reaches the others.
fn prepare_directory() -> Result<(), NetnsError> {
    let directory = Path::new(NAMED);
    let failed = |op| move |e| NetnsError::new(op, NAMED, e);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(failed("create directory"))?;
    // Two that find it unmounted must not both mount it; `ip netns` takes the same lock.
    let lock = File::open(directory).map_err(failed("open"))?;
    lock.lock().map_err(failed("lock"))?;
    let share = || {
        mount(
            None::<&str>,
            directory,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        Err(Errno::EINVAL) => {
            bind(directory, directory, MsFlags::MS_BIND | MsFlags::MS_REC)?;
            share()
        }
        other => other,
    }
    .map_err(|e| NetnsError::new("make a shared mount of", NAMED, e))
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<(), NetnsError> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .map_err(|e| NetnsError::new("bind-mount on", target.display(), e))
}
