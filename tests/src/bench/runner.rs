//! The run: every case by every contestant, in rounds that take turns.
//!
//! A machine's speed drifts by more than contestants differ. So within a case every round goes through all of them, and
//! what disturbs one disturbs its neighbours too. Every other round goes back the way that the one before came, so nobody
//! is always early. Who turns round there is measured twice in a row; it is another one each time, in the next case too.
//!
//! A world whose preparations could not be undone is measured no more: what is left in it would be in every later figure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::case::Case;
use super::contestant::Contestant;
use super::progress::{Progress, Work};
use super::results::{Failure, portable};
use super::series::{Absence, Metric, Sample, Series};
use super::world::{Able, World};

/// Below this a median says little; a run that is short of time keeps as many all the same.
const LEAST_ROUNDS: usize = 3;

/// How many rounds, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Rounds to keep of each case.
    pub rounds: usize,
    /// When the last round should be over; cases that would miss it get fewer rounds.
    pub deadline: Option<Instant>,
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was measured.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub absences: Vec<Absence>,
    /// What went wrong.
    pub errors: Vec<Failure>,
    /// The run was told to stop: nothing of it is to be kept.
    pub interrupted: bool,
}

/// One contestant in one case.
struct Lane<'w> {
    world: &'w mut dyn World,
    contestant: Contestant,
    /// Its preparation began: there may be something to undo.
    touched: bool,
    /// It is prepared, and nothing has gone wrong.
    runs: bool,
    /// One per round that is kept.
    samples: Vec<Sample>,
}

/// What a run has at hand, whatever the case.
struct Run<'r> {
    progress: &'r mut Progress,
    stop: &'r AtomicBool,
    outcome: Outcome,
    /// Whose worlds are not what they were, and why.
    retired: BTreeMap<Contestant, String>,
}

/// Measures every case. What goes wrong in a cell is told, and costs that cell its figures; what cannot be undone, that
/// contestant all later ones too. Once `stop` is raised, what was made ready is undone, and the run ends.
pub fn run(
    cases: &[Box<dyn Case>],
    worlds: &mut [Box<dyn World + '_>],
    schedule: Schedule,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Outcome {
    let mut run = Run {
        progress,
        stop,
        outcome: Outcome::default(),
        retired: BTreeMap::new(),
    };
    for (index, case) in cases.iter().enumerate() {
        if run.is_stopped() {
            break;
        }
        let rest = cases.get(index..).unwrap_or_default();
        let rounds = schedule.affordable(|rounds| run.progress.forecast(&work(rest, worlds.len(), rounds)));
        let ahead = work(rest, worlds.len(), rounds);
        run.progress.case(&case.id(), index + 1, cases.len(), ahead);
        run.case(case.as_ref(), index, worlds, rounds.min(case.rounds()));
        run.progress.case_over();
    }
    run.outcome.interrupted = run.is_stopped();
    run.outcome
}

/// The work of so many kept rounds, or as many as a case wants, and of the one that warms up.
fn work(cases: &[Box<dyn Case>], contestants: usize, rounds: usize) -> Vec<Work> {
    let work = cases.iter().map(|case| Work {
        workload: case.id().split('/').next().unwrap_or_default().to_owned(),
        seconds: case.seconds() * turns(contestants, rounds.min(case.rounds())),
    });
    work.collect()
}

impl Schedule {
    /// How many rounds to keep, if what is still to do takes so many seconds with so many rounds.
    fn affordable(&self, takes: impl Fn(usize) -> f64) -> usize {
        let Some(deadline) = self.deadline else {
            return self.rounds;
        };
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        let fitting = (LEAST_ROUNDS..=self.rounds).rev().find(|&rounds| takes(rounds) <= left);
        fitting.unwrap_or(LEAST_ROUNDS.min(self.rounds))
    }
}

/// How often a case is measured, the warm-up included.
#[expect(clippy::cast_precision_loss, reason = "a handful of contestants, some rounds")]
fn turns(contestants: usize, rounds: usize) -> f64 {
    (contestants * (rounds + 1)) as f64
}

/// Puts contestants into the order of a round: forth, back the same way, and with another one at the turn from then on.
fn arrange<T>(order: &mut [T], case: usize, round: usize) {
    let first = (case + round / 2).checked_rem(order.len()).unwrap_or_default();
    order.rotate_left(first);
    if round % 2 == 1 {
        order.reverse();
    }
}

impl Run<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Case number `index`.
    fn case(&mut self, case: &dyn Case, index: usize, worlds: &mut [Box<dyn World + '_>], rounds: usize) {
        let mut lanes: Vec<Lane<'_>> = worlds.iter_mut().map(|world| Lane::new(world.as_mut())).collect();
        for lane in &mut lanes {
            if self.is_stopped() {
                break;
            }
            self.prepare(case, lane);
        }
        self.rounds(case, index, &mut lanes, rounds);
        for lane in lanes.iter_mut().filter(|lane| lane.touched) {
            self.finish(case, lane);
        }
        let metrics: BTreeSet<Metric> = lanes.iter().flat_map(Lane::metrics).collect();
        for lane in lanes.iter().filter(|lane| lane.runs) {
            lane.sort(&case.id(), &metrics, &mut self.outcome);
        }
    }

    fn prepare(&mut self, case: &dyn Case, lane: &mut Lane<'_>) {
        if let Some(reason) = self.retired.get(&lane.contestant) {
            let reason = reason.clone();
            return self.absent(case, lane.contestant, &reason);
        }
        self.progress
            .cell(&format!("{}, {}: preparing", case.title(), lane.contestant));
        lane.touched = true;
        match case.prepare(lane.world) {
            Ok(Able::Done) => lane.runs = true,
            Ok(Able::Cannot(reason)) => self.absent(case, lane.contestant, &reason),
            Err(error) => self.wrong(case, lane.contestant, &error),
        }
    }

    fn rounds(&mut self, case: &dyn Case, index: usize, lanes: &mut [Lane<'_>], rounds: usize) {
        // Round 0 warms up: tables fill, neighbours are learnt, pages are touched.
        for round in 0..=rounds {
            let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
            arrange(&mut order, index, round);
            for lane in order {
                if self.is_stopped() {
                    return;
                }
                if !lane.runs {
                    self.progress.step(case.seconds());
                    continue;
                }
                let (title, contestant) = (case.title(), lane.contestant);
                self.progress
                    .cell(&format!("{title}, {contestant}, round {round} of {rounds}"));
                let sample = case.measure(lane.world);
                if let Err(error) = sample.and_then(|sample| lane.keep(sample, round)) {
                    lane.runs = false;
                    self.wrong(case, contestant, &error);
                }
                self.progress.step(case.seconds());
            }
        }
    }

    fn finish(&mut self, case: &dyn Case, lane: &mut Lane<'_>) {
        let Err(error) = case.finish(lane.world) else { return };
        let error = error.context("cannot undo the preparations");
        lane.runs = false;
        self.wrong(case, lane.contestant, &error);
        let reason = format!("is not what it was since {}: {error:#}", case.id());
        self.retired.insert(lane.contestant, reason);
    }

    fn absent(&mut self, case: &dyn Case, contestant: Contestant, reason: &str) {
        self.outcome.absences.push(Absence {
            case: case.id(),
            contestant,
            metric: None,
            reason: portable(reason),
        });
    }

    fn wrong(&mut self, case: &dyn Case, contestant: Contestant, error: &anyhow::Error) {
        let (case, error) = (case.id(), format!("{error:#}"));
        self.progress.tell(&format!("error: {case}, {contestant}: {error}"));
        self.outcome.errors.push(Failure {
            case,
            contestant,
            error: portable(&error),
        });
    }
}

impl<'w> Lane<'w> {
    fn new(world: &'w mut (dyn World + 'w)) -> Self {
        Self {
            contestant: world.contestant(),
            world,
            touched: false,
            runs: false,
            samples: Vec::new(),
        }
    }

    /// Keeps a round's values, provided that they are values, one for each yardstick.
    fn keep(&mut self, sample: Sample, round: usize) -> Result<()> {
        ensure!(!sample.figures().is_empty(), "round {round} measured nothing");
        for (index, (metric, value)) in sample.figures().iter().enumerate() {
            let twice = sample
                .figures()
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == metric);
            ensure!(!twice, "round {round} measured {metric:?} twice");
            ensure!(
                value.is_finite(),
                "round {round} measured {value} as {metric:?}, which is no figure"
            );
        }
        if round > 0 {
            self.samples.push(sample);
        }
        Ok(())
    }

    /// Every yardstick that a kept round has, or says that it lacks.
    fn metrics(&self) -> impl Iterator<Item = Metric> {
        self.samples.iter().flat_map(|sample| {
            let figures = sample.figures().iter().map(|(metric, _)| *metric);
            figures.chain(sample.lacks().iter().map(|(metric, _)| *metric))
        })
    }

    /// The kept rounds by the yardsticks of the case. One that some rounds lack is no series: the rounds of two could not
    /// be paired. What is told of all rounds together comes on top.
    fn sort(&self, case: &str, metrics: &BTreeSet<Metric>, outcome: &mut Outcome) {
        for &metric in metrics {
            let values = |sample: &Sample| sample.figures().iter().find(|(own, _)| *own == metric).copied();
            let values: Vec<f64> = self.samples.iter().filter_map(values).map(|(_, value)| value).collect();
            if values.len() == self.samples.len() {
                outcome.measured(case, self.contestant, metric, values);
                continue;
            }
            let mut lacks = self.samples.iter().flat_map(Sample::lacks);
            let reason = lacks.find(|(own, _)| *own == metric);
            let reason = reason.map_or("not measured of this contestant", |(_, reason)| reason);
            let reason = match values.len() {
                0 => reason.to_owned(),
                some => format!("in {some} of {} rounds only: {reason}", self.samples.len()),
            };
            outcome.lacks(case, self.contestant, metric, reason);
        }
        match self.tail() {
            Some(Ok(tail)) => outcome.measured(case, self.contestant, Metric::P999Micros, vec![tail]),
            Some(Err(reason)) => outcome.lacks(case, self.contestant, Metric::P999Micros, reason),
            None => {}
        }
    }

    /// The 99.9th percentile of all kept rounds together, or why there is none; nothing where no transactions are timed.
    fn tail(&self) -> Option<Result<f64, String>> {
        let mut rounds = self.samples.iter().filter_map(Sample::latency);
        let mut all = rounds.next()?.clone();
        if let Err(error) = rounds.try_for_each(|round| all.add(round)) {
            return Some(Err(format!("{error:#}")));
        }
        let too_few = || "all rounds together have fewer than 10 transactions beyond p99.9".to_owned();
        Some(all.micros_at(0.999).ok_or_else(too_few))
    }
}

impl Outcome {
    fn measured(&mut self, case: &str, contestant: Contestant, metric: Metric, values: Vec<f64>) {
        self.series.push(Series {
            case: case.to_owned(),
            contestant,
            metric,
            values,
        });
    }

    fn lacks(&mut self, case: &str, contestant: Contestant, metric: Metric, reason: String) {
        self.absences.push(Absence {
            case: case.to_owned(),
            contestant,
            metric: Some(metric),
            reason,
        });
    }
}

#[cfg(test)]
mod tests;
