//! The vocabulary of rules: options and match extensions by name.

use super::Protocol;

/// What a rule may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Source,
    Destination,
    In,
    Out,
    Protocol,
    SourcePort,
    DestinationPort,
    State,
    CtState,
    Comment,
    Match,
    Jump,
}

impl Opt {
    /// The option with this name.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "-s" | "--source" | "--src" => Self::Source,
            "-d" | "--destination" | "--dst" => Self::Destination,
            "-i" | "--in-interface" => Self::In,
            "-o" | "--out-interface" => Self::Out,
            "-p" | "--protocol" => Self::Protocol,
            "--sport" | "--source-port" => Self::SourcePort,
            "--dport" | "--destination-port" => Self::DestinationPort,
            "--state" => Self::State,
            "--ctstate" => Self::CtState,
            "--comment" => Self::Comment,
            "-m" | "--match" => Self::Match,
            "-j" | "--jump" => Self::Jump,
            _ => return None,
        })
    }

    /// True if `!` may stand before it.
    pub(super) fn is_negatable(self) -> bool {
        matches!(self, Self::Source | Self::Destination | Self::In | Self::Out)
    }
}

/// The match extensions that may be loaded with `-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Tcp,
    Udp,
    Conntrack,
    State,
    Comment,
}

impl Extension {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Conntrack, Self::State, Self::Comment];

    /// Its name after `-m`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Conntrack => "conntrack",
            Self::State => "state",
            Self::Comment => "comment",
        }
    }

    /// The protocol it is for.
    pub(super) fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::TCP),
            Self::Udp => Some(Protocol::UDP),
            Self::Conntrack | Self::State | Self::Comment => None,
        }
    }

    /// The option that belongs to it, and must go with it, beside its name.
    pub(super) fn option(self) -> Option<(Opt, &'static str)> {
        match self {
            Self::Tcp | Self::Udp => None,
            Self::Conntrack => Some((Opt::CtState, "--ctstate")),
            Self::State => Some((Opt::State, "--state")),
            Self::Comment => Some((Opt::Comment, "--comment")),
        }
    }

    /// The extension that brings this option.
    pub(super) fn of(option: Opt) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|extension| extension.option().is_some_and(|(own, _)| own == option))
    }
}
