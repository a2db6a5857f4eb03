//! What chains are called.

use super::{fault::Refusal, target};

/// The chains that netfilter has itself.
pub(super) const BUILT_IN: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// True for the name of a target that works.
pub(super) fn is_target(name: &str) -> bool {
    matches!(name, "ACCEPT" | "DROP" | "RETURN") || target::named(name).is_some()
}

/// Longest name of a chain, bytes.
const MAX_CHAIN: usize = 28;

/// Checks what a chain of the user's is called.
pub(super) fn check_chain_name(name: &str) -> Result<(), Refusal> {
    if name.len() > MAX_CHAIN {
        let reason = format!("a chain's name has at most {MAX_CHAIN} bytes");
        return Err(Refusal::new(name, reason, "shorten it"));
    }
    if is_target(name) || name == "QUEUE" {
        return Err(Refusal::new(name, "this is the name of a target", "choose another"));
    }
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    if name.is_empty() || name.starts_with(['-', '!', '#']) || name.contains(forbidden) {
        return Err(Refusal::new(
            name,
            "not a name for a chain",
            "take letters, digits, `-` and `_`, and begin with a letter",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_chains() {
        for name in [
            "DOCKER-USER",
            "cali-fw-cali1234",
            "ufw-before-forward",
            "1234567890123456789012345678",
            "é",
        ] {
            assert_eq!(check_chain_name(name), Ok(()));
        }
        for (name, reason) in [
            ("12345678901234567890123456789", "at most 28"),
            ("", "not a name"),
            ("-x", "not a name"),
            ("!x", "not a name"),
            ("a\"b", "not a name"),
            ("ACCEPT", "name of a target"),
            ("LOG", "name of a target"),
            ("QUEUE", "name of a target"),
        ] {
            let fault = check_chain_name(name).unwrap_err().at(1);
            assert!(fault.reason.contains(reason), "{name}: {fault}");
        }
    }
}
