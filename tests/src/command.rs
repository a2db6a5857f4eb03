//! Calls of tools, in the calling thread's namespace.

use std::io::{Seek as _, Write as _};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// Calls a tool and returns what it prints.
pub(crate) fn call(program: &str, arguments: &[&str]) -> Result<String> {
    let output = output(program, arguments, Stdio::null())?;
    judge(program, arguments, output)
}

/// Calls a tool with `input` on its standard input.
pub(crate) fn feed(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    // A file, not a pipe: a tool that complains of every line blocks on its standard error while we write.
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let output = output(program, arguments, file.into())?;
    judge(program, arguments, output)
}

/// Calls a tool that asks a question. It says no by exit status 1; what else fails is an error.
pub(crate) fn holds(program: &str, arguments: &[&str]) -> Result<bool> {
    let output = output(program, arguments, Stdio::null())?;
    if output.status.code() == Some(1) {
        return Ok(false);
    }
    judge(program, arguments, output).map(|_| true)
}

fn output(program: &str, arguments: &[&str], input: Stdio) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .stdin(input)
        .output()
        .with_context(|| format!("cannot start {}", name(program)))
}

/// What a program is called, wherever it lies.
fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn judge(program: &str, arguments: &[&str], output: Output) -> Result<String> {
    let program = name(program);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_1_is_a_no() {
        let ask = |status: &str| holds("sh", &["-c", &format!("echo busy >&2; exit {status}")]);
        assert!(ask("0").unwrap());
        assert!(!ask("1").unwrap());
        for status in ["2", "4"] {
            let error = ask(status).unwrap_err().to_string();
            assert!(error.contains("busy") && error.contains(status), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_program_and_not_its_directory() {
        let failed = call("/bin/sh", &["-c", "exit 3"]).unwrap_err().to_string();
        assert!(failed.starts_with("sh -c exit 3: "), "{failed}");
        let absent = call("/nowhere/at-all", &[]).unwrap_err().to_string();
        assert_eq!(absent, "cannot start at-all");
    }
}
