//! The language: what a file of rules may say, as types.

mod rule;
mod set;

pub use rule::{
    AddressRange, AddressTypes, Chain, Counters, Direction, Extension, HashKey, HashLimit, IcmpType, Interface, Log,
    Mark, Match, Policy, Rate, RejectWith, Rule, Ruleset, SetMatch, Target, TcpFlags, Which,
};
pub use set::{Element, Part, Set, Sets};

use super::{Ports, Prefix, Protocol, States};
