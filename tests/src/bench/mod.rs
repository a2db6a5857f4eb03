//! The benchmark that `cargo xtask bench` executes: every contestant in one interleaved run.
//!
//! A [`case::Case`] is one thing to measure. The runner makes every [`world::World`] ready for it, measures them in
//! turn, the order reversed every other round, and keeps one value per round and metric in a [`series::Series`]. What
//! is printed, drawn and compared later is made of series alone.

pub mod against;
pub mod case;
pub mod chart;
pub mod classbench;
pub mod command;
pub mod contestant;
pub mod contestants;
pub mod control;
pub mod cpu;
pub mod crosscheck;
pub mod figure;
pub mod forwarding;
pub mod generator;
pub mod grid;
pub mod latency;
pub mod load;
pub mod machine;
pub mod options;
pub mod progress;
pub mod report;
pub mod results;
pub mod rule;
pub mod runner;
pub mod series;
pub mod sockets;
pub mod statistics;
pub mod table;
pub mod target;
pub mod world;

#[cfg(test)]
mod fixture;
