//! What is wrong with a file: every fault at once, each with its place and its remedy.

use std::fmt;

/// Why a word is refused; the parts of a [`Fault`] that do not depend on its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::filter) struct Refusal {
    token: String,
    reason: String,
    advice: String,
}

impl Refusal {
    pub(in crate::filter) fn new(
        token: impl Into<String>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            token: token.into(),
            reason: reason.into(),
            advice: advice.into(),
        }
    }

    /// The fault on this line of the file that the errors are about.
    pub(in crate::filter) fn at(self, line: usize) -> Fault {
        let Self { token, reason, advice } = self;
        Fault {
            file: None,
            line,
            token,
            reason,
            advice,
        }
    }
}

/// One fault of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its file, where that is not the one that [`FilterErrors`] names: a file of sets.
    pub file: Option<String>,
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

/// Every fault of a rule file in the order of its lines, then those of the file of sets beside it. Displayed as one
/// `FILE:LINE: …` a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterErrors {
    /// The file of rules, as messages name it.
    pub file: String,
    /// The faults, at least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for FilterErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            let file = fault.file.as_ref().unwrap_or(&self.file);
            write!(f, "{newline}{file}:{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FilterErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_own_file() {
        let mut elsewhere = Refusal::new("b\u{1b}", "bad", "mend it").at(2);
        elsewhere.file = Some("sets".to_owned());
        let errors = FilterErrors {
            file: "rules".to_owned(),
            faults: vec![Refusal::new("a", "bad", "mend it").at(7), elsewhere],
        };
        assert_eq!(
            errors.to_string(),
            "rules:7: `a`: bad; mend it\nsets:2: `b\u{fffd}`: bad; mend it"
        );
    }
}
