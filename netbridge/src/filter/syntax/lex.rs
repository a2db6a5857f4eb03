//! Words of a line and their quoting, as `iptables-restore` splits them.

use std::borrow::Cow;

use super::fault::Refusal;

/// The lines of a file, without the byte order mark that some editors put before the first.
pub(super) fn lines(text: &str) -> std::str::Lines<'_> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines()
}

/// Splits a line at blanks, behind what `words` already holds. Between double quotes blanks count as text and a
/// backslash takes the next character as it is; outside of them a backslash is a character like any other. A closing
/// quote ends the word.
pub(in crate::filter) fn split<'t>(line: &'t str, words: &mut Vec<Cow<'t, str>>) -> Result<(), Refusal> {
    let mut rest = line;
    loop {
        let Some(start) = rest.bytes().position(|byte| !is_blank(byte)) else {
            return Ok(());
        };
        // No byte of a longer character is one of these.
        let ends = |byte: u8| is_blank(byte) || byte == b'"';
        let end = rest
            .bytes()
            .skip(start)
            .position(ends)
            .map_or(rest.len(), |length| start + length);
        let (bare, behind) = rest.split_at(end);
        let bare = bare.get(start..).unwrap_or_default();
        let Some(quoted) = behind.strip_prefix('"') else {
            words.push(Cow::Borrowed(bare));
            rest = behind;
            continue;
        };
        let (text, behind) = unquote(quoted)?;
        words.push(if bare.is_empty() {
            text
        } else {
            Cow::Owned(format!("{bare}{text}"))
        });
        rest = behind;
    }
}

/// Takes the first word off a line, and the blanks behind it.
pub(super) fn first_word(line: &str) -> (&str, &str) {
    let end = line.bytes().position(is_blank).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let start = rest.bytes().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
    (word, rest.get(start..).unwrap_or_default())
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The text up to the closing quote, and what stands behind it.
fn unquote(text: &str) -> Result<(Cow<'_, str>, &str), Refusal> {
    let mut word = Cow::Borrowed("");
    let mut rest = text;
    while let Some(end) = rest.find(['"', '\\']) {
        let (plain, behind) = rest.split_at(end);
        if let Some(behind) = behind.strip_prefix('"') {
            word += plain;
            return Ok((word, behind));
        }
        let mut escaped = behind.chars();
        escaped.next();
        let word = word.to_mut();
        word.push_str(plain);
        word.extend(escaped.next());
        rest = escaped.as_str();
    }
    Err(Refusal::new(
        format!("\"{text}"),
        "the quote is not closed",
        "close it with `\"` on the same line",
    ))
}

/// A word as `iptables-save` writes it: bare where it is plain, else quoted. [`split`] reads it back.
pub(in crate::filter) fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    let mut quoted = String::from('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Cow<'_, str>>, Refusal> {
        let mut words = Vec::new();
        split(line, &mut words).map(|()| words)
    }

    #[test]
    fn words_end_at_blanks_and_closing_quotes() {
        for (line, expected) in [
            ("", vec![]),
            (" \t ", vec![]),
            ("-A  FORWARD\t-j ACCEPT ", vec!["-A", "FORWARD", "-j", "ACCEPT"]),
            (r#"a "b c" d"#, vec!["a", "b c", "d"]),
            (r#"a "" d"#, vec!["a", "", "d"]),
            (r#""a"b"#, vec!["a", "b"]),
            (r#"a"b c"d"#, vec!["ab c", "d"]),
            (r#""\"\\\'\x""#, vec![r#""\'x"#]),
            (r#""a\"é" "#, vec![r#"a"é"#]),
            (r"a\b it's", vec![r"a\b", "it's"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn plain_words_are_not_copied() {
        assert!(
            words(r#"a "b c" -d"#)
                .unwrap()
                .iter()
                .all(|word| matches!(word, Cow::Borrowed(_)))
        );
    }

    #[test]
    fn an_open_quote_is_refused() {
        for line in [r#"-j "ACCEPT"#, r#""a\""#, r#"""#, r#""\"#] {
            assert!(
                words(line)
                    .unwrap_err()
                    .at(1)
                    .to_string()
                    .contains("quote is not closed"),
                "{line}"
            );
        }
    }

    #[test]
    fn quoting_is_undone_by_splitting() {
        for word in ["plain", "", "two words", r#"a"b\c'd"#, "#", "é", "!"] {
            assert_eq!(words(&quote(word)).unwrap(), [word]);
        }
        assert_eq!(quote("plain_1-2"), "plain_1-2");
        assert_eq!(quote("it's"), r#""it\'s""#);
    }
}
