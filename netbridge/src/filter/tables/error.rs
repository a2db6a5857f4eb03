//! Why rules cannot be compiled.

use netbridge_common::abi::{LIMITS, SEARCH_STEPS};

use super::program::{MOST_BOXES, MOST_PLACES, MOST_SPANS};
use super::values::MOST_HOLES;

/// Why rules cannot be compiled. A line is that of the first rule that is too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooComplex {
    /// Chains are reached in too many ways.
    #[error("the rules reach more than {MOST_PLACES} places, chains counted as often as they are jumped to")]
    Places {
        /// Of the rule.
        line: usize,
    },
    /// Limits.
    #[error("the rules have more than {LIMITS} limits")]
    Limits {
        /// Of the rule.
        line: usize,
    },
    /// Alternatives of rules.
    #[error("the rules ask for more than {MOST_BOXES} combinations of values")]
    Boxes {
        /// Of the rule.
        line: usize,
    },
    /// Ranges of values.
    #[error("the rules ask for more than {MOST_SPANS} ranges of values")]
    Ranges {
        /// Of the rule.
        line: usize,
    },
    /// A mask whose ones are not together.
    #[error("the mask stands for more than {MOST_HOLES} ranges of addresses")]
    Holes {
        /// Of the rule.
        line: usize,
    },
    /// A value of too many kinds.
    #[error("the rules tell more than 65,536 {what} apart")]
    Classes {
        /// Of what.
        what: &'static str,
    },
    /// Values that would be looked for at the same places.
    #[error("the rules name {what} that a table of their own size cannot tell apart")]
    Colliding {
        /// What they are.
        what: &'static str,
    },
    /// Rules cross in too many ways.
    #[error("the rules cross each other in too many ways: the search for the one that matches would be too large")]
    Crossing,
    /// Rules that match and do not decide.
    #[error(
        "a packet could take {steps} steps through the rules, of {SEARCH_STEPS}: too many match it and let it go on"
    )]
    Steps {
        /// Most that one could take.
        steps: usize,
    },
}

impl TooComplex {
    /// The line of the rule that goes beyond, where it is one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Places { line }
            | Self::Limits { line }
            | Self::Boxes { line }
            | Self::Ranges { line }
            | Self::Holes { line } => Some(*line),
            Self::Classes { .. } | Self::Colliding { .. } | Self::Crossing | Self::Steps { .. } => None,
        }
    }
}
