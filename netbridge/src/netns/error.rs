//! Why a namespace could not be had.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// A failed operation on a namespace; every message names the namespace or its file.
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
    #[error("no network namespace `{spec}`: {} does not exist; {}", path.display(), where_to_look(spec))]
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
    pub(super) fn new(op: &'static str, object: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        let (object, source) = (object.to_string(), source.into());
        match source.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EPERM | Errno::EACCES)) => Self::Permission { op, object, errno },
            _ => Self::Io { op, object, source },
        }
    }
}

/// What lists the namespaces that a text like `spec` can name.
fn where_to_look(spec: &str) -> &'static str {
    if spec.starts_with("pid:") {
        "give the id of a process that runs"
    } else {
        "`ip netns` lists those with names"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_not_looked_for_among_names() {
        let text = |spec: &str| {
            let (spec, path) = (spec.to_owned(), PathBuf::new());
            NetnsError::NotFound { spec, path }.to_string()
        };
        assert!(text("web").contains("ip netns") && !text("pid:4711").contains("ip netns"));
    }
}
