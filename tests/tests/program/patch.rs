//! Patches of a filter, in the kernel: which of them is for a packet.

use anyhow::{Result, ensure};
use netbridge::filter::syntax::{parse, region, rule};
use netbridge::filter::tables::{Room, Tables, World, compile, compile_part};
use netbridge_common::abi::generation::unpatched;
use netbridge_common::abi::{HEADS, Hook, PATCHES, Reason, Region};
use netbridge_common::host::build::Datagram;
use netbridge_common::host::filter::Bank;
use netbridge_common::host::lab::{A, B, at, ifindex, lab};

use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::kernel::Outcome;

/// A filter without rules.
fn text(policy: &str) -> String {
    format!("*filter\n:FORWARD {policy} [0:0]\nCOMMIT\n")
}

fn bank(tables: &Tables) -> Bank {
    Bank {
        head: tables.head,
        words: tables.words.clone(),
        boxes: tables.boxes.clone(),
        ..Bank::default()
    }
}

/// What a patch of a number is for; some packets are concerned by two of them.
fn options(number: u32) -> String {
    let first = 100 + number * 10;
    let addresses = ["", "-s 10.1.0.2", "-d 10.1.0.0/24", "-s 10.1.0.3"];
    let addresses = addresses.iter().cycle().nth(number as usize).unwrap_or(&"");
    format!("{addresses} -p udp --sport 5: --dport {first}:{}", first + 11)
}

/// What of the patches that concern a packet the last of so many says: even ones drop.
fn drops(patches: u32, sport: u16, dport: u16) -> Result<bool> {
    let mut drops = false;
    for number in 0..patches {
        let Region {
            src,
            sport: from,
            dport: to,
            ..
        } = region(&rule(&options(number))?.rules[0]);
        let within = |value: u32, [first, last]: [u32; 2]| (first..=last).contains(&value);
        if within(u32::from_be_bytes([10, 1, 0, 2]), src) && within(sport.into(), from) && within(dport.into(), to) {
            drops = number % 2 == 0;
        }
    }
    Ok(drops)
}

#[test]
fn the_last_patch_that_concerns_a_packet_decides() -> Result<()> {
    with_kernel(1024, |kernel| {
        let world = World::default();
        let compiled = |policy: &str, room| {
            let rules = parse("f", &text(policy), None)?.ruleset;
            anyhow::Ok(compile_part(room, &rules, &world, 250)?)
        };
        let forward = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -j DROP\nCOMMIT\n";
        let mut env = lab();
        let mut last = compile(&parse("f", forward, None)?.ruleset, &world, 250)?;
        env.swap_filter(bank(&last));
        for number in 0..PATCHES {
            let policy = if number % 2 == 0 { "DROP" } else { "ACCEPT" };
            last = compiled(policy, Room::behind(&last.head))?;
            env.patch_filter(region(&rule(&options(number))?.rules[0]), &bank(&last));
        }
        ensure!(last.head.first_place > PATCHES && HEADS == PATCHES + 1);
        kernel.install(&env)?;
        for (patches, least) in [(PATCHES, 50), (7, 10), (0, 0)] {
            let [_, back] = unpatched(env.config.generation, patches);
            env.config.generation = back;
            kernel.install_filter(&env)?;
            let mut dropped = 0;
            for sport in [4, 5] {
                for dport in 95..100 + 10 * (1 + u16::try_from(PATCHES)?) {
                    let frame = at(ifindex::A, Datagram::new(A, B).udp(sport, dport, b"x"));
                    let verdict = env.run(Hook::FromContainer, &frame);
                    let actual = kernel.run(Hook::FromContainer, &frame)?;
                    let expected = Outcome::expected(&verdict, frame.bytes.clone());
                    ensure!(
                        actual == expected,
                        "{sport}, {dport}: kernel {actual:x?}\nhost {expected:x?}"
                    );
                    let filtered = verdict.reason == Reason::Filtered;
                    ensure!(
                        filtered == drops(patches, sport, dport)?,
                        "{patches}, {sport}, {dport}: {filtered}"
                    );
                    dropped += u32::from(filtered);
                }
            }
            ensure!((least..200).contains(&dropped), "{dropped} dropped");
        }
        Ok(())
    })
}
