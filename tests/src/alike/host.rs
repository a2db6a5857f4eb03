//! A host that rules are loaded on, whatever its packet path.

use std::collections::BTreeMap;

use anyhow::Result;

use super::ground::Ground;

/// Which of the two ways to netfilter loads the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `x_tables`.
    Legacy,
    /// `nf_tables`, by the compatible syntax.
    Nft,
}

/// What is loaded: a file of rules, and one of the sets that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What the kernel's host loads it with.
    pub backend: Backend,
    /// In the format of `iptables-save`.
    pub rules: String,
    /// In the format of `ipset save`.
    pub sets: String,
    /// True if it takes the place of the file before, which the same backend has loaded: what of its limits stays does. Else they
    /// begin as those of a first file.
    pub goes_on: bool,
}

/// A rule by its chain and its place there; behind the last one of `FORWARD` is its policy.
pub(super) type Rule = (String, usize);

/// Packets and bytes that rules have counted; of those that counted nothing nothing.
pub(super) type Counters = BTreeMap<Rule, (u64, u64)>;

/// A host between the stations of a [`Ground`].
pub(super) trait Host {
    /// Its stations.
    fn ground(&self) -> &Ground;

    /// Forgets connections, and puts rules in force in place of those before.
    fn load(&mut self, files: &Files) -> Result<()>;

    /// What the rules have counted since.
    fn counters(&self) -> Result<Counters>;

    /// Its connections and more, for a reader.
    fn show(&self) -> Result<String>;
}
