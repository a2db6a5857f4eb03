//! Calls of tools, in the calling thread's namespace.

use std::io::{Seek as _, Write as _};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Calls a tool and returns what it prints.
pub(super) fn call(program: &str, arguments: &[&str]) -> Result<String> {
    let output = output(program, arguments, Stdio::null())?;
    judge(program, arguments, output)
}

/// Calls a tool with `input` on its standard input.
pub(super) fn feed(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    // A file, not a pipe: a tool that complains of every line blocks on its standard error while we write.
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let output = output(program, arguments, file.into())?;
    judge(program, arguments, output)
}

/// Calls a tool that asks a question: whether it succeeds.
pub(super) fn holds(program: &str, arguments: &[&str]) -> Result<bool> {
    Ok(output(program, arguments, Stdio::null())?.status.success())
}

fn output(program: &str, arguments: &[&str], input: Stdio) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .stdin(input)
        .output()
        .with_context(|| format!("cannot start {program}"))
}

fn judge(program: &str, arguments: &[&str], output: Output) -> Result<String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = complaint.lines().take(4).collect();
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            output.status,
            first.join("; ")
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} prints something that is no text"))
}
