//! Who takes part.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way to connect two containers and the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// The loopback interface of one namespace: the limit of two sockets on a host.
    Loopback,
    /// A veth pair with a container at either end: the limit of two namespaces.
    RawPair,
    /// A Linux bridge, `br_netfilter` off.
    Bridge,
    /// A Linux bridge, `br_netfilter` on, with Docker's rules through iptables-nft.
    IptablesNft,
    /// The same through iptables-legacy.
    IptablesLegacy,
    /// The same as iptables-nft, with the operator's rules in sets of ipset.
    Ipset,
    /// A Linux bridge, `br_netfilter` on, with an nftables ruleset of sets and verdict maps.
    Nftables,
    /// netbridge.
    Netbridge,
}

impl Contestant {
    /// All of them, the limits first.
    pub const ALL: [Self; 8] = [
        Self::Loopback,
        Self::RawPair,
        Self::Bridge,
        Self::IptablesNft,
        Self::IptablesLegacy,
        Self::Ipset,
        Self::Nftables,
        Self::Netbridge,
    ];

    /// Why there is nothing to measure of it while the operator has no rules.
    pub const fn same_without_rules(self) -> Option<&'static str> {
        match self {
            Self::Ipset => Some("is bridge + iptables-nft where no rule asks a set"),
            _ => None,
        }
    }

    /// What reports call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::RawPair => "raw veth pair",
            Self::Bridge => "bridge",
            Self::IptablesNft => "bridge + iptables-nft",
            Self::IptablesLegacy => "bridge + iptables-legacy",
            Self::Ipset => "bridge + ipset",
            Self::Nftables => "bridge + nftables sets",
            Self::Netbridge => "netbridge",
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}
