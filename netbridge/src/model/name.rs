//! Names of networks, endpoints and instances.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fault;

/// Longest name, bytes.
const MAX: usize = 15;

/// A name of the form `[a-z0-9][a-z0-9_.-]{0,14}`: safe as part of a path, and as an interface name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks `text`; `what` says in a fault what the name is for, as in "network name".
    pub fn parse(what: &str, text: &str) -> Result<Self, Fault> {
        let first = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let rest = |c: u8| first(c) || matches!(c, b'_' | b'.' | b'-');
        let bytes = text.as_bytes();
        let why = match bytes {
            [] => "is empty",
            [head, tail @ ..] if first(*head) && tail.iter().copied().all(rest) => {
                if bytes.len() <= MAX {
                    return Ok(Self(text.to_owned()));
                }
                "is longer than 15 characters"
            }
            _ => "has a character that names do not have",
        };
        let remedy = "use 1 to 15 of a-z 0-9 _ . - and start with a letter or digit";
        Err(Fault::usage(format!("{what} {text:?}"), why, remedy))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::parse("name", text)
    }
}

impl TryFrom<String> for Name {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn accepts_the_form_and_nothing_else() {
        for good in ["a", "0", "web", "a_b.c-d", "123456789012345"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".",
            "..",
            "a/b",
            "Web",
            "é",
            "a b",
            "1234567890123456",
            "a\n",
            "_a",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_name_is_checked_again() {
        assert!(serde_json::from_str::<Name>("\"../x\"").is_err());
        assert_eq!(serde_json::from_str::<Name>("\"web\"").unwrap().as_str(), "web");
    }
}
