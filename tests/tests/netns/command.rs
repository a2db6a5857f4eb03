//! The command line as a user runs it, and the tools it is judged by.

use std::fmt::Debug;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The binary, built from the sources beside these tests.
pub(crate) const NETBRIDGE: &str = env!("CARGO_BIN_EXE_netbridge-under-test");

/// Runs `netbridge` with words separated by spaces; fails unless it ends with `code`.
pub(crate) fn ends(code: i32, line: &str) -> Result<Output> {
    let output = Command::new(NETBRIDGE)
        .args(line.split_whitespace())
        .output()
        .context("cannot run netbridge")?;
    ensure!(
        output.status.code() == Some(code),
        "`netbridge {line}` ended with {}, not {code}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// What a command that must succeed printed.
pub(crate) fn says(line: &str) -> Result<String> {
    Ok(String::from_utf8(ends(0, line)?.stdout)?)
}

/// The same, read as JSON.
pub(crate) fn json(line: &str) -> Result<Value> {
    let line = format!("-j {line}");
    serde_json::from_str(&says(&line)?).with_context(|| format!("`netbridge {line}` prints no JSON"))
}

/// What a command that must fail with `code` says on standard error.
pub(crate) fn complains(code: i32, line: &str) -> Result<String> {
    let output = ends(code, line)?;
    ensure!(
        output.stdout.is_empty(),
        "`netbridge {line}` failed and printed {}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8(output.stderr)?)
}

/// Runs another program, which must succeed, and returns what it printed.
pub(crate) fn tool(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().context("no program")?)
        .args(words)
        .output()
        .with_context(|| format!("cannot run `{line}`"))?;
    ensure!(
        output.status.success(),
        "`{line}`: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What it printed as JSON: the entries of the list.
pub(crate) fn lists(command: &str) -> Result<Vec<Value>> {
    let text = tool(command)?;
    let text = if text.trim().is_empty() { "[]" } else { &text };
    Ok(serde_json::from_str(text)?)
}

/// The one entry of the list.
pub(crate) fn shows(command: &str) -> Result<Value> {
    match <[Value; 1]>::try_from(lists(command)?) {
        Ok([one]) => Ok(one),
        Err(all) => bail!("{command}: expected one entry, got {all:?}"),
    }
}

/// The reason an operation was refused; that it was not is a failure.
pub(crate) fn refused<T: Debug, E>(what: Result<T, E>) -> Result<E> {
    match what {
        Err(e) => Ok(e),
        Ok(got) => bail!("not refused: {got:?}"),
    }
}
