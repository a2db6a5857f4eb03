//! The run: every case by every contestant, in rounds that take turns.
//!
//! A machine's speed drifts by more than contestants differ. So within a case every round goes through all of them, the
//! order reversed every other round, and what disturbs one disturbs its neighbours too.

use std::collections::BTreeSet;
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
    /// It is prepared, and nothing has gone wrong.
    runs: bool,
    /// One per round that is kept.
    samples: Vec<Sample>,
}

/// Measures every case. What goes wrong in a cell is told, costs that cell its figures, and nothing else. Once `stop` is
/// raised, the case at hand is finished without further rounds, and the run ends.
pub fn run(
    cases: &[Box<dyn Case>],
    worlds: &mut [Box<dyn World + '_>],
    schedule: Schedule,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome::default();
    for (index, case) in cases.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let rest = cases.get(index..).unwrap_or_default();
        let rounds = schedule.affordable(|rounds| progress.forecast(&work(rest, worlds.len(), rounds)));
        progress.case(&case.id(), index + 1, cases.len(), work(rest, worlds.len(), rounds));
        run_case(
            case.as_ref(),
            worlds,
            rounds.min(case.rounds()),
            progress,
            stop,
            &mut outcome,
        );
        progress.case_over();
    }
    outcome.interrupted = stop.load(Ordering::Relaxed);
    outcome
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

fn run_case(
    case: &dyn Case,
    worlds: &mut [Box<dyn World + '_>],
    rounds: usize,
    progress: &mut Progress,
    stop: &AtomicBool,
    outcome: &mut Outcome,
) {
    let id = case.id();
    let mut lanes: Vec<Lane<'_>> = worlds.iter_mut().map(|world| Lane::new(world.as_mut())).collect();
    let mut wrong = |contestant: Contestant, progress: &Progress, error: &anyhow::Error| {
        let error = format!("{error:#}");
        progress.tell(&format!("error: {id}, {contestant}: {error}"));
        outcome.errors.push(Failure {
            case: id.clone(),
            contestant,
            error: portable(&error),
        });
    };
    for lane in &mut lanes {
        progress.cell(&format!("{}, {}: preparing", case.title(), lane.contestant));
        match case.prepare(lane.world) {
            Ok(Able::Done) => lane.runs = true,
            Ok(Able::Cannot(reason)) => outcome.absences.push(Absence {
                case: id.clone(),
                contestant: lane.contestant,
                metric: None,
                reason: portable(&reason),
            }),
            Err(error) => wrong(lane.contestant, progress, &error),
        }
    }
    // Round 0 warms up: tables fill, neighbours are learnt, pages are touched.
    'rounds: for round in 0..=rounds {
        let mut order: Vec<&mut Lane<'_>> = lanes.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for lane in order {
            if stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            if !lane.runs {
                progress.absent(case.seconds());
                continue;
            }
            progress.cell(&format!(
                "{}, {}, round {round} of {rounds}",
                case.title(),
                lane.contestant
            ));
            let begin = Instant::now();
            let sample = case.measure(lane.world);
            let took = begin.elapsed();
            if let Err(error) = sample.and_then(|sample| lane.keep(sample, round)) {
                lane.runs = false;
                wrong(lane.contestant, progress, &error);
            }
            progress.step(case.seconds(), took);
        }
    }
    for lane in &mut lanes {
        if let Err(error) = case.finish(lane.world) {
            lane.runs = false;
            wrong(
                lane.contestant,
                progress,
                &error.context("cannot undo the preparations"),
            );
        }
    }
    let metrics: BTreeSet<Metric> = lanes.iter().flat_map(Lane::metrics).collect();
    for lane in lanes.iter().filter(|lane| lane.runs) {
        lane.sort(&id, &metrics, outcome);
    }
}

impl<'w> Lane<'w> {
    fn new(world: &'w mut (dyn World + 'w)) -> Self {
        Self {
            contestant: world.contestant(),
            world,
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
    /// be paired.
    fn sort(&self, case: &str, metrics: &BTreeSet<Metric>, outcome: &mut Outcome) {
        for &metric in metrics {
            let values = |sample: &Sample| sample.figures().iter().find(|(own, _)| *own == metric).copied();
            let values: Vec<f64> = self.samples.iter().filter_map(values).map(|(_, value)| value).collect();
            let (case, contestant) = (case.to_owned(), self.contestant);
            if values.len() == self.samples.len() {
                outcome.series.push(Series {
                    case,
                    contestant,
                    metric,
                    values,
                });
                continue;
            }
            let mut lacks = self.samples.iter().flat_map(Sample::lacks);
            let reason = lacks.find(|(own, _)| *own == metric);
            let reason = reason.map_or("not measured of this contestant", |(_, reason)| reason);
            let reason = match values.len() {
                0 => reason.to_owned(),
                some => format!("in {some} of {} rounds only: {reason}", self.samples.len()),
            };
            outcome.absences.push(Absence {
                case,
                contestant,
                metric: Some(metric),
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use anyhow::anyhow;

    use super::super::fixture::FakeWorld;
    use super::*;

    /// What was done to whom.
    type Log = Rc<RefCell<Vec<(&'static str, Contestant)>>>;

    /// Tells what is done with it, and fails where it is told to.
    struct Fake {
        log: Log,
        able: fn(Contestant) -> Result<Able>,
        sample: fn(Contestant, usize) -> Result<Sample>,
    }

    impl Default for Fake {
        fn default() -> Self {
            Self {
                log: Log::default(),
                able: |_| Ok(Able::Done),
                #[expect(clippy::cast_precision_loss, reason = "a few rounds")]
                sample: |_, turn| Ok([(Metric::NetNs, turn as f64)].into()),
            }
        }
    }

    impl Fake {
        fn saw(&self, what: &'static str, world: &dyn World) -> usize {
            let mut log = self.log.borrow_mut();
            log.push((what, world.contestant()));
            log.iter().filter(|entry| **entry == (what, world.contestant())).count() - 1
        }
    }

    impl Case for Fake {
        fn id(&self) -> String {
            "fake/case".to_owned()
        }

        fn title(&self) -> String {
            "a case".to_owned()
        }

        fn prepare(&self, world: &mut dyn World) -> Result<Able> {
            self.saw("prepare", world);
            (self.able)(world.contestant())
        }

        fn measure(&self, world: &mut dyn World) -> Result<Sample> {
            let turn = self.saw("measure", world);
            (self.sample)(world.contestant(), turn)
        }

        fn finish(&self, world: &mut dyn World) -> Result<()> {
            self.saw("finish", world);
            Ok(())
        }

        fn rounds(&self) -> usize {
            5
        }

        fn seconds(&self) -> f64 {
            1.0
        }
    }

    const WHO: [Contestant; 3] = [Contestant::RawPair, Contestant::Bridge, Contestant::Netbridge];

    fn run_fake(fake: Fake, rounds: usize, stop: bool) -> (Outcome, Vec<(&'static str, Contestant)>) {
        let log = Rc::clone(&fake.log);
        let cases: [Box<dyn Case>; 1] = [Box::new(fake)];
        let mut worlds: Vec<Box<dyn World>> = WHO.map(|who| Box::new(FakeWorld(who)) as Box<dyn World>).into();
        let mut progress = Progress::new();
        let schedule = Schedule { rounds, deadline: None };
        let outcome = run(&cases, &mut worlds, schedule, &mut progress, &AtomicBool::new(stop));
        let log = log.borrow().clone();
        (outcome, log)
    }

    fn turns_of(log: &[(&'static str, Contestant)], what: &str) -> Vec<Contestant> {
        log.iter()
            .filter(|(done, _)| *done == what)
            .map(|(_, who)| *who)
            .collect()
    }

    #[test]
    fn contestants_take_turns_and_the_order_is_reversed_every_other_round() {
        let (outcome, log) = run_fake(Fake::default(), 3, false);
        let [first, second, third] = WHO;
        let forth = [first, second, third];
        let back = [third, second, first];
        assert_eq!(turns_of(&log, "measure"), [forth, back, forth, back].concat());
        assert_eq!(turns_of(&log, "prepare"), WHO);
        assert_eq!(turns_of(&log, "finish"), WHO);
        assert!(outcome.absences.is_empty() && outcome.errors.is_empty() && !outcome.interrupted);
    }

    #[test]
    fn the_warm_up_is_not_kept() {
        let (outcome, _) = run_fake(Fake::default(), 3, false);
        assert_eq!(outcome.series.len(), WHO.len());
        for series in outcome.series {
            assert_eq!((series.case.as_str(), series.metric), ("fake/case", Metric::NetNs));
            assert_eq!(series.values, [1.0, 2.0, 3.0]);
        }
    }

    #[test]
    fn a_case_may_want_fewer_rounds() {
        let (outcome, _) = run_fake(Fake::default(), 9, false);
        assert!(outcome.series.iter().all(|series| series.values.len() == 5));
    }

    #[test]
    fn who_cannot_is_absent_with_the_reason_and_the_rest_goes_on() {
        let able = |who| {
            Ok(match who {
                Contestant::Bridge => Able::Cannot("holds nothing".to_owned()),
                _ => Able::Done,
            })
        };
        let (outcome, log) = run_fake(
            Fake {
                able,
                ..Fake::default()
            },
            2,
            false,
        );
        let [absence] = &outcome.absences[..] else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (absence.contestant, absence.reason.as_str()),
            (Contestant::Bridge, "holds nothing")
        );
        assert!(!turns_of(&log, "measure").contains(&Contestant::Bridge));
        assert_eq!(turns_of(&log, "finish"), WHO);
        assert_eq!(outcome.series.len(), 2);
    }

    #[test]
    fn an_error_costs_a_cell_its_figures_and_nothing_else() {
        let sample = |who, turn| match (who, turn) {
            (Contestant::RawPair, 2) => Err(anyhow!("sent 10, counted 9")),
            (Contestant::Bridge, 1) => Ok([(Metric::NetNs, f64::NAN)].into()),
            _ => Ok([(Metric::NetNs, 1.0)].into()),
        };
        let (outcome, log) = run_fake(
            Fake {
                sample,
                ..Fake::default()
            },
            3,
            false,
        );
        let errors: Vec<_> = outcome
            .errors
            .iter()
            .map(|error| (error.contestant, error.error.as_str()))
            .collect();
        assert_eq!(errors[0].0, Contestant::Bridge);
        assert!(errors[0].1.contains("no figure"), "{errors:?}");
        assert_eq!(errors[1], (Contestant::RawPair, "sent 10, counted 9"));
        assert_eq!(outcome.series.len(), 1);
        assert_eq!(outcome.series[0].contestant, Contestant::Netbridge);
        assert_eq!(turns_of(&log, "finish"), WHO);
        let bridge = turns_of(&log, "measure")
            .iter()
            .filter(|who| **who == Contestant::Bridge)
            .count();
        assert_eq!(bridge, 2, "it is measured no more once it went wrong");
    }

    #[test]
    fn a_failed_preparation_is_an_error_and_is_undone() {
        let able = |who| match who {
            Contestant::Netbridge => Err(anyhow!("no memory").context("cannot load the rules")),
            _ => Ok(Able::Done),
        };
        let (outcome, log) = run_fake(
            Fake {
                able,
                ..Fake::default()
            },
            1,
            false,
        );
        assert_eq!(outcome.errors[0].error, "cannot load the rules: no memory");
        assert_eq!(turns_of(&log, "finish"), WHO);
    }

    #[test]
    fn what_some_rounds_lack_is_absent() {
        let sample = |who, turn| {
            let mut sample = Sample::from([(Metric::P50Micros, 1.0)]);
            let tail = if turn == 2 { Err("too few") } else { Ok(3.0) };
            sample.put(Metric::P999Micros, tail);
            if who == Contestant::Bridge {
                sample.put(Metric::PerSecond, Ok::<_, String>(9.0));
            }
            Ok(sample)
        };
        let fake = Fake {
            sample,
            ..Fake::default()
        };
        let (outcome, _) = run_fake(fake, 3, false);
        assert_eq!((outcome.series.len(), outcome.absences.len()), (4, 5));
        assert!(outcome.series.iter().all(|series| series.metric != Metric::P999Micros));
        let reasons = |metric| {
            let absences = outcome
                .absences
                .iter()
                .filter(move |absence| absence.metric == Some(metric));
            absences.map(|absence| absence.reason.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(reasons(Metric::P999Micros), ["in 2 of 3 rounds only: too few"; 3]);
        assert_eq!(reasons(Metric::PerSecond), ["not measured of this contestant"; 2]);
    }

    #[test]
    fn a_round_without_figures_is_an_error() {
        let sample = |who, _| {
            Ok(match who {
                Contestant::Bridge => Sample::default(),
                _ => [(Metric::NetNs, 1.0), (Metric::NetNs, 2.0)].into(),
            })
        };
        let fake = Fake {
            sample,
            ..Fake::default()
        };
        let (outcome, _) = run_fake(fake, 2, false);
        assert_eq!((outcome.errors.len(), outcome.series.len()), (3, 0));
    }

    #[test]
    fn a_run_that_is_told_to_stop_says_so() {
        let (outcome, log) = run_fake(Fake::default(), 3, true);
        assert!(outcome.interrupted && log.is_empty());
    }

    #[test]
    fn a_run_short_of_time_keeps_fewer_rounds_but_some() {
        let at = |seconds| Schedule {
            rounds: 10,
            deadline: Some(Instant::now() + Duration::from_secs(seconds)),
        };
        #[expect(clippy::cast_precision_loss, reason = "some rounds")]
        let takes = |rounds: usize| 20.0 + 10.0 * (rounds + 1) as f64;
        assert_eq!(at(1000).affordable(takes), 10);
        assert_eq!(at(91).affordable(takes), 6);
        assert_eq!(at(0).affordable(takes), 3);
        assert_eq!(Schedule { rounds: 2, ..at(0) }.affordable(takes), 2);
        let endless = Schedule {
            deadline: None,
            ..at(0)
        };
        assert_eq!(endless.affordable(takes), 10);
    }
}
