//! `mac`, `iprange` and `addrtype`: other ways to ask for addresses.

use std::{fmt, net::Ipv4Addr};

use super::{
    super::{
        AddressRange, AddressTypes, Extension, Match,
        fault::Refusal,
        given::{Build, Opt, Spec},
        mac, number,
    },
    option,
};

pub(super) static MAC: Spec = Spec {
    name: "mac",
    protocols: &[],
    options: &[Opt::new(&["--mac-source"])],
    refused: &[],
    build: Build::Match(|given| given.read("--mac-source", mac::parse).map(Extension::Mac)),
};

pub(super) static IPRANGE: Spec = Spec {
    name: "iprange",
    protocols: &[],
    options: &[Opt::new(&["--src-range"]), Opt::new(&["--dst-range"])],
    refused: &[],
    build: Build::Match(|given| {
        let source = given.read("--src-range", range);
        let destination = given.read("--dst-range", range);
        (source.is_some() || destination.is_some()).then_some(Extension::IpRange { source, destination })
    }),
};

/// Why and instead of what `addrtype` is not told the interface.
const ROUTE: &str = "what an address is does not depend on the interface here";
const WITHOUT: &str = "leave it out, and name the interface with `-i` or `-o`";

pub(super) static ADDRTYPE: Spec = Spec {
    name: "addrtype",
    protocols: &[],
    options: &[Opt::new(&["--src-type"]), Opt::new(&["--dst-type"])],
    refused: &[
        ("--limit-iface-in", ROUTE, WITHOUT),
        ("--limit-iface-out", ROUTE, WITHOUT),
    ],
    build: Build::Match(|given| {
        let source = given.read("--src-type", types);
        let destination = given.read("--dst-type", types);
        (source.is_some() || destination.is_some()).then_some(Extension::AddrType { source, destination })
    }),
};

/// Reads `FIRST-LAST`, or one address.
pub(in super::super) fn range(word: &str) -> Result<AddressRange, Refusal> {
    number::not_octal(word)?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (Ok(first), Ok(last)) = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) else {
        let reason = "not a range of IPv4 addresses (host names are not looked up)";
        return Err(Refusal::new(word, reason, "write it as 10.0.0.1-10.0.0.9"));
    };
    if first > last {
        let advice = format!("write {last}-{first}");
        return Err(Refusal::new(word, "the range of addresses is reversed", advice));
    }
    Ok(AddressRange { first, last })
}

/// The types that netbridge knows of an address, in the order in which they are shown.
const TYPES: [(u8, &str); 4] = [
    (AddressTypes::UNICAST, "UNICAST"),
    (AddressTypes::LOCAL, "LOCAL"),
    (AddressTypes::BROADCAST, "BROADCAST"),
    (AddressTypes::MULTICAST, "MULTICAST"),
];
/// Those that only the host's routes could tell.
const ROUTES: [&str; 8] = [
    "UNSPEC",
    "ANYCAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

fn types(list: &str) -> Result<AddressTypes, Refusal> {
    let mut types = AddressTypes(0);
    for name in list.split(',') {
        let Some((bit, _)) = TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) else {
            let known = ROUTES.iter().any(|route| route.eq_ignore_ascii_case(name));
            let reason = if known {
                "the host's routes are not asked for this type"
            } else {
                "not a type of addresses"
            };
            let advice = "give a comma-separated list of UNICAST, LOCAL, BROADCAST and MULTICAST, or write networks with `-s` and `-d`";
            return Err(Refusal::new(name, reason, advice));
        };
        types.0 |= bit;
    }
    Ok(types)
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for AddressTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (_, name) in TYPES.iter().filter(|(bit, _)| self.0 & bit != 0) {
            write!(f, "{comma}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

pub(super) fn show_mac(f: &mut fmt::Formatter<'_>, mac: &Match<netbridge_common::abi::Mac>) -> fmt::Result {
    let Match { value, negated } = mac;
    let shown = Match {
        value: mac::Shown(*value),
        negated: *negated,
    };
    write!(f, "-m mac")?;
    option(f, "--mac-source", Some(&shown))
}

pub(super) fn show_ranges(
    f: &mut fmt::Formatter<'_>,
    source: Option<&Match<AddressRange>>,
    destination: Option<&Match<AddressRange>>,
) -> fmt::Result {
    write!(f, "-m iprange")?;
    option(f, "--src-range", source)?;
    option(f, "--dst-range", destination)
}

pub(super) fn show_types(
    f: &mut fmt::Formatter<'_>,
    source: Option<&Match<AddressTypes>>,
    destination: Option<&Match<AddressTypes>>,
) -> fmt::Result {
    write!(f, "-m addrtype")?;
    option(f, "--src-type", source)?;
    option(f, "--dst-type", destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_two_ends() {
        for (word, shown) in [
            ("1.2.3.4", "1.2.3.4-1.2.3.4"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0-255.255.255.255"),
        ] {
            assert_eq!(range(word).unwrap().to_string(), shown);
        }
        for (word, reason) in [
            ("1.2.3.5-1.2.3.4", "reversed"),
            ("1.2.3.4-", "not a range"),
            ("1.2.3.0/24", "not a range"),
            ("", "not a range"),
            ("1.2.3.4-1.2.3.010", "for octal"),
        ] {
            let fault = range(word).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{word}: {fault}");
        }
        assert_eq!(
            range("9.0.0.1-1.0.0.1").unwrap_err().at(1).advice,
            "write 1.0.0.1-9.0.0.1"
        );
    }

    #[test]
    fn types_by_name() {
        assert_eq!(
            types("multicast,LOCAL,unicast,broadcast").unwrap().to_string(),
            "UNICAST,LOCAL,BROADCAST,MULTICAST"
        );
        for (list, reason) in [
            ("LOCAL,BLACKHOLE", "routes are not asked"),
            ("unspec", "routes are not asked"),
            ("HOST", "not a type"),
            ("", "not a type"),
        ] {
            let fault = types(list).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{list}: {fault}");
        }
    }
}
