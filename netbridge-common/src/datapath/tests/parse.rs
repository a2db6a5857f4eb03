//! From bytes to a packet: frames of every length, with and without IP options, against a reading byte by byte.

use crate::abi::{Reason, proto};
use crate::datapath::parse::Kind;
use crate::host::Frame;
use crate::host::build::Datagram;
use crate::host::lab::{A, B, at, ifindex, lab};
use crate::host::pieces::seal;
use crate::wire::icmp;
use crate::wire::tcp::{ACK, FIN, RST, SYN, URG};

/// Where what the core must read of a whole frame ends: the ports, or TCP's flags.
fn needed(protocol: u8, options: usize) -> usize {
    34 + options + if protocol == proto::TCP { 20 } else { 8 }
}

fn frame(protocol: u8, options: usize, payload: usize) -> Vec<u8> {
    let mut datagram = Datagram::new(A, B);
    datagram.options = vec![1; options];
    let payload = vec![0x5a; payload];
    match protocol {
        proto::TCP => datagram.tcp(0x1234, 0x5678, 0x12, &payload),
        proto::UDP => datagram.udp(0x1234, 0x5678, &payload),
        _ => datagram.echo(icmp::ECHO_REQUEST, 0x1234, &payload),
    }
}

#[test]
fn headers_are_read_wherever_they_end() {
    let env = lab();
    for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
        for options in (0..=40).step_by(4) {
            for payload in [0, 1, 2, 7, 18, 60] {
                let packet = env.parsed(&at(ifindex::A, frame(protocol, options, payload)));
                let told = format!("protocol {protocol}, {options} bytes of options, {payload} of payload");
                assert_eq!(packet.kind, Kind::Ip, "{told}");
                assert_eq!((packet.to.mac, packet.from.mac), (B.0, A.0), "{told}");
                let key = packet.key;
                assert_eq!((key.src, key.dst, key.proto), (A.1, B.1, protocol), "{told}");
                assert_eq!(key.sport, [0x12, 0x34], "{told}");
                let dport = if protocol == proto::ICMP { [0; 2] } else { [0x56, 0x78] };
                assert_eq!(key.dport, dport, "{told}");
                assert_eq!(packet.tcp, if protocol == proto::TCP { 0x12 } else { 0 }, "{told}");
                assert_eq!(usize::from(packet.l4), 34 + options, "{told}");
            }
        }
    }
}

/// A GSO frame beyond 64 KiB says so; one that only says so has its header for all that.
#[test]
fn a_header_without_a_total_length_is_whole_or_malformed() {
    const ESP: u8 = 50;
    let env = lab();
    let mut frame = Datagram {
        options: vec![1; 8],
        ..Datagram::new(A, B)
    }
    .frame(ESP, b"");
    frame[16..18].fill(0);
    seal(&mut frame);
    let parsed = |bytes: &[u8], gso_size| {
        let packet = env.parsed(&Frame {
            gso_size,
            ..at(ifindex::A, bytes.to_vec())
        });
        (packet.kind, packet.fault)
    };
    let malformed = (Kind::Faulty, Reason::Malformed);
    assert_eq!(parsed(&frame, 1448), (Kind::Ip, Reason::None));
    assert_eq!(parsed(&frame, 0), malformed, "no GSO frame");
    frame.pop();
    assert_eq!(parsed(&frame, 1448), malformed, "cut");
}

/// What lies behind the end of a frame is another frame's, and must not be taken for this one's.
#[test]
fn a_frame_that_is_cut_short_is_malformed() {
    let env = lab();
    for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
        for options in [0, 4, 40] {
            let whole = frame(protocol, options, 0);
            for length in 0..needed(protocol, options) {
                let packet = env.parsed(&at(ifindex::A, whole[..length].to_vec()));
                let told = format!("protocol {protocol}, {options} bytes of options, {length} bytes");
                assert_eq!(packet.kind, Kind::Faulty, "{told}");
            }
        }
    }
}

#[test]
fn the_total_length_counts_and_not_the_padding() {
    let env = lab();
    for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
        let mut padded = frame(protocol, 0, 0);
        padded.resize(64, 0);
        assert_eq!(env.parsed(&at(ifindex::A, padded.clone())).kind, Kind::Ip);
        let [_, low] = u16::try_from(needed(protocol, 0) - 15).unwrap().to_be_bytes();
        padded[17] = low;
        assert_eq!(
            env.parsed(&at(ifindex::A, padded)).kind,
            Kind::Faulty,
            "one byte less, {protocol}"
        );
    }
}

#[test]
fn flags_of_a_segment_are_those_that_netfilter_knows() {
    let valid = [
        SYN,
        SYN | URG,
        SYN | ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        FIN | ACK | URG,
        ACK,
        ACK | URG,
    ];
    let env = lab();
    for fragment in [0, 0x2000] {
        for flags in 0..=u8::MAX {
            let datagram = Datagram {
                fragment,
                ..Datagram::new(A, B)
            };
            let packet = env.parsed(&at(ifindex::A, datagram.tcp(1, 2, flags, b"eight by")));
            let pushed_and_congested = 8 | 64 | 128;
            let expected = if valid.contains(&(flags & !pushed_and_congested)) {
                (Kind::Ip, Reason::None)
            } else {
                (Kind::Faulty, Reason::BadFlags)
            };
            assert_eq!((packet.kind, packet.fault), expected, "flags {flags:#x}");
        }
    }
}

#[test]
fn options_are_walked_to_their_end() {
    let env = lab();
    let table: [(&str, &[u8], Reason); 17] = [
        ("padding", &[1, 1, 1, 0], Reason::None),
        ("a record route", &[7, 7, 4, 0, 0, 0, 0, 0], Reason::None),
        ("a router alert", &[148, 4, 0, 0], Reason::None),
        (
            "a loose source route",
            &[131, 7, 4, 9, 9, 9, 9, 0],
            Reason::SourceRouted,
        ),
        ("a strict one", &[137, 7, 4, 9, 9, 9, 9, 0], Reason::SourceRouted),
        ("one without a router", &[131, 3, 4, 0], Reason::SourceRouted),
        ("one behind padding", &[1, 1, 1, 1, 1, 137, 3, 4], Reason::SourceRouted),
        (
            "one behind a router alert",
            &[148, 4, 0, 0, 131, 3, 4, 0],
            Reason::SourceRouted,
        ),
        (
            "one that fills the header",
            &[[131, 39, 4].as_slice(), &[9; 37]].concat(),
            Reason::SourceRouted,
        ),
        ("one behind the end", &[0, 131, 3, 4], Reason::None),
        ("one within another option", &[7, 7, 4, 131, 3, 4, 0, 0], Reason::None),
        ("a length of 0", &[7, 0, 0, 0], Reason::Malformed),
        ("a length of 1", &[7, 1, 0, 0], Reason::Malformed),
        ("a length past the end", &[7, 5, 0, 0], Reason::Malformed),
        ("a source route past the end", &[131, 5, 4, 0], Reason::Malformed),
        ("no room for the length", &[1, 1, 1, 131], Reason::Malformed),
        ("a bad length before a source route", &[7, 1, 131, 3], Reason::Malformed),
    ];
    for (name, options, expected) in table {
        for fragment in [0, 0x2000, 0x0003] {
            let datagram = Datagram {
                options: options.to_vec(),
                fragment,
                ..Datagram::new(A, B)
            };
            let packet = env.parsed(&at(ifindex::A, datagram.udp(1, 2, &[2; 40])));
            assert_eq!(packet.fault, expected, "{name}, fragment {fragment:#x}");
        }
    }
}
