//! Numbers as `iptables` takes them.

use super::fault::Refusal;

/// Refuses a word with a number in it that begins with 0: most of those `iptables` and `ipset` read as octal, some as
/// decimal.
pub(in crate::filter) fn not_octal(word: &str) -> Result<(), Refusal> {
    // Nearly no word has such a pair of digits, and none is read more often than addresses are.
    let pairs = word.as_bytes().windows(2);
    if !pairs.into_iter().any(|pair| matches!(pair, [b'0', b'0'..=b'9'])) {
        return Ok(());
    }
    let is_octal =
        |piece: &&str| piece.len() > 1 && piece.starts_with('0') && piece.bytes().all(|byte| byte.is_ascii_digit());
    let mut pieces = word.split(|c: char| !c.is_ascii_alphanumeric());
    let Some(number) = pieces.find(is_octal) else {
        return Ok(());
    };
    let significant = number.trim_start_matches('0');
    let decimal = if significant.is_empty() { "0" } else { significant };
    let octal = u64::from_str_radix(number, 8).map(|octal| octal.to_string());
    let advice = match octal {
        Ok(octal) if octal != decimal => format!("write {octal} or {decimal} for {number}"),
        _ => format!("write {decimal} for {number}"),
    };
    Err(Refusal::new(
        word,
        "iptables and ipset take most numbers that begin with 0 for octal",
        advice,
    ))
}

/// Reads a decimal number from `least` to `most`.
pub(super) fn decimal(word: &str, least: u32, most: u32) -> Result<u32, Refusal> {
    not_octal(word)?;
    digits(word)
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            let advice = format!("give a number from {least} to {most}");
            Refusal::new(word, "not a number that may stand here", advice)
        })
}

/// Reads a number of nothing but digits: no sign, no blank.
pub(super) fn digits<T: std::str::FromStr>(word: &str) -> Option<T> {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        word.parse().ok()
    } else {
        None
    }
}

/// Reads a number in C's notation: `0x1f`, `037` or `31`.
pub(super) fn any_base(word: &str) -> Option<u32> {
    let (digits, base) = if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        (digits, 16)
    } else if word.len() > 1 && word.starts_with('0') {
        (&word[1..], 8)
    } else {
        (word, 10)
    };
    let signed = digits.starts_with(['+', '-']);
    u32::from_str_radix(digits, base).ok().filter(|_| !signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_keep_their_bounds() {
        assert_eq!(decimal("5", 1, 5), Ok(5));
        for word in ["0", "6", "+5", "", "5 ", "0x5", "99999999999"] {
            let fault = decimal(word, 1, 5).unwrap_err().at(1);
            assert_eq!(fault.advice, "give a number from 1 to 5", "{word}");
        }
    }

    #[test]
    fn numbers_that_may_be_octal_are_refused() {
        for (word, advice) in [
            ("022", "write 18 or 22 for 022"),
            ("08", "write 8 for 08"),
            ("06", "write 6 for 06"),
            ("00", "write 0 for 00"),
            ("10.0.0.0/010", "write 8 or 10 for 010"),
            ("80:0100", "write 64 or 100 for 0100"),
            (
                "099999999999999999999999",
                "write 99999999999999999999999 for 099999999999999999999999",
            ),
        ] {
            let fault = not_octal(word).unwrap_err().at(1);
            assert_eq!((fault.token.as_str(), fault.advice.as_str()), (word, advice));
        }
        for word in ["", "0", "0/0", "10.0.0.0/8", "0:100", "0x010", "icmp:8/0", "a01", "-"] {
            assert_eq!(not_octal(word), Ok(()), "{word}");
        }
        assert!(decimal("05", 1, 9).is_err());
    }

    #[test]
    fn numbers_in_every_base() {
        for (word, number) in [
            ("0", 0),
            ("10", 10),
            ("010", 8),
            ("0x10", 16),
            ("0XfF", 255),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(any_base(word), Some(number), "{word}");
        }
        for word in ["", "0x", "08", "-1", "+1", "0x+1", "4294967296", "f"] {
            assert_eq!(any_base(word), None, "{word}");
        }
    }
}
