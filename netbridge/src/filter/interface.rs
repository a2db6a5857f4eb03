//! `-i` and `-o`: an interface or network by name, resolved only when the rules are compiled.

use super::fault::Refusal;

/// Longest interface name the kernel takes (`IFNAMSIZ` less its terminator), bytes.
const MAX_NAME: usize = 15;

/// Checks that `name` could be an interface's.
pub(super) fn parse(name: &str) -> Result<String, Refusal> {
    if name.len() > MAX_NAME {
        return Err(Refusal::new(
            name,
            "an interface name has at most 15 bytes",
            "shorten it",
        ));
    }
    if name.ends_with('+') {
        return Err(Refusal::new(
            name,
            "wildcard interfaces are not supported",
            "name one interface or network, or leave the option out to match all",
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
    Ok(name.to_owned())
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
            assert_eq!(parse(name).unwrap(), name);
        }
    }

    #[test]
    fn bad_names_say_why() {
        for (name, reason) in [
            ("1234567890123456", "at most 15"),
            ("ééééééé é", "at most 15"),
            ("eth+", "wildcard"),
            ("+", "wildcard"),
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
