//! The long runs: `cargo xtask fuzz`.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use netbridge_common::abi::Hook;
use netbridge_common::datapath::verdict::Action;

use super::bed::{with_kernel, with_kernel_on};
use super::campaign::{Campaign, Ended, Seen};
use super::case::{Case, program_named};
use super::files;
use super::generator::PROGRAMS;
use super::worlds::FLOWS;
use crate::processors::allowed;

/// Packets between two changes of the world, and of one world, in a long run.
const ROUND: usize = 2_000;
const CASE: usize = 40_000;

/// When to be content with a case as short as it is then.
const PATIENCE: Duration = Duration::from_mins(2);

/// Compares the programs in the kernel with the core on the host, packet by packet; what they do not agree about is
/// shrunk and written to `tests/crashers`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask fuzz")]
pub struct Arguments {
    /// Packets for each program
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// One program, and not all four
    #[arg(long, value_parser = |name: &str| program_named(name).ok_or("no such program"))]
    program: Option<Hook>,
    /// Where the random numbers begin, decimal or 0x…; by the clock unless given
    #[arg(long, value_parser = number)]
    seed: Option<u64>,
    /// Seconds after which a program has had enough, however many packets that were
    #[arg(long)]
    seconds: Option<u64>,
    /// This many filter files made of those of other programs, and no packets
    #[arg(long, conflicts_with_all = ["packets", "program"])]
    files: Option<u64>,
    /// A file to replay, and nothing else
    #[arg(long, conflicts_with_all = ["packets", "program", "seed", "seconds", "files"])]
    replay: Option<PathBuf>,
}

fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

/// Where crashers are kept.
pub fn crashers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crashers")
}

/// Runs what is asked for; true if the two sides agree on everything.
pub fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(path) = &arguments.replay {
        return replay(path).map(|()| true);
    }
    let by_clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(by_clock);
    let programs = arguments.program.map_or(PROGRAMS.to_vec(), |program| vec![program]);
    let until = || {
        arguments
            .seconds
            .map(|limit| Instant::now() + Duration::from_secs(limit))
    };
    if let Some(count) = arguments.files {
        return files::campaign::tell(seed, count, until());
    }
    println!("seed {seed:#x}");
    let mut cpus = allowed()?;
    cpus.truncate(programs.len());
    let (next, agreed, done) = (AtomicUsize::new(0), AtomicBool::new(true), AtomicBool::new(false));
    let progress: Vec<AtomicU64> = programs.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let work = |cpu: usize| {
            while let Some((place, program)) = take(&next, &programs) {
                let campaign = Campaign {
                    program,
                    seed,
                    packets: arguments.packets,
                    until: until(),
                    round: ROUND,
                    case: CASE,
                    flows: FLOWS,
                    patience: Some(PATIENCE),
                    fault: |_| (),
                };
                let start = Instant::now();
                let ended = with_kernel_on(cpu, FLOWS, |kernel| campaign.run(kernel, &progress[place]))
                    .with_context(|| program.name())?;
                if !tell(&campaign, &ended, start.elapsed())? {
                    agreed.store(false, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        };
        let workers: Vec<_> = cpus.into_iter().map(|cpu| scope.spawn(move || work(cpu))).collect();
        let shown = scope.spawn(|| show(&programs, &progress, arguments.packets, &done));
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        drop(shown.join());
        ended
            .into_iter()
            .try_for_each(|end| end.map_err(|_panic| anyhow!("a worker panicked")).flatten())
    })?;
    Ok(agreed.into_inner())
}

fn take(next: &AtomicUsize, programs: &[Hook]) -> Option<(usize, Hook)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    programs.get(place).map(|program| (place, *program))
}

fn replay(path: &Path) -> Result<()> {
    if path.parent().is_some_and(|parent| parent.ends_with("files")) {
        return files::campaign::replay(path, files::campaign::LIMITS);
    }
    let case = Case::from_text(&fs::read_to_string(path)?).with_context(|| format!("read {}", path.display()))?;
    with_kernel(case.flows, |kernel| case.replay(kernel, |_| ()))?;
    println!("both sides agree on {} steps", case.steps.len());
    Ok(())
}

/// One line of what came of a campaign, and a file of the case that ended it; true if there is none.
fn tell(campaign: &Campaign, ended: &Ended, elapsed: Duration) -> Result<bool> {
    let Seen { packets, others, .. } = ended.seen;
    println!(
        "{}: {packets} packets (and {others} of other programs) in {:.0} s, {:.0} a second in all, seed {:#x}, {}; {}",
        campaign.program.name(),
        elapsed.as_secs_f64(),
        per_second(packets + others, elapsed),
        campaign.seed,
        if ended.found.is_some() {
            "ended by what follows"
        } else {
            "0 divergences"
        },
        shares(&ended.seen)
    );
    let Some((case, said)) = &ended.found else {
        return Ok(true);
    };
    let path = crashers().join(format!("{}-{:x}.txt", campaign.program.name(), campaign.seed));
    let mut case = case.clone();
    case.about.extend(said.lines().map(str::to_owned));
    fs::create_dir_all(crashers())?;
    fs::write(&path, case.to_text()?).with_context(|| format!("write {}", path.display()))?;
    println!("{said}\nkept as {}, {} steps", path.display(), case.steps.len());
    Ok(false)
}

#[expect(clippy::cast_precision_loss, reason = "a count of packets is far below 2^52")]
fn per_second(packets: u64, elapsed: Duration) -> f64 {
    packets as f64 / elapsed.as_secs_f64()
}

/// What became of how many, per cent.
#[expect(clippy::cast_precision_loss, reason = "a count of packets is far below 2^52")]
fn shares(seen: &Seen) -> String {
    let share = |count: u64| 100.0 * count as f64 / seen.packets.max(1) as f64;
    let mut parts: Vec<String> = [
        ("pass", Action::Pass),
        ("drop", Action::Drop),
        ("peer", Action::Peer),
        ("redirect", Action::Redirect),
        ("neigh", Action::Neigh),
        ("answer", Action::Answer),
    ]
    .into_iter()
    .map(|(name, action)| format!("{name} {:.1} %", share(seen.actions[action as usize])))
    .collect();
    parts.push(format!("rewritten {:.1} %", share(seen.rewritten)));
    parts.join(", ")
}

/// Tells how far the programs are: on a terminal in one line that counts, elsewhere in a line every half minute.
fn show(programs: &[Hook], progress: &[AtomicU64], packets: u64, done: &AtomicBool) {
    let terminal = std::io::stderr().is_terminal();
    let every = Duration::from_secs(if terminal { 1 } else { 30 });
    let mut next = Instant::now() + every;
    while !done.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
        if Instant::now() < next {
            continue;
        }
        next += every;
        let share = |count: &AtomicU64| 100 * count.load(Ordering::Relaxed) / packets.max(1);
        let counts = programs.iter().zip(progress);
        let counts: Vec<String> = counts
            .map(|(program, count)| format!("{} {} %", program.name(), share(count).min(100)))
            .collect();
        eprint!("{}{}", counts.join(", "), if terminal { "   \r" } else { "\n" });
        drop(std::io::stderr().flush());
    }
}
