//! What is put to the filter: a file of rules, a file of sets beside it, and edits of what they say.

/// Before the sets, and before the edits, in the text of an input.
const SETS: &str = "\n==== sets\n";
const EDITS: &str = "\n==== edits\n";

/// One input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// In the format of `iptables-save`.
    pub rules: String,
    /// In the format of `ipset save`.
    pub sets: String,
    /// Lines that begin with `-A`, `-I` or `-D`, as commands have them.
    pub edits: String,
}

impl Input {
    /// The input as one text, which [`Self::from_text`] reads.
    pub fn to_text(&self) -> String {
        let Self { rules, sets, edits } = self;
        format!("{rules}{SETS}{sets}{EDITS}{edits}")
    }

    /// Reads the text of an input.
    pub fn from_text(text: &str) -> Self {
        let (rules, rest) = text.split_once(SETS).unwrap_or((text, ""));
        let (sets, edits) = rest.split_once(EDITS).unwrap_or((rest, ""));
        Self {
            rules: rules.to_owned(),
            sets: sets.to_owned(),
            edits: edits.to_owned(),
        }
    }

    /// Its three texts.
    pub(super) fn texts(&mut self) -> [&mut String; 3] {
        [&mut self.rules, &mut self.sets, &mut self.edits]
    }

    /// Bytes, all texts together.
    pub(super) fn size(&self) -> usize {
        self.rules.len() + self.sets.len() + self.edits.len()
    }
}
