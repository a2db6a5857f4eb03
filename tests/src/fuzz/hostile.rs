//! Packets that somebody makes who knows what a packet filter gets wrong.

use netbridge_common::abi::{Hook, proto};
use netbridge_common::host::build::{Datagram, arp, ipv6, packet_of, source_route};
use netbridge_common::host::lab::{A, B, D, E, GATEWAYS, HOST, REMOTE, ROUTER, ifindex};
use netbridge_common::host::{Frame, Ip};

use super::mutate::{mend, put};
use super::random::Random;
use super::traffic::{NODES, PORTS, Traffic, at, destination, layer_4, payload, remote};

/// A hostile packet for a program.
pub(super) fn packet(random: &mut Random, traffic: &Traffic, hook: Hook) -> Frame {
    match random.below(12) {
        0 => spoofed(random, hook),
        1 => to_itself(random, hook),
        2 => routed_by_source(random, hook),
        3..5 => fragment(random, hook),
        5 => strange_flags(random, traffic, hook),
        6 => blind(random, traffic, hook),
        7 => error_about_anything(random, hook),
        8 => nested_error(random, traffic, hook),
        9 => other_version(random, hook),
        10 if hook == Hook::FromContainer => resolution(random),
        10 => tagged(random, hook),
        _ => played_server(random, hook),
    }
}

/// A datagram on its way to a program, from somebody who may send there, and where it appears.
fn on_the_way(random: &mut Random, hook: Hook) -> (Datagram, u32, u32) {
    let (node, gateway, index, net) = random.pick(&NODES);
    let bridge = ifindex::BRIDGES[net as usize - 1];
    match hook {
        Hook::FromContainer => {
            let neighbour = random.pick(&[A, B]);
            let outside = remote(random);
            let to = random.pick(&[(gateway.0, outside), (gateway.0, HOST.1), neighbour]);
            (Datagram::new(node, to), index, index)
        }
        Hook::FromUplink => {
            let to = random.pick(&[HOST.1, HOST.1, HOST.1, A.1, E.1]);
            let datagram = Datagram::new((ROUTER.0, remote(random)), (HOST.0, to));
            (datagram, ifindex::UPLINK, ifindex::UPLINK)
        }
        Hook::ToUplink => {
            let datagram = Datagram::new((HOST.0, node.1), (ROUTER.0, remote(random)));
            (datagram, ifindex::UPLINK, bridge)
        }
        Hook::ToContainer => {
            let datagram = Datagram::new((gateway.0, remote(random)), node);
            (datagram, index, random.pick(&[bridge, 0, ifindex::UPLINK]))
        }
    }
}

/// A source address that is not the sender's.
fn spoofed(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let others = [A.1, B.1, D.1, E.1, HOST.1, GATEWAYS[0].1, GATEWAYS[1].1, REMOTE];
    let src = if random.once_in(2) {
        random.pick(&others)
    } else {
        destination(random)
    };
    at(index, ingress, payload(random, Datagram { src, ..datagram }))
}

/// From an address and a port to the same.
fn to_itself(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let datagram = if random.once_in(2) {
        Datagram {
            src: datagram.dst,
            ..datagram
        }
    } else {
        Datagram {
            dst: datagram.src,
            ..datagram
        }
    };
    let port = random.pick(&PORTS);
    let bytes = match random.below(3) {
        0 => datagram.syn(port, port),
        1 => datagram.udp(port, port, b"itself"),
        _ => datagram.echo(random.pick(&[0, 8]), port, b"itself"),
    };
    at(index, ingress, bytes)
}

/// Options that choose the way, whole or cut, before or behind others.
fn routed_by_source(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let mut options = vec![1; random.below(8)];
    options.extend(source_route(random.pick(&[131, 137, 7, 68, 148]), REMOTE));
    if random.once_in(3) {
        let place = random.below(options.len());
        options[place] = random.byte();
    }
    options.resize(options.len().next_multiple_of(4).min(40), random.pick(&[0, 1]));
    at(index, ingress, payload(random, Datagram { options, ..datagram }))
}

/// Tiny first fragments, later ones, and such that would overwrite a header.
fn fragment(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let fragment = random.pick(&[0x2000, 0x2000, 0x2001, 0x0001, 0x0002, 0x2003, 0x1fff, 0x3fff]);
    let datagram = Datagram { fragment, ..datagram };
    let (sport, dport) = (random.pick(&PORTS), random.pick(&PORTS));
    let length = random.pick(&[0, 1, 7, 8, 15, 16, 19, 20, 24, 40, 1480]);
    let mut segment = match random.below(3) {
        0 => datagram.udp_segment(sport, dport, &random.bytes(32)),
        1 => datagram.tcp_segment(sport, dport, 2, &random.bytes(32)),
        _ => random.bytes(64),
    };
    segment.resize(length, 0);
    let protocol = random.pick(&[proto::UDP, proto::TCP, proto::ICMP, 47]);
    at(index, ingress, datagram.frame(protocol, &segment))
}

/// TCP flags that no segment has, on a flow where there is one.
fn strange_flags(random: &mut Random, traffic: &Traffic, hook: Hook) -> Frame {
    let known = traffic.recall(random, hook);
    let mut frame = known.unwrap_or_else(|| {
        let (datagram, index, ingress) = on_the_way(random, hook);
        at(
            index,
            ingress,
            datagram.tcp(random.pick(&PORTS), random.pick(&PORTS), 0, b""),
        )
    });
    let l4 = layer_4(&frame.bytes);
    let flags = random.pick(&[0x00, 0x03, 0x06, 0x07, 0x29, 0x2b, 0x3f, 0x05, 0x01, 0x08, 0x20]);
    put(&mut frame.bytes, l4 + 13, &[flags]);
    mend(&mut frame.bytes);
    frame
}

/// A segment that would end or open a connection of others, with their tuple and from where it appears.
fn blind(random: &mut Random, traffic: &Traffic, hook: Hook) -> Frame {
    let Some(mut frame) = traffic.recall(random, hook) else {
        return spoofed(random, hook);
    };
    let (_, index, ingress) = on_the_way(random, hook);
    (frame.ifindex, frame.ingress) = (index, ingress);
    let l4 = layer_4(&frame.bytes);
    if frame.bytes[23] == proto::TCP {
        let flags = random.pick(&[0x04, 0x14, 0x02, 0x11, 0x12]);
        put(&mut frame.bytes, l4 + 13, &[flags]);
    }
    if random.once_in(2) {
        let src = remote(random);
        put(&mut frame.bytes, 26, &src);
    }
    mend(&mut frame.bytes);
    frame
}

/// An error about a packet that nobody sent.
fn error_about_anything(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let from = random.pick(&[datagram.dst, A.1, B.1, HOST.1, GATEWAYS[0].1]);
    let quoted = Datagram {
        options: vec![1; random.pick(&[0, 0, 4, 40])],
        ..Datagram::new(([0; 6], from), ([0; 6], remote(random)))
    };
    let (sport, dport) = (random.pick(&PORTS), random.pick(&PORTS));
    let mut quote = match random.below(4) {
        0 => packet_of(&quoted.udp(sport, dport, &[])),
        1 => packet_of(&quoted.syn(sport, dport)),
        2 => packet_of(&quoted.echo(8, sport, &[])),
        _ => quoted.packet(random.pick(&[1, 6, 17, 47]), &random.bytes(8)),
    };
    quote.truncate(random.pick(&[28, 28, 68, 100, 20, 12, 0]));
    let kind = random.pick(&[3, 3, 11, 12, 4, 5]);
    at(index, ingress, datagram.error(kind, &quote))
}

/// An error about an error, or about a fragment.
fn nested_error(random: &mut Random, traffic: &Traffic, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let Some(known) = traffic.recall(random, hook) else {
        return error_about_anything(random, hook);
    };
    let mut quote = packet_of(&known.bytes);
    if random.once_in(2) {
        let inner = Datagram::new(([0; 6], datagram.dst), ([0; 6], datagram.src));
        quote = packet_of(&inner.error(3, &quote));
    } else if quote.len() > 8 {
        quote[6] |= random.pick(&[0x20, 0x00]);
        quote[7] = random.pick(&[0, 1, 3]);
    }
    quote.truncate(600);
    at(index, ingress, datagram.error(random.pick(&[3, 11]), &quote))
}

/// IPv6, which is not carried: chains of extension headers, an `ICMPv6` message at the end of some.
fn other_version(random: &mut Random, hook: Hook) -> Frame {
    let (_, index, ingress) = on_the_way(random, hook);
    let (node, gateway, ..) = random.pick(&NODES);
    let mut chain: Vec<u8> = (0..random.below(11))
        .map(|_| random.pick(&[0, 43, 51, 60, 60, 135, 139, 140, 44]))
        .collect();
    chain.push(random.pick(&[58, 58, 58, 17]));
    let mut payload = Vec::new();
    for next in &chain[1..] {
        payload.extend_from_slice(&[*next, 0, 0, 0, 0, 0, 0, 0]);
    }
    payload.extend_from_slice(&[random.pick(&[134, 137, 135, 128]), 0, 0, 0]);
    let dmac = random.pick(&[gateway.0, B.0, [0x33, 0x33, 0, 0, 0, 1]]);
    at(index, ingress, ipv6(node.0, dmac, chain[0], &payload))
}

/// ARP in somebody else's name.
fn resolution(random: &mut Random) -> Frame {
    let (node, gateway, index, _) = random.pick(&NODES);
    let claimed: (_, Ip) = random.pick(&[A, gateway, (node.0, [0; 4]), (node.0, B.1), (B.0, node.1)]);
    let target = random.pick(&[gateway.1, node.1, B.1, [0; 4], D.1, REMOTE, [10, 1, 0, 255]]);
    let mut bytes = arp(node.0, claimed, target);
    bytes[21] = random.pick(&[1, 2, 3]);
    at(index, index, bytes)
}

/// A tag that hides the packet.
fn tagged(random: &mut Random, hook: Hook) -> Frame {
    let (datagram, index, ingress) = on_the_way(random, hook);
    let mut bytes = payload(random, datagram);
    for _ in 0..=random.below(2) {
        drop(bytes.splice(12..12, random.pick(&[[0x81, 0, 0, 0], [0x88, 0xa8, 0, 1]])));
    }
    let mut frame = at(index, ingress, bytes);
    // Segments that nobody cut, and a size that does not fit them.
    frame.gso_size = random.pick(&[0, 0, 1448]);
    frame
}

/// What servers and routers say, to everybody or to one.
fn played_server(random: &mut Random, hook: Hook) -> Frame {
    let (mut datagram, index, ingress) = on_the_way(random, hook);
    if random.once_in(2) {
        (datagram.dmac, datagram.dst) = ([0xff; 6], [255; 4]);
    }
    datagram.ttl = random.pick(&[64, 1, 0, 255]);
    let (sport, dport) = random.pick(&[(67, 68), (67, 68), (68, 67), (53, 1024), (5353, 5353), (0, 0)]);
    at(index, ingress, datagram.udp(sport, dport, &random.bytes(24)))
}
