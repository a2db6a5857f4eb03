//! The same packets through the kernel and through the core on the host: every verdict, every byte, and the tables
//! afterwards must agree. Short runs of what `cargo xtask fuzz` does for long, and the replay of what that found.

use std::fs;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, bail, ensure};
use bytemuck::Zeroable as _;
use netbridge_common::abi::{Hook, Reason, Traffic};
use netbridge_common::datapath::verdict::Action;
use netbridge_common::host::HostEnv;
use netbridge_common::host::lab::{ifindex, slot};
use netbridge_tests::fuzz::bed::with_kernel;
use netbridge_tests::fuzz::campaign::Campaign;
use netbridge_tests::fuzz::case::Case;
use netbridge_tests::fuzz::command::crashers;
use netbridge_tests::fuzz::generator::PROGRAMS;
use netbridge_tests::fuzz::kernel::Kernel;
use netbridge_tests::fuzz::worlds::FLOWS;

/// Packets for each program.
const PACKETS: u64 = 60_000;

/// Flow halves where a fault is planted: so few that a full table takes few packets.
const FEW: usize = 32;

/// Where the test's random numbers begin.
const SEED: u64 = 0x6e65_7462_7269_6467;

fn campaign(program: Hook, flows: usize, fault: fn(&mut HostEnv)) -> Campaign {
    Campaign {
        program,
        seed: SEED,
        packets: PACKETS,
        until: None,
        round: 1_000,
        case: 10_000,
        flows,
        patience: None,
        fault,
    }
}

#[test]
fn kernel_and_host_agree_on_every_packet() -> Result<()> {
    with_kernel(FLOWS, |kernel| {
        let mut actions = [0; Action::ALL.len()];
        for program in PROGRAMS {
            let ended = campaign(program, FLOWS, |_| ()).run(kernel, &AtomicU64::new(0))?;
            println!("{}: {:?}", program.name(), ended.seen);
            if let Some((case, said)) = ended.found {
                bail!("{said}\nthe shortest case:\n{}", case.to_text()?);
            }
            for (sum, count) in actions.iter_mut().zip(ended.seen.actions) {
                *sum += count;
            }
        }
        for action in Action::ALL {
            ensure!(actions[action as usize] > 0, "no packet came to {action:?}");
        }
        for (reason, count) in kernel.drops()? {
            println!("{count:>7} {}", reason.name());
            // The host does not lose an address while this runs.
            ensure!(
                count > 0 || reason == Reason::AddressGone,
                "no packet was dropped for {reason:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn nothing_that_was_found_comes_back() -> Result<()> {
    let mut replayed = 0;
    for entry in fs::read_dir(crashers())? {
        let path = entry?.path();
        if path.is_dir() {
            // Of filter files, which the unit tests replay.
            continue;
        }
        let name = path.display().to_string();
        let case = fs::read_to_string(&path).map_err(Into::into);
        let case = case
            .and_then(|text| Case::from_text(&text))
            .with_context(|| name.clone())?;
        ensure!(!case.steps.is_empty(), "{name}: nothing happens");
        with_kernel(case.flows, |kernel| case.replay(kernel, |_| ())).context(name)?;
        replayed += 1;
    }
    ensure!(replayed > 0, "no file was replayed");
    Ok(())
}

/// What makes the host's side differ.
type Fault = fn(&mut HostEnv);

const FAULTS: [(&str, Fault); 10] = [
    ("a gateway's address one bit off", |env| {
        env.networks[1].tail.gateway[3] ^= 4;
    }),
    ("another secret", |env| env.config.secret ^= 1),
    ("an MTU one byte off", |env| {
        for network in &mut env.networks {
            network.head.mtu = network.head.mtu.saturating_sub(1);
        }
    }),
    ("a next hop's MAC one bit off", |env| {
        env.hops.values_mut().for_each(|hop| hop.dmac[5] ^= 1);
    }),
    ("an address one bit off", |env| {
        if let Some(link) = env.links.get_mut(&ifindex::A) {
            link.tail.addrs[0][3] ^= 1;
        }
    }),
    ("a published port one off", |env| {
        for target in env.published.values_mut() {
            target.tail.shift[1] ^= 1;
        }
    }),
    ("a list of sources one bit longer", |env| {
        let lists = env.sources.iter();
        env.sources = lists.map(|&(list, (net, bits))| (list, (net, bits + 1))).collect();
    }),
    ("room for one fragment more", |env| env.config.held_quota += 1),
    ("a counter that runs over: a panic", |env| {
        let full = Traffic {
            tx_packets: u64::MAX,
            ..Traffic::zeroed()
        };
        env.traffic.borrow_mut().insert(slot::A, full);
    }),
    ("a flow table one smaller", |env| env.flow_capacity -= 1),
];

/// Proof that the comparison can fail: the host is told something slightly wrong. What is found is shrunk, and its file
/// says the same as it does.
#[test]
fn a_planted_fault_is_caught_and_shrunk() -> Result<()> {
    with_kernel(FEW, |kernel| {
        for (name, fault) in FAULTS {
            let program = if name.contains("published") || name.contains("sources") {
                Hook::FromUplink
            } else {
                Hook::FromContainer
            };
            let ended = campaign(program, FEW, fault).run(kernel, &AtomicU64::new(0))?;
            let (case, said) = ended.found.with_context(|| format!("not caught: {name}"))?;
            println!(
                "{name}: {} steps, after {} packets",
                case.steps.len(),
                ended.seen.packets
            );
            kept(kernel, &case, fault).with_context(|| format!("{name}: {said}"))?;
            // It takes as many packets as there is room for to use it up, and one for the others.
            let most = if name.contains("flow table") || name.contains("fragment") {
                FEW
            } else {
                4
            };
            ensure!(case.steps.len() <= most, "{name}: {} steps", case.steps.len());
        }
        Ok(())
    })
}

/// Writes the case as a file has it and reads it again: it still finds this fault, and only with it.
fn kept(kernel: &mut Kernel, case: &Case, fault: Fault) -> Result<()> {
    let text = case.to_text()?;
    let read = Case::from_text(&text)?;
    ensure!(read == *case, "read as another case:\n{text}");
    ensure!(read.diverges(kernel, fault)?, "both sides agree on it:\n{text}");
    ensure!(!read.diverges(kernel, |_| ())?, "it needs no fault:\n{text}");
    Ok(())
}
