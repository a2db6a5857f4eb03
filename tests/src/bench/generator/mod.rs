//! Forwarding without sockets: frames appear on an interface as if a container or the outside had sent them, and are
//! counted where they must arrive.
//!
//! [`Generator`] runs an XDP program with live frames, which the kernel then takes as received; [`Sink`] attaches a TC
//! program that counts them and drops them. Neither allocates, copies or sleeps as a socket would, so what is left of
//! the time is the path between them.

#[cfg(test)]
#[path = "../../../../netbridge-ebpf/src/bench/numbering.rs"]
mod numbering;
mod object;
mod sink;
mod source;
mod stream;
#[path = "../../../../netbridge-ebpf/src/bench/traffic.rs"]
mod traffic;

pub use self::sink::{Arrived, Mode, Sink};
pub use self::source::{Generator, Sent};
pub use self::stream::{Flows, Stream};
