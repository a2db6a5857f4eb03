//! The decisions, in the order a packet meets them.
//!
//! [`parse`] → [`guard`] → [`pipeline`], which calls [`bridge`], [`route`], [`inbound`] or
//! [`icmp`]; those consult [`conntrack`], [`filter`] and [`nat`] and end in a [`verdict::Verdict`].
//! [`socket`] stands apart: what becomes of the host's own sockets that mean a published port.
//! Nothing here knows whether it runs in the kernel: bytes and tables come through [`env::Env`].

pub mod bridge;
pub mod conntrack;
pub mod env;
pub mod filter;
pub mod guard;
pub mod icmp;
pub mod inbound;
pub mod nat;
pub mod parse;
pub mod pipeline;
pub mod route;
pub mod socket;
pub mod verdict;

#[cfg(test)]
mod tests;
