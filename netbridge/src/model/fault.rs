//! What is wrong with a request: every fault of it, each with its remedy.

use std::fmt;

use serde::Serialize;

/// What kind of fault; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The request itself is malformed or contradicts itself.
    Usage,
    /// It names something that does not exist.
    NotFound,
    /// It would create something that exists.
    Exists,
    /// It is well-formed, but collides with the state of the host or of the instance.
    Conflict,
}

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// What is at fault: the option or object, with its value.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    fn new(kind: FaultKind, what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    /// A fault of kind [`FaultKind::Usage`].
    pub fn usage(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FaultKind::Usage, what, why, remedy)
    }

    /// A fault of kind [`FaultKind::NotFound`].
    pub fn not_found(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, what, why, remedy)
    }

    /// A fault of kind [`FaultKind::Exists`].
    pub fn exists(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FaultKind::Exists, what, why, remedy)
    }

    /// A fault of kind [`FaultKind::Conflict`].
    pub fn conflict(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, what, why, remedy)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.remedy)
    }
}

impl std::error::Error for Fault {}

/// All faults of one request, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// The value, or `None` with its fault noted.
    pub fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                self.push(fault);
                None
            }
        }
    }

    /// Parses what was given; `None` if nothing was, or if it is at fault.
    pub fn keep_given<T>(&mut self, given: Option<&str>, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        given.and_then(|text| self.keep(parse(text)))
    }

    /// Whether nothing is at fault.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// `Ok` if nothing is at fault.
    pub fn check(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The kind that decides the exit code: a malformed request before anything else, then the
    /// first fault's.
    pub fn kind(&self) -> Option<FaultKind> {
        let usage = self.0.iter().find(|fault| fault.kind == FaultKind::Usage);
        usage.or(self.0.first()).map(|fault| fault.kind)
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_request_decides_the_kind() {
        let mut faults = Faults::default();
        assert_eq!(faults.kind(), None);
        faults.push(Fault::exists("network web", "exists", "choose another name"));
        assert_eq!(faults.kind(), Some(FaultKind::Exists));
        faults.push(Fault::usage("--mtu 1", "out of range", "give 576 to 65535"));
        assert_eq!(faults.kind(), Some(FaultKind::Usage));
        assert_eq!(
            faults.to_string(),
            "network web: exists; choose another name\n--mtu 1: out of range; give 576 to 65535"
        );
    }
}
