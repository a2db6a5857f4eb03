//! How an operation fails.

use std::fmt;

use crate::model::{Fault, FaultKind, Faults};

/// Why an operation did nothing, or undid what it had done.
#[derive(Debug)]
pub enum Failure {
    /// The request was refused before anything changed.
    Refused(Faults),
    /// The host refused a step.
    Failed(anyhow::Error),
}

impl Failure {
    /// The exit code of the command line: 1 failed, 2 usage, 3 not found, 4 exists.
    pub fn exit_code(&self) -> u8 {
        let kind = match self {
            Self::Refused(faults) => faults.kind(),
            Self::Failed(_) => None,
        };
        match kind {
            Some(FaultKind::Usage) => 2,
            Some(FaultKind::NotFound) => 3,
            Some(FaultKind::Exists) => 4,
            Some(FaultKind::Conflict) | None => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(faults) => write!(f, "{faults}"),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Refused(faults)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.into())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let code = |fault: Fault| Failure::from(fault).exit_code();
        assert_eq!(code(Fault::usage("", "", "")), 2);
        assert_eq!(code(Fault::not_found("", "", "")), 3);
        assert_eq!(code(Fault::exists("", "", "")), 4);
        assert_eq!(code(Fault::conflict("", "", "")), 1);
        assert_eq!(Failure::from(anyhow::anyhow!("x")).exit_code(), 1);
    }
}
