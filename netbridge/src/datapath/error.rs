//! What can go wrong with an instance's programs and maps.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use netbridge_common::abi::VERSION;
use thiserror::Error;

use super::pins::MOUNT_ADVICE;
use crate::netns::NetnsError;

/// What to do where there is no cgroup v2.
pub(super) const CGROUP_ADVICE: &str = "`mount -t cgroup2 none /sys/fs/cgroup/unified` mounts the hierarchy where it is not, and --cgroup names a directory of it";

/// Why an operation on an instance failed; the kernel's answer is the source.
#[derive(Debug, Error)]
pub enum DatapathError {
    /// There is no BPF file system.
    #[error("{} is not a BPF file system; {MOUNT_ADVICE}", path.display())]
    NoBpffs {
        /// Where it was expected.
        path: PathBuf,
    },

    /// The instance's name cannot be a directory of a BPF file system.
    #[error("instance name `{name}` cannot be used: letters, digits, `-` and `_` only, and at least one")]
    Instance {
        /// The name.
        name: String,
    },

    /// A directory that is not ours alone.
    #[error("{} cannot be used: {reason}", path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },

    /// Nothing is loaded.
    #[error("no datapath is loaded at {}; `netbridge net create` loads it", path.display())]
    NotLoaded {
        /// The instance's directory.
        path: PathBuf,
    },

    /// The instance is there already.
    #[error("a datapath is loaded at {} already", path.display())]
    AlreadyLoaded {
        /// The instance's directory.
        path: PathBuf,
    },

    /// Pinned by a version of netbridge whose maps have another layout.
    #[error(
        "{} was pinned by another version of netbridge (maps of version {}, this is {VERSION}); remove its networks \
         with the version that made them", path.display(), found.map_or_else(|| "unknown".into(), |v| v.to_string())
    )]
    Version {
        /// The instance's directory.
        path: PathBuf,
        /// [`VERSION`] of what is pinned, `None` if not even that can be read.
        found: Option<u32>,
    },

    /// The kernel did not take the object.
    #[error("cannot load the eBPF object; `netbridge doctor` checks what it needs")]
    Object(#[source] Box<EbpfError>),

    /// The object built into this binary lacks something; the binary was not built by `cargo xtask`.
    #[error("the eBPF object in this binary has no {kind} `{name}`; build it again: `cargo xtask build-ebpf`")]
    Incomplete {
        /// "program" or "map".
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },

    /// The verifier refused a program, or the kernel lacks something it uses.
    #[error(
        "the kernel refused program `{name}`; `netbridge doctor` checks what it needs; the verifier's last words:\n{}",
        tail(log)
    )]
    Refused {
        /// Its name.
        name: &'static str,
        /// The verifier's whole log.
        log: String,
        /// What the kernel returned.
        source: io::Error,
    },

    /// An operation on a program failed.
    #[error("cannot {action} program `{name}`")]
    Program {
        /// Its name.
        name: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Box<ProgramError>,
    },

    /// A map or program could not be pinned.
    #[error("cannot pin {}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: PinError,
    },

    /// A program could not be attached to an interface or taken off it.
    #[error("cannot {action} `{program}` {interface}")]
    Attach {
        /// "attach" or "detach".
        action: &'static str,
        /// The program's name.
        program: &'static str,
        /// The interface, with its preposition.
        interface: String,
        /// Why.
        source: Box<ProgramError>,
    },

    /// A name and an index that are not, or no longer, one interface.
    #[error("interface `{name}` with index {ifindex} is not in this network namespace (any more)")]
    NoInterface {
        /// The name.
        name: String,
        /// The index.
        ifindex: u32,
    },

    /// An operation on a map failed.
    #[error("cannot {action} map {map}{}", if key.is_empty() { String::new() } else { format!(", key {key}") })]
    Map {
        /// The map's name.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The key, empty if the whole map is meant.
        key: String,
        /// Why it failed.
        source: Box<MapError>,
    },

    /// A map has no room.
    #[error("map {map} is full: it holds {entries} entries; remove some first")]
    Full {
        /// The map's name.
        map: &'static str,
        /// Its size.
        entries: u32,
    },

    /// The host's ephemeral ports leave no room for SNAT.
    #[error(
        "net.ipv4.ip_local_port_range = {min} {max} leaves no {needed} ports in a row for SNAT; narrow it, for \
         instance: `sysctl -w net.ipv4.ip_local_port_range='32768 60999'`"
    )]
    NoSnatPorts {
        /// First port of the host's range.
        min: u16,
        /// Last port of the host's range.
        max: u16,
        /// Ports needed.
        needed: u16,
    },

    /// A file or directory could not be read, made or removed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// The network namespace of the calling thread cannot be told.
    #[error("cannot tell which network namespace is the host")]
    Host(#[from] NetnsError),

    /// No cgroup v2 hierarchy is mounted.
    #[error("no cgroup v2 hierarchy is mounted; {CGROUP_ADVICE}")]
    NoCgroups,

    /// What was named is no cgroup, or one of version 1.
    #[error("{} is no cgroup of version 2; {CGROUP_ADVICE}", path.display())]
    NotACgroup {
        /// What was named.
        path: PathBuf,
    },

    /// The kernel has no programs on sockets.
    #[error("this kernel runs no programs on the sockets of a cgroup; use one with CONFIG_CGROUP_BPF")]
    NoSocketPrograms,

    /// The kernel's clocks cannot be read.
    #[error("cannot read the kernel's clock")]
    Clock(#[source] io::Error),

    /// No file descriptor can be watched: not inside a tokio runtime, or out of resources.
    #[error("cannot watch map {map} for events")]
    Watch {
        /// The map's name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },

    /// The programs' log cannot be read.
    #[error("cannot read the programs' log")]
    Log(#[source] aya_log::Error),
}

impl DatapathError {
    /// For `map_err` on file operations.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on loading a program.
    pub(super) fn refused(name: &'static str) -> impl FnOnce(ProgramError) -> Self {
        move |source| match source {
            ProgramError::LoadError { io_error, verifier_log } => Self::Refused {
                name,
                log: verifier_log.to_string(),
                source: io_error,
            },
            other => Self::Program {
                name,
                action: "load",
                source: Box::new(other),
            },
        }
    }

    /// For `map_err` on program operations.
    pub(super) fn program(action: &'static str, name: &'static str) -> impl FnOnce(ProgramError) -> Self {
        move |source| Self::Program {
            name,
            action,
            source: Box::new(source),
        }
    }
}

/// The end of a verifier log, where the reason is; all of it may be a million lines.
fn tail(log: &str) -> &str {
    const LINES: usize = 8;
    let log = log.trim_end();
    log.rmatch_indices('\n')
        .nth(LINES - 1)
        .map_or(log, |(start, _)| &log[start + 1..])
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn keeps_the_last_eight_lines() {
        assert_eq!(tail(""), "");
        assert_eq!(tail("1\n2\n"), "1\n2");
        assert_eq!(tail("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"), "3\n4\n5\n6\n7\n8\n9\n10");
        assert_eq!(tail("1\n2\n3\n4\n5\n6\n7\n8"), "1\n2\n3\n4\n5\n6\n7\n8");
    }
}
