//! A file of rules means to netbridge what it means to netfilter.

use anyhow::{Result, ensure};
use netbridge_tests::alike::{self, Summary};

/// From this number on files are generated.
const SEED: u64 = 1;
/// So many; `cargo xtask alike` tries more.
const FILES: usize = 600;

/// Every file was taken, and nothing differs.
fn is_alike(summary: &Summary) -> Result<()> {
    ensure!(summary.refused.is_empty(), "{}", summary.refused.join("\n"));
    ensure!(summary.differences.is_empty(), "{}", summary.differences.join("\n\n"));
    Ok(())
}

#[test]
fn generated_rules_decide_and_count_as_netfilter_does() -> Result<()> {
    let summary = alike::generated(SEED, FILES)?;
    println!("seed {SEED}: {}", summary.text());
    is_alike(&summary)
}

#[test]
fn what_is_done_otherwise_is_what_the_table_says() -> Result<()> {
    let wrong = alike::known::check()?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

#[test]
fn written_rules_decide_and_count_as_netfilter_does() -> Result<()> {
    let summary = alike::written()?;
    println!("{}", summary.text());
    is_alike(&summary)
}
