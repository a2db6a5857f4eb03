//! The programs in the kernel against the core on the host, packet by packet through `BPF_PROG_TEST_RUN`.
//!
//! A [`case::Case`] is a course of steps in a fresh [`worlds::world`]: packets, and changes of filter, clock, quotas,
//! flags and published ports. A [`pair::Pair`] takes each step on both sides and compares. A [`campaign::Campaign`] runs
//! case after case from a seed; the test in `tests/program/differential.rs` runs short ones and `cargo xtask fuzz` long
//! ones. What they find is shrunk and kept in `tests/crashers`, where the tests replay it for ever.
//!
//! Beside them [`files`], which needs no kernel.

pub mod bed;
pub mod campaign;
pub mod case;
pub mod command;
pub mod files;
pub mod generator;
mod hostile;
pub mod kernel;
mod maps;
mod mutate;
pub mod pair;
pub mod random;
pub mod shrink;
pub mod step;
pub mod traffic;
pub mod worlds;
