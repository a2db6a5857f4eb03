//! What a command answers, and how it is printed.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::ops::{Done, Failure};

/// The answer of a command that succeeded.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// For people; empty to print nothing.
    pub(super) text: String,
    /// For programs: JSON.
    pub(super) json: String,
    /// For people, on standard error.
    pub(super) warnings: Vec<String>,
    /// The exit code.
    pub(super) code: u8,
    /// Everything has been printed.
    pub(super) silent: bool,
}

impl Reply {
    /// An answer to a question.
    pub(super) fn new(value: &impl Serialize, text: impl Into<String>) -> Result<Self, Failure> {
        let json = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
        Ok(Self {
            text: text.into(),
            json,
            ..Self::default()
        })
    }

    /// The outcome of a change, put into words by `text`; of a dry run the steps.
    pub(super) fn done<T: Serialize>(
        done: &Done<T>,
        dry_run: bool,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Self, Failure> {
        let mut reply = if dry_run {
            let json = json!({ "dry_run": true, "steps": done.steps, "warnings": done.warnings });
            Self {
                text: done.steps.join("\n"),
                json: format!("{json:#}"),
                ..Self::default()
            }
        } else {
            Self::new(&done.value, text(&done.value))?
        };
        reply.warnings.clone_from(&done.warnings);
        Ok(reply)
    }

    /// Prints it.
    pub(super) fn print(&self, json: bool) {
        for warning in &self.warnings {
            print_line(io::stderr(), &format!("warning: {warning}"));
        }
        if self.silent {
            return;
        }
        if json {
            print_line(io::stdout(), &self.json);
        } else if !self.text.is_empty() {
            print_line(io::stdout(), &self.text);
        }
    }
}

/// Prints why a command failed.
pub(super) fn print_failure(failure: &Failure, json: bool) {
    if json {
        print_line(io::stderr(), &format!("{:#}", failure_json(failure)));
        return;
    }
    let text = failure.to_string();
    let text = match failure {
        Failure::Refused(_) => text
            .lines()
            .map(|line| format!("error: {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
        Failure::Failed(_) => format!("error: {text}"),
    };
    print_line(io::stderr(), &text);
}

fn failure_json(failure: &Failure) -> Value {
    let mut error = json!({ "code": failure.exit_code(), "message": failure.to_string() });
    if let (Failure::Refused(faults), Some(object)) = (failure, error.as_object_mut()) {
        object.insert("faults".to_owned(), json!(faults));
    }
    json!({ "error": error })
}

/// Prints a line; a reader that has gone away is no error. What a name or a file would make a terminal do is written out.
pub(super) fn print_line(mut to: impl Write, line: &str) {
    let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if line.chars().all(is_harmless) {
        let _ = writeln!(to, "{line}");
        return;
    }
    let mut harmless = String::with_capacity(line.len());
    for c in line.chars() {
        if is_harmless(c) {
            harmless.push(c);
        } else {
            harmless.extend(c.escape_default());
        }
    }
    let _ = writeln!(to, "{harmless}");
}

/// Rows in aligned columns under a header.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(header.get(column).map(|title| title.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        line.trim_end().to_owned()
    };
    let header = header.map(str::to_owned);
    std::iter::once(line(&header))
        .chain(rows.iter().map(|row| line(row)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text of an optional value, `-` for none.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Values with commas between, `-` for none.
pub(super) fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() {
        "-".to_owned()
    } else {
        values.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fault, Faults};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["web".to_owned(), "10.88.0.0/24".to_owned()],
            ["a".to_owned(), "-".to_owned()],
        ];
        assert_eq!(
            table(["NAME", "SUBNET"], &rows),
            "NAME  SUBNET\nweb   10.88.0.0/24\na     -"
        );
    }

    #[test]
    fn every_fault_is_in_the_json() {
        let faults: Faults = [
            Fault::usage("--mtu 1", "low", "raise it"),
            Fault::exists("network a", "exists", "no"),
        ]
        .into_iter()
        .collect();
        let json = failure_json(&faults.into());
        assert_eq!(json["error"]["code"], 2);
        assert_eq!(json["error"]["faults"][1]["kind"], "exists");
        assert_eq!(json["error"]["faults"][0]["remedy"], "raise it");
    }
}
