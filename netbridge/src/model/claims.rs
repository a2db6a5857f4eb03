//! Who holds which ports of the host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{PortSpec, Transport};

/// Ports of the host with their holders, no port of an address twice: whoever holds a port is found without a look at
/// all the others.
#[derive(Clone, Debug)]
pub struct Claims<T> {
    held: BTreeMap<(Transport, Option<Ipv4Addr>), Ranges<T>>,
}

/// Ports of one transport and address, by the first of each.
type Ranges<T> = BTreeMap<u16, (PortSpec, T)>;

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self { held: BTreeMap::new() }
    }
}

impl<T> Claims<T> {
    /// Notes who holds ports, none of which anyone holds.
    pub fn insert(&mut self, ports: PortSpec, holder: T) {
        let same = self.held.entry((ports.transport, ports.host_ip)).or_default();
        same.insert(ports.host, (ports, holder));
    }

    /// Ports that hold this one of an address, and their holder.
    pub fn at(&self, transport: Transport, address: Ipv4Addr, port: u16) -> Option<(&PortSpec, &T)> {
        self.overlapping(&PortSpec {
            host_ip: Some(address),
            host: port,
            container: port,
            count: 1,
            transport,
        })
    }

    /// Ports of which at least one is among `ports`, and their holder.
    pub fn overlapping(&self, ports: &PortSpec) -> Option<(&PortSpec, &T)> {
        let meets = |ip: Option<Ipv4Addr>| ip.is_none() || ports.host_ip.is_none() || ip == ports.host_ip;
        let same = self
            .held
            .iter()
            .filter(|((transport, ip), _)| *transport == ports.transport && meets(*ip));
        // Ranges of one address follow each other, so the last that begins in time ends last too.
        same.filter_map(|(_, ranges)| ranges.range(..=ports.last()).next_back())
            .map(|(_, (held, holder))| (held, holder))
            .find(|(held, _)| held.last() >= ports.host)
    }
}

impl<T> FromIterator<(PortSpec, T)> for Claims<T> {
    fn from_iter<I: IntoIterator<Item = (PortSpec, T)>>(claims: I) -> Self {
        let mut held = Self::default();
        for (ports, holder) in claims {
            held.insert(ports, holder);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PortSpec {
        PortSpec::parse(text).unwrap()
    }

    #[test]
    fn a_holder_is_found_by_any_of_its_ports() {
        let texts = [
            "80:80",
            "8000-8009:1-10",
            "8010:1",
            "192.0.2.1:9000-9001:1-2",
            "53:53/udp",
        ];
        let claims: Claims<&str> = texts.iter().map(|text| (spec(text), *text)).collect();
        for (text, expected) in [
            ("80:1", Some("80:80")),
            ("79:1", None),
            ("81:1", None),
            ("80:1/udp", None),
            ("53:1", None),
            ("1-65535:1-65535/udp", Some("53:53/udp")),
            ("7999:1", None),
            ("8000:1", Some("8000-8009:1-10")),
            ("8004-8005:1-2", Some("8000-8009:1-10")),
            ("8009:1", Some("8000-8009:1-10")),
            ("8010:1", Some("8010:1")),
            ("8011-8999:1-989", None),
            ("192.0.2.1:8009:1", Some("8000-8009:1-10")),
            ("7000-8000:1-1001", Some("8000-8009:1-10")),
            ("9001:1", Some("192.0.2.1:9000-9001:1-2")),
            ("192.0.2.1:9001-9002:1-2", Some("192.0.2.1:9000-9001:1-2")),
            ("192.0.2.2:9001:1", None),
        ] {
            let found = claims.overlapping(&spec(text)).map(|(_, holder)| *holder);
            assert_eq!(found, expected, "{text}");
        }
    }
}
