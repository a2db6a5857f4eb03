//! The lock that makes the changes of an instance exclusive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::{Instant, sleep};

use super::{StoreError, failed};

/// How long a call waits for the one before it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two tries to take the lock.
const RETRY: Duration = Duration::from_millis(20);

/// Holds the lock of an instance until dropped; an instance without a state keeps no lock file.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
    path: PathBuf,
    state: PathBuf,
}

impl Lock {
    /// Takes the lock `path` of the instance whose state file is `state`.
    pub(super) async fn take(path: PathBuf, state: PathBuf) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = options.open(&path).map_err(failed("open", &path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) if is_at(&file, &path) => {
                    note_holder(&mut file).map_err(failed("write", &path))?;
                    return Ok(Self {
                        _file: file,
                        path,
                        state,
                    });
                }
                // The holder before removed it, and another may hold the one that took its place.
                Ok(_) => {}
                Err((mut held, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => {
                    let holder = read_holder(&mut held).unwrap_or_else(|_| "another process".to_owned());
                    return Err(StoreError::Locked { path, holder });
                }
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => sleep(RETRY).await,
                Err((_, errno)) => return Err(failed("lock", &path)(errno.into())),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if matches!(self.state.try_exists(), Ok(false)) {
            // A file that stays is in nobody's way. Whoever waits for it notices that it is gone.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the open file is the one that is now at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: io::Result<fs::Metadata>| metadata.map(|metadata| (metadata.dev(), metadata.ino())).ok();
    inode(file.metadata()) == inode(fs::metadata(path))
}

/// Writes who holds the lock into its file.
fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let command = std::env::args().take(4).collect::<Vec<_>>().join(" ");
    writeln!(file, "process {} ({command})", std::process::id())
}

fn read_holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.take(200).read_to_string(&mut text)?;
    let holder = text.trim();
    if holder.is_empty() {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        Ok(holder.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::store::Store;

    #[tokio::test(start_paused = true)]
    async fn the_lock_is_exclusive_and_says_who_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        let held = store.lock().await.unwrap();
        let error = store.lock().await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        store.lock().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_instance_with_a_state_keeps_its_lock_file() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::under(root.path(), root.path(), "default");
        let file = root.path().join("default.lock");
        let held = store.lock().await.unwrap();
        assert!(file.exists());
        drop(held);
        assert!(!file.exists());
        fs::create_dir(root.path().join("default")).unwrap();
        fs::write(store.path(), "").unwrap();
        drop(store.lock().await.unwrap());
        assert!(file.exists());
    }
}
