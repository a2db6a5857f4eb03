//! The language: what a file of rules may say, as types, and as text in the formats of `iptables-save` and `ipset save`.
//!
//! [`parse`] reads the `FORWARD` chain, the chains that it reaches and the sets that their rules ask for; displaying a
//! [`Ruleset`] and its [`Sets`] gives the text back as those programs write it. What netbridge cannot do exactly as
//! netfilter does is refused; what is not `FORWARD`'s is left alone, and noted.

mod address;
mod build;
mod chain_name;
mod chains;
mod extension;
pub(super) mod fault;
mod file;
mod given;
pub(super) mod interface;
mod ipset;
pub(super) mod lex;
mod line;
mod mac;
mod note;
pub(super) mod number;
mod options;
mod port;
mod protocol;
mod region;
mod rule;
mod set;
mod show;
mod single;
mod state;
mod target;
#[cfg(test)]
pub(super) mod tests;
mod unsupported;

pub use address::Prefix;
pub use build::MAX_RULES;
pub use chains::MAX_DEPTH;
pub use fault::{Fault, FilterErrors};
pub use file::{excerpt, parse};
pub use note::Note;
pub use port::Ports;
pub use protocol::Protocol;
pub use region::{Excerpt, both, is_whole, region};
pub use rule::{
    AddressRange, AddressTypes, Chain, Counters, Direction, Extension, HashKey, HashLimit, HashTable, IcmpType,
    Interface, Log, Mark, Match, Policy, Rate, RejectWith, Rule, RuleId, Ruleset, SetMatch, Target, TcpFlags, Which,
};
pub use set::{Element, Part, Set, Sets};
pub use single::{ChainText, RULE, rule};
pub use state::States;

/// What [`parse`] makes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The rules that `FORWARD` reaches, and their sets.
    pub ruleset: Ruleset,
    /// What else the files hold, in the order of their lines.
    pub notes: Vec<Note>,
    /// The chains that `FORWARD` does not reach, in the order of the file.
    pub spare: Vec<Spare>,
}

/// A chain that was not read, as nothing leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Its name.
    pub name: String,
    /// The options of its rules, as written.
    pub rules: Vec<String>,
}

/// What [`rule()`] makes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    /// The chain it names, else `FORWARD`.
    pub chain: String,
    /// Its rules: more than one if it has a list of addresses. Their line is 1.
    pub rules: Vec<Rule>,
}
