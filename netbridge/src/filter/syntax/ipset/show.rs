//! Sets as `ipset save` writes them; reading the text gives the same sets.

use std::fmt;

use super::{
    super::{Element, Part, Ports, Prefix, Protocol, Set, Sets, extension::icmp_name, mac},
    element::has_one_code,
    kind::LIST,
};

impl fmt::Display for Sets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list comes after its members.
        for list in [false, true] {
            for (name, set) in self.0.iter().filter(|(_, set)| (set.kind == LIST) == list) {
                show(f, name, set)?;
            }
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
    let Set {
        kind,
        options,
        elements,
        ..
    } = set;
    let blank = if options.is_empty() { "" } else { " " };
    writeln!(f, "create {name} {kind}{blank}{options}")?;
    for element in elements {
        writeln!(f, "add {name} {element}")?;
    }
    Ok(())
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{part}")?;
        }
        if self.nomatch { write!(f, " nomatch") } else { Ok(()) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => show_network(f, *network),
            Self::Range(range) => write!(f, "{range}"),
            Self::Port { protocol, ports } => {
                if let Some(protocol) = protocol {
                    write!(f, "{protocol}:")?;
                }
                show_ports(f, *protocol, *ports)
            }
            Self::Mac(mac) => write!(f, "{:#}", mac::Shown(*mac)),
            Self::Set(name) => write!(f, "{name}"),
        }
    }
}

fn show_network(f: &mut fmt::Formatter<'_>, network: Prefix) -> fmt::Result {
    if network.mask().is_broadcast() {
        write!(f, "{}", network.addr())
    } else {
        write!(f, "{network}")
    }
}

fn show_ports(f: &mut fmt::Formatter<'_>, protocol: Option<Protocol>, ports: Ports) -> fmt::Result {
    let Ports { first, last } = ports;
    if protocol == Some(Protocol::ICMP) {
        let [kind, code] = first.to_be_bytes();
        let alone = || icmp_name(kind, None).filter(|_| code == 0 && has_one_code(kind));
        return match icmp_name(kind, Some(code)).or_else(alone) {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "{kind}/{code}"),
        };
    }
    if first == last {
        write!(f, "{first}")
    } else {
        write!(f, "{first}-{last}")
    }
}
