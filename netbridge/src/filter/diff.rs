//! What differs between two texts, line by line, in the unified format.

use std::fmt::Write as _;
use std::ops::Range;

/// Lines that are shown around what differs.
const CONTEXT: usize = 3;

/// Pairs of lines that are compared at most; longer texts are told as replaced where they differ.
const MOST_PAIRS: usize = 1 << 24;

/// A stretch of lines that went, and of those that came in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    old: Range<usize>,
    new: Range<usize>,
}

/// The difference between two texts, empty if there is none.
pub fn unified(old: (&str, &str), new: (&str, &str)) -> String {
    let ((old_name, old), (new_name, new)) = (old, new);
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let changes = changes(&old, &new);
    let mut text = String::new();
    let mut changes = changes.as_slice();
    while let Some(first) = changes.first() {
        let near = |pair: &[Change]| pair.iter().rev().map(|change| change.old.start).next();
        let together = changes
            .windows(2)
            .take_while(|pair| near(pair).is_some_and(|start| start <= pair[0].old.end + 2 * CONTEXT))
            .count();
        let (hunk, rest) = changes.split_at(together + 1);
        changes = rest;
        if text.is_empty() {
            text = format!("--- {old_name}\n+++ {new_name}\n");
        }
        let last = hunk.last().unwrap_or(first);
        let from = first.old.start.saturating_sub(CONTEXT);
        let to = (last.old.end + CONTEXT).min(old.len());
        let new_from = first.new.start - (first.old.start - from);
        let new_count = last.new.end + (to - last.old.end) - new_from;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "@@ -{} +{} @@",
            place(from, to - from),
            place(new_from, new_count)
        );
        let mut at = from;
        for change in hunk {
            write_lines(&mut text, ' ', old.get(at..change.old.start));
            write_lines(&mut text, '-', old.get(change.old.clone()));
            write_lines(&mut text, '+', new.get(change.new.clone()));
            at = change.old.end;
        }
        write_lines(&mut text, ' ', old.get(at..to));
    }
    text
}

/// Where lines stand: the first of them, counted from 1, and how many; of none, the one before.
fn place(from: usize, count: usize) -> String {
    match count {
        0 => format!("{from},0"),
        1 => format!("{}", from + 1),
        _ => format!("{},{count}", from + 1),
    }
}

fn write_lines(text: &mut String, mark: char, lines: Option<&[&str]>) {
    for line in lines.into_iter().flatten() {
        let _ = writeln!(text, "{mark}{line}");
    }
}

/// The stretches that differ, in order: what is left of a longest common sequence.
fn changes(old: &[&str], new: &[&str]) -> Vec<Change> {
    let before = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (old.get(before..).unwrap_or(&[]), new.get(before..).unwrap_or(&[]));
    let behind = old_rest.iter().rev().zip(new_rest.iter().rev());
    let behind = behind.take_while(|(old, new)| old == new).count();
    let old_middle = old_rest.get(..old_rest.len() - behind).unwrap_or(&[]);
    let new_middle = new_rest.get(..new_rest.len() - behind).unwrap_or(&[]);
    let mut changes: Vec<Change> = Vec::new();
    let mut add = |old: Range<usize>, new: Range<usize>| match changes.last_mut() {
        Some(last) if last.old.end == old.start && last.new.end == new.start => {
            (last.old.end, last.new.end) = (old.end, new.end);
        }
        _ => changes.push(Change { old, new }),
    };
    if old_middle.len().saturating_mul(new_middle.len()) > MOST_PAIRS {
        add(before..before + old_middle.len(), before..before + new_middle.len());
        return changes;
    }
    let common = Common::of(old_middle, new_middle);
    let (mut i, mut j) = (0, 0);
    while i < old_middle.len() || j < new_middle.len() {
        let same = i < old_middle.len() && j < new_middle.len() && old_middle.get(i) == new_middle.get(j);
        let (from, to) = (before + i, before + j);
        if same {
            (i, j) = (i + 1, j + 1);
        } else if i < old_middle.len() && common.at(i + 1, j) >= common.at(i, j + 1) {
            add(from..from + 1, to..to);
            i += 1;
        } else if j < new_middle.len() {
            add(from..from, to..to + 1);
            j += 1;
        } else {
            add(from..from + 1, to..to);
            i += 1;
        }
    }
    changes
}

/// Lengths of the longest common sequences of what is behind two places.
struct Common {
    width: usize,
    lengths: Vec<u32>,
}

impl Common {
    fn of(old: &[&str], new: &[&str]) -> Self {
        let mut common = Self {
            width: new.len() + 1,
            lengths: vec![0; (old.len() + 1) * (new.len() + 1)],
        };
        for (i, old) in old.iter().enumerate().rev() {
            for (j, new) in new.iter().enumerate().rev() {
                let length = if old == new {
                    common.at(i + 1, j + 1) + 1
                } else {
                    common.at(i + 1, j).max(common.at(i, j + 1))
                };
                if let Some(place) = common.lengths.get_mut(i * common.width + j) {
                    *place = length;
                }
            }
        }
        common
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths.get(i * self.width + j).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> String {
        let lines = |text: &str| text.chars().flat_map(|line| [line, '\n']).collect::<String>();
        unified(("a", &lines(old)), ("b", &lines(new)))
    }

    #[test]
    fn lines_that_differ_are_shown_with_those_around() {
        assert_eq!(diff("abc", "abc"), "");
        assert_eq!(diff("", "a"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(diff("abc", "axc"), "--- a\n+++ b\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
        assert_eq!(
            diff("abcdefghijkl", "abcefghijklm"),
            "--- a\n+++ b\n@@ -1,7 +1,6 @@\n a\n b\n c\n-d\n e\n f\n g\n@@ -10,3 +9,4 @@\n j\n k\n l\n+m\n"
        );
        assert_eq!(
            diff("abcdefgh", "xbcdefgy"),
            "--- a\n+++ b\n@@ -1,8 +1,8 @@\n-a\n+x\n b\n c\n d\n e\n f\n g\n-h\n+y\n"
        );
    }

    #[test]
    fn a_difference_makes_the_new_text_of_the_old() {
        for (old, new) in [
            ("abcabba", "cbabac"),
            ("xaxcxabc", "abcy"),
            ("", ""),
            ("ab", ""),
            ("aaaa", "aa"),
        ] {
            let (old_lines, new_lines): (Vec<String>, Vec<String>) = (
                old.chars().map(String::from).collect(),
                new.chars().map(String::from).collect(),
            );
            let (from, to): (Vec<&str>, Vec<&str>) = (
                old_lines.iter().map(String::as_str).collect(),
                new_lines.iter().map(String::as_str).collect(),
            );
            let mut made = Vec::new();
            let mut at = 0;
            for change in changes(&from, &to) {
                made.extend_from_slice(&from[at..change.old.start]);
                made.extend_from_slice(&to[change.new]);
                at = change.old.end;
            }
            made.extend_from_slice(&from[at..]);
            assert_eq!(made, to, "{old} {new}");
        }
    }
}
