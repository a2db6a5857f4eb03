//! The live proof that a file of rules means to netbridge what it means to netfilter: the same file is loaded on a host of the
//! kernel's and on one of netbridge's, the same packets are sent through both, and who received what, what the sender
//! was told and what every rule has counted must be the same.
//!
//! Rules name what is there on both hosts: networks and the uplink after `-i` and `-o`, no endpoint and no port of a bridge
//! (`-m physdev`). The kernel's host does around its filter what netbridge does around its own: published ports, masquerade,
//! networks that do not reach each other.
//!
//! What netbridge does otherwise on purpose is in one table, [`known`]; anything else is an error, and comes with as few
//! rules and conversations as still show it.

mod by_hand;
mod ground;
mod host;
pub mod known;
mod linux;
mod ours;
mod real;
mod rules;
mod sets;
mod shrink;
mod stand;
mod talk;
mod traffic;
mod trial;
mod words;

use anyhow::Result;
use fastrand::Rng;

pub use self::host::{Backend, Files};
use self::stand::{Stands, with_stands};
use self::trial::{Case, Outcome};

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Files.
    pub files: usize,
    /// Their rules.
    pub rules: usize,
    /// Packets sent.
    pub packets: usize,
    /// Packets that arrived where they were sent to.
    pub delivered: usize,
    /// Packets whose sender was told that they were rejected.
    pub rejected: usize,
    /// Rules that counted something.
    pub counted: usize,
    /// Files that are beyond netbridge's tables, and why.
    pub refused: Vec<String>,
    /// What differs, in words.
    pub differences: Vec<String>,
    /// Errors that came from different addresses of the two hosts, as is meant.
    pub told_by_another: usize,
}

impl Summary {
    fn add(&mut self, case: &Case, outcome: &Outcome) {
        self.files += 1;
        self.rules += case.files.rules.lines().filter(|line| line.starts_with("-A ")).count();
        self.packets += outcome.packets;
        self.delivered += outcome.delivered;
        self.rejected += outcome.rejected;
        self.counted += outcome.counted;
        self.told_by_another += outcome.told_by_another;
    }

    /// In words.
    pub fn text(&self) -> String {
        format!(
            "{} files of {} rules, {} of which counted; {} packets, {} arrived, {} were rejected; {} files refused; {} differences",
            self.files,
            self.rules,
            self.counted,
            self.packets,
            self.delivered,
            self.rejected,
            self.refused.len(),
            self.differences.len()
        )
    }
}

/// Tries so many generated files with generated traffic; the first of them is made from `seed`, each other one from the
/// next number.
pub fn generated(seed: u64, files: usize) -> Result<Summary> {
    with_stands(|stands| {
        let mut summary = Summary::default();
        for seed in (seed..).take(files) {
            let case = case(seed);
            attempt(stands, &format!("seed {seed}"), &case, &mut summary)?;
            if summary.differences.len() >= MOST_DIFFERENCES {
                break;
            }
        }
        Ok(summary)
    })
}

/// Tries the files by hand and those that others load, each by both ways to netfilter and with traffic of every kind.
pub fn written() -> Result<Summary> {
    let pages = by_hand::PAGES
        .iter()
        .map(|page| (page.name, page.rules(), page.sets.to_owned()));
    let saved = real::SAVED
        .iter()
        .map(|saved| (saved.name, saved.rules(), saved.sets()));
    with_stands(|stands| {
        let mut summary = Summary::default();
        for (seed, (name, rules, sets)) in (1..).zip(pages.chain(saved)) {
            for backend in [Backend::Legacy, Backend::Nft] {
                let mut random = Rng::with_seed(seed);
                let case = Case {
                    files: Files {
                        backend,
                        rules: rules.clone(),
                        sets: sets.clone(),
                        goes_on: false,
                    },
                    talks: traffic::many(&mut random, EVERY_KIND),
                    order: random.u64(..),
                };
                attempt(stands, name, &case, &mut summary)?;
            }
        }
        Ok(summary)
    })
}

/// So many conversations have every kind among them.
const EVERY_KIND: usize = 120;

/// After so many differences a run ends: there is enough to look at.
const MOST_DIFFERENCES: usize = 12;

/// The file and the traffic of a seed.
fn case(seed: u64) -> Case {
    let mut random = Rng::with_seed(seed);
    let backend = if seed.is_multiple_of(2) {
        Backend::Legacy
    } else {
        Backend::Nft
    };
    Case {
        files: rules::files(&mut random, backend),
        talks: traffic::talks(&mut random),
        order: random.u64(..),
    }
}

/// Tries a file, and makes what differs as small as can be.
fn attempt(stands: &Stands, name: &str, case: &Case, summary: &mut Summary) -> Result<()> {
    let outcome = trial::run(stands, case)?;
    summary
        .refused
        .extend(outcome.refused.iter().map(|why| format!("{name}: {why}")));
    if let Some(difference) = &outcome.difference {
        let small = shrink::shrink(stands, case, difference)?;
        summary.differences.push(format!("{name}: {small}"));
    }
    summary.add(case, &outcome);
    Ok(())
}
