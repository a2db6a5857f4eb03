//! `-i` and `-o`: an interface, network or endpoint by name, resolved only when the rules are compiled.

use super::{Interface, fault::Refusal};

/// Longest interface name the kernel takes (`IFNAMSIZ` less its terminator), bytes.
const MAX_NAME: usize = 15;

/// Checks that `name` could be an interface's.
pub(in crate::filter) fn check(name: &str) -> Result<(), Refusal> {
    if name.len() > MAX_NAME {
        return Err(Refusal::new(
            name,
            "an interface name has at most 15 bytes",
            "shorten it",
        ));
    }
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '"');
    if name.is_empty() || name.starts_with(['-', '!']) || name == "." || name == ".." || name.contains(forbidden) {
        return Err(Refusal::new(
            name,
            "not an interface name",
            "give the name of an interface or network",
        ));
    }
    Ok(())
}

/// Reads a name, or with `+` at its end how names begin; `None` for `+` alone, which is every interface.
pub(super) fn parse(word: &str) -> Result<Option<Interface>, Refusal> {
    if word == "+" {
        return Ok(None);
    }
    check(word)?;
    let (name, wildcard) = word.strip_suffix('+').map_or((word, false), |name| (name, true));
    Ok(Some(Interface {
        name: name.to_owned(),
        wildcard,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes_are_taken() {
        for name in [
            "eth0",
            "eth0.100",
            "web",
            "br-1234567890ab",
            "a+b",
            "é",
            "123456789012345",
        ] {
            let interface = parse(name).unwrap().unwrap();
            assert_eq!((interface.name.as_str(), interface.wildcard), (name, false));
        }
    }

    #[test]
    fn a_plus_at_the_end_is_any_end() {
        for (word, name) in [("eth+", "eth"), ("a++", "a+"), ("12345678901234+", "12345678901234")] {
            let interface = parse(word).unwrap().unwrap();
            assert_eq!((interface.name.as_str(), interface.wildcard), (name, true));
        }
        assert_eq!(parse("+").unwrap(), None);
    }

    #[test]
    fn bad_names_say_why() {
        for (name, reason) in [
            ("1234567890123456", "at most 15"),
            ("123456789012345+", "at most 15"),
            ("ééééééé é", "at most 15"),
            ("", "not an interface name"),
            (".", "not an interface name"),
            ("..", "not an interface name"),
            ("-o", "not an interface name"),
            ("a/b", "not an interface name"),
            ("a:b", "not an interface name"),
            ("a b", "not an interface name"),
            ("a\u{1b}b", "not an interface name"),
        ] {
            let fault = parse(name).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{name}: {fault}");
        }
    }
}
