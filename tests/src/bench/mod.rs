//! The benchmark that `cargo xtask bench` executes: every contestant in one interleaved run.
//!
//! A [`case::Case`] is one thing to measure. The runner makes every [`world::World`] ready for it, measures them in
//! turn, the order reversed every other round, and keeps one value per round and metric in a [`series::Series`]. What
//! is printed, drawn and compared later is made of series alone.

pub mod case;
pub mod contestant;
pub mod contestants;
pub mod rule;
pub mod series;
pub mod world;
