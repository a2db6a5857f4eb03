//! What is wrong with a rule file: every fault at once, each with its place and its remedy.

use std::fmt;

use serde::Serialize;

/// Why a word of a rule file is refused; the parts of a [`Fault`] that do not depend on its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    token: String,
    reason: String,
    advice: String,
}

impl Refusal {
    pub(super) fn new(token: impl Into<String>, reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            reason: reason.into(),
            advice: advice.into(),
        }
    }

    pub(super) fn at(self, line: usize) -> Fault {
        let Self { token, reason, advice } = self;
        Fault {
            line,
            token,
            reason,
            advice,
        }
    }
}

/// One fault of a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its line, counted from 1.
    pub line: usize,
    /// The offending word.
    pub token: String,
    /// Why it is refused.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file from elsewhere must not move the cursor of the terminal that shows its faults.
        let token = self.token.replace(char::is_control, "\u{fffd}");
        write!(f, "{}: `{token}`: {}; {}", self.line, self.reason, self.advice)
    }
}

/// Every fault of a rule file, in the order of its lines. Displayed as one `FILE:LINE: …` a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterErrors {
    /// The file, as messages name it.
    pub file: String,
    /// Its faults, at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for FilterErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{fault}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for FilterErrors {}
