//! The packet path of netbridge, pure: no I/O, no allocation, no panic, no `unsafe`.
//!
//! The same source is compiled twice: into the eBPF programs, where [`datapath::env::Env`] is the
//! kernel, and into host programs, where it is a handful of hash maps ([`host`]).
//!
//! * [`abi`]: every type that lives in a BPF map
//! * [`wire`]: one protocol header a file
//! * [`datapath`]: the decisions: parse, guard, bridge, filter, conntrack, NAT
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "in the object a function is inlined, or has a stack frame of its own for a reason it states"
)]
#![expect(
    clippy::many_single_char_names,
    reason = "bytes of a header are destructured by position: an index would be a panic path"
)]
#![warn(
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::integer_division_remainder_used
)]

pub mod abi;
pub mod datapath;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod wire;
