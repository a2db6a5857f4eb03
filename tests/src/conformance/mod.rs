//! Conformance: what RFCs and IEEE standards ask of a bridge with a NAT, tried on netbridge and on the kernel.
//!
//! A row is one requirement and the packets that show whether it is met; it runs on each [`router::Router`], and what it
//! says is what it saw. [`report`] makes the rows' outcomes a document; [`known`] lists what netbridge is known not to
//! meet, and why.

pub mod cells;
pub mod differential;
pub mod known;
pub mod netbridge;
pub mod netfilter;
pub mod packet;
pub mod report;
pub mod router;
pub mod rows;
pub mod stage;
pub mod world;

use std::thread;

use anyhow::{Context as _, Result, anyhow};

use self::cells::Cell;
use self::netbridge::Netbridge;
use self::netfilter::Netfilter;
use self::router::Router;
use self::rows::SECTIONS;
use self::world::World;
use crate::sandbox::within;

/// How strongly something is asked for, RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// MUST, or an IEEE standard's "shall".
    Must,
    /// SHOULD, or RECOMMENDED.
    Should,
    /// MAY.
    May,
    /// No standard asks for it: it is what the kernel does, or what keeps connections safe.
    Practice,
}

/// A requirement, and how it is tried.
pub struct Row {
    /// Its name in this project.
    pub id: &'static str,
    /// What is asked for.
    pub requirement: &'static str,
    /// Where.
    pub source: &'static str,
    /// How strongly.
    pub level: Level,
    /// Tries it on a router that knows nothing yet.
    pub run: fn(&mut World<'_>) -> Result<Outcome>,
}

impl Row {
    /// The number in its name: 3 of `U3a`.
    fn number(&self) -> Option<u32> {
        self.id.trim_matches(|digit: char| !digit.is_ascii_digit()).parse().ok()
    }
}

/// What a row saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In a few words; the same in every run.
    pub observed: String,
    /// Whether the requirement is met.
    pub met: bool,
}

/// What was seen, and whether it is what is asked for.
pub fn saw(observed: impl Into<String>, met: bool) -> Outcome {
    Outcome {
        observed: observed.into(),
        met,
    }
}

impl Level {
    /// All, the strongest first.
    pub const ALL: [Self; 4] = [Self::Must, Self::Should, Self::May, Self::Practice];

    /// As the report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
            Self::Practice => "practice",
        }
    }
}

/// Rows of one kind.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// The rows, a file's after the other's.
    pub rows: &'static [&'static [Row]],
}

impl Section {
    /// Its rows, a letter's by their numbers.
    pub fn rows(&self) -> Vec<&'static Row> {
        let mut rows: Vec<_> = self.rows.iter().copied().flatten().collect();
        for letter in rows.chunk_by_mut(|one, next| one.id[..1] == next.id[..1]) {
            letter.sort_by_key(|row| (row.number(), row.id));
        }
        rows
    }
}

/// What one router did.
pub struct Run {
    /// Outcomes in the order of the rows.
    pub outcomes: Vec<(&'static str, Outcome)>,
    /// What became of each segment in each state of a connection.
    pub cells: Vec<Cell>,
}

/// Both routers' outcomes.
pub struct Both {
    /// The kernel's.
    pub netfilter: Run,
    /// netbridge's.
    pub netbridge: Run,
}

/// All rows, of all sections.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(Section::rows)
}

/// Runs the rows that `wanted` names on both routers, each in a sandbox of its own.
pub fn run(wanted: impl Fn(&str) -> bool + Sync) -> Result<Both> {
    let join =
        |run: thread::ScopedJoinHandle<'_, Result<Run>>| run.join().map_err(|_panic| anyhow!("a run panicked"))?;
    thread::scope(|scope| {
        let netfilter = scope.spawn(|| within(|_| all(Box::new(Netfilter::build()?), &wanted)));
        let netbridge = scope.spawn(|| within(|sandbox| all(Box::new(Netbridge::build(sandbox)?), &wanted)));
        Ok(Both {
            netfilter: join(netfilter).context("on the kernel's router")?,
            netbridge: join(netbridge).context("on netbridge")?,
        })
    })
}

fn all(router: Box<dyn Router + '_>, wanted: &impl Fn(&str) -> bool) -> Result<Run> {
    let mut world = World { router };
    let mut outcomes = Vec::new();
    for row in rows().filter(|row| wanted(row.id)) {
        world.router.reset()?;
        let outcome = (row.run)(&mut world).with_context(|| format!("row {}", row.id))?;
        outcomes.push((row.id, outcome));
    }
    let cells = if wanted("cells") {
        cells::run(&mut world)?
    } else {
        Vec::new()
    };
    world.router.reset()?;
    Ok(Run { outcomes, cells })
}
