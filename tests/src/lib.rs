//! Fixtures for everything that needs a kernel: a sandbox that vanishes with its thread, labs, real
//! sockets inside namespaces, raw frames, and a census of what netbridge must not leave behind.
//!
//! Used by the tests beside it and by `netbridge-proof`, the checks that `cargo xtask run` prints.

pub mod alike;
pub mod bench;
pub mod census;
pub mod cgroup;
mod command;
pub mod conformance;
mod conntrack;
pub mod frame;
pub mod fuzz;
pub mod icmp;
pub mod lab;
pub mod load;
pub mod processors;
pub mod proof;
pub mod sandbox;
pub mod tcp;
pub mod udp;
pub mod wait;
pub mod wire;
