//! Network namespaces: naming one, opening and checking it, making and removing a named one, running code inside.
//!
//! Named namespaces are those of `ip netns`: a file `/run/netns/NAME` onto which the namespace is bind-mounted.
//! A namespace belongs to a thread, so nothing here changes the calling thread's, save [`Netns::enter`], which says so:
//! [`Netns::run`] takes a thread of its own.

mod error;
mod named;
mod spec;

pub use self::error::NetnsError;
pub use self::spec::NetnsSpec;

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::panic;
use std::path::Path;
use std::process;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Where named namespaces live, for us as for `ip netns`.
const NAMED: &str = "/run/netns";
/// The namespace of the calling thread; `/proc/self` would be that of the process's first thread.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";
/// The namespace of the first process.
const OF_THE_FIRST_PROCESS: &str = "/proc/1/ns/net";

/// An open network namespace; it lives at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    inode: u64,
    /// What messages call it.
    label: String,
}

impl Netns {
    /// Opens a namespace and makes sure that it is one, and a network namespace.
    pub fn open(spec: &NetnsSpec) -> Result<Self, NetnsError> {
        Self::open_file(&spec.path()?, spec.to_string())
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open_file(Path::new(OF_THIS_THREAD), "the current namespace".to_owned())
    }

    /// The inode number of the namespace of the machine's first process; none where that cannot be seen.
    pub fn of_the_machine() -> Option<u64> {
        // The first process of a container's PID namespace sees itself there, and it may have entered any namespace.
        if process::id() == 1 {
            return None;
        }
        fs::metadata(OF_THE_FIRST_PROCESS).ok().map(|file| file.ino())
    }

    /// The namespace's inode number: unique among living namespaces, and used again once it is gone.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The kernel's cookie of the namespace: unique as long as the machine runs, and never used again.
    ///
    /// A namespace that is not the calling thread's is entered on a thread of its own, which takes `CAP_SYS_ADMIN`;
    /// kernel 5.14 or newer.
    pub fn cookie(&self) -> Result<u64, NetnsError> {
        let probe = || {
            let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            getsockopt(&socket, NetnsCookie)
        };
        let answer = if self.is_same(&Self::current()?) {
            probe()
        } else {
            self.run(probe)?
        };
        answer.map_err(|e| NetnsError::new("read the cookie of network namespace", &self.label, e))
    }

    /// Whether both are the same namespace, by whatever names they were opened.
    pub fn is_same(&self, other: &Self) -> bool {
        // All namespaces live on one filesystem, and both are alive: the inode decides.
        self.inode == other.inode
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<(), NetnsError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|e| NetnsError::new("enter network namespace", &self.label, e))
    }

    /// Runs `f` inside the namespace, on a thread of its own, and waits for it. A panic of `f` is passed on.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_fresh_thread(|| {
            self.enter()?;
            Ok(f())
        })
    }

    /// The namespace as the kernel's interfaces want it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Looks before it opens: to open a FIFO blocks, and to open a device can have effects.
    fn open_file(path: &Path, label: String) -> Result<Self, NetnsError> {
        let failed = |e: Errno| match e {
            Errno::ENOENT | Errno::ESRCH | Errno::ENOTDIR => NetnsError::NotFound {
                spec: label.clone(),
                path: path.to_owned(),
            },
            e => NetnsError::new("open", path.display(), e),
        };
        let seen = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
        if fstatfs(&seen).map_err(failed)?.filesystem_type() != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace { path: path.to_owned() });
        }
        let through = format!("/proc/self/fd/{}", seen.as_raw_fd());
        let file = open(through.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
        // SAFETY: NS_GET_NSTYPE takes no argument and writes no memory, and `file` is open.
        let kind = unsafe { ns_get_nstype(file.as_raw_fd()) }.map_err(failed)?;
        if kind != libc::CLONE_NEWNET {
            return Err(NetnsError::WrongKind { path: path.to_owned() });
        }
        let inode = fstat(&file).map_err(failed)?.st_ino;
        Ok(Self { file, inode, label })
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// The socket option that tells the cookie of the socket's namespace.
#[derive(Clone, Copy)]
struct NetnsCookie;
nix::getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);

nix::ioctl_none_bad!(
    /// Tells the kind of a namespace as its `CLONE_NEW*` flag.
    ns_get_nstype,
    libc::NS_GET_NSTYPE
);

/// Runs `f` on a thread whose namespace may be changed at will, because the thread ends with it.
fn on_fresh_thread<T: Send>(f: impl FnOnce() -> Result<T, NetnsError> + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, f)
            .map_err(|e| NetnsError::new("start", "a thread for a network namespace", e))?;
        worker.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}
