//! Targets with options: `REJECT`, `LOG` and `NFLOG`.

use std::fmt;

use super::{
    Log, Protocol, RejectWith, Target,
    extension::printable,
    fault::Refusal,
    given::{Build, Given, Opt, Spec},
    lex, number,
};

/// Longest prefix of `LOG`, bytes.
const LOG_PREFIX: usize = 29;
/// Longest prefix of `NFLOG`, bytes.
const NFLOG_PREFIX: usize = 127;
/// The level that `LOG` takes without being told (warning).
const LEVEL: u32 = 4;

static REJECT: Spec = Spec {
    name: "REJECT",
    protocols: &[],
    options: &[Opt::new(&["--reject-with"]).plain()],
    refused: &[],
    build: Build::Target(|given| {
        if !given.has("--reject-with") {
            return Some(Target::Reject(RejectWith::Unreachable(3)));
        }
        given.value("--reject-with", reject_with).map(Target::Reject)
    }),
};

static LOG: Spec = Spec {
    name: "LOG",
    protocols: &[],
    options: &[
        Opt::new(&["--log-prefix"]).text(),
        Opt::new(&["--log-level"]).plain(),
        Opt::new(&["--log-tcp-sequence"]).values(0).plain(),
        Opt::new(&["--log-tcp-options"]).values(0).plain(),
        Opt::new(&["--log-ip-options"]).values(0).plain(),
        Opt::new(&["--log-uid"]).values(0).plain(),
        Opt::new(&["--log-macdecode"]).values(0).plain(),
    ],
    refused: &[],
    build: Build::Target(log),
};

static NFLOG: Spec = Spec {
    name: "NFLOG",
    protocols: &[],
    options: &[
        Opt::new(&["--nflog-prefix"]).text(),
        Opt::new(&["--nflog-group"]).plain(),
        Opt::new(&["--nflog-size"]).plain(),
        Opt::new(&["--nflog-threshold"]).plain(),
    ],
    refused: &[(
        "--nflog-range",
        "netfilter does not heed it either",
        "write `--nflog-size`",
    )],
    build: Build::Target(nflog),
};

/// The target with this name that has options.
pub(super) fn named(name: &str) -> Option<&'static Spec> {
    [&REJECT, &LOG, &NFLOG].into_iter().find(|spec| spec.name == name)
}

/// What `--reject-with` may say: ICMP code, name, short name.
const UNREACHABLE: [(u8, &str, &str); 7] = [
    (0, "icmp-net-unreachable", "net-unreach"),
    (1, "icmp-host-unreachable", "host-unreach"),
    (2, "icmp-proto-unreachable", "proto-unreach"),
    (3, "icmp-port-unreachable", "port-unreach"),
    (9, "icmp-net-prohibited", "net-prohib"),
    (10, "icmp-host-prohibited", "host-prohib"),
    (13, "icmp-admin-prohibited", "admin-prohib"),
];

fn reject_with(word: &str) -> Result<RejectWith, Refusal> {
    if ["tcp-reset", "tcp-rst"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(word))
    {
        return Ok(RejectWith::TcpReset);
    }
    let same =
        |(_, name, short): &&(u8, &str, &str)| name.eq_ignore_ascii_case(word) || short.eq_ignore_ascii_case(word);
    let code = UNREACHABLE.iter().find(same).map(|(code, _, _)| *code);
    code.map(RejectWith::Unreachable).ok_or_else(|| {
        Refusal::new(
            word,
            "not an answer that REJECT can give",
            "give icmp-port-unreachable, icmp-host-unreachable, icmp-net-unreachable, icmp-proto-unreachable, \
             icmp-net-prohibited, icmp-host-prohibited, icmp-admin-prohibited or tcp-reset",
        )
    })
}

impl RejectWith {
    /// The protocol that a rule must ask for to give this answer.
    pub(super) fn protocol(self) -> Option<Protocol> {
        (self == Self::TcpReset).then_some(Protocol::TCP)
    }
}

fn log(given: &mut Given<'_>) -> Option<Target> {
    let mut options = Vec::new();
    if let Some(level) = given.value("--log-level", level)
        && level != LEVEL
    {
        options.push(("--log-level".to_owned(), Some(level.to_string())));
    }
    for flag in &LOG.options[2..] {
        if given.has(flag.names[0]) {
            options.push((flag.names[0].to_owned(), None));
        }
    }
    let prefix = prefix(given, "--log-prefix", LOG_PREFIX)?;
    Some(Target::Log(Log {
        nflog: false,
        prefix,
        options,
    }))
}

fn nflog(given: &mut Given<'_>) -> Option<Target> {
    let mut options = Vec::new();
    for (option, most, usual) in [
        ("--nflog-group", 0xffff, Some(0)),
        ("--nflog-size", u32::MAX, None),
        ("--nflog-threshold", 0xffff, Some(0)),
    ] {
        let value = given.value(option, |word| number::decimal(word, 0, most));
        if value.is_some() && value != usual {
            options.push((option.to_owned(), value.map(|value| value.to_string())));
        }
    }
    let prefix = prefix(given, "--nflog-prefix", NFLOG_PREFIX)?;
    Some(Target::Log(Log {
        nflog: true,
        prefix,
        options,
    }))
}

/// The prefix, empty where none is given; `None` if it is refused.
fn prefix(given: &mut Given<'_>, option: &str, most: usize) -> Option<String> {
    if !given.has(option) {
        return Some(String::new());
    }
    given.value(option, |text| {
        if text.is_empty() || text.len() > most {
            let reason = format!("a prefix has 1 to {most} bytes");
            let advice = if text.is_empty() {
                "leave the option out"
            } else {
                "shorten it"
            };
            return Err(Refusal::new(text, reason, advice));
        }
        printable(text, "a prefix is printable text")?;
        Ok(text.to_owned())
    })
}

/// The names of `syslog(3)`.
const LEVELS: [(&str, u32); 10] = [
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

fn level(word: &str) -> Result<u32, Refusal> {
    number::not_octal(word)?;
    let named = LEVELS.iter().find(|(name, _)| *name == word).map(|(_, level)| *level);
    let numbered = number::digits(word).filter(|level| *level <= 7);
    named.or(numbered).ok_or_else(|| {
        Refusal::new(
            word,
            "not a level of the log",
            "give a number from 0 to 7, or debug, info, notice, warning, error, crit, alert or emerg",
        )
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => Ok(()),
            Self::Accept => write!(f, "-j ACCEPT"),
            Self::Drop => write!(f, "-j DROP"),
            Self::Return => write!(f, "-j RETURN"),
            Self::Jump(chain) => write!(f, "-j {chain}"),
            Self::Goto(chain) => write!(f, "-g {chain}"),
            Self::Reject(with) => write!(f, "-j REJECT --reject-with {with}"),
            Self::Log(log) => write!(f, "{log}"),
        }
    }
}

impl fmt::Display for RejectWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Unreachable(code) = self else {
            return write!(f, "tcp-reset");
        };
        match UNREACHABLE.iter().find(|(known, _, _)| known == code) {
            Some((_, name, _)) => write!(f, "{name}"),
            None => write!(f, "icmp-port-unreachable"),
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, option) = if self.nflog { ("NFLOG", "nflog") } else { ("LOG", "log") };
        write!(f, "-j {target}")?;
        if !self.prefix.is_empty() {
            write!(f, " --{option}-prefix {}", lex::quote(&self.prefix))?;
        }
        for (option, value) in &self.options {
            write!(f, " {option}")?;
            if let Some(value) = value {
                write!(f, " {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_two_names() {
        for (code, name, short) in UNREACHABLE {
            assert_eq!(reject_with(name), Ok(RejectWith::Unreachable(code)));
            assert_eq!(reject_with(&short.to_uppercase()), Ok(RejectWith::Unreachable(code)));
            assert_eq!(RejectWith::Unreachable(code).to_string(), name);
        }
        assert_eq!(reject_with("tcp-rst"), Ok(RejectWith::TcpReset));
        for word in ["", "icmp", "echo-reply", "icmp6-no-route"] {
            assert!(reject_with(word).is_err(), "{word}");
        }
    }

    #[test]
    fn levels_by_name_and_number() {
        for (word, number) in [("debug", 7), ("0", 0), ("warning", 4), ("err", 3)] {
            assert_eq!(level(word), Ok(number));
        }
        for word in ["8", "07", "", "-1", "loud", "WARNING"] {
            assert!(level(word).is_err(), "{word}");
        }
    }
}
