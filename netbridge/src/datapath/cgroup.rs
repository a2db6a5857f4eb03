//! The cgroup whose processes' sockets the hooks see: the root of the machine's cgroup v2 hierarchy, or one that is named.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::{SYS_bpf, syscall};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::DatapathError;

/// `BPF_OBJ_GET`.
const OBJ_GET: i32 = 7;

/// An open cgroup.
pub(super) struct Cgroup {
    /// Its directory.
    pub(super) file: File,
    /// Its number: the inode of its directory, used once as long as the machine runs.
    pub(super) id: u64,
    /// Its path.
    pub(super) path: PathBuf,
}

impl Cgroup {
    /// The cgroup at `path`, or the root.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, DatapathError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => root()?,
        };
        let file = File::open(&path).map_err(DatapathError::file("open the cgroup", &path))?;
        if fstatfs(&file).map(|stat| stat.filesystem_type()) != Ok(CGROUP2_SUPER_MAGIC) {
            return Err(DatapathError::NotACgroup { path });
        }
        let id = file
            .metadata()
            .map_err(DatapathError::file("look at the cgroup", &path))?
            .ino();
        Ok(Self { file, id, path })
    }
}

/// The number of the cgroup that a pinned link runs a program on; 0 if that is gone, `None` if there is no such pin.
pub(super) fn of_link(pin: &Path) -> Result<Option<u64>, DatapathError> {
    let read = || -> io::Result<Option<u64>> {
        let link = match open_pin(pin) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
        let id = text.lines().find_map(|line| line.strip_prefix("cgroup_id:"));
        Ok(Some(id.and_then(|id| id.trim().parse().ok()).unwrap_or(0)))
    };
    read().map_err(DatapathError::file("look at the link", pin))
}

/// Opens a pinned object; aya keeps the descriptor of a link to itself.
fn open_pin(pin: &Path) -> nix::Result<OwnedFd> {
    /// What the command reads of `union bpf_attr`; a pointer is a number in it.
    #[repr(C)]
    struct Attributes {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }

    let path = CString::new(pin.as_os_str().as_bytes()).map_err(|_nul| Errno::ENOENT)?;
    let attributes = Attributes {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the kernel reads `attributes`, of the size it is told, and the path in it, which ends with a zero.
    let answer = unsafe { syscall(SYS_bpf, OBJ_GET, &raw const attributes, size_of::<Attributes>()) };
    let fd = RawFd::try_from(Errno::result(answer)?).map_err(|_range| Errno::EBADF)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where the cgroup v2 hierarchy is mounted: `/sys/fs/cgroup`, or beside version 1 `/sys/fs/cgroup/unified`.
fn root() -> Result<PathBuf, DatapathError> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(MOUNTS).map_err(DatapathError::file("read", MOUNTS))?;
    mount_point(&mounts).ok_or(DatapathError::NoCgroups)
}

/// Where the first cgroup v2 hierarchy in a mountinfo (proc(5)) is mounted with its root: a cgroup below can be mounted
/// elsewhere, and has not all processes.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    let of_line = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| point.replace("\\040", " ").into())
    };
    mounts.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::super::error::CGROUP_ADVICE;
    use super::*;

    #[test]
    fn the_hierarchy_of_version_2_is_found_wherever_it_is() {
        let hybrid = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_point(unified), Some("/sys/fs/cgroup".into()));
        let bound = "29 23 0:26 /lxc/a /run/x rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(bound), None);
        assert_eq!(mount_point(&format!("{bound}{unified}")), Some("/sys/fs/cgroup".into()));
        let odd = "30 23 0:26 / /a\\040b rw - cgroup2 none rw\n";
        assert_eq!(mount_point(odd), Some("/a b".into()));
        let first = hybrid.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(mount_point(&first), None);
    }

    #[test]
    fn what_is_no_cgroup_is_refused_by_name() {
        let error = Cgroup::open(Some(Path::new("/proc"))).err().unwrap();
        assert!(error.to_string().contains("/proc") && error.to_string().contains(CGROUP_ADVICE));
        let error = Cgroup::open(Some(Path::new("/nowhere"))).err().unwrap();
        assert!(error.to_string().contains("open the cgroup /nowhere"), "{error}");
    }
}
