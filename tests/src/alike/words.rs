//! Packets in words: what two hosts must agree on, and nothing that they may choose.

use netbridge_common::abi::proto;

use super::ground::Station;
use crate::conformance::packet::Ip;

/// Names of TCP flags, FIN first.
const FLAGS: [char; 6] = ['F', 'S', 'R', 'P', 'A', 'U'];

/// What arrived, in words, in the order of the stations.
pub(super) fn tell(arrivals: &[(Station, Ip)]) -> Vec<String> {
    let mut words: Vec<_> = arrivals
        .iter()
        .map(|(at, packet)| format!("{at:?}: {}", describe(packet)))
        .collect();
    words.sort();
    words
}

/// A packet's addresses, ports and message.
pub(super) fn describe(packet: &Ip) -> String {
    if packet.offset > 0 {
        let (protocol, length) = (packet.proto, packet.body.len());
        let ends = format!("{} > {}", packet.src, packet.dst);
        return format!(
            "fragment of protocol {protocol} {ends} length {length} at {}",
            packet.offset
        );
    }
    let who = match packet.icmp() {
        Some((kind, code)) => format!("icmp {kind}/{code} {} > {}", packet.src, packet.dst),
        None => ends(packet),
    };
    let what = if packet.is_error() {
        // How much of a packet an error quotes is its maker's choice.
        let about = packet.quoted().map_or("nothing".to_owned(), |about| ends(&about));
        format!(" about {about}")
    } else {
        message(packet)
    };
    let how = if packet.more {
        " fragment at 0"
    } else if packet.is_sound() {
        ""
    } else {
        " wrong sum"
    };
    who + &what + how
}

/// What a packet that is no error says.
fn message(packet: &Ip) -> String {
    let length = packet.body.len();
    match packet.proto {
        proto::TCP => {
            let flags = packet.flags();
            let named = FLAGS.iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0);
            let flags: String = named.map(|(_, name)| name).collect();
            format!(" {flags} seq {} length {length}", packet.seq())
        }
        proto::ICMP => format!(" id {} length {length}", packet.sport()),
        _ => format!(" length {length}"),
    }
}

/// Who sends to whom.
fn ends(packet: &Ip) -> String {
    match packet.proto {
        proto::TCP => format!("tcp {} > {}:{}", packet.from(), packet.dst, packet.dport()),
        proto::UDP => format!("udp {} > {}:{}", packet.from(), packet.dst, packet.dport()),
        other => format!("protocol {other} {} > {}", packet.src, packet.dst),
    }
}
