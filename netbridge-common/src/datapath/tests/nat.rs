//! Masquerade: which source port, that no two flows share one, and that the way back undoes it.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::abi::{FlowKey, FlowV4, Reason, flow_flags, proto, verdict};
use crate::datapath::conntrack::other_half;
use crate::datapath::state::is_expired;
use crate::datapath::verdict::Action;
use crate::host::build::Datagram;
use crate::host::filter::RuleV4;
use crate::host::lab::{A, B, ELSEWHERE, GATEWAY, HOST, Node, REMOTE, ROUTER, SECOND, ifindex, inward, lab, out};
use crate::host::lab::{publish, publish_range, rule, slot};
use crate::host::{HostEnv, Ip};
use crate::wire::tcp::{ACK, FIN, RST, SYN};

use super::{Result, answer_to, arrives, halves, sends};

fn ask(env: &HostEnv, (from, ifindex): (Node, u32), sport: u16) -> Result {
    sends(env, ifindex, out(from, GATEWAY, REMOTE).udp(sport, 53, b"ask"))
}

/// The source port, or the identifier of an echo, of a frame without IP options.
fn port_of(protocol: u8, frame: &[u8]) -> u16 {
    let at = if protocol == proto::ICMP { 38 } else { 34 };
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[test]
fn a_port_is_found_where_nearly_all_are_taken() {
    let mut env = lab();
    env.config.snat_ports = 1000;
    // Not ports in a row: these go to ports in a row.
    let mut ports = (0_u32..).map(|number| 33_000 + (number.pow(2) & 0x3fff) as u16);
    while halves(&env, 1).len() < 900 {
        let sport = ports.next().unwrap();
        assert_eq!(ask(&env, (A, ifindex::A), sport).reason(), Reason::None, "{sport}");
    }
}

#[test]
fn a_source_port_is_kept_unless_the_host_may_use_it() {
    let env = lab();
    let range = env.config.snat_min..env.config.snat_min + env.config.snat_ports;
    for (sport, kept) in [
        (1, true),
        (1023, true),
        (1024, true),
        (5000, true),
        (32_767, true),
        (32_768, false),
        (60_999, false),
        (61_000, true),
        (65_535, true),
    ] {
        let port = port_of(proto::UDP, &ask(&env, (A, ifindex::A), sport).bytes);
        assert_eq!(port == sport, kept, "{sport} became {port}");
        assert!(kept || range.contains(&port), "{sport} became {port}");
    }
}

/// A port that comes back at once meets the server's TIME-WAIT of another connection, and the client waits.
#[test]
fn a_client_that_goes_through_its_ports_goes_through_as_many_of_the_hosts() {
    let mut env = lab();
    env.published.clear();
    let mut taken = HashSet::new();
    for sport in env.config.local_min..=env.config.local_max {
        let port = port_of(proto::UDP, &ask(&env, (A, ifindex::A), sport).bytes);
        assert!(taken.insert(port), "{sport} became {port}, as an earlier one did");
        env.flows.borrow_mut().clear();
    }
}

#[test]
fn a_port_that_is_taken_towards_the_same_remote_is_replaced() {
    let env = lab();
    assert_eq!(port_of(proto::UDP, &ask(&env, (A, ifindex::A), 5000).bytes), 5000);
    let second = ask(&env, (B, ifindex::B), 5000).bytes;
    assert_ne!(port_of(proto::UDP, &second), 5000);
    assert_eq!(arrives(&env, answer_to(&second, None)).to(), (Action::Peer, ifindex::B));
    let elsewhere = sends(&env, ifindex::B, out(B, GATEWAY, ROUTER.1).udp(5000, 53, b""));
    assert_eq!(port_of(proto::UDP, &elsewhere.bytes), 5000, "to another one it is free");
}

#[test]
fn a_published_port_is_never_taken() {
    for (at, protocol) in [
        ([0; 4], proto::UDP),
        (HOST.1, proto::UDP),
        ([0; 4], proto::TCP),
        (ELSEWHERE, proto::UDP),
    ] {
        let mut env = lab();
        publish(&mut env, (protocol, at, 5000), (B, ifindex::B, slot::B), 53);
        let shadows = protocol == proto::UDP && at != ELSEWHERE;
        let port = port_of(proto::UDP, &ask(&env, (A, ifindex::A), 5000).bytes);
        assert_eq!(port != 5000, shadows, "{protocol} {at:?}");
    }
    let mut env = lab();
    publish_range(
        &mut env,
        (proto::UDP, HOST.1, 4990..=5001),
        (B, ifindex::B, slot::B),
        53,
    );
    for (sport, kept) in [(4989, true), (4990, false), (5000, false), (5001, false), (5002, true)] {
        let port = port_of(proto::UDP, &ask(&env, (A, ifindex::A), sport).bytes);
        assert_eq!(port == sport, kept, "{sport} became {port}");
    }
    // Neither as one of the range: the only port left is not published.
    let mut env = lab();
    env.config.snat_ports = 2;
    publish(&mut env, (proto::UDP, [0; 4], 1024), (B, ifindex::B, slot::B), 53);
    for (sport, expected) in [(40_001, Reason::None), (40_002, Reason::NatExhausted)] {
        let result = ask(&env, (A, ifindex::A), sport);
        assert_eq!(result.reason(), expected);
        assert!(expected != Reason::None || port_of(proto::UDP, &result.bytes) == 1025);
    }
}

#[test]
fn after_128_tries_the_range_is_exhausted() {
    let mut env = lab();
    env.config.snat_ports = 1;
    assert_eq!(ask(&env, (B, ifindex::B), 40_001).reason(), Reason::None);
    let before = *env.writes.borrow();
    assert_eq!(ask(&env, (A, ifindex::A), 40_001).reason(), Reason::NatExhausted);
    assert_eq!(*env.writes.borrow() - before, 128);
    assert_eq!(env.flows.borrow().len(), 2, "nothing is left of the attempt");
    env.now += 200 * SECOND + 1;
    assert_eq!(
        ask(&env, (A, ifindex::A), 40_001).reason(),
        Reason::NatExhausted,
        "late answers of B's may still come"
    );
    assert_eq!(
        ask(&env.clone(), (B, ifindex::B), 40_001).reason(),
        Reason::None,
        "which are its own"
    );
    env.now += 120 * SECOND;
    assert_eq!(
        ask(&env, (A, ifindex::A), 40_001).reason(),
        Reason::None,
        "the port is free again"
    );
}

#[test]
fn ports_of_the_range_depend_on_the_secret_and_the_remote() {
    let ports = |secret: u32, dst: Ip| -> Vec<u16> {
        let mut env = lab();
        env.config.secret = secret;
        let send = |sport| sends(&env, ifindex::A, out(A, GATEWAY, dst).udp(sport, 53, b"")).bytes;
        (40_000..40_016)
            .map(|sport| port_of(proto::UDP, &send(sport)))
            .collect()
    };
    let first = ports(1, REMOTE);
    assert_eq!(first, ports(1, REMOTE));
    assert_ne!(first, ports(2, REMOTE));
    assert_ne!(first, ports(1, ROUTER.1));
    assert!(first.iter().collect::<HashSet<_>>().len() > 12, "{first:?}");
}

/// One thing that happens to an instance.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// B instead of A sends; a port of 0 is one of an echo.
    Ask {
        b: bool,
        proto: u8,
        sport: u16,
        dst: Ip,
        flags: u8,
    },
    /// A packet from the outside for a port of the host.
    Answer { proto: u8, dport: u16, src: Ip, flags: u8 },
    /// Ticks go by.
    Wait(u32),
    /// The filter drops what comes in by this interface; nothing, if that is 0.
    Filter(u32),
}

fn events() -> impl Strategy<Value = Event> {
    let flags = || select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST]);
    let protocol = || select(vec![proto::TCP, proto::TCP, proto::UDP, proto::ICMP]);
    let remote = || select(vec![REMOTE, ROUTER.1]);
    let asks = (
        any::<bool>(),
        protocol(),
        select(vec![5000, 5001, 40_000, 40_001]),
        remote(),
        flags(),
    );
    let answers = (
        protocol(),
        select(vec![5000, 5001, 1024, 1025, 1026]),
        remote(),
        flags(),
    );
    let waits = select(vec![1, SECOND, 59 * SECOND, 61 * SECOND, 241 * SECOND, 301 * SECOND]);
    prop_oneof![
        4 => asks.prop_map(|(b, proto, sport, dst, flags)| Event::Ask { b, proto, sport, dst, flags }),
        4 => answers.prop_map(|(proto, dport, src, flags)| Event::Answer { proto, dport, src, flags }),
        2 => waits.prop_map(Event::Wait),
        1 => select(vec![0, 0, ifindex::A, ifindex::UPLINK]).prop_map(Event::Filter),
    ]
}

fn segment(datagram: &Datagram, protocol: u8, (sport, dport): (u16, u16), flags: u8, icmp: u8) -> Vec<u8> {
    match protocol {
        proto::TCP => datagram.tcp(sport, dport, flags, b""),
        proto::UDP => datagram.udp(sport, dport, b""),
        _ => datagram.echo(icmp, if icmp == 8 { sport } else { dport }, b""),
    }
}

fn happens(env: &mut HostEnv, event: Event) {
    match event {
        Event::Ask {
            b,
            proto,
            sport,
            dst,
            flags,
        } => {
            let (from, ifindex) = if b { (B, ifindex::B) } else { (A, ifindex::A) };
            sends(
                env,
                ifindex,
                segment(&out(from, GATEWAY, dst), proto, (sport, 53), flags, 8),
            );
        }
        Event::Answer {
            proto,
            dport,
            src,
            flags,
        } => {
            arrives(env, segment(&inward(src, HOST.1), proto, (53, dport), flags, 0));
        }
        Event::Wait(ticks) => env.now += ticks,
        Event::Filter(in_ifindex) => {
            let mut refuse: RuleV4 = rule(verdict::DROP);
            refuse.head.in_ifindex = in_ifindex;
            env.set_filter(
                verdict::ACCEPT,
                if in_ifindex == 0 {
                    &[]
                } else {
                    std::slice::from_ref(&refuse)
                },
            );
        }
    }
}

/// The live flows of the lab's first network that were opened there.
fn live(env: &HostEnv) -> Vec<(FlowKey<Ip>, FlowV4)> {
    let mut flows = halves(env, 1);
    flows.retain(|(key, flow)| {
        !is_expired(&env.config, key.proto, &flow.head, env.now) && flow.head.flags & flow_flags::REPLY == 0
    });
    flows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_two_live_flows_share_a_port_and_a_remote(events in vec(events(), 1..60)) {
        let mut env = lab();
        env.config.snat_ports = 3;
        env.config.timeouts.tcp_established = 300 * SECOND;
        for event in events {
            happens(&mut env, event);
            let mut taken = HashSet::new();
            for (key, flow) in live(&env) {
                let to = flow.tail;
                prop_assert!(taken.insert((key.proto, to.sport, to.dst, to.dport)), "{event:?}: {key:x?} {flow:x?}");
                let other_key = other_half(&key, &flow.head, &to);
                let other = env.flows.borrow().get(&other_key).copied();
                let Some(other) = other else {
                    return Err(TestCaseError::fail(format!("{event:?}: {key:x?} has lost its other half")));
                };
                prop_assert_eq!(other_half(&other_key, &other.head, &other.tail), key, "{:?}", event);
                prop_assert_eq!((other.head.seen, other.head.state), (flow.head.seen, flow.head.state), "{:?}", event);
            }
        }
    }

    #[test]
    fn the_way_back_undoes_the_way_out_byte_for_byte(
        protocol in select(vec![proto::TCP, proto::UDP, proto::ICMP]),
        (sport, dport) in any::<(u16, u16)>(),
        payload in vec(any::<u8>(), 0..64),
        (ttl, words) in (2_u8..=255, 0_usize..3),
        plain in any::<bool>(),
    ) {
        let env = lab();
        let with = |datagram: Datagram, ttl| Datagram { ttl, options: vec![1; words * 4], ..datagram };
        let build = |datagram: &Datagram, (sport, dport), reply: bool| {
            let mut bytes = match protocol {
                proto::TCP => datagram.tcp(sport, dport, SYN | if reply { ACK } else { 0 }, &payload),
                proto::UDP => datagram.udp(sport, dport, &payload),
                _ if reply => datagram.echo(0, dport, &payload),
                _ => datagram.echo(8, sport, &payload),
            };
            let checksum = 14 + 20 + words * 4 + 6;
            if protocol == proto::UDP && plain {
                bytes[checksum..checksum + 2].fill(0);
            }
            bytes
        };
        let sent = build(&with(out(A, GATEWAY, REMOTE), ttl), (sport, dport), false);
        let left = sends(&env, ifindex::A, sent);
        prop_assert_eq!(left.to(), (Action::Redirect, ifindex::UPLINK));
        let (_, flow) = halves(&env, 1)[0];
        let port = u16::from_be_bytes(flow.tail.sport);
        let on_the_wire = Datagram::new(HOST, (ROUTER.0, REMOTE));
        prop_assert_eq!(left.bytes, build(&with(on_the_wire, ttl - 1), (port, dport), false));

        let answer = build(&with(inward(REMOTE, HOST.1), ttl), (dport, port), true);
        let back = arrives(&env, answer);
        prop_assert_eq!(back.to(), (Action::Peer, ifindex::A));
        let expected = with(Datagram::new((GATEWAY.0, REMOTE), A), ttl - 1);
        prop_assert_eq!(back.bytes, build(&expected, (dport, sport), true));
    }
}
