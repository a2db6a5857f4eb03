//! Protocol headers, one a file: field offsets, a fixed-size view, and nothing that can panic.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
