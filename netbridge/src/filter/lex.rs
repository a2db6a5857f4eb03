//! Words of a line and their quoting, as `iptables-restore` splits them.

use std::{mem, str::Chars};

use super::fault::Refusal;

/// Splits a line at blanks. Between double quotes blanks count as text and a backslash takes the
/// next character as it is; outside of them a backslash is a character like any other. A closing
/// quote ends the word.
pub(super) fn words(line: &str) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            '"' => {
                quoted(&mut rest, &mut word)?;
                words.push(mem::take(&mut word));
            }
            ' ' | '\t' if word.is_empty() => {}
            ' ' | '\t' => words.push(mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn quoted(rest: &mut Chars<'_>, word: &mut String) -> Result<(), Refusal> {
    let text = rest.as_str();
    while let Some(character) = rest.next() {
        match character {
            '"' => return Ok(()),
            '\\' => word.extend(rest.next()),
            _ => word.push(character),
        }
    }
    Err(Refusal::new(
        format!("\"{text}"),
        "the quote is not closed",
        "close it with `\"` on the same line",
    ))
}

/// A word as `iptables-save` writes it: bare where it is plain, else quoted. [`words`] reads it back.
pub(super) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (r"a\b it's", vec![r"a\b", "it's"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn an_open_quote_is_refused() {
        for line in [r#"-j "ACCEPT"#, r#""a\""#, r#"""#] {
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
    fn quoting_is_undone_by_words() {
        for word in ["plain", "", "two words", r#"a"b\c'd"#, "#", "é", "!"] {
            assert_eq!(words(&quote(word)).unwrap(), [word]);
        }
        assert_eq!(quote("plain_1-2"), "plain_1-2");
        assert_eq!(quote("it's"), r#""it\'s""#);
    }
}
