//! Elements of sets.

use std::borrow::Cow;

use super::{
    super::{Element, Part, Ports, Prefix, Protocol, extension::icmp_named, fault::Refusal, lex, mac, number},
    is_exist,
    kind::{self, Dimension, Kind, Shape},
    range::{addresses, network_or_range, networks, widened},
};

/// Reads what follows `add NAME`: more than one element where a range is more than one network.
pub(super) fn parse(shape: &Shape, text: &str) -> Result<Vec<Element>, Refusal> {
    let mut words = Vec::new();
    lex::split(text, &mut words)?;
    let mut words = words.iter().filter(|word| !is_exist(word));
    let Some(element) = words.next() else {
        return Err(Refusal::new("add", "no element is given", "write `add NAME ELEMENT`"));
    };
    let mut nomatch = false;
    while let Some(option) = words.next() {
        nomatch |= self::option(shape, option, &mut words)?;
    }
    let parts = parts(shape, element)?;
    Ok(parts.into_iter().map(|parts| Element { parts, nomatch }).collect())
}

/// Reads an option of an element; true for `nomatch`. What was counted and written about it is left out.
fn option<'a>(
    shape: &Shape,
    option: &str,
    words: &mut impl Iterator<Item = &'a Cow<'a, str>>,
) -> Result<bool, Refusal> {
    if option == "nomatch" {
        let networks = matches!(shape.kind, Kind::Hash(dimensions) if dimensions.contains(&Dimension::Network));
        return if networks {
            Ok(true)
        } else {
            let advice = "leave the element out, or take a type with net";
            Err(Refusal::new(option, "only networks hold what they except", advice))
        };
    }
    if !matches!(option, "comment" | "packets" | "bytes" | "timeout") {
        let reason = if option.starts_with("skb") {
            "a set gives nothing to packets"
        } else {
            "unknown option of an element"
        };
        return Err(Refusal::new(option, reason, "add the element without it"));
    }
    let Some(value) = words.next() else {
        return Err(Refusal::new(option, "the option has no value", "give one after it"));
    };
    match option {
        "timeout" => kind::timeout(value)?,
        "comment" => {}
        _ => {
            number::digits::<u64>(value).ok_or_else(|| {
                let advice = "give a number, or leave the option out";
                Refusal::new(&**value, "not a number", advice)
            })?;
        }
    }
    Ok(false)
}

/// The parts of each element that the word stands for.
fn parts(shape: &Shape, word: &str) -> Result<Vec<Vec<Part>>, Refusal> {
    match &shape.kind {
        Kind::List => Ok(vec![vec![Part::Set(word.to_owned())]]),
        Kind::Addresses(all) => {
            let range = widened(addresses(word)?, shape.netmask);
            if range.first < all.first || range.last > all.last {
                let advice = format!("give one of {all}, or create the set with another range");
                return Err(Refusal::new(word, "the address is out of the set's range", advice));
            }
            Ok(vec![vec![network_or_range(range)]])
        }
        Kind::Ports(all) => {
            let ports = ports(word)?;
            if ports.first < all.first || ports.last > all.last {
                let advice = format!(
                    "give one of {}-{}, or create the set with another range",
                    all.first, all.last
                );
                return Err(Refusal::new(word, "the port is out of the set's range", advice));
            }
            Ok(vec![vec![Part::Port { protocol: None, ports }]])
        }
        Kind::Hash(dimensions) => {
            let words = word.split(',');
            if words.clone().count() != dimensions.len() {
                let reason = format!("the set has {} dimensions", dimensions.len());
                return Err(Refusal::new(word, reason, "give a value for each, commas between"));
            }
            let mut elements = vec![Vec::with_capacity(dimensions.len())];
            for (word, dimension) in words.zip(*dimensions) {
                elements = with(elements, &part(*dimension, word, shape.netmask)?);
            }
            Ok(elements)
        }
    }
}

/// Each element with each of the parts behind it.
fn with(elements: Vec<Vec<Part>>, parts: &[Part]) -> Vec<Vec<Part>> {
    let longer = |element: Vec<Part>| {
        parts.iter().map(move |part| {
            let mut element = element.clone();
            element.push(part.clone());
            element
        })
    };
    elements.into_iter().flat_map(longer).collect()
}

/// What a word means in this dimension: for a range of networks all those that it is made of.
fn part(dimension: Dimension, word: &str, netmask: u32) -> Result<Vec<Part>, Refusal> {
    match dimension {
        Dimension::Mac => Ok(vec![Part::Mac(mac::parse(word)?)]),
        Dimension::Port => port(word).map(|part| vec![part]),
        Dimension::Address => {
            let range = addresses(word)?;
            if range.first.is_unspecified() {
                let advice = "begin with 0.0.0.1, or take a type with net";
                return Err(Refusal::new(word, "a set of addresses does not hold 0.0.0.0", advice));
            }
            Ok(vec![network_or_range(widened(range, netmask))])
        }
        Dimension::Network => {
            let networks = networks(addresses(word)?);
            if networks.iter().any(Prefix::is_everything) {
                let advice = "add 0.0.0.0/1 and 128.0.0.0/1";
                return Err(Refusal::new(
                    word,
                    "a set of networks does not hold all addresses at once",
                    advice,
                ));
            }
            Ok(networks.into_iter().map(Part::Network).collect())
        }
    }
}

/// Reads `N` or `FIRST-LAST`.
pub(super) fn ports(word: &str) -> Result<Ports, Refusal> {
    number::not_octal(word)?;
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |word| number::digits(word).ok_or(word);
    let (first, last) = match (number(first), number(last)) {
        (Ok(first), Ok(last)) => (first, last),
        (Err(bad), _) | (_, Err(bad)) => {
            let reason = "not a port number (service names are not looked up)";
            return Err(Refusal::new(
                bad,
                reason,
                "give a number from 0 to 65535, or FIRST-LAST",
            ));
        }
    };
    if first > last {
        let advice = format!("write {last}-{first}");
        return Err(Refusal::new(word, "the range of ports is reversed", advice));
    }
    Ok(Ports { first, last })
}

/// Reads `PROTOCOL:PORTS`, TCP where none is given.
fn port(word: &str) -> Result<Part, Refusal> {
    number::not_octal(word)?;
    let (protocol, value) = word.split_once(':').unwrap_or(("tcp", word));
    let Some(protocol) = Protocol::parse(protocol)? else {
        let advice = "give each protocol an element of its own, such as tcp:53 and udp:53";
        return Err(Refusal::new(word, "an element has one protocol", advice));
    };
    let ports = match protocol {
        Protocol::TCP | Protocol::UDP => ports(value)?,
        Protocol::ICMP => icmp(value)?,
        _ if value == "0" && !has_ports(protocol) => Ports { first: 0, last: 0 },
        _ if has_ports(protocol) => {
            let reason = format!("ports of {protocol} are not read");
            return Err(Refusal::new(word, reason, "give ports of tcp or udp, or types of icmp"));
        }
        _ => {
            let advice = format!("write {protocol}:0");
            return Err(Refusal::new(word, "the protocol has no ports", advice));
        }
    };
    Ok(Part::Port {
        protocol: Some(protocol),
        ports,
    })
}

/// True for the other protocols whose ports netfilter reads: SCTP and UDP-Lite.
fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol.number(), 132 | 136)
}

/// Reads a type and code of ICMP: a name of both, or `TYPE/CODE`.
fn icmp(word: &str) -> Result<Ports, Refusal> {
    let numbers = || {
        let (kind, code) = word.split_once('/')?;
        Some((number::digits(kind)?, number::digits(code)?))
    };
    let named = || {
        let (kind, code) = icmp_named(word)?;
        Some((kind, code.or(has_one_code(kind).then_some(0))?))
    };
    let (kind, code) = numbers().or_else(named).ok_or_else(|| {
        let reason = "not a type and code of ICMP";
        Refusal::new(
            word,
            reason,
            "give TYPE/CODE, or a name such as echo-request or port-unreachable",
        )
    })?;
    let both = u16::from_be_bytes([kind, code]);
    Ok(Ports {
        first: both,
        last: both,
    })
}

/// True for a type whose name alone is that of a type and code.
pub(super) fn has_one_code(kind: u8) -> bool {
    matches!(kind, 0 | 4 | 8 | 9 | 10 | 13 | 14 | 17 | 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: &str, options: &str, element: &str) -> Result<Vec<String>, String> {
        let shape = kind::parse(kind, options).unwrap();
        let elements = parse(&shape, element).map_err(|refusal| refusal.at(1).to_string())?;
        Ok(elements.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn elements_are_what_ipset_makes_of_them() {
        for (kind, options, element, expected) in [
            ("hash:ip", "", "10.0.0.1", "10.0.0.1"),
            ("hash:ip", "", "10.0.0.9/30", "10.0.0.8/30"),
            ("hash:ip", "", "10.0.1.0-10.0.1.2", "10.0.1.0-10.0.1.2"),
            ("hash:ip", "", "10.0.1.0-10.0.1.255", "10.0.1.0/24"),
            ("hash:ip", "netmask 24", "10.0.0.77", "10.0.0.0/24"),
            ("hash:ip", "netmask 24", "10.0.0.9-10.0.2.9", "10.0.0.0-10.0.2.255"),
            (
                "hash:ip",
                "counters",
                "10.0.0.1 packets 3 bytes 4 comment \"a b\" timeout 0 -exist",
                "10.0.0.1",
            ),
            ("hash:net", "", "10.0.0.1/8", "10.0.0.0/8"),
            ("hash:net", "", "10.1.1.1 nomatch", "10.1.1.1 nomatch"),
            ("hash:net", "", "10.0.0.3-10.0.0.9", "10.0.0.3 10.0.0.4/30 10.0.0.8/31"),
            ("hash:net", "", "0.0.0.0/1", "0.0.0.0/1"),
            ("hash:mac", "", "2:42:A:58:0:f", "02:42:0A:58:00:0F"),
            (
                "hash:ip,mac",
                "",
                "10.0.0.1,02:42:0a:58:00:0f",
                "10.0.0.1,02:42:0A:58:00:0F",
            ),
            ("hash:ip,port", "", "1.2.3.4,80", "1.2.3.4,tcp:80"),
            ("hash:ip,port", "", "1.2.3.4,UDP:53-55", "1.2.3.4,udp:53-55"),
            ("hash:ip,port", "", "1.2.3.4,icmp:ping", "1.2.3.4,icmp:echo-request"),
            ("hash:ip,port", "", "1.2.3.4,icmp:8/1", "1.2.3.4,icmp:8/1"),
            (
                "hash:ip,port",
                "",
                "1.2.3.4,icmp:port-unreachable",
                "1.2.3.4,icmp:port-unreachable",
            ),
            ("hash:ip,port", "", "1.2.3.4,112:0", "1.2.3.4,vrrp:0"),
            ("hash:ip,port", "", "1.2.3.4,tcp:0", "1.2.3.4,tcp:0"),
            (
                "hash:net,port",
                "",
                "1.2.3.0-1.2.3.2,80-82 nomatch",
                "1.2.3.0/31,tcp:80-82 nomatch 1.2.3.2,tcp:80-82 nomatch",
            ),
            ("hash:ip,port,ip", "", "1.2.3.4,80,5.6.7.8", "1.2.3.4,tcp:80,5.6.7.8"),
            (
                "hash:ip,port,net",
                "",
                "1.2.3.4,80,5.6.7.8/24",
                "1.2.3.4,tcp:80,5.6.7.0/24",
            ),
            (
                "hash:net,net",
                "",
                "10.0.0.0/8,10.0.0.1-10.0.0.2",
                "10.0.0.0/8,10.0.0.1 10.0.0.0/8,10.0.0.2",
            ),
            (
                "bitmap:ip",
                "range 10.0.0.0/24",
                "10.0.0.10-10.0.0.12",
                "10.0.0.10-10.0.0.12",
            ),
            ("bitmap:ip", "range 10.0.0.0/16 netmask 24", "10.0.3.7", "10.0.3.0/24"),
            ("bitmap:port", "range 80-90", "85-87", "85-87"),
            ("list:set", "size 8", "others", "others"),
        ] {
            assert_eq!(
                shown(kind, options, element).unwrap().join(" "),
                expected,
                "{kind} {element}"
            );
        }
    }

    #[test]
    fn bad_elements_say_why() {
        for (kind, options, element, reason) in [
            ("hash:ip", "", "", "no element"),
            ("hash:ip", "", "host", "not a range of IPv4"),
            ("hash:ip", "", "fe80::1", "IPv6"),
            ("hash:ip", "", "10.0.0.0/33", "not a range of IPv4"),
            ("hash:ip", "", "0.0.0.0", "does not hold 0.0.0.0"),
            ("hash:ip", "", "10.0.0.2-10.0.0.1", "reversed"),
            ("hash:ip", "", "10.0.0.1,80", "has 1 dimensions"),
            ("hash:ip", "", "10.0.0.1 nomatch", "only networks"),
            ("hash:ip", "", "10.0.0.1 timeout 60", "do not expire"),
            ("hash:ip", "", "10.0.0.1 skbmark 0x1", "gives nothing"),
            ("hash:ip", "", "10.0.0.1 10.0.0.2", "unknown option"),
            ("hash:ip", "", "10.0.0.1 packets", "no value"),
            ("hash:ip", "", "10.0.0.1 packets many", "not a number"),
            ("hash:ip", "", "10.0.0.1 comment \"x", "quote is not closed"),
            ("hash:net", "", "0.0.0.0/0", "all addresses"),
            ("hash:mac", "", "2:42", "not an Ethernet"),
            ("hash:ip,port", "", "1.2.3.4", "has 2 dimensions"),
            ("hash:ip", "", "010.0.0.1", "for octal"),
            ("hash:net", "", "10.0.0.0/010", "for octal"),
            ("hash:ip", "", "10.0.0.1-10.0.0.010", "for octal"),
            ("bitmap:port", "range 1-99", "022", "for octal"),
            ("hash:ip,port", "", "1.2.3.4,022", "for octal"),
            ("hash:ip,port", "", "1.2.3.4,06:22", "for octal"),
            ("hash:ip,port", "", "1.2.3.4,icmp:3/01", "for octal"),
            ("hash:ip,port", "", "1.2.3.4,http", "not a port"),
            ("hash:ip,port", "", "1.2.3.4,tcp:70000", "not a port"),
            ("hash:ip,port", "", "1.2.3.4,tcp:90-85", "reversed"),
            ("hash:ip,port", "", "1.2.3.4,all:0", "one protocol"),
            ("hash:ip,port", "", "1.2.3.4,icmp:3", "type and code"),
            ("hash:ip,port", "", "1.2.3.4,icmp:redirect", "type and code"),
            ("hash:ip,port", "", "1.2.3.4,icmp:any", "type and code"),
            ("hash:ip,port", "", "1.2.3.4,vrrp:5", "no ports"),
            ("hash:ip,port", "", "1.2.3.4,sctp:5", "not read"),
            ("bitmap:ip", "range 10.0.0.0/24", "10.0.1.1", "out of the set's range"),
            ("bitmap:port", "range 80-90", "100", "out of the set's range"),
        ] {
            let fault = shown(kind, options, element).unwrap_err();
            assert!(fault.contains(reason), "{kind} {element}: {fault}");
        }
    }
}
