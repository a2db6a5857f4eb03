//! The options of matches and targets: which there are, and which of them a rule gives.

use std::borrow::Cow;

use super::{Extension, Match, Protocol, Target, fault::Refusal};

/// An option of a match or target.
pub(super) struct Opt {
    /// Its names, the first of them the one that is shown.
    pub(super) names: &'static [&'static str],
    /// How many words follow it.
    pub(super) values: usize,
    /// True if `!` may stand before it.
    pub(super) negatable: bool,
    /// True if the word after it is text, which may be `!`.
    pub(super) text: bool,
}

impl Opt {
    /// An option with one value, which `!` may stand before.
    pub(super) const fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            values: 1,
            negatable: true,
            text: false,
        }
    }

    /// The option with this many values.
    pub(super) const fn values(mut self, values: usize) -> Self {
        self.values = values;
        self
    }

    /// The option without `!`.
    pub(super) const fn plain(mut self) -> Self {
        self.negatable = false;
        self
    }

    /// The option with text after it, and without `!`.
    pub(super) const fn text(mut self) -> Self {
        self.text = true;
        self.plain()
    }
}

/// A match or target with options.
pub(super) struct Spec {
    /// Its name after `-m` or `-j`.
    pub(super) name: &'static str,
    /// The protocols it is for; none of them where it is for all.
    pub(super) protocols: &'static [Protocol],
    /// Its options.
    pub(super) options: &'static [Opt],
    /// Options that netfilter has and netbridge refuses: name, reason, advice.
    pub(super) refused: &'static [(&'static str, &'static str, &'static str)],
    /// What its options mean.
    pub(super) build: Build,
}

/// What makes of the given options what they mean; `None` where that is nothing, or where they are refused.
#[derive(Clone, Copy)]
pub(super) enum Build {
    /// For `-m`.
    Match(fn(&mut Given<'_>) -> Option<Extension>),
    /// For `-j`.
    Target(fn(&mut Given<'_>) -> Option<Target>),
}

/// An option that a rule gives.
pub(super) struct Raw {
    /// Whose it is, as an index into the rule's matches and targets.
    pub(super) owner: usize,
    /// Which of the owner's.
    pub(super) option: usize,
    /// True after `!`.
    pub(super) negated: bool,
    /// The index of the word behind it.
    pub(super) at: usize,
}

/// The options that a rule gives to one of its matches or targets.
pub(super) struct Given<'a> {
    /// Whose options.
    pub(super) spec: &'static Spec,
    /// Its index.
    pub(super) owner: usize,
    /// Every option of the rule.
    pub(super) raws: &'a [Raw],
    /// The words of the rule.
    pub(super) words: &'a [Cow<'a, str>],
    /// Where faults go.
    pub(super) faults: &'a mut Vec<Refusal>,
}

impl<'a> Given<'a> {
    /// The words behind the option, and whether `!` stands before it.
    pub(super) fn words(&self, name: &str) -> Option<Match<&'a [Cow<'a, str>]>> {
        let spec = self.spec;
        self.raws.iter().filter(|raw| raw.owner == self.owner).find_map(|raw| {
            let option = spec.options.get(raw.option).filter(|option| option.names[0] == name)?;
            Some(Match {
                value: self.words.get(raw.at..raw.at + option.values)?,
                negated: raw.negated,
            })
        })
    }

    /// True if the option is given, well or badly.
    pub(super) fn has(&self, name: &str) -> bool {
        self.words(name).is_some()
    }

    /// The word behind the option.
    pub(super) fn word(&self, name: &str) -> Option<Match<&'a str>> {
        let Match { value, negated } = self.words(name)?;
        Some(Match {
            value: value.first()?,
            negated,
        })
    }

    /// The option's value.
    pub(super) fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Refusal>) -> Option<Match<T>> {
        let Match { value, negated } = self.word(name)?;
        match parse(value) {
            Ok(value) => Some(Match { value, negated }),
            Err(refusal) => {
                self.faults.push(refusal);
                None
            }
        }
    }

    /// The value of an option that is never negated.
    pub(super) fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Refusal>) -> Option<T> {
        self.read(name, parse).map(|Match { value, .. }| value)
    }

    /// Refuses a word.
    pub(super) fn refuse(&mut self, token: impl Into<String>, reason: &str, advice: impl Into<String>) {
        self.faults.push(Refusal::new(token, reason, advice));
    }
}
