//! Rules in the order in which they are asked, jumps resolved: a list of places, each with what it asks for, what happens
//! then, and which of the user's rules that counts for.
//!
//! A chain is written where it is jumped to, each of its rules asking for what the jump asks for too. A packet that leaves a
//! chain, by a verdict or at its end, so counts for the jump by which it came, and no place stands for the jump itself but
//! the one behind the chain, for those that it said nothing of.
//!
//! Where that would give each rule too many alternatives, or each a token to take, the jump is a place of its own that leads to
//! the chain. That chain stands behind the policy, and so do the later stages of a rule that has several: packets that do not
//! go there never pass by, and those that do come back.

use netbridge_common::abi::{BOX_PAGES, PAGE_BOXES};

use super::conditions::Axes;
use super::error::TooComplex;
use super::limits::Limits;
use super::places::Place;
use super::writer::Writer;
use crate::filter::syntax::Ruleset;

/// Most places of a program.
pub(super) const MOST_PLACES: usize = netbridge_common::abi::PLACES as usize;

/// Most alternatives that all places have together: none becomes less than a box.
pub(super) const MOST_BOXES: usize = (BOX_PAGES * PAGE_BOXES) as usize;

/// Most ranges of values that rules ask for: the room that compiling takes depends on it.
pub(super) const MOST_SPANS: usize = 1 << 20;

/// Most ranges that are looked at while rules are read, those of sets that many rules ask for as often as it takes.
pub(super) const MOST_WORK: usize = 1 << 25;

/// A rule by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Index of its chain.
    pub chain: u32,
    /// Its index in the chain; the number of rules there stands for the chain's policy.
    pub rule: u32,
}

/// A set of rules, written out.
#[derive(Debug)]
pub(super) struct Program {
    /// Its places, those first that a packet may meet without being led elsewhere, the policy of `FORWARD` the last of them.
    pub(super) places: Vec<Place>,
    /// Where they end, and where what is behind them does, piece by piece.
    pub(super) ends: Vec<usize>,
}

/// The places of a set of rules.
pub(super) fn program<'a>(rules: &'a Ruleset, axes: &mut Axes<'a>, limits: &mut Limits) -> Result<Program, TooComplex> {
    let mut writer = Writer::new(rules, axes, limits);
    writer.forward()?;
    let mut ends = vec![writer.written()];
    while writer.next_body()? {
        ends.push(writer.written());
    }
    Ok(Program {
        places: writer.places().finish(),
        ends,
    })
}
