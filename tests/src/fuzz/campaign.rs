//! Case after case against one program, until there were enough packets or the two sides do not agree.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use netbridge_common::abi::Hook;
use netbridge_common::datapath::verdict::Action;
use netbridge_common::host::HostEnv;

use super::case::Case;
use super::generator::Generator;
use super::kernel::{Kernel, Outcome};
use super::pair::{Divergence, Pair};
use super::shrink::shrink;
use super::step::Step;
use super::worlds::{self, world};

/// What to run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The program.
    pub program: Hook,
    /// Where the numbers begin.
    pub seed: u64,
    /// Packets for this program.
    pub packets: u64,
    /// When to end before that.
    pub until: Option<Instant>,
    /// Packets between two changes of the world, tables being compared at every one.
    pub round: usize,
    /// Packets before another world begins, fresh.
    pub case: usize,
    /// Room in the flow table, as the kernel's was loaded with, halves.
    pub flows: usize,
    /// How long a case is shrunk; until it is as short as can be unless given.
    pub patience: Option<Duration>,
    /// Makes the host's side differ; nothing, but to prove that differences are found.
    pub fault: fn(&mut HostEnv),
}

/// What became of the packets of a campaign's program.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Packets.
    pub packets: u64,
    /// Packets of other programs, without which there would be no flows.
    pub others: u64,
    /// By [`Action`].
    pub actions: [u64; 6],
    /// Packets that were changed.
    pub rewritten: u64,
}

/// How a campaign ended.
#[derive(Debug)]
pub struct Ended {
    /// What became of the packets.
    pub seen: Seen,
    /// The case that ended it and why: one on which the two sides do not agree, shrunk, or one that could not be carried on,
    /// as it is. None if they agree on everything.
    pub found: Option<(Case, String)>,
}

impl Campaign {
    /// Runs it, telling `progress` of every packet of the program.
    pub fn run(&self, kernel: &mut Kernel, progress: &AtomicU64) -> Result<Ended> {
        let mut seen = Seen::default();
        for number in 0.. {
            if seen.packets >= self.packets || self.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let seed = self.seed.wrapping_add(number);
            let mut case = Case::new(usize::try_from(number)? % worlds::COUNT);
            case.flows = self.flows;
            case.about.push(format!(
                "Found by fuzzing {}, seed {:#x}, case {number}.",
                self.program.name(),
                self.seed
            ));
            let judged = self.judge(kernel, &mut case, seed, &mut seen, progress);
            if let Err(error) = judged {
                let found = Some(self.explained(kernel, case, &error));
                return Ok(Ended { seen, found });
            }
        }
        Ok(Ended { seen, found: None })
    }

    /// A case that went wrong, as short as can be if that is known to be the packets' fault, and what went wrong.
    fn explained(&self, kernel: &mut Kernel, case: Case, error: &Error) -> (Case, String) {
        let said = format!("{error:#}");
        if !error.is::<Divergence>() {
            return (case, said);
        }
        match shrink(kernel, &case, self.fault, self.patience) {
            Ok(shorter) => (shorter, said),
            Err(failed) => (case, format!("{said}\nnot shrunk: {failed:#}")),
        }
    }

    /// One case; its steps are kept in it.
    fn judge(
        &self,
        kernel: &mut Kernel,
        case: &mut Case,
        seed: u64,
        seen: &mut Seen,
        progress: &AtomicU64,
    ) -> Result<()> {
        let mut pair = Pair::new(kernel, world(case.world, self.flows), self.fault)?;
        let mut generator = Generator::new(self.program, seed);
        let mut again = VecDeque::new();
        let mut own = 0;
        for number in 1..=self.case {
            if number % self.round == 0 {
                for change in generator.changes() {
                    case.steps.push(change.clone());
                    pair.take(&change)?;
                }
                pair.tables_agree()?;
            }
            let step = again.pop_front().unwrap_or_else(|| generator.packet());
            case.steps.push(step.clone());
            let outcome = pair.take(&step)?;
            if let (Step::Packet(hook, frame), Some(outcome)) = (&step, outcome) {
                let released = pair.released().into_iter();
                again.extend(released.map(|frame| Step::Packet(*hook, frame)));
                if *hook == self.program {
                    own += 1;
                    seen.count(&outcome, outcome.bytes != frame.bytes);
                } else {
                    seen.others += 1;
                }
                let went_on = outcome.action > Action::Drop as u8;
                if outcome.action != Action::Drop as u8 {
                    generator.became(frame, went_on, outcome.bytes);
                }
            }
        }
        progress.fetch_add(own, Ordering::Relaxed);
        pair.tables_agree()?;
        pair.counters_agree()
    }
}

impl Seen {
    fn count(&mut self, outcome: &Outcome, rewritten: bool) {
        self.packets += 1;
        self.rewritten += u64::from(rewritten);
        if let Some(count) = self.actions.get_mut(usize::from(outcome.action)) {
            *count += 1;
        }
    }
}
