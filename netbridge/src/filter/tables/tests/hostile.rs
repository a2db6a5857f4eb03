//! Rules that ask for too much: they are refused by name, and soon.

use netbridge_common::abi::{FilterHead, PAGE_WORDS, PLACES, SEARCH_STEPS, WORD_PAGES, word};

use super::counting::Compiled;
use super::draw::{Dice, Pool};
use super::{HZ, worlds};
use crate::filter::syntax::{Ruleset, parse};
use crate::filter::tables::program::MOST_BOXES;
use crate::filter::tables::{KnownInterface, Tables, TooComplex, World, compile};
use crate::model::MacAddr;

fn rules(chains: &str, rules: &str, sets: &str) -> Ruleset {
    let text = format!("*filter\n:FORWARD DROP [0:0]\n{chains}{rules}COMMIT\n");
    parse("f", &text, Some(("s", sets))).unwrap().ruleset
}

/// `count` lines of `FORWARD`.
fn lines(count: u32, line: impl Fn(u32) -> String) -> String {
    (0..count)
        .map(|number| format!("-A FORWARD {}\n", line(number)))
        .collect()
}

fn compiled(text: &str) -> Result<Tables, TooComplex> {
    compile(&rules("", text, ""), &worlds()[0], HZ)
}

fn address(number: u32) -> String {
    std::net::Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b1)).to_string()
}

/// Most steps that packets at the edges of the rules take.
fn seen(rules: &Ruleset, tables: &Tables) -> usize {
    let compiled = Compiled::new(tables);
    let (pool, mut dice) = (Pool::of(rules, &worlds()[0]), Dice(1));
    let steps = (0..2000).map(|_| {
        compiled.ask(&pool.packet(&mut dice));
        compiled.steps.get()
    });
    steps.max().unwrap_or(0)
}

#[test]
fn rules_that_go_on_are_refused_where_a_packet_could_take_too_many_steps() {
    for count in [1, 10, 62] {
        let rules = rules("", &lines(count, |_| "-j LOG".to_owned()), "");
        let tables = compile(&rules, &worlds()[0], HZ).unwrap();
        assert!(seen(&rules, &tables) <= tables.steps && tables.steps <= SEARCH_STEPS as usize);
    }
    for count in [64, 100, 5000] {
        let refused = compiled(&lines(count, |_| "-j LOG".to_owned())).unwrap_err();
        assert!(
            matches!(refused, TooComplex::Steps { steps } if steps > SEARCH_STEPS as usize),
            "{refused}"
        );
    }
    // As long as a packet meets few of them, they may be many.
    let rules = rules("", &lines(5000, |number| format!("-s {} -j LOG", address(number))), "");
    let tables = compile(&rules, &worlds()[0], HZ).unwrap();
    assert!(seen(&rules, &tables) <= tables.steps && tables.steps < 100);
}

#[test]
fn jumps_that_come_back_count_as_steps() {
    let jumps = |count: u32| {
        rules(
            ":c - [0:0]\n",
            &(lines(count, |_| "-j c".to_owned()) + "-A c -p tcp -j DROP\n"),
            "",
        )
    };
    let (few, many) = (jumps(30), jumps(200));
    let tables = compile(&few, &worlds()[0], HZ).unwrap();
    assert!(seen(&few, &tables) <= tables.steps);
    assert!(matches!(
        compile(&many, &worlds()[0], HZ),
        Err(TooComplex::Steps { .. })
    ));
}

#[test]
fn chains_that_are_reached_too_often_are_refused() {
    let names = (1..16)
        .map(|number| format!(":c{number} - [0:0]\n"))
        .collect::<String>();
    let jumps = (1..15).flat_map(|number| std::iter::repeat_n(format!("-A c{number} -j c{}\n", number + 1), 4));
    let text = lines(1, |_| "-j c1".to_owned()) + &jumps.collect::<String>() + "-A c15 -j DROP\n";
    let refused = compile(&rules(&names, &text, ""), &worlds()[0], HZ).unwrap_err();
    assert!(matches!(refused, TooComplex::Places { line } if line > 0), "{refused}");
    assert!(refused.to_string().contains(&PLACES.to_string()));
}

#[test]
fn every_field_alone_may_differ_in_many_rules() {
    type Line = fn(u32) -> String;
    let fields: [Line; 10] = [
        |n| format!("-s {} -j DROP", address(n)),
        |n| format!("-d {} -j DROP", address(n)),
        |n| format!("-s {} -d {} -j DROP", address(n), address(!n)),
        |n| format!("! -s {} -j DROP", address(n)),
        |n| format!("-p tcp -m tcp --sport {n} -j DROP"),
        |n| format!("-p udp -m udp --dport {n} -j DROP"),
        |n| format!("-p icmp -m icmp --icmp-type {}/{} -j DROP", n / 256, n % 256),
        |n| format!("-p {} -j DROP", n % 255 + 1),
        |n| {
            format!(
                "-m mac --mac-source 02:00:00:00:{:02x}:{:02x} -j DROP",
                n / 256,
                n % 256
            )
        },
        |n| {
            format!(
                "-m conntrack --ctstate {} -j DROP",
                ["NEW", "RELATED", "ESTABLISHED,DNAT"][n as usize % 3]
            )
        },
    ];
    for field in fields {
        let rules = rules("", &lines(4000, field), "");
        let tables = compile(&rules, &worlds()[0], HZ).unwrap();
        assert!(
            seen(&rules, &tables) <= tables.steps && tables.steps < 32,
            "{}: {}",
            field(1),
            tables.steps
        );
    }
}

#[test]
fn masks_with_too_many_holes_are_refused() {
    assert_eq!(
        compiled("-A FORWARD -j LOG\n-A FORWARD -s 0.0.0.1/0.0.0.1 -j DROP\n").unwrap_err(),
        TooComplex::Holes { line: 4 }
    );
    assert!(compiled("-A FORWARD -s 10.0.7.0/255.0.255.0 -j DROP\n").is_ok());
}

#[test]
fn macs_and_interfaces_that_collide_are_refused() {
    let collides = |value: &u64| word::place(word::exact(16, 0), *value).0 == 0;
    let macs: Vec<u64> = (1_u64..).map(|n| n << 8 | 2).filter(collides).take(20).collect();
    let line = |n: u32| {
        let [_, _, mac @ ..] = macs[n as usize].to_be_bytes();
        format!("-m mac --mac-source {} -j DROP", MacAddr(mac))
    };
    assert_eq!(
        compiled(&lines(20, line)).unwrap_err(),
        TooComplex::Colliding { what: "MACs" }
    );
    let known = |(n, ifindex): (usize, u64)| KnownInterface {
        ifindex: ifindex as u32,
        network: 0,
        names: vec![format!("e{n}")],
    };
    let interfaces = (1_u64..).filter(collides).take(20).enumerate().map(known);
    let world = World {
        interfaces: std::iter::once(KnownInterface::default()).chain(interfaces).collect(),
        ..World::default()
    };
    let named = rules("", &lines(20, |n| format!("-i e{n} -j DROP")), "");
    let refused = compile(&named, &world, HZ).unwrap_err();
    assert_eq!(refused, TooComplex::Colliding { what: "interfaces" });
}

#[test]
fn combinations_are_counted_before_they_are_made() {
    // Ports that other rules tell apart, and of which every second is asked for: each is a range of classes of its own.
    let alone = |kind: &str| lines(30, |port| format!("-p tcp -m tcp --{kind} {} -j DROP", port * 2));
    let ports = (0..15).map(|port| (port * 4).to_string()).collect::<Vec<_>>().join(",");
    let each = |_| format!("-p tcp -m multiport --sports {ports} -m multiport --dports {ports} -j DROP");
    let several = |count| alone("sport") + &alone("dport") + &lines(count, each);
    assert_eq!(
        compiled(&several(100)).map(|tables| tables.boxes.len()),
        Ok(61 + 225 * 100)
    );
    let refused = compiled(&several(600)).unwrap_err();
    // Of 225 each, 583 are too many.
    assert_eq!(refused, TooComplex::Boxes { line: 2 + 60 + 583 });
    let elements = |name: &str, kind: &str, element: &dyn Fn(u32) -> String| {
        let add = (0..3000).map(|n| format!("add {name} {}\n", element(n)));
        format!("create {name} {kind}\n{}", add.collect::<String>())
    };
    let sets = elements("s", "hash:net,port", &|n| format!("{},{n}", address(n)))
        + &elements("t", "hash:net,net", &|n| format!("{},{}", address(n), address(!n)));
    let line = |_| "-m set --match-set s src,dst -m set --match-set t src,dst -j DROP".to_owned();
    let few = compile(&rules("", &lines(2, line), &sets), &worlds()[0], HZ).unwrap();
    assert!(few.boxes.len() < 20_000);
    let many = compile(&rules("", &lines(100, line), &sets), &worlds()[0], HZ).unwrap_err();
    assert!(matches!(many, TooComplex::Boxes { .. }) && many.to_string().contains(&MOST_BOXES.to_string()));
}

#[test]
fn large_sets_cost_once_however_many_rules_ask_for_them() {
    let add = (0..20_000).map(|n| format!("add s {}/24\n", address(n)));
    let sets = format!("create s hash:net\n{}", add.collect::<String>());
    let shared = lines(4000, |n| {
        format!("-p tcp -m set --match-set s src -m tcp --dport {n} -j DROP")
    });
    let tables = compile(&rules("", &shared, &sets), &worlds()[0], HZ).unwrap();
    assert!(tables.boxes.len() == 4001 && tables.words.len() < (WORD_PAGES * PAGE_WORDS) as usize);
    // Each would be a large set of its own.
    let apart = lines(4000, |n| {
        format!("! -s {} -m set --match-set s src -j DROP", address(n * 5))
    });
    let refused = compile(&rules("", &apart, &sets), &worlds()[0], HZ).unwrap_err();
    assert!(matches!(refused, TooComplex::Ranges { .. }), "{refused}");
}

#[test]
fn values_are_told_apart_as_far_as_their_numbers_go() {
    let line = |n: u32| {
        let ports: Vec<String> = (0..15).map(|port| ((n * 15 + port) % 65_536).to_string()).collect();
        format!(
            "-p tcp -m multiport --dports {} -m conntrack --ctstate NEW -j LOG",
            ports.join(",")
        )
    };
    let refused =
        compiled(&(lines(4370, line) + &lines(65_000 / 16, |n| format!("-p tcp -m tcp --dport {} -j DROP", n * 16))));
    assert!(refused.is_ok_and(|tables| tables.boxes.len() > 4000));
    let refused = compiled(&lines(61_000, |n| format!("-p tcp -m tcp --dport {n} -j DROP")));
    assert!(refused.is_ok());
}

#[test]
fn more_ports_told_apart_than_have_numbers_are_refused() {
    // A set for each bit of a port's number: no two ports are in the same sets.
    let bits = 0..16_u32;
    let set = |bit: u32| {
        let size = 1 << bit;
        let add = (0..65_536 / size).filter(|block| block % 2 == 1);
        let add = add.map(|block| format!("add b{bit} {}-{}\n", block * size, block * size + (size - 1)));
        format!("create b{bit} bitmap:port range 0-65535\n{}", add.collect::<String>())
    };
    let sets: String = bits.clone().map(set).collect();
    for (direction, port, what) in [("src", "sport", "source ports"), ("dst", "dport", "destination ports")] {
        let asked = bits
            .clone()
            .map(|bit| format!("-A FORWARD -m set --match-set b{bit} {direction} -j LOG\n"));
        // Port 0 is in none of them, like what has no port.
        let any = format!("-A FORWARD -p tcp --{port} 0 -j DROP\n");
        let rules = rules("", &(asked.collect::<String>() + &any), &sets);
        let refused = compile(&rules, &worlds()[0], HZ).map(|tables| tables.steps);
        assert_eq!(refused, Err(TooComplex::Classes { what }));
    }
}

#[test]
fn a_search_that_would_be_too_large_is_refused() {
    let line = |n: u32| {
        let [sport, dport] = [0x9e37_79b1, 0x85eb_ca6b].map(|factor| n.wrapping_mul(factor) >> 16);
        let (source, destination) = (address(n), address(!n));
        format!("-s {source} -d {destination} -p tcp --sport {sport} --dport {dport} -j DROP")
    };
    assert!(compiled(&lines(10_000, line)).is_ok());
    let refused = compiled(&lines(65_000, line)).map(|tables| tables.words.len());
    assert_eq!(refused, Err(TooComplex::Crossing));
}

#[test]
fn an_empty_filter_asks_nothing() {
    let tables = compile(
        &parse("f", "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n", None)
            .unwrap()
            .ruleset,
        &worlds()[0],
        HZ,
    );
    assert_eq!(tables.map(|tables| tables.head.active), Ok(0));
    let head: FilterHead = Tables::empty().head;
    assert_eq!(head.active, 0);
}
