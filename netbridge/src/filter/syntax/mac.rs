//! Ethernet addresses as `iptables` and `ipset` write them.

use std::fmt;

use netbridge_common::abi::Mac;

use super::fault::Refusal;

/// Reads six bytes in hexadecimal with colons between.
pub(super) fn parse(word: &str) -> Result<Mac, Refusal> {
    bytes(word).ok_or_else(|| Refusal::new(word, "not an Ethernet address", "write it as 02:42:0a:58:00:02"))
}

fn bytes(word: &str) -> Option<Mac> {
    let mut parts = word.split(':');
    let mut mac = Mac::default();
    for byte in &mut mac {
        let part = parts.next()?;
        let hexadecimal = part.len() <= 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| hexadecimal)?;
    }
    parts.next().is_none().then_some(mac)
}

/// An address as it is shown: plainly as `iptables-save` does, `{:#}` in capitals as `ipset save` does.
pub(super) struct Shown(pub(super) Mac);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            if f.alternate() {
                write!(f, "{colon}{byte:02X}")?;
            } else {
                write!(f, "{colon}{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (word, small, large) in [
            ("02:42:0a:58:00:0f", "02:42:0a:58:00:0f", "02:42:0A:58:00:0F"),
            ("A:b:C:0:FF:9", "0a:0b:0c:00:ff:09", "0A:0B:0C:00:FF:09"),
        ] {
            let mac = parse(word).unwrap();
            assert_eq!(Shown(mac).to_string(), small);
            assert_eq!(format!("{:#}", Shown(mac)), large);
        }
        for word in [
            "",
            "02:42:0a:58:00",
            "02:42:0a:58:00:0f:01",
            "02-42-0a-58-00-0f",
            "002:42:0a:58:00:0f",
            "+2:42:0a:58:00:0f",
            ":::::",
        ] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
