//! Makes other inputs of those that there are.

use super::input::Input;
use super::words::{LINES, PIECES, WORDS};
use crate::fuzz::random::Random;

/// Bytes of an input at most: what is as long as this is answered soon.
pub(super) const LONGEST: usize = 100_000;

/// An input made of one and another by one to eight changes.
pub(super) fn mutated(of: &Input, other: &Input, random: &mut Random) -> Input {
    let mut input = of.clone();
    for _ in 0..=random.below(8) {
        let place = random.pick(&[0, 0, 0, 1, 1, 2]);
        let others = other.clone().texts()[place].clone();
        let changed = change(place, input.texts()[place], &others, random);
        let before = std::mem::replace(input.texts()[place], changed);
        if input.size() > LONGEST {
            *input.texts()[place] = before;
        }
    }
    input
}

fn change(place: usize, text: &str, other: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.below(lines.len() + 1);
    match random.below(16) {
        0 if at < lines.len() => drop(lines.remove(at)),
        1 => {
            let line = random.below(lines.len().max(1));
            let copy = lines.get(line).cloned().unwrap_or_default();
            lines.insert(at, copy);
        }
        2 if at < lines.len() => {
            let with = random.below(lines.len());
            lines.swap(at, with);
        }
        3 => {
            let stretch = other.lines().skip(random.below(other.lines().count().max(1)));
            let stretch: Vec<_> = stretch.take(1 + random.below(12)).map(str::to_owned).collect();
            lines.splice(at..at, stretch);
        }
        4 | 5 => {
            // Before what ends the table, where most lines mean something.
            let end = lines.iter().rposition(|line| line == "COMMIT").unwrap_or(lines.len());
            let more = repeated(random.pick(LINES[place]), "\n", random);
            lines.insert(end, more);
        }
        6 => return characters(text, random),
        _ if at < lines.len() => lines[at] = words(&lines[at], random),
        _ => {}
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// The text as often as it comes, mostly a few times, each with its number.
fn repeated(text: &str, between: &str, random: &mut Random) -> String {
    let most = random.pick(&[1, 3, 20, 300, 3000]);
    let first = random.pick(&[0, 1, 250]);
    let each = (first..first + 1 + random.below(most)).map(|number| text.replace('#', &number.to_string()));
    each.collect::<Vec<_>>().join(between)
}

fn words(line: &str, random: &mut Random) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let at = random.below(words.len());
    match random.below(8) {
        0 => drop(words.remove(at)),
        1 => words.insert(at, words[at].clone()),
        2 => {
            let with = random.below(words.len());
            words.swap(at, with);
        }
        3 => words.insert(at, random.pick(WORDS).to_owned()),
        4 => words[at] = characters(&words[at], random),
        5 => words.insert(at, repeated(random.pick(PIECES), " ", random)),
        6 => {
            let comma = words[at].clone() + ",";
            words[at] = repeated(&comma, "", random) + random.pick(WORDS);
        }
        _ => random.pick(WORDS).clone_into(&mut words[at]),
    }
    words.join(" ")
}

/// The text with some of its characters gone, twice there, or others.
fn characters(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len() + 1);
    let end = characters.len().min(at + 1 + random.below(4));
    match random.below(4) {
        0 => drop(characters.drain(at..end)),
        1 => {
            let copy = characters[at..end].to_vec();
            characters.splice(at..at, copy);
        }
        2 => characters.splice(at..at, random.pick(WORDS).chars()).for_each(drop),
        _ if at < characters.len() => characters[at] = char::from(random.byte()),
        _ => {}
    }
    characters.into_iter().collect()
}
