//! The options that a rule gives, and to which of its matches and its target.

use std::collections::HashMap;

use super::{
    Match, Protocol,
    fault::Refusal,
    given::{Raw, Spec},
};

/// What a jump may name.
#[derive(Clone, Copy)]
pub(super) enum Chains<'a> {
    /// The chains of the file, `FORWARD` among them, each with its number.
    These(&'a HashMap<&'a str, usize>),
    /// Any: the rule stands alone.
    Any,
}

/// The value of an option: its word's index, and whether `!` stands before the option.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) negated: bool,
}

/// What `-j` or `-g` names.
pub(super) enum Goal {
    Accept,
    Drop,
    Return,
    /// A target with options, which is among what is loaded.
    Target,
    /// A chain after `-j`, by its word.
    Jump(usize),
    /// After `-g`.
    Goto(usize),
    /// Nothing that works.
    Refused,
}

/// A match or target of the rule.
pub(super) struct Loaded {
    pub(super) spec: &'static Spec,
    /// True if one of its options was refused: nothing is said about what it lacks.
    pub(super) spoiled: bool,
}

/// The options of a rule, in the order of the line.
#[derive(Default)]
pub(super) struct Options {
    pub(super) source: Option<Place>,
    pub(super) destination: Option<Place>,
    pub(super) input: Option<Place>,
    pub(super) output: Option<Place>,
    pub(super) protocol_given: bool,
    /// True if `-p` was refused: nothing is said about what depends on it.
    pub(super) protocol_refused: bool,
    pub(super) protocol: Option<Match<Protocol>>,
    pub(super) goal: Option<Goal>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) raws: Vec<Raw>,
    /// True after a match or target that was refused: words that nobody knows are its options.
    pub(super) foreign: bool,
    pub(super) faults: Vec<Refusal>,
}
