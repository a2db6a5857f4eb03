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

/// Faults of one file that are told.
const MAX_FAULTS: usize = 1000;

/// Every fault of a rule file in the order of its lines, then those of the file of sets beside it; of very many the first,
/// and how many more there are. Displayed as one `FILE:LINE: …` a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterErrors {
    /// The file of rules, as messages name it.
    pub file: String,
    /// The faults, at least one.
    pub faults: Vec<Fault>,
}

impl FilterErrors {
    /// The faults of `file`, which are at least one.
    pub(in crate::filter) fn new(file: impl Into<String>, mut faults: Vec<Fault>) -> Self {
        let more = faults.len().saturating_sub(MAX_FAULTS);
        if let Some(next) = faults.get_mut(MAX_FAULTS) {
            let told = Refusal::new("…", format!("and {more} more"), "mend those before it first");
            *next = Fault {
                file: next.file.take(),
                ..told.at(next.line)
            };
            faults.truncate(MAX_FAULTS + 1);
        }
        Self {
            file: file.into(),
            faults,
        }
    }
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
        let errors = FilterErrors::new("rules", vec![Refusal::new("a", "bad", "mend it").at(7), elsewhere]);
        assert_eq!(
            errors.to_string(),
            "rules:7: `a`: bad; mend it\nsets:2: `b\u{fffd}`: bad; mend it"
        );
    }

    #[test]
    fn of_very_many_faults_the_first_are_told() {
        let faults = |count| {
            (1..=count)
                .map(|line| Refusal::new("a", "bad", "mend it").at(line))
                .collect()
        };
        assert_eq!(FilterErrors::new("f", faults(1000)).faults.len(), 1000);
        let errors = FilterErrors::new("f", faults(1500));
        assert_eq!(errors.faults.len(), 1001);
        assert!(
            errors
                .to_string()
                .ends_with("\nf:1000: `a`: bad; mend it\nf:1001: `…`: and 500 more; mend those before it first")
        );
    }
}
