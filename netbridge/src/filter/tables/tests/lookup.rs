//! Sets as `ipset` looks packets up in them.

use super::interpreter::{port_in, within};
use super::packet::{Packet, Payload};
use crate::filter::syntax::{AddressRange, Element, Part, SetMatch, Sets};

/// `ip_set_test` (net/netfilter/ipset/ip_set_core.c). Of the networks that hold an address the longest decides, the first
/// dimension before the second, and of what was added twice the last.
pub(super) fn in_set(sets: &Sets, SetMatch { name, source }: &SetMatch, packet: &Packet) -> bool {
    let set = &sets.0[name];
    if set.kind == "list:set" {
        let members = set.elements.iter().flat_map(|element| &element.parts);
        let mut names = members.filter_map(|part| match part {
            Part::Set(name) => Some(name.clone()),
            _ => None,
        });
        return names.any(|name| {
            let source = source.clone();
            in_set(sets, &SetMatch { name, source }, packet)
        });
    }
    if source.len() < usize::from(set.dimensions) {
        return false;
    }
    let dimensions = set
        .kind
        .split_once(':')
        .map_or("", |(_, dimensions)| dimensions)
        .split(',');
    let lengths = |element: &&Element| -> Vec<u32> {
        let parts = dimensions.clone().zip(&element.parts);
        let networks = parts.filter(|(dimension, _)| *dimension == "net");
        let length = |part: &Part| match part {
            Part::Network(prefix) => prefix.mask().to_bits().count_ones(),
            _ => 0,
        };
        networks.map(|(_, part)| length(part)).collect()
    };
    let holds = |element: &&Element| {
        let mut parts = element.parts.iter().zip(source);
        parts.all(|(part, source)| holds(part, *source, packet))
    };
    let found = set.elements.iter().filter(holds).max_by_key(lengths);
    found.is_some_and(|element| !element.nomatch)
}

/// Whether a part of an element holds the packet's source or destination.
fn holds(part: &Part, source: bool, packet: &Packet) -> bool {
    let address = if source { packet.source } else { packet.destination };
    match part {
        Part::Network(prefix) => within(*prefix, address),
        Part::Range(AddressRange { first, last }) => (*first..=*last).contains(&address),
        Part::Mac(mac) => *mac == packet.mac,
        Part::Port { protocol, ports } => {
            let port = match packet.payload {
                Payload::Tcp { sport, dport, .. } | Payload::Udp { sport, dport } => {
                    if source {
                        sport
                    } else {
                        dport
                    }
                }
                // `get_port` (net/netfilter/ipset/ip_set_getport.c).
                Payload::Icmp { kind, code } if protocol.is_some() => u16::from_be_bytes([kind, code]),
                Payload::Other(_) if protocol.is_some() => 0,
                Payload::Icmp { .. } | Payload::Other(_) => return false,
            };
            protocol.is_none_or(|protocol| protocol.number() == packet.protocol()) && port_in(*ports, port)
        }
        Part::Set(_) => false,
    }
}
