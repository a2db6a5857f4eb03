//! Input after input, until there were enough or one of them is answered wrongly.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::check::Ended;
use super::clock::Limits;
use super::guard::{Wrong, judge};
use super::input::Input;
use super::mutate::mutated;
use crate::fuzz::random::Random;

/// What an input may cost that is as long as they get.
pub const LIMITS: Limits = Limits {
    read: Duration::from_secs(1),
    compile: Duration::from_secs(4),
    all: Duration::from_mins(1),
};

/// Inputs that others are made of, at most.
const POOL: usize = 2_000;

/// What became of the inputs of a campaign.
#[derive(Debug)]
pub struct Course {
    /// How many ended how.
    pub ended: BTreeMap<&'static str, u64>,
    /// The one that was answered wrongly, as short as can be, and what was wrong.
    pub found: Option<(Input, Wrong)>,
}

/// Where the files of other programs are.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../netbridge/src/filter/fixtures")
}

/// Where inputs are kept that were answered wrongly once.
pub fn kept() -> PathBuf {
    crate::fuzz::command::crashers().join("files")
}

/// The files of other programs, each with its sets.
pub fn seeds() -> Result<Vec<Input>> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(fixtures())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "rules") {
            continue;
        }
        let sets = path.with_extension("ipset");
        let sets = if sets.exists() {
            fs::read_to_string(sets)?
        } else {
            String::new()
        };
        seeds.push(Input {
            rules: fs::read_to_string(&path).with_context(|| path.display().to_string())?,
            sets,
            edits: "-A FORWARD -p tcp --dport 80 -j ACCEPT\n-I FORWARD 1 -s 10.0.0.1 -j DROP\n-D FORWARD 1\n"
                .to_owned(),
        });
    }
    // The order of a directory is nobody's.
    seeds.sort_by(|one, other| one.rules.cmp(&other.rules));
    Ok(seeds)
}

/// Judges `count` inputs, or those that fit into the time.
pub fn run(seed: u64, count: u64, until: Option<Instant>, limits: Limits) -> Result<Course> {
    let mut random = Random::new(seed);
    let seeds = seeds()?;
    let mut pool = seeds.clone();
    let mut course = Course {
        ended: BTreeMap::new(),
        found: None,
    };
    for _ in 0..count {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let of = if random.once_in(4) { &seeds } else { &pool };
        let (one, other) = (random.below(of.len()), random.below(pool.len()));
        let input = mutated(&of[one], &pool[other], &mut random);
        match judge(&input, limits) {
            Ok(ended) => {
                *course.ended.entry(named(ended)).or_default() += 1;
                // What is taken leads further than what is refused.
                if ended != Ended::Refused || random.once_in(50) {
                    if pool.len() < POOL {
                        pool.push(input);
                    } else {
                        let place = random.below(POOL);
                        pool[place] = input;
                    }
                }
            }
            Err(wrong) => {
                course.found = Some(shrunk(input, wrong, limits));
                break;
            }
        }
    }
    Ok(course)
}

fn named(ended: Ended) -> &'static str {
    match ended {
        Ended::Refused => "refused",
        Ended::TooComplex => "too complex",
        Ended::Compiled => "compiled",
    }
}

/// Leaves out lines, in ever smaller pieces, for as long as something is wrong with the rest.
fn shrunk(mut input: Input, mut wrong: Wrong, limits: Limits) -> (Input, Wrong) {
    for place in 0..3 {
        let mut piece = input.texts()[place].lines().count().div_ceil(2);
        while piece > 0 && !wrong.lost {
            let mut from = 0;
            while from < input.texts()[place].lines().count() && !wrong.lost {
                let mut shorter = input.clone();
                let lines = input.texts()[place].lines().enumerate();
                let rest = lines.filter(|(line, _)| !(from..from + piece).contains(line));
                *shorter.texts()[place] = rest.fold(String::new(), |text, (_, line)| text + line + "\n");
                match judge(&shorter, limits) {
                    Err(still) => (input, wrong) = (shorter, still),
                    Ok(_) => from += piece,
                }
            }
            piece /= 2;
        }
    }
    (input, wrong)
}

/// Runs a campaign and tells of it; keeps the input that ended it. True if none did.
pub fn tell(seed: u64, count: u64, until: Option<Instant>) -> Result<bool> {
    let start = Instant::now();
    let course = run(seed, count, until, LIMITS)?;
    let ended: Vec<String> = course
        .ended
        .iter()
        .map(|(how, count)| format!("{count} {how}"))
        .collect();
    println!(
        "files: {}, in {} s, seed {seed:#x}",
        ended.join(", "),
        start.elapsed().as_secs()
    );
    let Some((input, wrong)) = course.found else {
        return Ok(true);
    };
    let path = kept().join(format!("{seed:x}.txt"));
    fs::create_dir_all(kept())?;
    fs::write(&path, input.to_text()).with_context(|| format!("write {}", path.display()))?;
    println!("{}\nkept as {}, {} bytes", wrong.said, path.display(), input.size());
    Ok(false)
}

/// Judges an input that was kept.
pub fn replay(path: &Path, limits: Limits) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    judge(&Input::from_text(&text), limits)
        .map(|_| ())
        .map_err(|wrong| anyhow::anyhow!("{}: {}", path.display(), wrong.said))
}
