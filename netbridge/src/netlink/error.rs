//! Why a netlink request failed, in the kernel's own words where it has some.

use std::io;

use nix::errno::Errno;
use rtnetlink::packet_core::{ErrorMessage, NLA_HEADER_SIZE, NlasIterator, parse_string};

/// The length of `struct nlmsghdr`, which the kernel repeats before its remarks.
const REQUEST_HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the remark as text.
const REMARK: u16 = 1;

/// A failed request; every message begins with the operation and its object.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused.
    #[error("{operation}: {}", reason(*.errno, .remark.as_deref()))]
    Refused {
        /// What was asked, and of what.
        operation: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's explanation, if it gave one.
        remark: Option<String>,
    },
    /// The name meant for the far end of a veth pair is taken in its namespace.
    #[error(
        "create veth {name}: network namespace {netns} already has an interface {peer}; choose another name for it"
    )]
    PeerNameTaken {
        /// The near end.
        name: String,
        /// The far end.
        peer: String,
        /// The namespace of the far end.
        netns: String,
    },
    /// The tables changed under every attempt to read them.
    #[error("{operation}: the tables kept changing while they were read; try again")]
    Interrupted {
        /// What was asked.
        operation: String,
    },
    /// The kernel's answer did not come, or was not what the request asks for.
    #[error("{operation}: no usable answer from the kernel")]
    NoAnswer {
        /// What was asked.
        operation: String,
    },
    /// There is no socket to ask through.
    #[error("open a netlink socket: {0}")]
    Socket(#[from] io::Error),
}

impl NetlinkError {
    /// A refusal as the kernel reports it; `None` is its word for success.
    pub(super) fn refused(operation: &str, message: &ErrorMessage) -> Option<Self> {
        let code = message.code?;
        Some(Self::Refused {
            operation: operation.to_owned(),
            errno: Errno::from_raw(code.get().abs()),
            remark: remark(&message.header),
        })
    }

    /// Whether the object exists already.
    pub fn is_exists(&self) -> bool {
        matches!(
            self,
            Self::PeerNameTaken { .. }
                | Self::Refused {
                    errno: Errno::EEXIST,
                    ..
                }
        )
    }

    /// Whether the object, or the interface it belongs to, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                errno: Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL,
                ..
            }
        )
    }
}

/// `File exists (17)`, then what else is known.
fn reason(errno: Errno, remark: Option<&str>) -> String {
    let mut text = format!("{} ({})", errno.desc(), errno as i32);
    if let Some(remark) = remark {
        text.push_str(": ");
        text.push_str(remark.trim_end_matches('.'));
    }
    if errno == Errno::EPERM {
        text.push_str("; needs CAP_NET_ADMIN");
    }
    text
}

/// The kernel's explanation, from the attributes that follow the request's header (`NETLINK_EXT_ACK`).
fn remark(payload: &[u8]) -> Option<String> {
    let attributes = payload
        .get(REQUEST_HEADER..)
        .filter(|rest| rest.len() > NLA_HEADER_SIZE)?;
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == REMARK)
        .and_then(|attribute| parse_string(attribute.value()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: Errno, payload: &[u8]) -> Option<NetlinkError> {
        let mut message = ErrorMessage::default();
        message.code = std::num::NonZeroI32::new(-(errno as i32));
        message.header = payload.to_vec();
        NetlinkError::refused("create bridge nb-web", &message)
    }

    fn text(errno: Errno, payload: &[u8]) -> Option<String> {
        refusal(errno, payload).map(|e| e.to_string())
    }

    #[test]
    fn a_refusal_names_operation_object_and_reason() {
        assert_eq!(
            text(Errno::EEXIST, &[]).as_deref(),
            Some("create bridge nb-web: File exists (17)")
        );
        assert_eq!(
            text(Errno::EPERM, &[]).as_deref(),
            Some("create bridge nb-web: Operation not permitted (1); needs CAP_NET_ADMIN")
        );
    }

    #[test]
    fn callers_can_tell_refusals_apart() {
        let is = |errno, test: fn(&NetlinkError) -> bool| refusal(errno, &[]).is_some_and(|e| test(&e));
        assert!(is(Errno::EEXIST, NetlinkError::is_exists));
        assert!(is(Errno::ENODEV, NetlinkError::is_not_found));
        assert!(!is(Errno::EINVAL, |e| e.is_exists() || e.is_not_found()));
    }

    #[test]
    fn the_kernels_remark_is_passed_on() {
        let mut payload = vec![0; REQUEST_HEADER];
        payload.extend_from_slice(&12_u16.to_ne_bytes());
        payload.extend_from_slice(&REMARK.to_ne_bytes());
        payload.extend_from_slice(b"no luck\0");
        assert_eq!(
            text(Errno::EINVAL, &payload).as_deref(),
            Some("create bridge nb-web: Invalid argument (22): no luck")
        );
    }

    #[test]
    fn an_acknowledgement_is_no_refusal() {
        assert!(NetlinkError::refused("x", &ErrorMessage::default()).is_none());
    }
}
