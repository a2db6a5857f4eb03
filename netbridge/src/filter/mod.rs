//! The user's filter language: the `FORWARD` chain as `iptables-save` writes it.
//!
//! [`parse`] reads a file into a [`Ruleset`], [`compile`](compile()) turns that into the tables of the
//! datapath, and displaying a [`Ruleset`] gives the canonical text back. One file so drives both
//! netfilter and netbridge; what netbridge cannot honour is refused, never skipped.

mod compile;
mod line;
mod option;
mod parse;
mod rule;
mod show;
pub mod syntax;
#[cfg(test)]
mod tests;

pub use compile::{Interface, Unresolved, compile, unresolved};
pub use parse::parse;
pub use rule::{Match, Rule, Ruleset, Verdict};
pub use syntax::{Fault, FilterErrors, Ports, Prefix, Protocol, States};
