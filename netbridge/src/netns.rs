//! Network namespaces: naming one, opening and checking it, making and removing a named one, running code inside.
//!
//! Named namespaces are those of `ip netns`: a file `/run/netns/NAME` onto which the namespace is bind-mounted.
//! A namespace belongs to a thread, so nothing here changes the calling thread's, save [`Netns::enter`], which says so:
//! [`Netns::run`] takes a thread of its own.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Where named namespaces live, for us as for `ip netns`.
const NAMED: &str = "/run/netns";
/// The longest file name Linux takes, in bytes.
const NAME_MAX: usize = 255;
/// The namespace of the calling thread; `/proc/self` would be that of the process's first thread.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// What the user calls a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsSpec {
    /// A namespace of `ip netns`: the file of this name in `/run/netns`.
    Name(String),
    /// A namespace file anywhere, as container engines make them.
    Path(PathBuf),
    /// The namespace of the process with this id.
    Pid(u32),
}

impl NetnsSpec {
    /// The file that stands for the namespace; only a name can be refused here.
    fn path(&self) -> Result<PathBuf, NetnsError> {
        match self {
            Self::Name(name) => named_path(name),
            Self::Path(path) => Ok(path.clone()),
            Self::Pid(pid) => Ok(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        }
    }
}

impl FromStr for NetnsSpec {
    type Err = NetnsError;

    /// `pid:N` is a process, what contains a slash is a path, all else is a name.
    fn from_str(text: &str) -> Result<Self, NetnsError> {
        if let Some(pid) = text.strip_prefix("pid:") {
            return match pid.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => Err(NetnsError::BadName {
                    name: text.to_owned(),
                    reason: "`pid:` takes a process id, as in `pid:4711`",
                }),
            };
        }
        if text.contains('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        named_path(text)?;
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for NetnsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// Why a namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The text cannot name a namespace.
    #[error("`{name}` does not name a network namespace: {reason}")]
    BadName {
        /// As it was given.
        name: String,
        /// What is wrong with it, or what is right.
        reason: &'static str,
    },
    /// There is nothing of that name, at that path, or of that process.
    #[error("no network namespace `{spec}`: {} does not exist", path.display())]
    NotFound {
        /// As it was given.
        spec: String,
        /// The file that was looked for.
        path: PathBuf,
    },
    /// A namespace, or something else, has that name already.
    #[error("network namespace `{name}` exists already; choose another name, or remove it first")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// The file is no namespace at all: left behind by a crash, or the wrong file.
    #[error("{} is not a namespace; give a file such as /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANamespace {
        /// The file that was opened.
        path: PathBuf,
    },
    /// The file is a namespace of another kind.
    #[error("{} is a namespace, but not a network namespace; give its sibling `net`", path.display())]
    WrongKind {
        /// The file that was opened.
        path: PathBuf,
    },
    /// The caller lacks a privilege.
    #[error("{op} {object}: {}; run as root, or with CAP_SYS_ADMIN and CAP_NET_ADMIN", errno.desc())]
    Permission {
        /// What was attempted.
        op: &'static str,
        /// Upon what.
        object: String,
        /// EPERM or EACCES.
        errno: Errno,
    },
    /// Anything else the kernel said.
    #[error("{op} {object}: {source}")]
    Io {
        /// What was attempted.
        op: &'static str,
        /// Upon what.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl NetnsError {
    fn new(op: &'static str, object: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        let (object, source) = (object.to_string(), source.into());
        match source.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EPERM | Errno::EACCES)) => Self::Permission { op, object, errno },
            _ => Self::Io { op, object, source },
        }
    }
}

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

    /// Makes a namespace that `ip netns` sees, as `ip netns add NAME` does. Its `lo` is down.
    ///
    /// On failure nothing is left but the directory, which is made when missing.
    pub fn create_named(name: &str) -> Result<Self, NetnsError> {
        let path = named_path(name)?;
        prepare_directory()?;
        match OpenOptions::new().write(true).create_new(true).mode(0).open(&path) {
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

    /// The namespace's inode number: unique among living namespaces, and used again once it is gone.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The kernel's cookie of the namespace: unique as long as the machine runs, and never used again.
    ///
    /// Enters the namespace on a thread of its own, which takes `CAP_SYS_ADMIN`; kernel 5.14 or newer.
    pub fn cookie(&self) -> Result<u64, NetnsError> {
        self.run(|| {
            let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            getsockopt(&probe, NetnsCookie)
        })?
        .map_err(|e| NetnsError::new("read the cookie of network namespace", &self.label, e))
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

/// The file of a named namespace. A name is one path component and never looks like an option or a hidden file.
fn named_path(name: &str) -> Result<PathBuf, NetnsError> {
    let refuse = |reason| {
        Err(NetnsError::BadName {
            name: name.to_owned(),
            reason,
        })
    };
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("a name begins with a letter or a digit");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return refuse("a name holds letters, digits, `_`, `.` and `-`; a path contains a slash");
    }
    if name.len() > NAME_MAX {
        return refuse("a name has at most 255 bytes");
    }
    Ok(Path::new(NAMED).join(name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_a_process_a_path_or_a_name() {
        for (text, expected) in [
            ("web", NetnsSpec::Name("web".to_owned())),
            ("cni-1f_2.a", NetnsSpec::Name("cni-1f_2.a".to_owned())),
            ("pid:17", NetnsSpec::Pid(17)),
            ("/proc/17/ns/net", NetnsSpec::Path(PathBuf::from("/proc/17/ns/net"))),
            ("./net", NetnsSpec::Path(PathBuf::from("./net"))),
        ] {
            let spec: NetnsSpec = text.parse().unwrap();
            assert_eq!(spec, expected);
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for text in [
            "", ".", "..", "-v", ".hidden", "a b", "a\n", "pid:", "pid:x", "pid:0", "pid:-1", "é",
        ] {
            let refused = text.parse::<NetnsSpec>();
            assert!(
                matches!(refused, Err(NetnsError::BadName { .. })),
                "{text:?} gave {refused:?}"
            );
        }
        assert!("a".repeat(NAME_MAX).parse::<NetnsSpec>().is_ok());
        assert!("a".repeat(NAME_MAX + 1).parse::<NetnsSpec>().is_err());
    }

    #[test]
    fn a_name_never_leaves_its_directory() {
        for name in ["../x", "a/b", "/etc/passwd"] {
            let refused = Netns::open(&NetnsSpec::Name(name.to_owned()));
            assert!(
                matches!(refused, Err(NetnsError::BadName { .. })),
                "{name:?} gave {refused:?}"
            );
        }
    }
}
