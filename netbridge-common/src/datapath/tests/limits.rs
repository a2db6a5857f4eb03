//! What one port may ask of all others.

use crate::abi::{MacKey, Reason};
use crate::datapath::env::Budget;
use crate::datapath::verdict::Action;
use crate::host::HostEnv;
use crate::host::build::{Datagram, arp};
use crate::host::lab::{A, B, BEHIND_TRUNK, GATEWAY, Node, REMOTE, SECOND, ifindex, lab, out, slot};

use super::sends;

/// One of 250 stations behind a trunk.
fn station(last: u8) -> Node {
    ([2, 0, 0, 0, 1, last], [10, 1, 0, last.max(4)])
}

/// A station is heard at a port.
fn hears(env: &HostEnv, port: u32, last: u8) -> Reason {
    sends(env, port, Datagram::new(station(last), B).udp(1, 2, b"")).reason()
}

fn knows(env: &HostEnv, last: u8) -> bool {
    let mac = station(last).0;
    env.fdb.borrow().contains_key(&MacKey { mac, net: 1 })
}

fn learned(env: &HostEnv, slot: u32) -> i64 {
    env.learned.borrow().get(&slot).map_or(0, |learned| learned.count)
}

/// The lab with three MACs at most behind a trunk, and a second trunk with a slot of its own on the interface `OTHER`.
fn with_three() -> HostEnv {
    let mut env = lab();
    env.config.learned_per_port = 3;
    let mut trunk = env.links[&ifindex::TRUNK];
    trunk.head.slot = 7;
    env.links.insert(ifindex::OTHER, trunk);
    env
}

#[test]
fn a_trunk_has_as_many_macs_as_it_may() {
    let env = with_three();
    for last in 10..13 {
        assert_eq!(hears(&env, ifindex::TRUNK, last), Reason::None);
    }
    for last in 13..=250 {
        assert_eq!(hears(&env, ifindex::TRUNK, last), Reason::MacLimit, "{last}");
        assert!(!knows(&env, last));
    }
    for last in 10..13 {
        assert_eq!(hears(&env, ifindex::TRUNK, last), Reason::None, "{last} is known");
    }
    assert_eq!(
        hears(&env, ifindex::OTHER, 13),
        Reason::None,
        "another port has its own"
    );
    assert_eq!((learned(&env, slot::TRUNK), learned(&env, 7)), (3, 1));
}

#[test]
fn without_a_limit_all_are_learned() {
    let mut env = with_three();
    env.config.learned_per_port = 0;
    for last in 10..=250 {
        assert_eq!(hears(&env, ifindex::TRUNK, last), Reason::None);
    }
    assert_eq!(learned(&env, slot::TRUNK), 241);
}

#[test]
fn the_silent_make_room() {
    let mut env = with_three();
    for last in 10..13 {
        hears(&env, ifindex::TRUNK, last);
    }
    env.now += 200 * SECOND;
    assert_eq!(hears(&env, ifindex::TRUNK, 11), Reason::None);
    env.now += 100 * SECOND + 1;
    assert_eq!(hears(&env, ifindex::TRUNK, 13), Reason::None);
    assert!(!knows(&env, 10) && knows(&env, 11) && !knows(&env, 12) && knows(&env, 13));
    assert_eq!(learned(&env, slot::TRUNK), 2);
}

#[test]
fn the_table_is_walked_once_a_second() {
    let mut env = with_three();
    for last in 10..14 {
        hears(&env, ifindex::TRUNK, last);
    }
    // The walk found nobody silent; the controller then forgets one, which the count does not know.
    env.fdb.borrow_mut().remove(&MacKey {
        mac: station(10).0,
        net: 1,
    });
    env.now += SECOND - 1;
    assert_eq!(hears(&env, ifindex::TRUNK, 14), Reason::MacLimit);
    env.now += 1;
    assert_eq!(hears(&env, ifindex::TRUNK, 14), Reason::None);
}

#[test]
fn a_move_takes_a_place_and_leaves_one() {
    let env = with_three();
    for last in 10..13 {
        hears(&env, ifindex::TRUNK, last);
    }
    // Whoever plays the others' stations elsewhere must not fill the count of their port.
    for _ in 0..10 {
        assert_eq!(hears(&env, ifindex::OTHER, 10), Reason::None);
        assert_eq!((learned(&env, slot::TRUNK), learned(&env, 7)), (2, 1));
        assert_eq!(hears(&env, ifindex::TRUNK, 10), Reason::None);
        assert_eq!((learned(&env, slot::TRUNK), learned(&env, 7)), (3, 0));
    }
}

#[test]
fn a_full_fdb_counts_nobody() {
    let mut env = with_three();
    env.fdb_capacity = env.fdb.borrow().len();
    for last in 10..20 {
        assert_eq!(hears(&env, ifindex::TRUNK, last), Reason::None);
    }
    assert_eq!(learned(&env, slot::TRUNK), 0);
}

#[test]
fn what_goes_to_everybody_is_limited() {
    let mut env = lab();
    env.config.floods_per_second = 4;
    let nobody = ([2, 9, 9, 9, 9, 9], B.1);
    let udp = |to| Datagram::new(A, to).udp(1, 2, b"");
    let mut other = udp(([0xff; 6], B.1));
    other[12..14].copy_from_slice(&[0x88, 0xb5]);
    let floods = [
        ("a question", arp(A.0, A, B.1)),
        ("a broadcast", udp(([0xff; 6], [255; 4]))),
        ("a group", udp(([1, 0, 0x5e, 0, 0, 251], [224, 0, 0, 251]))),
        ("nobody known", udp(nobody)),
        ("another protocol", other),
    ];
    for filtered in [false, true] {
        let mut env = env.clone();
        if filtered {
            env.set_filter(crate::abi::verdict::ACCEPT, &[crate::host::lab::rule(0)]);
        }
        for (name, bytes) in &floods {
            let mut env = env.clone();
            for _ in 0..4 {
                assert_eq!(sends(&env, ifindex::A, bytes.clone()).action(), Action::Pass, "{name}");
            }
            for (name, bytes) in &floods {
                assert_eq!(
                    sends(&env, ifindex::A, bytes.clone()).reason(),
                    Reason::FloodLimit,
                    "{name}"
                );
            }
            assert_eq!(
                sends(&env, ifindex::A, udp(B)).to(),
                (Action::Peer, ifindex::B),
                "known"
            );
            let outward = sends(&env, ifindex::A, out(A, GATEWAY, REMOTE).udp(1, 2, b""));
            assert_eq!(outward.action(), Action::Redirect);
            let mut answer = arp(A.0, A, GATEWAY.1);
            answer[..6].copy_from_slice(&GATEWAY.0);
            assert_eq!(
                sends(&env, ifindex::A, answer).action(),
                Action::Pass,
                "for the gateway alone"
            );
            let neighbours = Datagram::new(BEHIND_TRUNK, ([0xff; 6], [255; 4])).udp(1, 2, b"");
            assert_eq!(
                sends(&env, ifindex::TRUNK, neighbours).reason(),
                Reason::None,
                "another port"
            );
            env.now += SECOND;
            assert_eq!(
                sends(&env, ifindex::A, bytes.clone()).action(),
                Action::Pass,
                "a second later"
            );
        }
    }
    env.config.floods_per_second = 0;
    for _ in 0..100 {
        assert_eq!(
            sends(&env, ifindex::A, arp(A.0, A, B.1)).reason(),
            Reason::None,
            "no limit"
        );
    }
}

#[test]
fn a_budget_is_full_again_when_its_span_is_over() {
    let mut budget = Budget::default();
    let start = u32::MAX - 5;
    let mut asked = |now| budget.take(now, 10, 2);
    assert_eq!((asked(start), asked(start), asked(start)), (true, true, false));
    assert!(!asked(start.wrapping_add(9)), "across the counter's end");
    assert!(asked(start.wrapping_add(10)));
    assert!(asked(start.wrapping_add(19)));
    assert!(!asked(start.wrapping_add(19)));
}
