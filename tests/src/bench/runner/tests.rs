use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::anyhow;

use super::*;
use crate::bench::fixture::FakeWorld;
use crate::bench::latency::Latency;

/// What was done to whom.
type Log = Rc<RefCell<Vec<(&'static str, Contestant)>>>;

/// Tells what is done with it, and fails where it is told to.
struct Fake {
    log: Log,
    able: fn(Contestant) -> Result<Able>,
    sample: fn(Contestant, usize) -> Result<Sample>,
    undo: fn(Contestant) -> Result<()>,
    /// Raised by the first preparation.
    stop: Option<Rc<AtomicBool>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            log: Log::default(),
            able: |_| Ok(Able::Done),
            #[expect(clippy::cast_precision_loss, reason = "a few rounds")]
            sample: |_, turn| Ok([(Metric::NetNs, turn as f64)].into()),
            undo: |_| Ok(()),
            stop: None,
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
        if let Some(stop) = &self.stop {
            stop.store(true, Ordering::Relaxed);
        }
        (self.able)(world.contestant())
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        let turn = self.saw("measure", world);
        (self.sample)(world.contestant(), turn)
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        self.saw("finish", world);
        (self.undo)(world.contestant())
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
    let outcome = run_all(vec![fake], rounds, &AtomicBool::new(stop));
    let log = log.borrow().clone();
    (outcome, log)
}

fn run_all(fakes: Vec<Fake>, rounds: usize, stop: &AtomicBool) -> Outcome {
    let cases: Vec<Box<dyn Case>> = fakes.into_iter().map(|fake| Box::new(fake) as Box<dyn Case>).collect();
    let mut worlds: Vec<Box<dyn World>> = WHO.map(|who| Box::new(FakeWorld(who)) as Box<dyn World>).into();
    let mut progress = Progress::new();
    let schedule = Schedule { rounds, deadline: None };
    run(&cases, &mut worlds, schedule, &mut progress, stop)
}

fn turns_of(log: &[(&'static str, Contestant)], what: &str) -> Vec<Contestant> {
    log.iter()
        .filter(|(done, _)| *done == what)
        .map(|(_, who)| *who)
        .collect()
}

#[test]
fn contestants_take_turns_forth_and_back() {
    let (outcome, log) = run_fake(Fake::default(), 3, false);
    let [first, second, third] = WHO;
    let turns = [
        [first, second, third],
        [third, second, first],
        [second, third, first],
        [first, third, second],
    ];
    assert_eq!(turns_of(&log, "measure"), turns.concat());
    assert_eq!(turns_of(&log, "prepare"), WHO);
    assert_eq!(turns_of(&log, "finish"), WHO);
    assert!(outcome.absences.is_empty() && outcome.errors.is_empty() && !outcome.interrupted);
}

#[test]
fn each_is_next_to_himself_as_often_as_any_other() {
    for case in 0..7 {
        let turns = (0..15).flat_map(|round| {
            let mut order = [0, 1, 2, 3, 4, 5, 6];
            arrange(&mut order, case, round);
            order
        });
        let turns: Vec<usize> = turns.collect();
        let mut twice = [0; 7];
        for pair in turns.windows(2).filter(|pair| pair[0] == pair[1]) {
            twice[pair[0]] += 1;
        }
        assert_eq!(twice, [1; 7], "case {case}");
        assert_eq!(turns[0], case);
    }
    arrange::<u8>(&mut [], 1, 1);
}

#[test]
fn who_cannot_be_undone_takes_no_further_part() {
    let log = Log::default();
    let fake = |undo| Fake {
        log: Rc::clone(&log),
        undo,
        ..Fake::default()
    };
    let failing = |who| match who {
        Contestant::Bridge => Err(anyhow!("no memory")),
        _ => Ok(()),
    };
    let outcome = run_all(
        vec![fake(failing), fake(|_| Ok(())), fake(|_| Ok(()))],
        1,
        &AtomicBool::new(false),
    );
    assert_eq!(outcome.errors.len(), 1);
    assert_eq!(outcome.errors[0].error, "cannot undo the preparations: no memory");
    assert_eq!(outcome.absences.len(), 2);
    for absence in &outcome.absences {
        assert_eq!(absence.contestant, Contestant::Bridge);
        let reason = "is not what it was since fake/case: cannot undo the preparations: no memory";
        assert_eq!(absence.reason, reason);
    }
    let bridge = log
        .borrow()
        .iter()
        .filter(|(_, who)| *who == Contestant::Bridge)
        .count();
    assert_eq!(bridge, 4, "prepared, measured twice, and finished, once and for all");
    let kept = outcome
        .series
        .iter()
        .filter(|series| series.contestant != Contestant::Bridge);
    assert_eq!((kept.count(), outcome.series.len()), (6, 6));
}

#[test]
fn a_run_that_is_stopped_while_it_prepares_undoes_what_it_began() {
    let log = Log::default();
    let stop = Rc::new(AtomicBool::new(false));
    let fake = Fake {
        log: Rc::clone(&log),
        stop: Some(Rc::clone(&stop)),
        ..Fake::default()
    };
    assert!(run_all(vec![fake], 3, &stop).interrupted);
    assert_eq!(log.take(), [("prepare", WHO[0]), ("finish", WHO[0])]);
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
        sample.put(Metric::P99Micros, tail);
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
    assert!(outcome.series.iter().all(|series| series.metric != Metric::P99Micros));
    assert_eq!(
        reasons(&outcome, Metric::P99Micros),
        ["in 2 of 3 rounds only: too few"; 3]
    );
    assert_eq!(
        reasons(&outcome, Metric::PerSecond),
        ["not measured of this contestant"; 2]
    );
}

/// Why nobody, or somebody, has a figure.
fn reasons(outcome: &Outcome, metric: Metric) -> Vec<&str> {
    let absences = outcome.absences.iter();
    let absences = absences.filter(|absence| absence.metric == Some(metric));
    absences.map(|absence| absence.reason.as_str()).collect()
}

#[test]
fn the_tail_is_that_of_all_kept_rounds_together() {
    let sample = |who, turn: usize| {
        let mut latency = Latency::new()?;
        // 10,000 transactions in the kept rounds 1 and 2, and the bridge one less: ten of them, or nine, beyond 99.9 %.
        let missing = u64::from(who == Contestant::Bridge && turn == 2);
        for micros in 1..=5_000 - missing {
            latency.record(Duration::from_micros(micros));
        }
        let mut sample = Sample::from([(Metric::PerSecond, 1.0)]);
        sample.put_latency(latency);
        Ok(sample)
    };
    let fake = Fake {
        sample,
        ..Fake::default()
    };
    let (outcome, _) = run_fake(fake, 2, false);
    let tails = outcome
        .series
        .iter()
        .filter(|series| series.metric == Metric::P999Micros);
    let tails: Vec<_> = tails.map(|series| (series.contestant, &series.values)).collect();
    let [(first, of_first), (last, of_last)] = tails[..] else {
        panic!("{tails:?}");
    };
    assert_eq!((first, last), (Contestant::RawPair, Contestant::Netbridge));
    assert!(
        of_first == of_last && (of_first[0] / 4_995.0 - 1.0).abs() < 0.001,
        "{tails:?}"
    );
    let [reason] = reasons(&outcome, Metric::P999Micros)[..] else {
        panic!("{:?}", outcome.absences);
    };
    assert!(reason.starts_with("all rounds together have fewer than 10"));
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
