//! Limits in time.

use netbridge_common::abi::{Hook, Reason};
use netbridge_common::host::build::Datagram;
use netbridge_common::host::filter::Bank;
use netbridge_common::host::lab::{A, B, at, ifindex, lab};

use super::counting::Compiled;
use super::draw::Dice;
use super::interpreter::Verdict;
use super::packet::{Device, Flow, Packet, Payload, Stage};
use super::{HZ, worlds};
use crate::filter::syntax::parse;
use crate::filter::tables::{Tables, compile};

/// Ticks of the datapath's clock in a second, nearly.
const SECOND: u32 = (HZ / 64) as u32;

fn compiled(rules: &str) -> Tables {
    let text = format!("*filter\n:FORWARD DROP [0:0]\n:inner - [0:0]\n{rules}\nCOMMIT\n");
    let [world, _] = worlds();
    compile(&parse("f", &text, None).unwrap().ruleset, &world, HZ).unwrap()
}

fn packet(source: u8, dport: u16) -> Packet {
    let outside = Device { ifindex: 2, network: 0 };
    Packet {
        input: outside,
        output: outside,
        source: [10, 0, source, 7].into(),
        destination: [10, 9, 9, 9].into(),
        mac: [2; 6],
        payload: Payload::Udp { sport: 1, dport },
        flow: Some(Flow {
            stage: Stage::New,
            reply: false,
            snat: false,
            dnat: false,
        }),
    }
}

/// How many of `count` packets pass at once.
fn passing(filter: &Compiled, packet: &Packet, count: usize) -> usize {
    (0..count)
        .filter(|_| filter.ask(packet).verdict == Verdict::Accept)
        .count()
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    for (limit, burst, a_minute) in [
        ("-m limit --limit 10/sec --limit-burst 20", 20, 600),
        ("-m limit --limit 30/min", 5, 30),
        (
            "-m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 20 --hashlimit-name h",
            20,
            600,
        ),
    ] {
        let tables = compiled(&format!("-A FORWARD {limit} -j ACCEPT"));
        let mut filter = Compiled::new(&tables);
        filter.env.now = 12_345;
        assert_eq!(passing(&filter, &packet(0, 1), 100), burst, "{limit}");
        let mut passed = 0;
        for _ in 0..10 * 60 * SECOND {
            filter.env.now += 1;
            passed += passing(&filter, &packet(0, 1), 2);
        }
        // A tick is 64 of the kernel's, of which 1000 make a second.
        let expected = a_minute * 10 * 60 * SECOND as usize * 64 / (60_000 * 10) * 10;
        assert!(
            passed.abs_diff(expected / 10 * 10) <= 10,
            "{limit}: {passed}, not {expected}"
        );
        filter.env.now += 3600 * SECOND;
        assert_eq!(
            passing(&filter, &packet(0, 1), 100),
            burst,
            "{limit}: never more than the burst"
        );
    }
}

#[test]
fn above_is_what_upto_is_not() {
    let both = ["upto", "above"].map(|kind| {
        compiled(&format!(
            "-A FORWARD -m hashlimit --hashlimit-{kind} 3/sec --hashlimit-burst 4 --hashlimit-name h -j ACCEPT"
        ))
    });
    let [mut upto, mut above] = both.each_ref().map(Compiled::new);
    let mut dice = Dice(1);
    let mut passed = 0;
    for _ in 0..1000 {
        let pause = dice.below(8) as u32;
        upto.env.now += pause;
        above.env.now += pause;
        let [one, other] = [&upto, &above].map(|filter| passing(filter, &packet(0, 1), 1));
        assert_eq!(one + other, 1);
        passed += one;
    }
    assert!((100..900).contains(&passed), "{passed}");
}

#[test]
fn keys_tell_buckets_apart() {
    for (mode, same, other) in [
        ("srcip", packet(0, 2), packet(1, 1)),
        (
            "srcip --hashlimit-srcmask 16",
            packet(1, 2),
            Packet {
                source: [10, 1, 0, 1].into(),
                ..packet(0, 1)
            },
        ),
        (
            "dstip",
            packet(1, 2),
            Packet {
                destination: [10, 9, 9, 8].into(),
                ..packet(0, 1)
            },
        ),
        ("dstport", packet(1, 1), packet(0, 2)),
        (
            "srcport",
            packet(1, 2),
            Packet {
                payload: Payload::Tcp {
                    sport: 2,
                    dport: 1,
                    flags: 0,
                },
                ..packet(0, 1)
            },
        ),
        (
            "srcip,dstport",
            Packet {
                mac: [4; 6],
                ..packet(0, 1)
            },
            packet(0, 2),
        ),
    ] {
        let tables = compiled(&format!(
            "-A FORWARD -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 2 --hashlimit-name h --hashlimit-mode {mode} -j ACCEPT"
        ));
        let filter = Compiled::new(&tables);
        assert_eq!(passing(&filter, &packet(0, 1), 5), 2, "{mode}");
        assert_eq!(passing(&filter, &same, 5), 0, "{mode}");
        assert_eq!(passing(&filter, &other, 5), 2, "{mode}");
    }
}

#[test]
fn a_message_of_icmp_has_no_port() {
    let tables = compiled(
        "-A FORWARD -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 2 --hashlimit-name h --hashlimit-mode srcport,dstport -j ACCEPT",
    );
    let filter = Compiled::new(&tables);
    let icmp = |kind| Packet {
        payload: Payload::Icmp { kind, code: 0 },
        ..packet(0, 1)
    };
    assert_eq!(passing(&filter, &icmp(8), 1), 1);
    assert_eq!(passing(&filter, &icmp(0), 5), 1);
}

#[test]
fn what_the_kernel_takes_for_ports_tells_buckets_apart() {
    let tables = compiled(
        "-A FORWARD -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-name h --hashlimit-mode dstport -j ACCEPT",
    );
    // Where in the header; nowhere for GRE.
    for (protocol, place) in [(33, 0), (50, 0), (132, 0), (136, 0), (51, 4), (47, 8)] {
        let mut env = lab();
        env.swap_filter(Bank {
            head: tables.head,
            words: tables.words.clone(),
            patches: Vec::new(),
            boxes: tables.boxes.clone(),
            limits: tables.limits.clone(),
        });
        let passes = |from: usize, label: u8, fragment: u16| {
            let mut payload = [0; 24];
            payload[from + 3] = label;
            let datagram = Datagram {
                fragment,
                ..Datagram::new(A, B)
            };
            let verdict = env.run(Hook::FromContainer, &at(ifindex::A, datagram.frame(protocol, &payload)));
            verdict.reason == Reason::None
        };
        assert!(passes(place, 1, 0), "{protocol}");
        assert!(!passes(place, 1, 0), "{protocol}");
        assert_eq!(passes(place, 2, 0), place < 8, "{protocol}");
        // A later fragment has no header.
        assert_eq!(passes(place, 3, 0x2000), place < 8, "{protocol}");
        assert_eq!(passes(place, 4, 3), place < 8, "{protocol}: port 0");
        assert!(!passes(place, 5, 3), "{protocol}");
    }
}

#[test]
fn a_jump_with_a_limit_takes_one_token() {
    let tables = compiled(
        "-A inner -p tcp -j ACCEPT\n-A inner -s 10.0.1.0/24\n-A inner -p udp -j ACCEPT\n\
         -A FORWARD -m limit --limit 1/min --limit-burst 3 -j inner",
    );
    let filter = Compiled::new(&tables);
    assert_eq!(passing(&filter, &packet(1, 1), 9), 3);
}

#[test]
fn what_stands_before_a_limit_is_asked_before_and_what_behind_takes_a_token() {
    let before = compiled("-A FORWARD -p udp -m udp --dport 2 -m limit --limit 1/min --limit-burst 3 -j ACCEPT");
    let behind = compiled("-A FORWARD -p udp -m limit --limit 1/min --limit-burst 3 -m udp --dport 2 -j ACCEPT");
    for (tables, left) in [(before, 3), (behind, 1)] {
        let filter = Compiled::new(&tables);
        assert_eq!(passing(&filter, &packet(0, 1), 2), 0);
        assert_eq!(passing(&filter, &packet(0, 2), 9), left);
    }
}

#[test]
fn both_limits_of_a_rule_have_their_say() {
    let tables = compiled(
        "-A FORWARD -m limit --limit 1/min --limit-burst 9 \
         -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-name h -j ACCEPT",
    );
    let filter = Compiled::new(&tables);
    assert_eq!(passing(&filter, &packet(0, 1), 5), 2);
    // The first limit's tokens are gone for the three that the second has refused.
    let others: usize = (1..9).map(|source| passing(&filter, &packet(source, 1), 1)).sum();
    assert_eq!(others, 4);
}

#[test]
fn a_limit_on_very_many_combinations_takes_one_token() {
    let elements: String = (0..400)
        .map(|n| format!("add s 10.0.{}.{}\n", n / 200, n % 200 + 1))
        .collect();
    let services: String = (0..400)
        .map(|n| format!("add t 10.0.0.7,udp:{}\n", n * 2 + 1))
        .collect();
    let sets = format!("create s hash:ip\n{elements}create t hash:ip,port\n{services}");
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set t src,dst -m limit --limit 1/min --limit-burst 3 -j LOG\n\
                -A FORWARD -m set --match-set s src -j ACCEPT\nCOMMIT\n";
    let rules = parse("f", text, Some(("s", &sets))).unwrap().ruleset;
    let [world, _] = worlds();
    let tables = compile(&rules, &world, HZ).unwrap();
    let filter = Compiled::new(&tables);
    let logged = |_| filter.ask(&packet(0, 1)).counted.len() - 1;
    assert_eq!((0..9).map(logged).sum::<usize>(), 3);
}
