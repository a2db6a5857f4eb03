//! What a file holds and the filter leaves alone.

use std::fmt;

/// Something of a file that is not the filter's, and is left to those whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its file, where that is not the file of rules: the one of sets.
    pub file: Option<String>,
    /// Its line, counted from 1.
    pub line: usize,
    /// What it is: a table, a chain or a set.
    pub token: String,
    /// What becomes of it.
    pub text: String,
}

impl Note {
    /// A note about the file of rules.
    pub(super) fn new(line: usize, token: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            file: None,
            line,
            token: token.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.replace(char::is_control, "\u{fffd}");
        write!(f, "{}: `{token}`: {}", self.line, self.text)
    }
}
