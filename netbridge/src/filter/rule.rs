//! Rules as the user wrote them: interfaces by name, nothing resolved.

use netbridge_common::abi;
use serde::Serialize;

use super::{Ports, Prefix, Protocol, States};

/// The rules of the `FORWARD` chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    /// What happens to a packet that no rule matches.
    pub policy: Verdict,
    /// The rules, the first match decides; at most [`abi::MAX_RULES`] in a parsed set.
    pub rules: Vec<Rule>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
}

impl Verdict {
    /// The verdict with this name in a rule file.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "ACCEPT" => Some(Self::Accept),
            "DROP" => Some(Self::Drop),
            _ => None,
        }
    }

    /// Its name in a rule file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }

    /// Its number in the tables, see [`abi::verdict`].
    pub fn number(self) -> u8 {
        match self {
            Self::Accept => abi::verdict::ACCEPT,
            Self::Drop => abi::verdict::DROP,
        }
    }
}

/// Something a rule asks for, or with `!` asks against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match<T> {
    /// What the packet is compared with.
    pub value: T,
    /// True where the rule wants packets that differ.
    pub negated: bool,
}

/// One rule: what is `None` is not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its line in the file it was read from, counted from 1.
    pub line: usize,
    /// That line's text, blanks around it removed.
    pub text: String,
    /// `-s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Match<Prefix>>,
    /// `-d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Match<Prefix>>,
    /// `-i`, the name of an interface or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_interface: Option<Match<String>>,
    /// `-o`, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_interface: Option<Match<String>>,
    /// `-p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// `--sport`; only with TCP or UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<Ports>,
    /// `--dport`; only with TCP or UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_ports: Option<Ports>,
    /// `--ctstate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<States>,
    /// `--comment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `-j`.
    pub verdict: Verdict,
}
