//! `mark` and `comment`.

use std::fmt;

use super::{
    super::{
        Extension, Mark, Match,
        fault::Refusal,
        given::{Build, Opt, Spec},
        lex, number,
    },
    option,
};

/// Longest comment netfilter takes (`XT_MAX_COMMENT_LEN` less its terminator), bytes.
const MAX_COMMENT: usize = 255;

pub(super) static MARK: Spec = Spec {
    name: "mark",
    protocols: &[],
    options: &[Opt::new(&["--mark"])],
    refused: &[],
    build: Build::Match(|given| given.read("--mark", parse).map(Extension::Mark)),
};

pub(super) static COMMENT: Spec = Spec {
    name: "comment",
    protocols: &[],
    options: &[Opt::new(&["--comment"]).text()],
    refused: &[],
    build: Build::Match(|given| given.value("--comment", comment).map(Extension::Comment)),
};

fn parse(word: &str) -> Result<Mark, Refusal> {
    let (value, mask) = word
        .split_once('/')
        .map_or((word, None), |(value, mask)| (value, Some(mask)));
    let mask = mask.map_or(Some(u32::MAX), number::any_base);
    let (Some(value), Some(mask)) = (number::any_base(value), mask) else {
        return Err(Refusal::new(
            word,
            "not a mark",
            "give VALUE or VALUE/MASK, such as 0x10/0xff",
        ));
    };
    if value & !mask != 0 {
        let advice = format!("write {:#x}/{mask:#x}", value & mask);
        return Err(Refusal::new(word, "the mask hides a part of the value", advice));
    }
    Ok(Mark { value, mask })
}

fn comment(text: &str) -> Result<String, Refusal> {
    if text.len() > MAX_COMMENT {
        return Err(Refusal::new(text, "a comment has at most 255 bytes", "shorten it"));
    }
    printable(text, "a comment is printable text")?;
    Ok(text.to_owned())
}

/// Refuses control characters.
pub(in super::super) fn printable(text: &str, reason: &str) -> Result<(), Refusal> {
    if text.contains(char::is_control) {
        return Err(Refusal::new(text, reason, "remove its control characters"));
    }
    Ok(())
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask == u32::MAX {
            Ok(())
        } else {
            write!(f, "/{:#x}", self.mask)
        }
    }
}

pub(super) fn show(f: &mut fmt::Formatter<'_>, mark: &Match<Mark>) -> fmt::Result {
    write!(f, "-m mark")?;
    option(f, "--mark", Some(mark))
}

pub(super) fn show_comment(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "-m comment --comment {}", lex::quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_every_notation() {
        for (word, shown) in [
            ("12", "0xc"),
            ("010/0xf", "0x8/0xf"),
            ("0x4000/0x4000", "0x4000/0x4000"),
            ("0/0", "0x0/0x0"),
            ("0xffffffff", "0xffffffff"),
        ] {
            assert_eq!(parse(word).unwrap().to_string(), shown, "{word}");
        }
        for (word, reason) in [
            ("", "not a mark"),
            ("1/", "not a mark"),
            ("0x100000000", "not a mark"),
            ("1/2/3", "not a mark"),
            ("0xff/0xf", "hides a part"),
        ] {
            let fault = parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{word}: {fault}");
        }
    }

    #[test]
    fn comments_are_short_and_printable() {
        assert!(comment(&"x".repeat(255)).is_ok());
        assert!(comment("").is_ok());
        for (text, reason) in [("x".repeat(256), "at most 255"), ("a\u{1b}".to_owned(), "printable")] {
            assert!(comment(&text).unwrap_err().at(1).reason.contains(reason));
        }
    }
}
