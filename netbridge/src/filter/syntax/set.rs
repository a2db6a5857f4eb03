//! Sets as `ipset save` writes them.

use std::collections::BTreeMap;

use netbridge_common::abi::Mac;

use super::{Ports, Prefix, Protocol, rule::AddressRange};

/// Sets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets(pub BTreeMap<String, Set>);

/// A set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its line in the file it was read from, counted from 1.
    pub line: usize,
    /// Its type's name, such as `hash:ip,port`.
    pub kind: String,
    /// The options after the type, as written: `family inet hashsize 1024`.
    pub options: String,
    /// Dimensions of an element, 1 to 3; those of a list are its members'.
    pub dimensions: u8,
    /// What it holds, in the order of the file.
    pub elements: Vec<Element>,
}

/// An element of a set: one [`Part`] for each dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The parts in order.
    pub parts: Vec<Part>,
    /// `nomatch`: what it covers is not in the set, whatever else holds it.
    pub nomatch: bool,
}

/// One dimension of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An address or network.
    Network(Prefix),
    /// A range of addresses.
    Range(AddressRange),
    /// Ports of a protocol. A set of ports alone (`bitmap:port`) has no protocol: TCP and UDP.
    Port {
        /// The protocol, `None` for TCP and UDP alike.
        protocol: Option<Protocol>,
        /// The ports; for ICMP type and code, the type in the high byte; for a protocol without ports 0.
        ports: Ports,
    },
    /// A MAC.
    Mac(Mac),
    /// Another set, in a `list:set`.
    Set(String),
}
