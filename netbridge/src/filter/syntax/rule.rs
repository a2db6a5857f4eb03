//! Rules as the user wrote them: interfaces and sets by name, nothing resolved.

use std::net::Ipv4Addr;

use netbridge_common::abi::Mac;

use super::{Ports, Prefix, Protocol, States, set::Sets};

/// The `*filter` table of a file, as far as `FORWARD` reaches into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// What happens to a packet that no rule of `FORWARD` decides about.
    pub policy: Policy,
    /// The chains, `FORWARD` first, the others in the order of the file. A jump names one of them, and no chain can be
    /// reached from itself.
    pub chains: Vec<Chain>,
    /// The sets that rules name, and those that are elements of them.
    pub sets: Sets,
}

impl Ruleset {
    /// What is in force where nobody has loaded anything: no rules, and everything is accepted.
    pub fn empty() -> Self {
        let forward = Chain {
            name: "FORWARD".to_owned(),
            line: 0,
            counters: Counters::default(),
            stood: None,
            rules: Vec::new(),
        };
        Self {
            policy: Policy::Accept,
            chains: vec![forward],
            sets: Sets::default(),
        }
    }
}

/// What a chain of netfilter's own ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The packet passes.
    Accept,
    /// It is dropped.
    Drop,
}

impl Policy {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
        }
    }
}

/// What `[PACKETS:BYTES]` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that matched.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// `FORWARD`, or a name of the user's.
    pub name: String,
    /// The line that declares it, counted from 1.
    pub line: usize,
    /// What its policy had counted when the file was written; `FORWARD` alone has a policy.
    pub counters: Counters,
    /// Where its policy stood in the filter in force; `None` if there is none that it comes from.
    pub stood: Option<RuleId>,
    /// The rules in order.
    pub rules: Vec<Rule>,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// The index of its chain.
    pub chain: u32,
    /// Its index in the chain; behind the last rule the policy of `FORWARD`.
    pub rule: u32,
}

/// Something a rule asks for, or with `!` asks against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<T> {
    /// What the packet is compared with.
    pub value: T,
    /// True where the rule wants packets that differ.
    pub negated: bool,
}

/// One rule: what is `None` is not asked for. A line with lists of addresses is as many rules, as for `iptables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line in the file it was read from, counted from 1.
    pub line: usize,
    /// What it had counted when the file was written.
    pub counters: Counters,
    /// Where it stood in the text of the filter in force, or behind that if it came later: by this its tables know it, and it has
    /// counted more. `None` for a rule that is not in force.
    pub stood: Option<RuleId>,
    /// `-s`.
    pub source: Option<Match<Prefix>>,
    /// `-d`.
    pub destination: Option<Match<Prefix>>,
    /// `-i`.
    pub in_interface: Option<Match<Interface>>,
    /// `-o`.
    pub out_interface: Option<Match<Interface>>,
    /// `-p`.
    pub protocol: Option<Match<Protocol>>,
    /// `-m`, in the order of the line.
    pub matches: Vec<Extension>,
    /// `-j` or `-g`.
    pub target: Target,
}

impl Rule {
    /// The rates of its limits, in their order.
    pub fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.matches.iter().filter_map(|extension| match extension {
            Extension::Limit(rate) | Extension::HashLimit(HashLimit { rate, .. }) => Some(rate),
            _ => None,
        })
    }

    /// The same, to be changed.
    pub(in crate::filter) fn rates_mut(&mut self) -> impl Iterator<Item = &mut Rate> {
        self.matches.iter_mut().filter_map(|extension| match extension {
            Extension::Limit(rate) | Extension::HashLimit(HashLimit { rate, .. }) => Some(rate),
            _ => None,
        })
    }
}

/// The name after `-i` or `-o`: of an interface, a network or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name, without a `+` at its end.
    pub name: String,
    /// True if there was one: every name that begins like this.
    pub wildcard: bool,
}

/// A match that `-m` brings, or `-p` for its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `tcp`; only with `-p tcp`.
    Tcp {
        /// `--sport`.
        sport: Option<Match<Ports>>,
        /// `--dport`.
        dport: Option<Match<Ports>>,
        /// `--tcp-flags`, or `--syn`.
        flags: Option<Match<TcpFlags>>,
    },
    /// `udp`; only with `-p udp`.
    Udp {
        /// `--sport`.
        sport: Option<Match<Ports>>,
        /// `--dport`.
        dport: Option<Match<Ports>>,
    },
    /// `icmp --icmp-type`; only with `-p icmp`.
    Icmp(Match<IcmpType>),
    /// `multiport`; only with `-p tcp` or `-p udp`.
    Multiport {
        /// Which of the packet's ports.
        which: Which,
        /// At least one and at most fifteen, a range counting as two.
        ports: Match<Vec<Ports>>,
    },
    /// `conntrack`.
    Conntrack {
        /// `--ctstate`.
        states: Option<Match<States>>,
        /// `--ctdir`.
        direction: Option<Direction>,
    },
    /// `state --state`.
    State(Match<States>),
    /// `mac --mac-source`.
    Mac(Match<Mac>),
    /// `iprange`.
    IpRange {
        /// `--src-range`.
        source: Option<Match<AddressRange>>,
        /// `--dst-range`.
        destination: Option<Match<AddressRange>>,
    },
    /// `addrtype`.
    AddrType {
        /// `--src-type`.
        source: Option<Match<AddressTypes>>,
        /// `--dst-type`.
        destination: Option<Match<AddressTypes>>,
    },
    /// `set --match-set`.
    Set(Match<SetMatch>),
    /// `limit`.
    Limit(Rate),
    /// `hashlimit`.
    HashLimit(HashLimit),
    /// `mark --mark`.
    Mark(Match<Mark>),
    /// `comment --comment`: matches everything.
    Comment(String),
}

/// `--tcp-flags MASK COMP`: of the flags in `mask` exactly those in `set` are set. Bits as in a TCP header, FIN to URG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    /// The flags looked at.
    pub mask: u8,
    /// Those that must be set, all of them in `mask`.
    pub set: u8,
}

/// `--icmp-type TYPE[/CODE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// The type; `None` for `any`.
    pub kind: Option<u8>,
    /// The code; `None` for all codes of the type.
    pub code: Option<u8>,
}

/// Which of a packet's ports `multiport` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `--sports`.
    Source,
    /// `--dports`.
    Destination,
    /// `--ports`: either.
    Either,
}

/// `--ctdir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the packet that opened the flow.
    Original,
    /// As the packets that answer it.
    Reply,
}

/// `FIRST-LAST`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first address.
    pub first: Ipv4Addr,
    /// The last one, not below the first.
    pub last: Ipv4Addr,
}

/// A set of `addrtype`'s types that netbridge knows of every address, as bits of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTypes(pub u8);

impl AddressTypes {
    /// One host's.
    pub const UNICAST: u8 = 1;
    /// An address of the host itself.
    pub const LOCAL: u8 = 2;
    /// The broadcast address of a network, or 255.255.255.255.
    pub const BROADCAST: u8 = 4;
    /// A group's, 224.0.0.0/4.
    pub const MULTICAST: u8 = 8;
}

/// `--match-set NAME DIRECTIONS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMatch {
    /// The set's name.
    pub name: String,
    /// For each dimension of the set, true where the packet's source is looked up and false for its destination.
    pub source: Vec<bool>,
}

/// A token bucket: `limit`'s, and each of `hashlimit`'s. The rate is what netfilter makes of the one written: it counts
/// in fractions of a second, so that `--limit 3000/sec` is 3,333 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets in `seconds`, at least one.
    pub packets: u32,
    /// 1, 60, 3,600 or 86,400.
    pub seconds: u32,
    /// Packets that may come at once, at least one.
    pub burst: u32,
    /// The number by which its bucket is known while it is in force, that of its table for `hashlimit`; 0 where it has none yet.
    pub bucket: u32,
}

/// `hashlimit`: a bucket for everybody that `key` tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashLimit {
    /// `--hashlimit-name`: rules with the same name share their buckets.
    pub name: String,
    /// The bucket.
    pub rate: Rate,
    /// True for `--hashlimit-above`: packets for which there is no token match.
    pub above: bool,
    /// What tells buckets apart.
    pub key: HashKey,
    /// The table of buckets.
    pub table: HashTable,
}

impl HashLimit {
    /// True if both have tables of the same kind: the same rate for the same packets.
    pub fn is_alike(&self, other: &Self) -> bool {
        let Self { rate, key, .. } = *other;
        let bucket = self.rate.bucket;
        (self.rate, self.key) == (Rate { bucket, ..rate }, key)
    }
}

/// What `hashlimit` says about its table, each `None` where netfilter's own choice stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashTable {
    /// `--hashlimit-htable-size`: its rows.
    pub size: Option<u32>,
    /// `--hashlimit-htable-max`: buckets at most.
    pub max: Option<u32>,
    /// `--hashlimit-htable-gcinterval`: milliseconds between two searches for idle buckets.
    pub gc_interval: Option<u32>,
    /// `--hashlimit-htable-expire`: milliseconds after which an idle bucket is forgotten, and begins full again; else
    /// the seconds of the rate.
    pub expire: Option<u32>,
}

/// `--hashlimit-mode`, with its masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// Leading bits of the source address that count; 0 if it does not.
    pub source: u8,
    /// Of the destination address.
    pub destination: u8,
    /// True if the source port counts.
    pub sport: bool,
    /// True if the destination port counts.
    pub dport: bool,
}

/// `--mark VALUE[/MASK]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What the masked mark must be.
    pub value: u32,
    /// The bits looked at.
    pub mask: u32,
}

/// What becomes of a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// No `-j`: it is counted, and the next rule asked.
    Count,
    /// It passes the filter.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender told.
    Reject(RejectWith),
    /// It is reported, and the next rule asked.
    Log(Log),
    /// The chain is left: the rule behind the jump is next. In `FORWARD`, and where a goto led here from there, the
    /// policy decides.
    Return,
    /// `-j CHAIN`: that chain is asked, then the next rule.
    Jump(String),
    /// `-g CHAIN`: that chain is asked, then what stands behind the jump that led to this one.
    Goto(String),
}

/// `--reject-with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectWith {
    /// An ICMP destination unreachable with this code (RFC 792, RFC 1122, RFC 1812).
    Unreachable(u8),
    /// A TCP RST; only with `-p tcp`.
    TcpReset,
}

/// `LOG` and `NFLOG`, which go to the same ring of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// True for `NFLOG`.
    pub nflog: bool,
    /// `--log-prefix` or `--nflog-prefix`, at most 29 or 127 bytes.
    pub prefix: String,
    /// Options that have no meaning here and are kept for whoever reads the rule back: `--log-level`, `--log-tcp-options`,
    /// `--nflog-group` and their like, each with its value if it has one.
    pub options: Vec<(String, Option<String>)>,
}
