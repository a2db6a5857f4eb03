//! Types of sets, and the options they are created with.

use super::{
    super::{AddressRange, Ports, fault::Refusal, number},
    element, is_exist,
    range::{addresses, widened},
};

/// The type of a set of sets.
pub(super) const LIST: &str = "list:set";

/// One dimension of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dimension {
    Address,
    Network,
    Port,
    Mac,
}

/// What a set holds.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Anything.
    Hash(&'static [Dimension]),
    /// Addresses of a range.
    Addresses(AddressRange),
    /// Ports of a range.
    Ports(Ports),
    /// Sets.
    List,
}

/// A set's type, and what its options make of its elements.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// Leading bits of an address that count.
    pub(super) netmask: u32,
}

use Dimension::{Address, Mac, Network, Port};

/// Types by name.
const HASHES: [(&str, &[Dimension]); 10] = [
    ("hash:ip", &[Address]),
    ("hash:net", &[Network]),
    ("hash:mac", &[Mac]),
    ("hash:ip,mac", &[Address, Mac]),
    ("hash:ip,port", &[Address, Port]),
    ("hash:net,port", &[Network, Port]),
    ("hash:net,net", &[Network, Network]),
    ("hash:ip,port,ip", &[Address, Port, Address]),
    ("hash:ip,port,net", &[Address, Port, Network]),
    ("hash:net,port,net", &[Network, Port, Network]),
];

/// Types that are refused: name, reason, advice.
const REFUSED: [(&str, &str, &str); 3] = [
    (
        "hash:net,iface",
        "a set does not hold interfaces",
        "take hash:net, and name the interface in the rule with `-i` or `-o`",
    ),
    (
        "hash:ip,mark",
        "a set does not hold marks",
        "take hash:ip, and ask for the mark in the rule with `-m mark`",
    ),
    (
        "bitmap:ip,mac",
        "a set of this type learns addresses from packets",
        "take hash:ip,mac",
    ),
];

/// Reads the type and the options of `create`.
pub(super) fn parse(kind: &str, options: &str) -> Result<Shape, Vec<Refusal>> {
    if let Some((_, reason, advice)) = REFUSED.iter().find(|(name, _, _)| *name == kind) {
        return Err(vec![Refusal::new(kind, *reason, *advice)]);
    }
    let mut reader = Reader {
        kind,
        netmask: u32::BITS,
        range: None,
    };
    let mut faults = Vec::new();
    let mut words = options.split_whitespace();
    while let Some(option) = words.next() {
        faults.extend(reader.option(option, &mut words).err());
    }
    match reader.what() {
        Ok(kind) if faults.is_empty() => {
            return Ok(Shape {
                kind,
                netmask: reader.netmask,
            });
        }
        Ok(_) => {}
        Err(refusal) => faults.push(refusal),
    }
    Err(faults)
}

struct Reader<'t> {
    kind: &'t str,
    netmask: u32,
    range: Option<&'t str>,
}

impl<'t> Reader<'t> {
    fn option(&mut self, option: &'t str, words: &mut impl Iterator<Item = &'t str>) -> Result<(), Refusal> {
        if is_exist(option) || matches!(option, "counters" | "comment" | "forceadd") {
            return Ok(());
        }
        if option == "skbinfo" {
            let advice = "create the set without it";
            return Err(Refusal::new(option, "a set gives nothing to packets", advice));
        }
        let known = [
            "family",
            "hashsize",
            "maxelem",
            "bucketsize",
            "initval",
            "probes",
            "resize",
            "size",
            "netmask",
            "timeout",
            "range",
            "bitmask",
        ];
        if !known.contains(&option) {
            let advice = "create the set without it";
            return Err(Refusal::new(option, "unknown option of a set", advice));
        }
        let Some(value) = words.next() else {
            return Err(Refusal::new(option, "the option has no value", "give one after it"));
        };
        match option {
            "family" => family(value),
            "timeout" => timeout(value),
            "netmask" => self.netmask(value),
            "bitmask" => Err(Refusal::new(
                option,
                "only leading bits of an address are masked",
                "take hash:ip with `netmask`, or hash:net",
            )),
            "range" => {
                self.range = Some(value);
                Ok(())
            }
            "initval" => number::any_base(value).map(|_| ()).ok_or_else(|| {
                let advice = "leave the option out";
                Refusal::new(value, "not a number", advice)
            }),
            _ => number::decimal(value, 0, u32::MAX).map(|_| ()),
        }
    }

    fn netmask(&mut self, value: &str) -> Result<(), Refusal> {
        if !matches!(self.kind, "hash:ip" | "bitmap:ip") {
            let reason = format!("{} has no mask for all its elements", self.kind);
            return Err(Refusal::new("netmask", reason, "take hash:ip, or a type with net"));
        }
        self.netmask = number::decimal(value, 1, u32::BITS)?;
        Ok(())
    }

    /// What the set holds.
    fn what(&self) -> Result<Kind, Refusal> {
        if let Some((_, dimensions)) = HASHES.iter().find(|(name, _)| *name == self.kind) {
            return Ok(Kind::Hash(dimensions));
        }
        let range = || {
            let advice = "add `range FIRST-LAST`";
            self.range
                .ok_or_else(|| Refusal::new(self.kind, "the set has no range", advice))
        };
        match self.kind {
            LIST => Ok(Kind::List),
            "bitmap:ip" => Ok(Kind::Addresses(widened(addresses(range()?)?, self.netmask))),
            "bitmap:port" => element::ports(range()?).map(Kind::Ports),
            _ => Err(Refusal::new(
                self.kind,
                "unknown type of set",
                "take hash:ip, hash:net, hash:mac, bitmap:ip, bitmap:port, list:set, or two or three of ip, net, port \
                 and mac after hash:",
            )),
        }
    }
}

fn family(value: &str) -> Result<(), Refusal> {
    match value {
        "inet" | "ipv4" => Ok(()),
        "inet6" | "ipv6" => {
            let advice = "make a set with `family inet` for the rule";
            Err(Refusal::new("family inet6", "IPv6 is not filtered here", advice))
        }
        _ => Err(Refusal::new(value, "not a family of addresses", "write `family inet`")),
    }
}

/// Refuses elements that expire.
pub(super) fn timeout(value: &str) -> Result<(), Refusal> {
    if value == "0" {
        return Ok(());
    }
    Err(Refusal::new(
        format!("timeout {value}"),
        "elements of a set do not expire",
        "create the set without, and change it and load the filter again when it is time",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ipset_saves_is_taken() {
        for (kind, options) in [
            (
                "hash:ip",
                "family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x3aeaba69",
            ),
            (
                "hash:ip",
                "family inet hashsize 64 maxelem 10 netmask 24 counters comment forceadd",
            ),
            ("hash:net", "family inet timeout 0 -exist"),
            ("hash:ip,port,net", ""),
            ("bitmap:ip", "range 10.0.0.0/24"),
            ("bitmap:ip", "range 10.0.0.0-10.0.255.255 netmask 24"),
            ("bitmap:port", "range 80-90 timeout 0"),
            ("list:set", "size 8"),
        ] {
            parse(kind, options).unwrap_or_else(|refusals| panic!("{kind} {options}: {refusals:?}"));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (kind, options, reason) in [
            ("hash:net,iface", "", "does not hold interfaces"),
            ("hash:ip,mark", "", "does not hold marks"),
            ("bitmap:ip,mac", "range 10.0.0.0/24", "learns"),
            ("hash:name", "", "unknown type"),
            ("hash:ip", "family inet6", "IPv6"),
            ("hash:ip", "family bridge", "not a family"),
            ("hash:ip", "timeout 300", "do not expire"),
            ("hash:ip", "skbinfo", "gives nothing"),
            ("hash:ip", "bitmask 255.0.0.255", "leading bits"),
            ("hash:ip", "colour", "unknown option"),
            ("hash:ip", "maxelem", "no value"),
            ("hash:ip", "maxelem many", "not a number"),
            ("hash:ip", "initval many", "not a number"),
            ("hash:ip", "netmask 0", "not a number"),
            ("hash:ip", "netmask 024", "for octal"),
            ("bitmap:port", "range 010-022", "for octal"),
            ("hash:net", "netmask 24", "no mask for all"),
            ("bitmap:ip", "", "no range"),
            ("bitmap:ip", "range 80-90", "not a range"),
            ("bitmap:port", "range 90-80", "reversed"),
            ("bitmap:port", "range a-b", "not a port"),
        ] {
            let refusals = parse(kind, options).unwrap_err();
            assert_eq!(refusals.len(), 1, "{kind} {options}: {refusals:?}");
            let fault = refusals[0].clone().at(1);
            assert!(fault.reason.contains(reason), "{kind} {options}: {fault}");
        }
    }
}
