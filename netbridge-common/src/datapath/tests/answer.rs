//! What the sender of a packet that ends here is told.

use crate::abi::{Hook, Reason, proto, verdict};
use crate::datapath::verdict::Action;
use crate::host::build::{Datagram, packet_of};
use crate::host::lab::{A, B, E, GATEWAY, GATEWAYS, HOST, Node, REMOTE, ROUTER, at, ifindex, inward, lab, out, slot};
use crate::host::pieces::seal;
use crate::host::{Frame, HostEnv, Ip};
use crate::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, TIME_EXCEEDED, UNREACHABLE};
use crate::wire::tcp::{ACK, SYN};

use super::{Result, arrives, halves, run, sends};

/// Type, code and MTU of an answer, who sent it to whom, and what it quotes.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kind: (u8, u8),
    mtu: u16,
    from: Node,
    to: Node,
    quote: Vec<u8>,
}

/// Reads an answer, whose checksums [`run`] has judged; its fixed fields are those of every answer.
fn told(result: &Result) -> Told {
    assert_eq!(result.action(), Action::Answer);
    let bytes = &result.bytes;
    let mac = |at: usize| [0, 1, 2, 3, 4, 5].map(|place| bytes[at + place]);
    let address = |at: usize| [0, 1, 2, 3].map(|place| bytes[at + place]);
    assert_eq!(bytes[12..16], [8, 0, 0x45, 0xc0]);
    assert_eq!(
        usize::from(u16::from_be_bytes([bytes[16], bytes[17]])),
        bytes.len() - 14
    );
    assert_eq!(bytes[18..24], [0, 0, 0x40, 0, 64, proto::ICMP]);
    assert_eq!(bytes[38..40], [0, 0]);
    Told {
        kind: (bytes[34], bytes[35]),
        mtu: u16::from_be_bytes([bytes[40], bytes[41]]),
        from: (mac(6), address(26)),
        to: (mac(0), address(30)),
        quote: packet_of(&bytes[28..]),
    }
}

/// What is told about a frame: 576 bytes at most, 28 of them headers.
fn about(frame: &[u8], kind: (u8, u8), mtu: u16, from: Node, to: Node) -> Told {
    let mut quote = packet_of(frame);
    quote.truncate(548);
    Told {
        kind,
        mtu,
        from,
        to,
        quote,
    }
}

fn dying(between: Datagram) -> Datagram {
    Datagram { ttl: 1, ..between }
}

/// A packet that routers may not cut up.
fn whole(between: Datagram) -> Datagram {
    Datagram {
        fragment: 0x4000,
        ..between
    }
}

#[test]
fn a_container_hears_of_its_ttls_end_from_its_gateway() {
    let ways: [(u32, Node, Node, Ip); 4] = [
        (ifindex::A, A, GATEWAY, REMOTE),
        (ifindex::A, A, GATEWAY, B.1),
        (ifindex::A, A, GATEWAY, [10, 1, 0, 99]),
        (ifindex::E, E, GATEWAYS[2], REMOTE),
    ];
    for (index, from, gateway, dst) in ways {
        for known in [false, true] {
            for (ttl, ends) in [(0, true), (1, true), (2, false)] {
                let env = lab();
                let datagram = |ttl, options: &[u8]| Datagram {
                    ttl,
                    options: options.to_vec(),
                    ..out(from, gateway, dst)
                };
                let packets = |ttl, options: &[u8]| {
                    [
                        datagram(ttl, options).udp(5000, 53, b"asked"),
                        datagram(ttl, options).syn(5000, 80),
                        datagram(ttl, options).echo(ECHO_REQUEST, 7, b"ping"),
                    ]
                };
                if known {
                    for bytes in packets(64, &[]) {
                        sends(&env, index, bytes);
                    }
                }
                let before = env.flows.borrow().len();
                for options in [&[][..], &[1; 4], &[1; 40]] {
                    for bytes in packets(ttl, options) {
                        let result = sends(&env, index, bytes.clone());
                        if ends {
                            assert_eq!(result.reason(), Reason::TtlExpired);
                            let expected = about(&bytes, (TIME_EXCEEDED, 0), 0, gateway, from);
                            assert_eq!(told(&result), expected, "to {dst:?}, known: {known}");
                        } else {
                            assert_ne!(result.action(), Action::Answer);
                        }
                    }
                }
                if ends {
                    assert_eq!(env.flows.borrow().len(), before, "to {dst:?}, known: {known}");
                }
            }
        }
    }
}

#[test]
fn the_outside_hears_of_its_ttls_end_from_the_uplink() {
    let env = lab();
    sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b""));
    sends(&env, ifindex::E, out(E, GATEWAYS[2], REMOTE).udp(5000, 53, b""));
    arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080));
    let halves_before = env.flows.borrow().len();
    let packets = [
        ("an answer", dying(inward(REMOTE, HOST.1)).udp(53, 5000, b"told")),
        ("an answer to E", dying(inward(REMOTE, E.1)).udp(53, 5000, b"told")),
        ("a client", dying(inward(REMOTE, HOST.1)).tcp(5000, 8080, ACK, b"")),
        ("a new client", dying(inward(REMOTE, HOST.1)).syn(5001, 8080)),
    ];
    for (name, bytes) in packets {
        let result = arrives(&env, bytes.clone());
        let expected = about(&bytes, (TIME_EXCEEDED, 0), 0, HOST, (ROUTER.0, REMOTE));
        assert_eq!(told(&result), expected, "{name}");
    }
    assert_eq!(env.flows.borrow().len(), halves_before);
    let host = arrives(&env, dying(inward(REMOTE, HOST.1)).syn(5001, 22));
    assert_eq!(
        host.action(),
        Action::Pass,
        "the host's own packets arrive with any TTL"
    );
}

#[test]
fn who_may_not_cut_up_what_is_too_big_tells_how_long_it_may_be() {
    // Headers of 40 bytes, and a GSO frame counts by its segments.
    let table = [
        (1460, 0, true),
        (1461, 0, false),
        (9000, 1460, true),
        (9000, 1461, false),
    ];
    let ways = [
        (ifindex::A, A, GATEWAY, 5000, 80, HOST.1),
        (ifindex::E, E, GATEWAYS[2], 5000, 80, E.1),
        // The way back from a published port.
        (ifindex::A, A, GATEWAY, 80, 5000, HOST.1),
    ];
    for (index, from, gateway, sport, dport, _) in ways {
        for known in [false, true] {
            for (payload, gso_size, fits) in table {
                let env = lab();
                let datagram = whole(out(from, gateway, REMOTE));
                if sport == 80 {
                    arrives(&env, inward(REMOTE, HOST.1).syn(dport, 8080));
                } else if known {
                    sends(&env, index, datagram.syn(sport, dport));
                }
                let flags = if known || sport == 80 { ACK } else { SYN };
                let frame = Frame {
                    gso_size,
                    ..at(index, datagram.tcp(sport, dport, flags, &vec![0; payload]))
                };
                let result = run(&env, Hook::FromContainer, &frame);
                if fits {
                    assert!(result.action() as u8 > Action::Drop as u8 && result.action() != Action::Answer);
                    continue;
                }
                assert_eq!(result.reason(), Reason::TooBig);
                let expected = about(&frame.bytes, (UNREACHABLE, 4), 1500, gateway, from);
                assert_eq!(
                    told(&result),
                    expected,
                    "{payload} bytes, GSO {gso_size}, known: {known}"
                );
                assert_eq!(env.flows.borrow().is_empty(), !known && sport != 80);
            }
        }
    }
}

#[test]
fn an_answered_packet_is_a_dropped_one_and_the_answer_is_nobodys() {
    let env = lab();
    let bytes = dying(out(A, GATEWAY, REMOTE)).udp(5000, 53, b"asked");
    let length = u64::try_from(bytes.len()).unwrap();
    told(&sends(&env, ifindex::A, bytes.clone()));
    arrives(&env, inward(REMOTE, HOST.1).syn(5000, 8080));
    let traffic = env.traffic.borrow()[&slot::A];
    assert_eq!((traffic.tx_packets, traffic.tx_bytes, traffic.drops), (1, length, 1));
    told(&arrives(&env, dying(inward(REMOTE, HOST.1)).syn(5000, 8080)));
    let traffic = env.traffic.borrow();
    assert_eq!(
        (traffic[&slot::A].rx_packets, traffic[&slot::UPLINK].rx_packets),
        (1, 0)
    );
    assert_eq!(
        (traffic[&slot::UPLINK].tx_packets, traffic[&slot::UPLINK].drops),
        (2, 1)
    );
    assert_eq!(env.dropped(Reason::TtlExpired), 2);
    let reported: Vec<_> = env.events.borrow().iter().map(|event| event.reason).collect();
    assert_eq!(reported, [Reason::TtlExpired as u8; 2]);
}

#[test]
fn beyond_so_many_answers_a_tick_packets_are_only_dropped() {
    let mut env = lab();
    env.config.answers_per_tick = 3;
    let send = |env: &HostEnv| {
        let result = sends(env, ifindex::A, dying(out(A, GATEWAY, REMOTE)).udp(5000, 53, b"asked"));
        assert_eq!(result.reason(), Reason::TtlExpired);
        result.action()
    };
    let (answer, drop) = (Action::Answer, Action::Drop);
    assert_eq!([0; 5].map(|_| send(&env)), [answer, answer, answer, drop, drop]);
    let whole = Datagram {
        fragment: 0x4000,
        ..out(B, GATEWAY, REMOTE)
    };
    let long = sends(&env, ifindex::B, whole.udp(5000, 53, &[0; 1600]));
    assert_eq!(long.action(), answer, "a neighbour's path MTU is not silenced");
    env.now += 1;
    assert_eq!(send(&env), answer);
    assert_eq!(env.dropped(Reason::TtlExpired), 6);
}

#[test]
fn nobody_is_told_who_is_not_one_host() {
    let env = lab();
    for src in [[0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        let result = arrives(&env, dying(inward(src, HOST.1)).syn(5000, 8080));
        assert_eq!(
            (result.action(), result.reason()),
            (Action::Drop, Reason::Martian),
            "{src:?}"
        );
    }
    for dst in [[0, 0, 0, 1], [127, 0, 0, 1], [240, 0, 0, 1]] {
        let result = sends(&env, ifindex::A, dying(out(A, GATEWAY, dst)).udp(5000, 53, b""));
        assert_eq!(
            (result.action(), result.reason()),
            (Action::Drop, Reason::Martian),
            "{dst:?}"
        );
    }
    assert_eq!(env.answers.borrow().used, 0);
}

#[test]
fn as_much_is_quoted_as_an_answer_of_576_bytes_holds_and_no_padding() {
    let env = lab();
    for (payload, quoted) in [(0, 28), (1, 29), (519, 547), (520, 548), (521, 548), (1400, 548)] {
        let mut bytes = dying(out(A, GATEWAY, REMOTE)).udp(5000, 53, &vec![0x5a; payload]);
        bytes.resize(bytes.len() + 7, 0xee);
        let answer = told(&sends(&env, ifindex::A, bytes.clone()));
        assert_eq!(answer.quote, bytes[14..14 + quoted], "{payload} bytes");
    }
}

#[test]
fn a_quote_is_never_longer_than_the_frame() {
    let env = lab();
    let mut bytes = dying(out(A, GATEWAY, REMOTE)).tcp(5000, 80, SYN, &[0; 600]);
    // A GSO frame beyond 64 KiB says 0: that as much is there can only be believed.
    bytes[16..18].fill(0);
    seal(&mut bytes);
    for (length, answered) in [(562, true), (561, false), (48, false)] {
        let frame = Frame {
            gso_size: 1448,
            ..at(ifindex::A, bytes[..length].to_vec())
        };
        let result = run(&env, Hook::FromContainer, &frame);
        assert_eq!(result.reason(), Reason::TtlExpired);
        assert_eq!(result.action() == Action::Answer, answered, "{length} bytes");
    }
}

#[test]
fn what_the_filter_refuses_is_not_answered() {
    let mut env = lab();
    env.set_filter(verdict::DROP, &[]);
    for dst in [REMOTE, B.1] {
        let result = sends(&env, ifindex::A, dying(out(A, GATEWAY, dst)).udp(5000, 53, b""));
        assert_eq!(result.reason(), Reason::Filtered, "to {dst:?}");
    }
}

#[test]
fn no_answer_is_made_about_an_error_or_a_reply_to_nothing() {
    let env = lab();
    let seen = packet_of(&sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(5000, 53, b"")).bytes);
    let error = dying(inward(ROUTER.1, HOST.1)).error(TIME_EXCEEDED, &seen);
    assert_eq!(arrives(&env, error).action(), Action::Drop);
    let delivered = packet_of(&arrives(&env, inward(REMOTE, HOST.1).udp(53, 5000, b"")).bytes);
    let error = dying(out(A, GATEWAY, REMOTE)).error(UNREACHABLE, &delivered);
    assert_eq!(sends(&env, ifindex::A, error).action(), Action::Drop);
    let reply = dying(out(A, GATEWAY, REMOTE)).echo(ECHO_REPLY, 7, b"");
    assert_eq!(sends(&env, ifindex::A, reply).action(), Action::Drop);
    assert_eq!(halves(&env, 1).len(), 1);
}

#[test]
fn within_a_network_nothing_ends() {
    let mut env = lab();
    env.set_filter(verdict::ACCEPT, &[crate::host::lab::rule(verdict::ACCEPT)]);
    sends(&env, ifindex::A, out(A, GATEWAY, B.1).udp(5000, 53, b""));
    let straight = dying(Datagram::new(A, B)).udp(5000, 53, b"");
    let result = sends(&env, ifindex::A, straight.clone());
    assert_eq!(
        (result.to(), result.reason()),
        ((Action::Peer, ifindex::B), Reason::None)
    );
    assert_eq!(result.bytes, straight);
    // A MAC that is not the one the flow knows: the frame is the bridge's all the same.
    let moved = Datagram {
        dmac: [2, 9, 9, 9, 9, 9],
        ..dying(Datagram::new(A, B))
    };
    let result = sends(&env, ifindex::A, moved.udp(5000, 53, b""));
    assert_eq!((result.action(), result.reason()), (Action::Pass, Reason::None));
    assert_eq!(env.dropped(Reason::TtlExpired), 0);
}
