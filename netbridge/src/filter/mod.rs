//! The user's filter language: the `FORWARD` chain as `iptables-save` writes it.
//!
//! [`parse`] reads a file into a [`Ruleset`], [`compile`](compile()) turns that into the tables of the
//! datapath, and displaying a [`Ruleset`] gives the canonical text back. One file so drives both
//! netfilter and netbridge; what netbridge cannot honour is refused, never skipped.

mod address;
mod fault;
mod interface;
pub mod legacy;
mod lex;
mod line;
mod option;
mod parse;
mod port;
mod protocol;
mod rule;
mod show;
mod state;
pub mod syntax;
pub mod tables;
#[cfg(test)]
mod tests;

pub use address::Prefix;
pub use fault::{Fault, FilterErrors};
pub use parse::parse;
pub use port::Ports;
pub use protocol::Protocol;
pub use rule::{Match, Rule, Ruleset, Verdict};
pub use state::States;
