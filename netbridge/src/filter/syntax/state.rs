//! `--ctstate`: a set of connection states.

use std::fmt;

use netbridge_common::abi::CtState;

use super::fault::Refusal;

/// The states, in the order in which `iptables-save` writes them.
const NAMES: [(u8, &str); 7] = [
    (CtState::INVALID, "INVALID"),
    (CtState::NEW, "NEW"),
    (CtState::RELATED, "RELATED"),
    (CtState::ESTABLISHED, "ESTABLISHED"),
    (States::UNTRACKED, "UNTRACKED"),
    (States::SNAT, "SNAT"),
    (States::DNAT, "DNAT"),
];

/// A set of connection states, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    /// Beside the bits of [`CtState`]: no state is kept for the packet.
    pub const UNTRACKED: u8 = 16;
    /// The flow's source is translated.
    pub const SNAT: u8 = 32;
    /// The flow's destination is translated.
    pub const DNAT: u8 = 64;

    /// The set with these bits; `None` if it is empty or has a bit that is no state.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits != 0 && bits & !(CtState::ANY | Self::UNTRACKED | Self::SNAT | Self::DNAT) == 0).then_some(Self(bits))
    }

    /// The set as bits: those of [`CtState`] and those above.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The names of the states in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .filter(move |(bit, _)| self.0 & bit != 0)
            .map(|(_, name)| name)
    }

    /// Reads a comma-separated list.
    pub(in crate::filter) fn parse(word: &str) -> Result<Self, Refusal> {
        let mut bits = 0;
        for state in word.split(',') {
            let Some((bit, _)) = NAMES.iter().find(|(_, name)| state.eq_ignore_ascii_case(name)) else {
                let advice =
                    "give a comma-separated list of INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT and DNAT";
                return Err(Refusal::new(state, "unknown connection state", advice));
            };
            bits |= bit;
        }
        Ok(Self(bits))
    }
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_states() {
        for (word, bits, shown) in [
            ("NEW", CtState::NEW, "NEW"),
            (
                "ESTABLISHED,RELATED",
                CtState::ESTABLISHED | CtState::RELATED,
                "RELATED,ESTABLISHED",
            ),
            ("new,NEW", CtState::NEW, "NEW"),
            (
                "NEW,INVALID,RELATED,ESTABLISHED",
                CtState::ANY,
                "INVALID,NEW,RELATED,ESTABLISHED",
            ),
            (
                "dnat,SNAT,UNTRACKED,NEW",
                CtState::NEW | States::UNTRACKED | States::SNAT | States::DNAT,
                "NEW,UNTRACKED,SNAT,DNAT",
            ),
        ] {
            let states = States::parse(word).unwrap();
            assert_eq!((states.bits(), states.to_string().as_str()), (bits, shown), "{word}");
        }
    }

    #[test]
    fn other_states_say_why() {
        for (word, token, reason) in [
            ("NEWS", "NEWS", "unknown"),
            ("NEW,", "", "unknown"),
            ("", "", "unknown"),
        ] {
            let fault = States::parse(word).unwrap_err().at(1);
            assert!(fault.reason.contains(reason) && fault.token == token, "{word}: {fault}");
        }
    }

    #[test]
    fn bits_outside_the_set_are_no_states() {
        assert_eq!(States::from_bits(0), None);
        assert_eq!(States::from_bits(128), None);
        assert_eq!(States::from_bits(CtState::NEW).map(States::bits), Some(CtState::NEW));
    }
}
