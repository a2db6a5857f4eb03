//! The decisions, in the order a packet meets them.
//!
//! [`parse`] → [`guard`] → [`pipeline`], which calls [`bridge`], [`route`], [`inbound`] or
//! [`icmp`]; those consult [`conntrack`], [`filter`] and [`nat`] and end in a [`verdict::Verdict`], for a
//! packet whose sender must hear of its end by way of [`answer`]. A fragment meets them with the ports that [`fragments`] knows.
//! [`socket`] stands apart: what becomes of the host's own sockets that mean a published port.
//! Nothing here knows whether it runs in the kernel: bytes and tables come through [`env::Env`].

pub mod answer;
pub mod binding;
pub mod bridge;
pub mod conntrack;
pub mod env;
pub mod filter;
pub mod flows;
pub mod fragments;
pub mod guard;
pub mod icmp;
pub mod inbound;
mod ipv6;
mod limits;
pub mod nat;
mod options;
pub mod pairs;
pub mod parse;
pub mod pipeline;
pub mod route;
pub mod search;
pub mod socket;
pub mod state;
pub mod verdict;

#[cfg(test)]
mod tests;
