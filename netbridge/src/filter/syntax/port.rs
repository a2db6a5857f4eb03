//! `--sport` and `--dport`: a port or a range of them.

use std::fmt;

use super::{fault::Refusal, number::not_octal};

/// The ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port, not below `first`.
    pub last: u16,
}

impl Ports {
    /// Every port.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// Reads `N`, `N:M`, `N:` or `:M`; an end left out is the lowest or highest port there is.
    pub(in crate::filter) fn parse(word: &str) -> Result<Self, Refusal> {
        not_octal(word)?;
        let Some((first, last)) = word.split_once(':') else {
            let port = number(word, word)?;
            return Ok(Self {
                first: port,
                last: port,
            });
        };
        let first = if first.is_empty() {
            Self::ALL.first
        } else {
            number(first, word)?
        };
        let last = if last.is_empty() {
            Self::ALL.last
        } else {
            number(last, word)?
        };
        if first > last {
            let advice = format!("write {last}:{first}");
            return Err(Refusal::new(word, "the range of ports is reversed", advice));
        }
        Ok(Self { first, last })
    }
}

fn number(digits: &str, word: &str) -> Result<u16, Refusal> {
    if digits.contains([',', '-']) {
        let advice = "write a range as FIRST:LAST, and one rule for each further port";
        return Err(Refusal::new(word, "a rule takes one port or one range", advice));
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let advice = "give a number from 0 to 65535, or FIRST:LAST";
        return Err(Refusal::new(
            word,
            "not a port number (service names are not looked up)",
            advice,
        ));
    }
    let Ok(port) = digits.parse() else {
        return Err(Refusal::new(
            word,
            "ports end at 65535",
            "give a number from 0 to 65535",
        ));
    };
    Ok(port)
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        for (word, first, last, shown) in [
            ("80", 80, 80, "80"),
            ("0", 0, 0, "0"),
            ("65535", 65535, 65535, "65535"),
            ("1000:2000", 1000, 2000, "1000:2000"),
            ("7:7", 7, 7, "7"),
            (":53", 0, 53, "0:53"),
            ("1024:", 1024, 65535, "1024:65535"),
            (":", 0, 65535, "0:65535"),
        ] {
            let ports = Ports::parse(word).unwrap();
            assert_eq!(
                (ports.first, ports.last, ports.to_string().as_str()),
                (first, last, shown),
                "{word}"
            );
        }
    }

    #[test]
    fn bad_ports_say_why() {
        for (word, reason) in [
            ("65536", "end at 65535"),
            ("99999999999", "end at 65535"),
            ("80:70000", "end at 65535"),
            ("90:80", "reversed"),
            ("80,443", "one port or one range"),
            ("80-90", "one port or one range"),
            ("-1", "one port or one range"),
            ("022", "for octal"),
            ("0100:0200", "for octal"),
            ("http", "service names"),
            ("+80", "not a port number"),
            ("", "not a port number"),
            ("1:2:3", "not a port number"),
        ] {
            let fault = Ports::parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains(reason) && fault.token == word, "{word}: {fault}");
        }
        let advice = Ports::parse("90:80").unwrap_err().at(1).advice;
        assert_eq!(advice, "write 80:90");
    }
}
