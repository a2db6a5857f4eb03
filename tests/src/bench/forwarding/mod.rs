//! What it costs to carry a packet, without sockets: nanoseconds at one core, with and without the cost of making the
//! packet and of taking it out again.
//!
//! A round measures two things. The *floor*: frames appear on the first interface that they would cross, and a sink on
//! that very interface counts and drops them. The *total*: the same frames, with the sink at the end of their path. The
//! net cost is the total less the mean of the floors before and after it; what generator and sink cost is in all three.
//! Floors also tell that the processor was slowed down, and then the round is repeated ([`pace`]). The limits take no
//! part: without a host the first interface is the last, and there is nothing above the floor.
//!
//! A flow that counts as established has been answered once, by the sink. Rules are loaded after that, as an operator
//! does who changes a filter while traffic flows.

mod conversation;
mod pace;
mod programs;
mod session;
mod workload;
mod worst;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::conversation::{Conversation, PUBLISHED, Relation, SERVER};
use self::pace::Pace;
use self::session::Session;
use self::workload::{Filter, Traffic, Workload};
use super::case::Case;
use super::classbench::{self, Probe};
use super::contestant::Contestant;
use super::generator::Generator;
use super::rule::Rule;
use super::series::{Metric, Sample};
use super::world::{Able, Layout, World};

/// The same filters in every run.
const SEED: u64 = 20_241_105;

/// All that is measured. `quick` has every workload without rules, few rules where every packet is judged by them anew, and
/// 10,000 rules inside a network.
pub fn cases(quick: bool) -> Vec<Box<dyn Case>> {
    cases_of(quick, Duration::from_millis(if quick { 30 } else { 100 }))
}

/// The same in rounds that send for so long, roughly.
pub fn cases_of(quick: bool, budget: Duration) -> Vec<Box<dyn Case>> {
    let generator = Rc::new(OnceCell::new());
    let pace = Rc::new(Pace::unknown());
    let timed = workload::ALL.iter().flat_map(|workload| {
        let rules = workload.rules.iter().filter(move |rules| match **rules {
            0 => true,
            10 => workload.traffic == Traffic::New && workload.filter == Filter::Mixed || workload.name == "l2",
            10_000 => workload.relation == Relation::Neighbours && workload.filter != Filter::Ports,
            _ => false,
        } || !quick);
        rules.map(|rules| (*workload, *rules, Metered::Time))
    });
    let by_program = workload::ALL
        .iter()
        .filter(|workload| workload.rules.contains(&0) && (!quick || workload.name == "l2"))
        .map(|workload| (*workload, 0, Metered::Programs));
    timed
        .chain(by_program)
        .map(|(workload, rules, metered)| {
            Box::new(Forwarding {
                workload,
                rules,
                metered,
                budget,
                generator: Rc::clone(&generator),
                pace: Rc::clone(&pace),
                plan: OnceCell::new(),
                sessions: RefCell::default(),
            }) as Box<dyn Case>
        })
        .collect()
}

/// What is metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metered {
    /// Time per packet.
    Time,
    /// How long BPF programs run per packet; apart, because the counting takes time itself.
    Programs,
}

/// What a case loads, and whom its packets are for.
struct Plan {
    rules: Vec<Rule>,
    /// The server's.
    port: u16,
}

impl Plan {
    fn new(filter: Filter, count: usize, probe: Probe) -> Result<Self> {
        let rules = match filter {
            Filter::Mixed | Filter::Costliest => classbench::rules(count, SEED, probe),
            Filter::Ports => classbench::ports(count, probe),
            Filter::Fitting => classbench::fitting(count, SEED, probe),
            Filter::Settled => classbench::elsewhere(count, SEED, probe),
        };
        let port = match filter {
            Filter::Costliest | Filter::Fitting => worst::costliest(&rules, probe)?,
            Filter::Mixed | Filter::Ports | Filter::Settled => probe.dport,
        };
        Ok(Self { rules, port })
    }
}

/// A workload with so many rules.
struct Forwarding {
    workload: Workload,
    rules: usize,
    metered: Metered,
    /// How long a round sends, roughly.
    budget: Duration,
    /// Loaded by the first case that needs it.
    generator: Rc<OnceCell<Generator>>,
    /// Of all cases and contestants.
    pace: Rc<Pace>,
    /// The same for all contestants: their addresses are.
    plan: OnceCell<Plan>,
    sessions: RefCell<HashMap<Contestant, Session>>,
}

impl Forwarding {
    /// The rules for these containers, and what is sent.
    fn plan(&self, layout: &Layout) -> Result<&Plan> {
        if self.plan.get().is_none() {
            let probe = Conversation::new(self.workload.relation, layout, SERVER).probe();
            let _raced = self.plan.set(Plan::new(self.workload.filter, self.rules, probe)?);
        }
        self.plan.get().context("the plan has gone")
    }

    fn generator(&self) -> Result<&Generator> {
        if self.generator.get().is_none() {
            let _raced = self.generator.set(Generator::load()?);
        }
        self.generator.get().context("the generator has gone")
    }

    /// What a contestant cannot do by its nature.
    fn beyond(&self, world: &dyn World) -> Option<String> {
        let contestant = world.contestant();
        let limit = match contestant {
            Contestant::Loopback => Some("a packet never leaves the interface on which it appears"),
            Contestant::RawPair => Some("the floor: frames appear on the interface where they are counted"),
            _ if self.rules == 0 => contestant.same_without_rules(),
            _ => None,
        };
        if limit.is_some() {
            return limit.map(str::to_owned);
        }
        if self.metered == Metered::Programs && contestant != Contestant::Netbridge {
            return Some("runs no BPF programs".to_owned());
        }
        match world.translates() {
            Able::Cannot(reason) if self.workload.relation == Relation::Masqueraded => Some(reason),
            _ => None,
        }
    }

    /// Makes the contestant ready, or tells what it cannot.
    fn set_up(&self, world: &mut dyn World) -> Result<Able> {
        if let Some(reason) = self.beyond(world) {
            return Ok(Able::Cannot(reason));
        }
        world.load_rules(&[])?;
        world.forget_flows()?;
        if self.workload.relation == Relation::Published
            && let cannot @ Able::Cannot(_) = world.publish(&[PUBLISHED])?
        {
            return Ok(cannot);
        }
        let generator = self.generator()?;
        let plan = self.plan(world.layout())?;
        let mut session = Session::open(self.workload, plan.port, generator, world.layout())?;
        if self.rules > 0
            && let cannot @ Able::Cannot(_) = world.load_rules(&plan.rules)?
        {
            return Ok(cannot);
        }
        session.calibrate(generator, world, self.budget)?;
        self.sessions.borrow_mut().insert(world.contestant(), session);
        Ok(Able::Done)
    }
}

impl Case for Forwarding {
    fn id(&self) -> String {
        match self.metered {
            Metered::Time => format!("forwarding/{}/rules-{}", self.workload.name, self.rules),
            Metered::Programs => format!("forwarding/bpf-time/{}", self.workload.name),
        }
    }

    fn title(&self) -> String {
        let title = self.workload.title;
        match (self.metered, self.rules) {
            (Metered::Programs, _) => format!("BPF run time: {title}"),
            (Metered::Time, 0) => title.to_owned(),
            (Metered::Time, rules) => format!("{title}, {rules} rules"),
        }
    }

    fn prepare(&self, world: &mut dyn World) -> Result<Able> {
        let able = self.set_up(world)?;
        if able != Able::Done {
            self.finish(world)?;
        }
        Ok(able)
    }

    fn measure(&self, world: &mut dyn World) -> Result<Sample> {
        let generator = self.generator()?;
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions
            .get_mut(&world.contestant())
            .context("measured before it was prepared")?;
        if self.metered == Metered::Programs {
            let nanos = programs::run_time(world, |world| Ok(session.total(generator, world)?.frames))?;
            return Ok([(Metric::BpfNs, nanos)].into());
        }
        let round = self.pace.keep(|| session.round(generator, world))?;
        Ok([
            (Metric::NetNs, round.net()),
            (Metric::TotalNs, round.total),
            (Metric::PacketsPerSecond, 1e9 / round.total),
        ]
        .into())
    }

    fn finish(&self, world: &mut dyn World) -> Result<()> {
        self.sessions.borrow_mut().remove(&world.contestant());
        // All of it, whichever fails: what one step leaves would be in the way of every later case.
        let unpublished = match self.workload.relation {
            Relation::Published => world.unpublish().map(drop),
            Relation::Neighbours | Relation::Masqueraded => Ok(()),
        };
        let unloaded = match self.rules {
            0 => Ok(()),
            _ => world.load_rules(&[]).map(drop),
        };
        let forgotten = world.forget_flows();
        unpublished.and(unloaded).and(forgotten)
    }

    fn seconds(&self) -> f64 {
        // The floor, attaching its sink and taking it away, and what a round sends besides.
        let round = self.budget.as_secs_f64() + 0.06;
        // The two limits take no part, and only netbridge has programs.
        match self.metered {
            Metered::Time => round * 6.0 / 8.0,
            Metered::Programs => round / 8.0,
        }
    }
}
