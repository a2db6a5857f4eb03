//! `icmp`: type and code, by number or by the names that `iptables` knows.

use std::fmt;

use super::{
    super::{
        Extension, IcmpType, Match, Protocol,
        fault::Refusal,
        given::{Build, Given, Opt, Spec},
        number,
    },
    option,
};

pub(super) static ICMP: Spec = Spec {
    name: "icmp",
    protocols: &[Protocol::ICMP],
    options: &[Opt::new(&["--icmp-type"])],
    refused: &[],
    build: Build::Match(build),
};

/// `any`: no packet has this type.
const ANY: u8 = 255;

/// Names of types and codes; a name without a code is that of the whole type.
const NAMES: [(&str, u8, Option<u8>); 40] = [
    ("any", ANY, None),
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("communication-prohibited", 3, Some(13)),
    ("host-precedence-violation", 3, Some(14)),
    ("precedence-cutoff", 3, Some(15)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("network-redirect", 5, Some(0)),
    ("host-redirect", 5, Some(1)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-host-redirect", 5, Some(3)),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("parameter-problem", 12, None),
    ("ip-header-bad", 12, Some(0)),
    ("required-option-missing", 12, Some(1)),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

fn build(given: &mut Given<'_>) -> Option<Extension> {
    let kind = given.read("--icmp-type", parse)?;
    if kind.value.kind.is_none() && kind.negated {
        given.refuse("any", "no packet is outside of every type", "remove the rule");
    }
    Some(Extension::Icmp(kind))
}

/// The type and code with this name.
pub(in super::super) fn named(name: &str) -> Option<(u8, Option<u8>)> {
    let same = |(known, _, _): &&(&str, _, _)| known.eq_ignore_ascii_case(name);
    NAMES.iter().find(same).map(|(_, kind, code)| (*kind, *code))
}

/// The first name of exactly this type and code.
pub(in super::super) fn name(kind: u8, code: Option<u8>) -> Option<&'static str> {
    let same = |(_, other, its_code): &&(_, u8, Option<u8>)| (*other, *its_code) == (kind, code);
    NAMES.iter().find(same).map(|(name, _, _)| *name)
}

fn parse(word: &str) -> Result<IcmpType, Refusal> {
    number::not_octal(word)?;
    let unknown = || {
        Refusal::new(
            word,
            "not a type of ICMP",
            "give a name such as echo-request, TYPE or TYPE/CODE with numbers from 0 to 255, or any",
        )
    };
    let (kind, code) = if let Some(known) = named(word) {
        known
    } else {
        let (kind, code) = word
            .split_once('/')
            .map_or((word, None), |(kind, code)| (kind, Some(code)));
        let code = code.map(|code| number::digits(code).ok_or_else(unknown)).transpose()?;
        (number::digits(kind).ok_or_else(unknown)?, code)
    };
    // Netfilter, too, takes 255 for any type and then leaves the code alone.
    let any = kind == ANY;
    Ok(IcmpType {
        kind: (!any).then_some(kind),
        code: code.filter(|_| !any),
    })
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.code) {
            (None, _) => write!(f, "any"),
            (Some(kind), None) => write!(f, "{kind}"),
            (Some(kind), Some(code)) => write!(f, "{kind}/{code}"),
        }
    }
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, kind: &Match<IcmpType>) -> fmt::Result {
    write!(f, "-m icmp")?;
    option(f, "--icmp-type", Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_by_name_and_number() {
        for (word, shown) in [
            ("any", "any"),
            ("255", "any"),
            ("255/3", "any"),
            ("echo-request", "8"),
            ("PING", "8"),
            ("pong", "0"),
            ("port-unreachable", "3/3"),
            ("TOS-host-redirect", "5/3"),
            ("address-mask-reply", "18"),
            ("8", "8"),
            ("3/0", "3/0"),
            ("3/255", "3/255"),
        ] {
            assert_eq!(parse(word).unwrap().to_string(), shown, "{word}");
        }
        for word in ["", "echo", "256", "3/", "/3", "3/256", "3/1/1", "-1", "+8", "ping/0"] {
            let fault = parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains("not a type of ICMP"), "{word}: {fault}");
        }
    }

    #[test]
    fn every_name_is_found_again() {
        for (text, kind, code) in NAMES {
            assert_eq!(named(text), Some((kind, code)));
            assert_eq!(name(kind, code).and_then(named), Some((kind, code)));
        }
        assert_eq!(name(3, Some(8)), None);
    }
}
