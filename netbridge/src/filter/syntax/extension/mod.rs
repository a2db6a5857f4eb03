//! The matches that `-m` brings: how each is read and shown.

mod addresses;
mod conntrack;
mod hashlimit;
mod icmp;
mod limit;
mod mark;
mod multiport;
mod set;
mod transport;

use std::fmt;

use super::{Extension, Match, given::Spec};

pub(super) use addresses::range;
pub(super) use icmp::{name as icmp_name, named as icmp_named};
pub(super) use mark::printable;

/// Every match there is.
pub(super) static ALL: [&Spec; 14] = [
    &transport::TCP,
    &transport::UDP,
    &conntrack::CONNTRACK,
    &mark::COMMENT,
    &set::SET,
    &multiport::MULTIPORT,
    &icmp::ICMP,
    &addresses::ADDRTYPE,
    &addresses::IPRANGE,
    &addresses::MAC,
    &conntrack::STATE,
    &limit::LIMIT,
    &hashlimit::HASHLIMIT,
    &mark::MARK,
];

/// The match with this name.
pub(super) fn named(name: &str) -> Option<&'static Spec> {
    ALL.into_iter().find(|spec| spec.name == name)
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { sport, dport, flags } => transport::show_tcp(f, sport.as_ref(), dport.as_ref(), flags.as_ref()),
            Self::Udp { sport, dport } => transport::show_udp(f, sport.as_ref(), dport.as_ref()),
            Self::Icmp(kind) => icmp::show(f, kind),
            Self::Multiport { which, ports } => multiport::show(f, *which, ports),
            Self::Conntrack { states, direction } => conntrack::show(f, states.as_ref(), *direction),
            Self::State(states) => {
                write!(f, "-m state")?;
                option(f, "--state", Some(states))
            }
            Self::Mac(mac) => addresses::show_mac(f, mac),
            Self::IpRange { source, destination } => addresses::show_ranges(f, source.as_ref(), destination.as_ref()),
            Self::AddrType { source, destination } => addresses::show_types(f, source.as_ref(), destination.as_ref()),
            Self::Set(set) => set::show(f, set),
            Self::Limit(rate) => limit::show(f, rate),
            Self::HashLimit(limit) => hashlimit::show(f, limit),
            Self::Mark(mark) => mark::show(f, mark),
            Self::Comment(text) => mark::show_comment(f, text),
        }
    }
}

/// Writes an option that is given, a blank before it.
pub(super) fn option<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    option: &str,
    value: Option<&Match<T>>,
) -> fmt::Result {
    let Some(Match { value, negated }) = value else {
        return Ok(());
    };
    let not = if *negated { "! " } else { "" };
    write!(f, " {not}{option} {value}")
}
