//! A topology file as it is written: TOML, every value with its place.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{Fault, Faults};
use crate::state::Dependence;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The lab's name; the file's own without it.
    pub(super) name: Option<Spanned<String>>,
    /// A filter in `iptables-save` syntax, its path relative to this file's directory.
    pub(super) filter: Option<Spanned<String>>,
    /// The world behind the host's uplink.
    pub(super) outside: Option<Outside>,
    /// Networks on the host.
    #[serde(default)]
    pub(super) networks: Vec<Network>,
    /// Containers.
    #[serde(default)]
    pub(super) nodes: Vec<Node>,
    /// Veth pairs straight between two nodes.
    #[serde(default)]
    pub(super) links: Vec<Link>,
}

/// `[outside]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outside {
    /// The host's end of the uplink.
    pub(super) uplink: Option<Spanned<String>>,
    /// The host's address there, `IP/PREFIX`.
    pub(super) host: Spanned<String>,
    /// The outside node's, `IP/PREFIX`.
    pub(super) address: Spanned<String>,
    /// Subnets that the outside sends to the host.
    #[serde(default)]
    pub(super) routes: Vec<Spanned<String>>,
    /// MTU of the uplink, bytes.
    pub(super) mtu: Option<Spanned<u32>>,
}

/// `[[networks]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub(super) struct Network {
    pub(super) name: Spanned<String>,
    pub(super) subnet: Spanned<String>,
    pub(super) gateway: Option<Spanned<String>>,
    pub(super) mtu: Option<Spanned<u32>>,
    /// No way out.
    #[serde(default)]
    pub(super) internal: bool,
    /// Packets to the outside take the uplink's address.
    #[serde(default = "yes")]
    pub(super) masquerade: bool,
    /// What a port outside depends on: `independent` or `dependent`.
    #[serde(default = "Dependence::mapping")]
    pub(super) mapping: Dependence,
    /// Who may send to it: `independent` for anybody, or `dependent`.
    #[serde(default = "Dependence::filtering")]
    pub(super) filtering: Dependence,
    /// Containers are reached from outside by their own addresses, and keep them.
    #[serde(default)]
    pub(super) routed: bool,
    /// GRE, ESP, IP in IP and SCTP are masqueraded too, by their addresses alone.
    #[serde(default)]
    pub(super) tunnels: bool,
}

/// `[[nodes]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: Spanned<String>,
    /// Its connections to networks.
    #[serde(default)]
    pub(super) attach: Vec<Attachment>,
    /// Published ports of its first connection, `[[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp]`.
    #[serde(default)]
    pub(super) publish: Vec<Spanned<String>>,
}

/// One element of `attach`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attachment {
    pub(super) net: Spanned<String>,
    /// `IP` or `IP/PREFIX[@GATEWAY]`; a free address without it.
    #[serde(default)]
    pub(super) ips: Vec<Spanned<String>>,
    pub(super) ifname: Option<Spanned<String>>,
    pub(super) mac: Option<Spanned<String>>,
    /// Behind it is a bridge of its own.
    #[serde(default)]
    pub(super) trunk: bool,
}

/// `[[links]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) a: LinkEnd,
    pub(super) b: LinkEnd,
}

/// One end of a link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEnd {
    pub(super) node: Spanned<String>,
    pub(super) ifname: Option<Spanned<String>>,
    /// `IP/PREFIX`.
    pub(super) address: Spanned<String>,
}

fn yes() -> bool {
    true
}

/// Turns places in the text into `FILE:LINE`.
pub(super) struct Places<'a> {
    /// What messages call the file.
    pub(super) file: &'a str,
    text: &'a str,
}

impl<'a> Places<'a> {
    /// The places of `text`.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// Parses the text. TOML stops at its first fault.
    pub(super) fn parse(&self) -> Result<File, Faults> {
        toml::from_str(self.text).map_err(|error| {
            let place = self.line(error.span().unwrap_or_default());
            Fault::usage(
                place,
                error.message(),
                "`netbridge lab up --help` shows the form of a topology",
            )
            .into()
        })
    }

    /// `FILE:LINE` of a span.
    pub(super) fn line(&self, span: Range<usize>) -> String {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + String::from_utf8_lossy(before).matches('\n').count();
        format!("{}:{line}", self.file)
    }

    /// A fault of the value at hand, `what` saying what it is.
    pub(super) fn fault<T: std::fmt::Display>(
        &self,
        value: &Spanned<T>,
        what: &str,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Fault {
        Fault::usage(
            format!("{}: {what} {}", self.line(value.span()), value.get_ref()),
            why,
            remedy,
        )
    }

    /// Puts the value's place in front of a fault of it.
    pub(super) fn placed<T>(&self, value: &Spanned<T>, fault: Fault) -> Fault {
        Fault {
            what: format!("{}: {}", self.line(value.span()), fault.what),
            ..fault
        }
    }
}
