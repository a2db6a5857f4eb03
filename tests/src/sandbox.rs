//! A private world for one thread: its own mount and network namespaces, and a cgroup of its own.
//!
//! Whatever the thread and its children mount, pin, create or write under `/run` and `/sys/fs/bpf`
//! is visible to them alone and is gone when the last of them ends, `SIGKILL` included. The
//! machine's own network is out of reach: the sandbox starts with nothing but a loopback interface
//! that is down.

use std::fs;
use std::marker::PhantomData;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::{panic, thread};

use anyhow::{Context as _, Result};
use netbridge::ops::CGROUP_VARIABLE;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::cgroup::Cgroup;

/// Where the state of netbridge lives inside a sandbox: below the private `/run`, because `/var/lib`
/// belongs to the machine.
const STATE: &str = "/run/netbridge-state";

/// Where netbridge reads [`STATE`]; children of the sandbox inherit it.
const STATE_VARIABLE: &str = "NETBRIDGE_STATE_DIR";

/// The sandbox's cgroup, by a name that is the same in all of them: a link in the private `/run`.
const CGROUP: &str = "/run/netbridge-cgroup";

/// Guards the one change of this process's environment.
static ENVIRONMENT: Once = Once::new();

/// The calling thread's private world. Threads and processes that it starts live in it too.
pub struct Sandbox {
    /// Where programs on sockets run; none where the machine gives none, and then they run nowhere.
    _cgroup: Option<Cgroup>,
    /// A sandbox is a property of the thread that entered it.
    thread: PhantomData<*const ()>,
}

impl Sandbox {
    /// Moves the calling thread into a fresh sandbox, for good. Needs `CAP_SYS_ADMIN`.
    pub fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("cannot make private namespaces; run as root")?;
        // Without this, a mount made here would spread to the machine's own mount namespace.
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .context("cannot make the mounts private")?;
        mount_fresh("tmpfs", "/run")?;
        for directory in ["/run/netns", "/run/netbridge", STATE] {
            fs::create_dir(directory).with_context(|| format!("cannot create {directory}"))?;
        }
        mount_fresh("bpf", "/sys/fs/bpf")?;
        ENVIRONMENT.call_once(|| {
            // SAFETY: all code of this process reads the environment through `std`, which takes a lock that this
            // takes too; the values are the same for every sandbox.
            unsafe {
                std::env::set_var(STATE_VARIABLE, STATE);
                std::env::set_var(CGROUP_VARIABLE, CGROUP);
            }
        });
        let cgroup = match Cgroup::enter() {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                eprintln!("the host's own sockets do not reach published ports in this sandbox: {error:#}");
                None
            }
        };
        if let Some(cgroup) = &cgroup {
            symlink(cgroup.path(), CGROUP).with_context(|| format!("cannot make {CGROUP}"))?;
        }
        Ok(Self {
            _cgroup: cgroup,
            thread: PhantomData,
        })
    }

    /// The directory that plays `/var/lib/netbridge`.
    pub fn state_dir(&self) -> PathBuf {
        PathBuf::from(STATE)
    }

    /// The BPF file system.
    pub fn bpffs(&self) -> &Path {
        Path::new("/sys/fs/bpf")
    }
}

fn mount_fresh(kind: &str, at: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a {kind} on {at}"))
}

/// Runs `test` in a sandbox on a thread of its own, and waits for it. A panic is passed on.
pub fn within<T: Send>(test: impl FnOnce(&Sandbox) -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| test(&Sandbox::enter()?));
        inside.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}
