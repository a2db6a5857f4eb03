//! What netbridge is known not to meet. A row that fails and is not listed fails the test, and so does one that is listed
//! and passes.

/// A row's id, and the reason.
pub const FAILURES: &[(&str, &str)] = &[];

/// Remarks on rows that are met, or that say why a listed failure is meant.
pub const NOTES: &[(&str, &str)] = &[];
