//! `tcp` and `udp`: ports and flags.

use std::fmt;

use super::{
    super::{
        Extension, Match, Ports, Protocol, TcpFlags,
        fault::Refusal,
        given::{Build, Given, Opt, Spec},
    },
    option,
};

const SPORT: Opt = Opt::new(&["--sport", "--source-port"]);
const DPORT: Opt = Opt::new(&["--dport", "--destination-port"]);

pub(super) static TCP: Spec = Spec {
    name: "tcp",
    protocols: &[Protocol::TCP],
    options: &[
        SPORT,
        DPORT,
        Opt::new(&["--tcp-flags"]).values(2),
        Opt::new(&["--syn"]).values(0),
    ],
    refused: &[(
        "--tcp-option",
        "options of TCP are not read",
        "write the rule without, or match `--syn`",
    )],
    build: Build::Match(|given| {
        Some(Extension::Tcp {
            sport: ports(given, "--sport"),
            dport: ports(given, "--dport"),
            flags: flags(given),
        })
    }),
};

pub(super) static UDP: Spec = Spec {
    name: "udp",
    protocols: &[Protocol::UDP],
    options: &[SPORT, DPORT],
    refused: &[],
    build: Build::Match(|given| {
        Some(Extension::Udp {
            sport: ports(given, "--sport"),
            dport: ports(given, "--dport"),
        })
    }),
};

/// The ports to compare with; none where every port will do.
fn ports(given: &mut Given<'_>, name: &str) -> Option<Match<Ports>> {
    let ports = given.read(name, Ports::parse)?;
    if ports.value != Ports::ALL {
        return Some(ports);
    }
    if ports.negated {
        given.refuse(name, "no packet is outside of every port", "remove the rule");
    }
    None
}

/// FIN to URG, in the order of their bits.
const FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
/// All of them.
const ALL: u8 = 0x3f;
/// What `--syn` stands for.
const SYN: TcpFlags = TcpFlags { mask: 0x17, set: 0x02 };

fn flags(given: &mut Given<'_>) -> Option<Match<TcpFlags>> {
    let syn = given
        .words("--syn")
        .map(|Match { negated, .. }| Match { value: SYN, negated });
    let Some(Match { value, negated }) = given.words("--tcp-flags") else {
        return syn;
    };
    if syn.is_some() {
        given.refuse("--syn", "flags are asked for twice", "keep `--tcp-flags`");
    }
    let [mask, set] = value else { return None };
    let (mask, set) = match (parse_flags(mask), parse_flags(set)) {
        (Ok(mask), Ok(set)) => (mask, set),
        (mask, set) => {
            given.faults.extend([mask.err(), set.err()].into_iter().flatten());
            return None;
        }
    };
    if set & !mask != 0 {
        let token = format!("--tcp-flags {}", value[0]);
        given.refuse(
            token,
            "flags are to be set that are not looked at",
            "name them in both lists",
        );
        return None;
    }
    if mask == 0 && negated {
        given.refuse(
            "--tcp-flags NONE",
            "no packet is outside of all packets",
            "remove the rule",
        );
    }
    (mask != 0).then_some(Match {
        value: TcpFlags { mask, set },
        negated,
    })
}

fn parse_flags(list: &str) -> Result<u8, Refusal> {
    list.split(',').try_fold(0, |bits, name| {
        if name.eq_ignore_ascii_case("ALL") {
            return Ok(ALL);
        }
        if name.eq_ignore_ascii_case("NONE") {
            return Ok(bits);
        }
        let index = FLAGS.iter().position(|flag| flag.eq_ignore_ascii_case(name));
        index.map(|index| bits | 1 << index).ok_or_else(|| {
            Refusal::new(
                name,
                "not a flag of TCP",
                "give a comma-separated list of SYN, ACK, FIN, RST, URG and PSH, or ALL or NONE",
            )
        })
    })
}

struct Flags(u8);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (index, name) in FLAGS.iter().enumerate() {
            if self.0 >> index & 1 != 0 {
                write!(f, "{comma}{name}")?;
                comma = ",";
            }
        }
        if self.0 & ALL == 0 { write!(f, "NONE") } else { Ok(()) }
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Flags(self.mask), Flags(self.set))
    }
}

pub(super) fn show_tcp(
    f: &mut fmt::Formatter<'_>,
    sport: Option<&Match<Ports>>,
    dport: Option<&Match<Ports>>,
    flags: Option<&Match<TcpFlags>>,
) -> fmt::Result {
    write!(f, "-m tcp")?;
    option(f, "--sport", sport)?;
    option(f, "--dport", dport)?;
    option(f, "--tcp-flags", flags)
}

pub(super) fn show_udp(
    f: &mut fmt::Formatter<'_>,
    sport: Option<&Match<Ports>>,
    dport: Option<&Match<Ports>>,
) -> fmt::Result {
    write!(f, "-m udp")?;
    option(f, "--sport", sport)?;
    option(f, "--dport", dport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_flags_are_read_and_shown() {
        for (list, bits, shown) in [
            ("SYN", 2, "SYN"),
            ("urg,psh,ack,rst,syn,fin", 63, "FIN,SYN,RST,PSH,ACK,URG"),
            ("ALL", 63, "FIN,SYN,RST,PSH,ACK,URG"),
            ("NONE", 0, "NONE"),
            ("NONE,SYN", 2, "SYN"),
        ] {
            assert_eq!(parse_flags(list), Ok(bits), "{list}");
            assert_eq!(Flags(bits).to_string(), shown);
        }
        for list in ["", "SYN,", "ECE", "SYN ACK"] {
            assert!(parse_flags(list).is_err(), "{list}");
        }
    }
}
