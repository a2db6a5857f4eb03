//! netbridge under load, with real sockets and raw packets in namespaces: many connections at once, full tables, no ports
//! left, a flood, and a count of every packet. Short in the tests, long by `cargo xtask load`.

pub mod command;
pub mod count;
pub mod flood;
pub mod full;
pub mod hold;
pub mod peer;
pub mod world;
