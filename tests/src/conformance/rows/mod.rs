//! The rows, a file a section.

mod bridge;
mod carrier;
mod conntrack;
mod forged;
mod fragments;
mod icmp;
mod path;
mod tcp;
mod udp;

use super::Section;

/// All sections, in the order of the report.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "UDP: RFC 4787",
        rows: &[udp::ROWS, fragments::ROWS],
    },
    Section {
        title: "TCP: RFC 5382",
        rows: &[tcp::ROWS],
    },
    Section {
        title: "ICMP: RFC 5508, RFC 792, RFC 1191",
        rows: &[icmp::ROWS, path::ROWS],
    },
    Section {
        title: "Updates and carriers: RFC 7857, RFC 6888",
        rows: &[carrier::ROWS],
    },
    Section {
        title: "Bridge: IEEE 802.1D and 802.1Q",
        rows: &[bridge::ROWS],
    },
    Section {
        title: "Connection tracking, RFC 5961, scans",
        rows: &[conntrack::ROWS, forged::ROWS],
    },
];
