//! `netbridge lab`.

use serde_json::json;

use super::args::{Global, Lab};
use super::reply::{Reply, list};
use crate::lab::{self, Topology};
use crate::ops::Failure;

/// Carries out a lab command.
pub(super) async fn run(global: &Global, command: Lab) -> Result<Reply, Failure> {
    let options = global.options();
    match command {
        Lab::Up { file, name } => {
            let topology = Topology::read(&file, name.as_deref())?;
            let up = lab::up(&options, &topology).await?;
            let namespaces = up.record.namespaces();
            let verb = if global.dry_run { "would make" } else { "made" };
            let text = format!("lab {}: {verb} {}", up.record.name, list(&namespaces));
            let mut reply = Reply::new(&json!({ "lab": up.record.name, "namespaces": namespaces }), text)?;
            reply.warnings = up.warnings;
            Ok(reply)
        }
        Lab::Exec { name, node, command } => match lab::exec(name.as_deref(), &node, &command)? {},
        Lab::Down { name } => {
            let record = lab::down(&options, name.as_deref()).await?;
            Reply::new(&json!({ "lab": record.name }), format!("lab {} is down", record.name))
        }
    }
}
