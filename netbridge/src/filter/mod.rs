//! The user's filter: `FORWARD` as `iptables-save` writes it, and what the datapath makes of it.
//!
//! [`syntax::parse`] reads files into a [`syntax::Ruleset`], [`tables::compile`] turns that into the tables of the
//! datapath, and displaying a ruleset gives the canonical text back. One file so drives both
//! netfilter and netbridge; what netbridge cannot honour is refused, never skipped.

pub mod bounds;
pub mod buckets;
pub mod diff;
pub mod edit;
pub mod journal;
pub mod probe;
pub mod syntax;
pub mod tables;
pub mod tally;
pub mod text;

pub use buckets::Buckets;
pub use edit::{Change, Edit, NoEdit};
pub use journal::Journal;
pub use tally::Tally;
pub use text::Text;

pub use syntax::{Fault, FilterErrors};
