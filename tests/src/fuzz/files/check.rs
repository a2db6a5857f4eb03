//! What has to hold of every input, whether it is taken or refused.

use netbridge::filter::bounds;
use netbridge::filter::probe;
use netbridge::filter::syntax::{Counters, FilterErrors, Parsed, Ruleset, parse};
use netbridge::filter::tables::{KnownInterface, Tables, World, compile};
use netbridge::ops::{EditKind, edit_of};
use netbridge_common::abi::{
    BOX_PAGES, CtState, LIMITS, PAGE_BOXES, PAGE_WORDS, PLACES, SEARCH_STEPS, WORD_PAGES, axis,
};
use netbridge_common::datapath::filter::Subject;

use super::clock::{Clock, Limits};
use super::input::Input;
use crate::fuzz::random::Random;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The files are refused.
    Refused,
    /// They are read, and too much for the tables.
    TooComplex,
    /// They are compiled.
    Compiled,
}

/// Packets that are asked about what was compiled.
const PACKETS: usize = 32;
/// The kernel's ticks in a second.
const HZ: u64 = 1000;

/// Puts the input to the filter; what is wrong with the answer, if anything is.
pub(super) fn check(input: &Input, limits: Limits) -> Result<Ended, String> {
    let clock = Clock::start(limits.read);
    let read = read(&input.rules, &input.sets);
    clock.stop("reading")?;
    let parsed = match read {
        Ok(parsed) => parsed,
        Err(errors) => return refused(&errors, input).map(|()| Ended::Refused),
    };
    let again = shown_again(&parsed, limits)?;
    let ended = compiled(&parsed.ruleset, &again, limits)?;
    edited(&parsed, input, limits)?;
    Ok(ended)
}

fn read(rules: &str, sets: &str) -> Result<Parsed, FilterErrors> {
    parse("f", rules, Some(("s", sets)))
}

/// Every fault has a place in its file, a reason and a remedy.
fn refused(errors: &FilterErrors, input: &Input) -> Result<(), String> {
    if errors.faults.is_empty() {
        return Err("refused for nothing".to_owned());
    }
    let [own, others] = [&input.rules, &input.sets].map(|text| text.lines().count().max(1));
    for fault in &errors.faults {
        let lines = if fault.file.is_some() { others } else { own };
        if !(1..=lines).contains(&fault.line) || fault.reason.is_empty() || fault.advice.is_empty() {
            return Err(format!("a fault without a place or a remedy: {fault}"));
        }
    }
    let (said, most) = (errors.to_string().len(), 4096 + 200 * input.size());
    if said > most {
        return Err(format!("{said} bytes are said about {}", input.size()));
    }
    Ok(())
}

/// The rules are the same when their text is read; gives them as they are read then.
fn shown_again(parsed: &Parsed, limits: Limits) -> Result<Ruleset, String> {
    let clock = Clock::start(limits.read);
    let rules = &parsed.ruleset;
    let sets = rules.sets.to_string();
    let counted = reread(&rules.with_counters().to_string(), &sets)?;
    if placeless(counted.ruleset.clone()) != placeless(rules.clone()) {
        return Err("the text with counters is read as other rules".to_owned());
    }
    let plain = reread(&rules.and(&parsed.spare).to_string(), &sets)?;
    if placeless(plain.ruleset) != uncounted(placeless(rules.clone())) {
        return Err("the text without counters is read as other rules".to_owned());
    }
    if plain
        .spare
        .iter()
        .map(|spare| &spare.name)
        .ne(parsed.spare.iter().map(|spare| &spare.name))
    {
        return Err("other chains are left alone when the text is read".to_owned());
    }
    // Three texts were written or read.
    clock.stop_after(3, "showing and reading again")?;
    Ok(counted.ruleset)
}

fn reread(rules: &str, sets: &str) -> Result<Parsed, String> {
    read(rules, sets).map_err(|errors| format!("what is shown is refused: {errors}"))
}

/// The rules without their places in a file.
fn placeless(mut rules: Ruleset) -> Ruleset {
    for chain in &mut rules.chains {
        chain.line = 0;
        chain.rules.iter_mut().for_each(|rule| rule.line = 0);
    }
    rules.sets.0.values_mut().for_each(|set| set.line = 0);
    rules
}

fn uncounted(mut rules: Ruleset) -> Ruleset {
    for chain in &mut rules.chains {
        chain.counters = Counters::default();
        chain
            .rules
            .iter_mut()
            .for_each(|rule| rule.counters = Counters::default());
    }
    rules
}

/// What compiles keeps its bounds, and is the same for the same rules; what does not says where.
fn compiled(rules: &Ruleset, again: &Ruleset, limits: Limits) -> Result<Ended, String> {
    let world = world();
    let clock = Clock::start(limits.compile);
    let tables = compile(rules, &world, HZ);
    clock.stop("compiling")?;
    match (&tables, compile(again, &world, HZ)) {
        (Ok(one), Ok(other)) if *one == other => {}
        (Err(one), Err(other)) if one.to_string() == other.to_string() => {}
        _ => return Err("the same rules are compiled to something else".to_owned()),
    }
    match tables {
        Ok(tables) => {
            bounded(rules, &tables)?;
            asked(rules, &tables)?;
            Ok(Ended::Compiled)
        }
        Err(error) => {
            let said = bounds::beyond("f", rules, &error);
            match said.faults.as_slice() {
                [fault] if fault.line > 0 && !fault.advice.is_empty() => Ok(Ended::TooComplex),
                _ => Err(format!("refused without a place: {said}")),
            }
        }
    }
}

fn bounded(rules: &Ruleset, tables: &Tables) -> Result<(), String> {
    let within = [
        ("words", tables.words.len(), WORD_PAGES * PAGE_WORDS),
        ("boxes", tables.boxes.len(), BOX_PAGES * PAGE_BOXES),
        ("limits", tables.limits.len(), LIMITS),
        ("places", tables.counts.len(), PLACES),
        ("steps", tables.steps, SEARCH_STEPS),
    ];
    if let Some((what, count, most)) = within.into_iter().find(|(_, count, most)| *count > *most as usize) {
        return Err(format!("{count} {what}, of {most} at most"));
    }
    if tables.counts.len() != tables.head.places as usize || tables.boxes.len() != tables.head.boxes as usize {
        return Err("the head counts otherwise than there is".to_owned());
    }
    for id in tables.counts.iter().flatten() {
        let chain = rules.chains.get(id.chain as usize);
        // Behind the last rule of FORWARD there is its policy.
        let rules = chain.map_or(0, |chain| chain.rules.len() + usize::from(id.chain == 0));
        if id.rule as usize >= rules {
            return Err(format!("{id:?} is counted, and is no rule"));
        }
    }
    Ok(())
}

/// The search finds for some packets what going through the rules does.
fn asked(rules: &Ruleset, tables: &Tables) -> Result<(), String> {
    let mut random = Random::new(tables.words.len() as u64);
    for _ in 0..PACKETS {
        let subject = subject(&mut random);
        if probe::ask(rules, tables, &subject).is_none() {
            return Err(format!("search and rules do not agree about {subject:?}"));
        }
    }
    Ok(())
}

fn subject(random: &mut Random) -> Subject<[u8; 4]> {
    let addresses = [
        [10, 0, 0, 1],
        [172, 17, 0, 2],
        [192, 0, 2, 7],
        [10, 96, 0, 1],
        [255; 4],
        [0; 4],
    ];
    let protocol = random.pick(&[6, 17, 1, 132]);
    let port = |random: &mut Random| random.pick(&[22_u32, 53, 80, 443, 8080, 65_535]);
    let (sport, dport) = match protocol {
        6 | 17 => (port(random), port(random)),
        1 => (axis::NO_PORT, axis::ICMP | 8 << 8),
        _ => (axis::NO_PORT, axis::NO_PORT),
    };
    let states = [CtState::NEW, CtState::ESTABLISHED, CtState::RELATED, CtState::INVALID];
    Subject {
        in_ifindex: random.pick(&[0, 2, 10]),
        in_net: random.pick(&[0, 1]),
        out_ifindex: random.pick(&[0, 2, 10]),
        out_net: random.pick(&[0, 1]),
        src: random.pick(&addresses),
        dst: random.pick(&addresses),
        sport,
        dport,
        proto: protocol,
        state: random.pick(&states),
        tcp: random.byte(),
        bytes: 60,
        ..Subject::EMPTY
    }
}

/// Each edit is refused, or leaves rules that are judged like a file.
fn edited(parsed: &Parsed, input: &Input, limits: Limits) -> Result<(), String> {
    for line in input.edits.lines() {
        let kind = match line.split_whitespace().next() {
            Some("-A") => EditKind::Append,
            Some("-I") => EditKind::Insert,
            _ => EditKind::Delete,
        };
        let clock = Clock::start(limits.read);
        let edit = edit_of(kind, &[line.to_owned()], None);
        let mut rules = parsed.ruleset.clone();
        let made = edit.is_ok_and(|edit| edit.apply(&mut rules).is_ok());
        let again = made.then(|| read(&rules.and(&parsed.spare).to_string(), &input.sets));
        clock.stop_after(2, "editing")?;
        // A jump that went may leave chains that are not reached.
        let there = uncounted(placeless(rules)).chains;
        if let Some(Ok(again)) = again
            && !uncounted(placeless(again.ruleset))
                .chains
                .iter()
                .all(|chain| there.contains(chain))
        {
            return Err(format!("after `{line}` other rules are read than there were"));
        }
    }
    Ok(())
}

/// A host with a network, an endpoint and an uplink, by names of the files that others save.
fn world() -> World {
    let known = |ifindex, network, names: &[&str]| KnownInterface {
        ifindex,
        network,
        names: names.iter().map(ToString::to_string).collect(),
    };
    World {
        interfaces: vec![
            known(0, 0, &[]),
            known(2, 0, &["eth0"]),
            known(0, 1, &[]),
            known(10, 1, &["web"]),
        ],
        networks: vec![("docker0".to_owned(), 1)],
        endpoints: Vec::new(),
        local: vec![[10, 0, 0, 1].into()],
        broadcast: vec![[10, 0, 0, 255].into()],
    }
}
