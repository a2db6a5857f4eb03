//! Later.
use super::super::Row;
pub(super) const ROWS: &[Row] = &[];
