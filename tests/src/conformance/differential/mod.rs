//! The live differential run: one seeded stream of events into netbridge and into the kernel's router, and every
//! difference in who received what explained by a line of `explained.rs`, or an error.
//!
//! External ports are each router's own choice: they are named after the flow that they stand for, and a flow that changes
//! its port, or shares it with another one to the same server, shows. After a difference both routers forget their flows,
//! so that one difference does not cause the next.

mod actor;
mod event;
mod explained;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};

use self::actor::{Actor, Seen};
use self::event::{Event, Generator};
use self::explained::{Difference, EXPLAINED, explain};
use super::netbridge::Netbridge;
use super::netfilter::Netfilter;
use super::router::Router;
use super::world::World;
use crate::sandbox::within;

/// Events that are shown before one that differs without an explanation.
const HISTORY: usize = 12;

/// What a run came to.
#[derive(Debug)]
pub struct Summary {
    /// Events.
    pub events: usize,
    /// Packets that arrived anywhere, at the kernel's router.
    pub arrivals: usize,
    /// How often each explanation was needed, by its index.
    pub explained: BTreeMap<usize, usize>,
}

impl Summary {
    /// The explanations that no difference needed.
    pub fn unused(&self) -> Vec<&'static str> {
        let unused = EXPLAINED.iter().enumerate();
        unused
            .filter(|(index, _)| !self.explained.contains_key(index))
            .map(|(_, line)| line.what)
            .collect()
    }

    /// In words.
    pub fn text(&self) -> String {
        let mut text = format!("{} events, {} arrivals, ", self.events, self.arrivals);
        let differences: usize = self.explained.values().sum();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{differences} differences, all explained:");
        for (index, line) in EXPLAINED.iter().enumerate() {
            let count = self.explained.get(&index).copied().unwrap_or(0);
            let _ = writeln!(text, "{count:>7}  {} ({})", line.what, line.source);
        }
        text
    }
}

/// A router on a thread of its own.
struct Stand {
    events: Sender<Event>,
    seen: Receiver<Result<Seen>>,
}

impl Stand {
    fn tell(&self, event: &Event) -> Result<()> {
        self.events
            .send(event.clone())
            .map_err(|_gone| anyhow!("a router has gone"))
    }

    fn ask(&self) -> Result<Seen> {
        self.seen.recv().context("a router has gone")?
    }
}

/// Carries out events on a router until there are no more.
fn serve(router: Box<dyn Router + '_>, events: &Receiver<Event>, seen: &Sender<Result<Seen>>) -> Result<()> {
    let mut actor = Actor::new(World { router })?;
    while let Ok(event) = events.recv() {
        let outcome = actor.act(&event).with_context(|| format!("{event:?}"));
        if seen.send(outcome).is_err() {
            break;
        }
    }
    Ok(())
}

/// Runs so many events made from a seed; `tell` hears of every thousandth.
pub fn run(seed: u64, events: usize, tell: impl FnMut(usize)) -> Result<Summary> {
    thread::scope(|scope| {
        let (kernel, told) = stand();
        let netfilter = scope.spawn(move || within(move |_| serve(Box::new(Netfilter::build()?), &told.0, &told.1)));
        let (ours, told) = stand();
        let netbridge =
            scope.spawn(move || within(move |sandbox| serve(Box::new(Netbridge::build(sandbox)?), &told.0, &told.1)));
        let outcome = compare(seed, events, &kernel, &ours, tell);
        drop((kernel, ours));
        let ended = [netfilter, netbridge].map(|thread| thread.join().map_err(|_panic| anyhow!("a router panicked")));
        for ended in ended {
            ended??;
        }
        outcome
    })
}

fn stand() -> (Stand, (Receiver<Event>, Sender<Result<Seen>>)) {
    let (events, told) = channel();
    let (tell, seen) = channel();
    (Stand { events, seen }, (told, tell))
}

fn compare(seed: u64, events: usize, kernel: &Stand, ours: &Stand, mut tell: impl FnMut(usize)) -> Result<Summary> {
    let mut generator = Generator::new(seed);
    let mut history: Vec<String> = Vec::new();
    let mut denied = Vec::new();
    let mut summary = Summary {
        events,
        arrivals: 0,
        explained: BTreeMap::new(),
    };
    for number in 0..events {
        let event = generator.next();
        if let Event::Deny(ports) = &event {
            denied.clone_from(ports);
        }
        let both = |event: &Event| -> Result<(Seen, Seen)> {
            kernel.tell(event)?;
            ours.tell(event)?;
            Ok((kernel.ask()?, ours.ask()?))
        };
        let (theirs, own) = both(&event)?;
        summary.arrivals += theirs.arrivals.len();
        history.push(format!("{number}: {event:?}: {:?}", theirs.arrivals));
        if theirs == own {
            generator.learn(&event, theirs.through);
        } else {
            let difference = Difference {
                event: &event,
                theirs: &theirs,
                ours: &own,
                denied: &denied,
            };
            let Some(index) = explain(&difference) else {
                let (at_kernel, at_ours) = both(&Event::Show)?;
                let last = history.len().saturating_sub(HISTORY);
                bail!(
                    "seed {seed}, event {number}: {event:?}\nnetfilter: {:?}\nnetbridge: {:?}\nbefore that:\n{}\nconnections of netfilter:\n{}\nof netbridge:\n{}",
                    theirs.arrivals,
                    own.arrivals,
                    history[last..].join("\n"),
                    at_kernel.arrivals.join("\n"),
                    at_ours.arrivals.join("\n")
                );
            };
            *summary.explained.entry(index).or_default() += 1;
            generator.forget();
            both(&Event::Expire)?;
        }
        if (number + 1) % 1000 == 0 {
            tell(number + 1);
        }
    }
    Ok(summary)
}
