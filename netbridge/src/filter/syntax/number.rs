//! Numbers as `iptables` takes them.

use super::fault::Refusal;

/// Reads a decimal number from `least` to `most`.
pub(super) fn decimal(word: &str, least: u32, most: u32) -> Result<u32, Refusal> {
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
