//! `netbridge lab`.

use serde_json::json;

use super::args::{Global, Lab};
use super::reply::Reply;
use crate::lab::{self, Record, Topology};
use crate::model::Fault;
use crate::ops::Failure;

/// Carries out a lab command.
pub(super) async fn run(global: &Global, command: Lab) -> Result<Reply, Failure> {
    let options = global.options();
    match command {
        Lab::Up { file, name } => {
            let topology = Topology::read(&file, name.as_deref())?;
            let up = lab::up(&options, &topology).await?;
            let mut reply = told(&up.record, global.dry_run, ["made", "would make"])?;
            reply.warnings = up.warnings;
            Ok(reply)
        }
        Lab::Exec { .. } if global.dry_run => {
            let why = "cannot be kept: the command does what it does";
            Err(Fault::usage("--dry-run", why, "leave it out").into())
        }
        Lab::Exec { name, node, command } => match lab::exec(name.as_deref(), &node, &command)? {},
        Lab::Down { name } => {
            let record = lab::down(&options, name.as_deref()).await?;
            told(&record, global.dry_run, ["removed", "would remove"])
        }
    }
}

/// What was done, or would be, to the namespaces of a lab.
fn told(lab: &Record, dry_run: bool, [done, would]: [&str; 2]) -> Result<Reply, Failure> {
    let namespaces = lab.namespaces();
    let text = format!(
        "lab {}: {} {}",
        lab.name,
        if dry_run { would } else { done },
        namespaces.join(", ")
    );
    let mut json = json!({ "lab": lab.name, "namespaces": namespaces });
    if dry_run {
        json["dry_run"] = true.into();
    }
    Reply::new(&json, text)
}
