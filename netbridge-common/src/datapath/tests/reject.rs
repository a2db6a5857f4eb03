//! What the sender of a packet is told that a rule rejects.

use crate::abi::{Hook, Reason, proto, reject};
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, packet_of};
use crate::host::lab::{A, B, E, GATEWAY, GATEWAYS, HOST, Node, REMOTE, ROUTER, at, ifindex, inward, lab, out, slot};
use crate::host::pieces::{cut, seal};
use crate::host::{Frame, HostEnv, Ip};
use crate::wire::icmp;
use crate::wire::tcp::{self, ACK, FIN, RST, SYN, URG};

use super::{Result, carried_out};

/// ICMP "port unreachable".
const PORT: u8 = reject::UNREACHABLE + 3;

fn rejected(env: &HostEnv, hook: Hook, frame: &Frame, with: u8) -> Result {
    let result = carried_out(env.reject(hook, frame, with), frame);
    assert_eq!(result.reason(), Reason::Rejected);
    if result.action() == Action::Drop {
        assert_eq!(result.bytes, frame.bytes);
    }
    result
}

/// A rejected frame of the container behind an interface.
fn sent(env: &HostEnv, ifindex: u32, bytes: Vec<u8>, with: u8) -> Result {
    rejected(env, Hook::FromContainer, &at(ifindex, bytes), with)
}

/// A rejected frame from the outside.
fn arrived(env: &HostEnv, bytes: Vec<u8>, with: u8) -> Result {
    rejected(env, Hook::FromUplink, &at(ifindex::UPLINK, bytes), with)
}

/// The whole reset from one station to another, as [`Datagram`] builds it but for what it does not ask about.
fn reset(from: Node, to: Node, (sport, dport): (u16, u16), flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let datagram = Datagram {
        fragment: 0x4000,
        ..Datagram::new(from, to)
    };
    let mut frame = datagram.frame(proto::TCP, &datagram.tcp_segment_at(sport, dport, flags, numbers, b""));
    // No identification and no window.
    frame[18..20].fill(0);
    seal(&mut frame);
    frame[48..50].fill(0);
    let sum = u16::from_be_bytes([frame[50], frame[51]]);
    let sum = !super::add(!sum, !0xffff);
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The whole error of this code about a frame, from one station to another.
fn error(from: Node, to: Node, code: u8, about: &[u8]) -> Vec<u8> {
    let mut quote = packet_of(about);
    quote.truncate(548);
    let datagram = Datagram {
        fragment: 0x4000,
        ..Datagram::new(from, to)
    };
    let mut frame = datagram.error(icmp::UNREACHABLE, &quote);
    frame[15] = 0xc0;
    frame[18..20].fill(0);
    seal(&mut frame);
    frame[35] = code;
    frame[36..38].fill(0);
    let sum = !crate::host::rewrite::sum(&frame[34..]);
    frame[36..38].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A segment with numbers of its own.
fn segment(between: &Datagram, ports: (u16, u16), flags: u8, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    between.frame(
        proto::TCP,
        &between.tcp_segment_at(ports.0, ports.1, flags, numbers, payload),
    )
}

#[test]
fn a_reset_comes_from_where_the_segment_was_sent_to() {
    let env = lab();
    let ways: [(u32, Datagram, Node, Node); 4] = [
        (ifindex::A, out(A, GATEWAY, REMOTE), A, (GATEWAY.0, REMOTE)),
        (ifindex::A, Datagram::new(A, B), A, B),
        (ifindex::E, out(E, GATEWAYS[2], REMOTE), E, (GATEWAYS[2].0, REMOTE)),
        (ifindex::UPLINK, inward(REMOTE, HOST.1), (ROUTER.0, REMOTE), HOST),
    ];
    for (index, between, client, server) in ways {
        let hook = if index == ifindex::UPLINK {
            Hook::FromUplink
        } else {
            Hook::FromContainer
        };
        for options in [0, 4, 40] {
            for payload in [0, 1, 2, 700] {
                let between = Datagram {
                    options: vec![1; options],
                    ..between.clone()
                };
                let bytes = segment(
                    &between,
                    (5000, 8080),
                    SYN,
                    (0xffff_fffe, 0x0102_0304),
                    &vec![7; payload],
                );
                let result = rejected(&env, hook, &at(index, bytes), reject::TCP_RESET);
                assert_eq!(result.action(), Action::Answer);
                let ack = 0xffff_ffff_u32.wrapping_add(payload.try_into().unwrap());
                let expected = reset(server, client, (8080, 5000), RST | ACK, (0, ack));
                assert_eq!(
                    result.bytes, expected,
                    "{options} bytes of options, {payload} of payload"
                );
            }
        }
    }
    assert_eq!(env.dropped(Reason::Rejected), 48);
    assert!(env.flows.borrow().is_empty());
}

#[test]
fn a_reset_has_the_numbers_that_its_segment_asks_for() {
    let env = lab();
    let numbers = (0x8000_0001, 0xfedc_ba98);
    for (flags, payload, expected) in [
        (SYN, 0, (RST | ACK, (0, 0x8000_0002))),
        (SYN | URG, 9, (RST | ACK, (0, 0x8000_000b))),
        (SYN | ACK, 0, (RST, (0xfedc_ba98, 0))),
        (ACK, 0, (RST, (0xfedc_ba98, 0))),
        (ACK | 8, 900, (RST, (0xfedc_ba98, 0))),
        (FIN | ACK, 3, (RST, (0xfedc_ba98, 0))),
    ] {
        let mut bytes = segment(
            &out(A, GATEWAY, REMOTE),
            (5000, 80),
            flags,
            numbers,
            &vec![0x5a; payload],
        );
        // Padding is nothing that was sent.
        bytes.resize(bytes.len() + 5, 0xee);
        let result = sent(&env, ifindex::A, bytes, reject::TCP_RESET);
        let (flags, numbers) = expected;
        assert_eq!(
            result.bytes,
            reset((GATEWAY.0, REMOTE), A, (80, 5000), flags, numbers),
            "{flags:#x}"
        );
        // What a device completes: the sum of the pseudo-header.
        let pseudo = bytemuck::bytes_of(&[REMOTE, A.1, [0, 6, 0, 20]]).to_vec();
        let partial = crate::host::rewrite::sum(&pseudo).to_be_bytes();
        assert_eq!(result.verdict.partial, partial);
    }
    // The parser lets no FIN without ACK through; the rules of RFC 9293 are whole all the same.
    assert_eq!(tcp::reset(FIN, (7, 9), 2), (0, 10, RST | ACK));
    assert_eq!(tcp::reset(SYN | FIN, (u32::MAX, 9), 0), (0, 1, RST | ACK));
}

#[test]
fn a_tcp_option_is_no_payload_and_a_long_frame_is_all_of_it() {
    let env = lab();
    let mut bytes = segment(&out(A, GATEWAY, REMOTE), (5000, 80), SYN, (100, 0), &[1; 8]);
    // The eight bytes are options.
    bytes[46] = 0x70;
    let frame = at(ifindex::A, bytes.clone());
    let answer = env.reject(Hook::FromContainer, &frame, reject::TCP_RESET).answer;
    assert_eq!(answer.l4[2], 101_u32.to_be_bytes());
    // A GSO frame beyond 64 KiB says 0.
    bytes.resize(70_000, 0);
    bytes[16..18].fill(0);
    seal(&mut bytes);
    let frame = Frame {
        gso_size: 1448,
        ..at(ifindex::A, bytes)
    };
    let answer = env.reject(Hook::FromContainer, &frame, reject::TCP_RESET).answer;
    let sequence: u32 = 100 + 1 + 70_000 - 14 - 20 - 28;
    assert_eq!(answer.l4[2], sequence.to_be_bytes());
}

#[test]
fn nothing_is_reset_that_is_no_whole_segment_or_a_reset_itself() {
    let env = lab();
    let between = out(A, GATEWAY, REMOTE);
    // Between neighbours, where fragments pass each for itself without a filter.
    let syn = Datagram::new(A, B).tcp(5000, 80, SYN, &[0; 64]);
    let mut short = between.tcp(5000, 80, SYN, &[]);
    short[16..18].fill(0);
    seal(&mut short);
    short.truncate(53);
    let packets = [
        ("a reset", between.tcp(5000, 80, RST, b"")),
        ("a reset that acknowledges", between.tcp(5000, 80, RST | ACK, b"")),
        ("a first fragment", cut(&syn, 7, 64)[0].clone()),
        ("a later fragment", cut(&syn, 7, 64)[1].clone()),
        ("UDP", between.udp(5000, 80, b"")),
        ("an echo", between.echo(icmp::ECHO_REQUEST, 7, b"")),
        ("another protocol", between.frame(132, &[0; 20])),
        ("half a header", short),
    ];
    for (name, bytes) in packets {
        let frame = Frame {
            gso_size: u32::from(name == "half a header") * 1448,
            ..at(ifindex::A, bytes)
        };
        let result = rejected(&env, Hook::FromContainer, &frame, reject::TCP_RESET);
        assert_eq!(result.action(), Action::Drop, "{name}");
    }
}

#[test]
fn a_router_tells_with_any_code_that_a_destination_is_unreachable() {
    let ways: [(u32, Datagram, Node, Node); 4] = [
        (ifindex::A, out(A, GATEWAY, REMOTE), A, GATEWAY),
        // A neighbour's frame does not meet the gateway, and its MAC is not the gateway's.
        (ifindex::A, Datagram::new(A, B), A, GATEWAY),
        (ifindex::E, out(E, GATEWAYS[2], REMOTE), E, GATEWAYS[2]),
        (ifindex::UPLINK, inward(REMOTE, HOST.1), (ROUTER.0, REMOTE), HOST),
    ];
    for (index, between, client, router) in ways {
        let hook = if index == ifindex::UPLINK {
            Hook::FromUplink
        } else {
            Hook::FromContainer
        };
        for code in 0..reject::CODES {
            let env = lab();
            for bytes in [
                between.udp(5000, 53, b"asked"),
                between.udp(5000, 53, &[1; 1000]),
                between.syn(5000, 80),
                between.tcp(5000, 80, ACK, &[1; 1000]),
                between.echo(icmp::ECHO_REQUEST, 7, b"ping"),
                between.echo(17, 7, &[0; 4]),
                between.frame(132, &[0; 20]),
                between.frame(47, &[]),
            ] {
                let result = rejected(&env, hook, &at(index, bytes.clone()), reject::UNREACHABLE + code);
                assert_eq!(result.action(), Action::Answer);
                assert_eq!(result.bytes, error(router, client, code, &bytes), "code {code}");
            }
        }
    }
}

#[test]
fn to_the_outside_an_address_of_a_container_is_unreachable_at_the_uplink() {
    let env = lab();
    let bytes = inward(REMOTE, E.1).syn(5000, 80);
    let result = arrived(&env, bytes.clone(), PORT);
    assert_eq!(result.bytes, error(HOST, (ROUTER.0, REMOTE), 3, &bytes));
    // Who has no address of its own cannot answer.
    let mut env = lab();
    if let Some(link) = env.links.get_mut(&ifindex::UPLINK) {
        link.tail.addrs = [[0; 4]; crate::abi::LINK_ADDRS];
    }
    assert_eq!(arrived(&env, bytes, PORT).action(), Action::Drop);
}

#[test]
fn nobody_is_told_by_an_error_about_an_error_or_less_than_one_hosts_packet() {
    let env = lab();
    let between = out(A, GATEWAY, REMOTE);
    let quote = packet_of(&inward(REMOTE, A.1).udp(53, 5000, b""));
    let neighbour = Datagram::new(A, B);
    let long = cut(&neighbour.udp(5000, 53, &[0; 120]), 7, 64);
    let error_pieces = cut(&neighbour.error(icmp::TIME_EXCEEDED, &[0x45; 120]), 7, 64);
    let to_all = |dmac: [u8; 6], dst: Ip| Datagram::new(A, (dmac, dst)).udp(5000, 53, b"");
    let packets = [
        ("an error", between.error(icmp::UNREACHABLE, &quote)),
        ("a redirect", between.error(icmp::REDIRECT, &quote)),
        ("a type that may be one", between.echo(19, 7, b"")),
        ("an error's first fragment", error_pieces[0].clone()),
        ("a later fragment", long[1].clone()),
        ("to a group", to_all([1, 0, 0x5e, 0, 0, 1], [224, 0, 0, 1])),
        ("to a group's address", to_all(GATEWAY.0, [239, 1, 1, 1])),
        ("to all", to_all([0xff; 6], [255; 4])),
        ("to all of the link", to_all([0xff; 6], [10, 1, 0, 255])),
        ("from nobody", Datagram::new((A.0, [0; 4]), B).udp(5000, 53, b"")),
        (
            "from a group",
            Datagram::new(([1, 0, 0x5e, 0, 0, 1], A.1), B).udp(5000, 53, b""),
        ),
    ];
    for (name, bytes) in packets {
        for with in [PORT, reject::TCP_RESET] {
            assert_eq!(
                sent(&env, ifindex::A, bytes.clone(), with).action(),
                Action::Drop,
                "{name}"
            );
        }
    }
    let first = sent(&env, ifindex::A, long[0].clone(), PORT);
    assert_eq!(first.bytes, error(GATEWAY, A, 3, &long[0]));
    assert_eq!(env.answers.borrow().used, 1);
}

#[test]
fn the_rest_of_a_rejected_datagram_is_dropped_for_the_same_reason() {
    let pieces = cut(&out(A, GATEWAY, REMOTE).udp(5000, 53, &[0; 200]), 7, 64);
    for early in [false, true] {
        let env = lab();
        let follows = |piece: &[u8]| {
            let result = super::sends(&env, ifindex::A, piece.to_vec());
            (result.action(), result.reason())
        };
        if early {
            assert_eq!(follows(&pieces[2]), (Action::Drop, Reason::FragmentWaits));
        }
        let first = sent(&env, ifindex::A, pieces[0].clone(), PORT);
        assert_eq!(first.bytes, error(GATEWAY, A, 3, &pieces[0]));
        for piece in &pieces[1..] {
            assert_eq!(follows(piece), (Action::Drop, Reason::Rejected));
        }
        assert!(env.held.borrow().is_empty());
        assert!(env.released.borrow().is_empty());
        assert_eq!(env.answers.borrow().used, 1);
    }
}

#[test]
fn resets_are_for_one_host_too() {
    let env = lab();
    for (src, dst) in [
        ((A.0, [0; 4]), B),
        (A, (B.0, [224, 0, 0, 1])),
        (A, ([0xff; 6], B.1)),
        (([1, 0, 0, 0, 0, 1], A.1), B),
    ] {
        let result = sent(&env, ifindex::A, Datagram::new(src, dst).syn(1, 2), reject::TCP_RESET);
        assert_eq!(result.action(), Action::Drop, "{src:?} to {dst:?}");
    }
}

#[test]
fn what_says_nothing_is_a_plain_drop() {
    let env = lab();
    let unknown = reject::UNREACHABLE + reject::CODES;
    for with in (unknown..reject::TCP_RESET).chain([reject::NONE]) {
        let result = sent(&env, ifindex::A, out(A, GATEWAY, REMOTE).syn(1, 2), with);
        assert_eq!(result.action(), Action::Drop, "{with}");
    }
    assert_eq!(env.answers.borrow().used, 0);
}

#[test]
fn what_the_stack_has_routed_is_not_answered() {
    let env = lab();
    let leaving = Datagram {
        smac: HOST.0,
        dmac: ROUTER.0,
        ..out(A, GATEWAY, REMOTE)
    };
    let entering = Datagram::new((GATEWAY.0, REMOTE), A);
    for (hook, index, datagram) in [
        (Hook::ToUplink, ifindex::UPLINK, leaving),
        (Hook::ToContainer, ifindex::A, entering),
    ] {
        for with in [PORT, reject::TCP_RESET] {
            let frame = at(index, datagram.syn(5000, 80));
            assert_eq!(rejected(&env, hook, &frame, with).action(), Action::Drop, "{hook:?}");
        }
    }
    assert_eq!(env.dropped(Reason::Rejected), 4);
}

#[test]
fn errors_are_limited_and_resets_are_not() {
    let mut env = lab();
    env.config.answers_per_tick = 2;
    let ask = |env: &HostEnv, with| sent(env, ifindex::A, out(A, GATEWAY, REMOTE).syn(1, 2), with).action();
    let (answer, drop) = (Action::Answer, Action::Drop);
    assert_eq!([0; 4].map(|_| ask(&env, PORT)), [answer, answer, drop, drop]);
    assert_eq!([0; 4].map(|_| ask(&env, reject::TCP_RESET)), [answer; 4]);
    env.now += 1;
    assert_eq!(ask(&env, PORT), answer);
    assert_eq!(env.dropped(Reason::Rejected), 9);
    assert_eq!(env.traffic.borrow()[&slot::A].drops, 9);
}
