//! What the user calls a network namespace, and the file that stands for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{NAMED, NetnsError};

/// The longest file name Linux takes, in bytes.
const NAME_MAX: usize = 255;

/// A network namespace as the user gives it.
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
    pub(super) fn path(&self) -> Result<PathBuf, NetnsError> {
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

/// The file of a named namespace. A name is one path component and never looks like an option or a hidden file.
pub(super) fn named_path(name: &str) -> Result<PathBuf, NetnsError> {
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
            assert_eq!(expected.to_string(), text);
            assert_eq!(text.parse::<NetnsSpec>().ok(), Some(expected));
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
            let refused = NetnsSpec::Name(name.to_owned()).path();
            assert!(
                matches!(refused, Err(NetnsError::BadName { .. })),
                "{name:?} gave {refused:?}"
            );
        }
    }
}
