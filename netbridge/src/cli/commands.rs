//! Each command: its request, the operation, its reply.

use std::io::Read;
use std::path::Path;

use netbridge_common::abi::VERSION;
use serde_json::json;

use super::args::{Command, Ep, Fdb, Global, Lab, Net};
use super::ct::Ct;
use super::port::{self, Port};
use super::reply::{Reply, list};
use super::{filter, lab, monitor, views};
use crate::doctor::{self, Status};
use crate::model::Fault;
use crate::ops::{self, Failure, Host};
use crate::state::Published;

/// Carries out a command.
pub(super) async fn dispatch(global: Global, command: Command) -> Result<Reply, Failure> {
    let open = || Host::open(&global.options());
    let dry_run = global.dry_run;
    if let Command::Net(Net::Create(_)) | Command::Port(Port::Add { .. }) | Command::Lab(Lab::Up { .. }) = &command {
        global.check_cgroup()?;
    }
    match command {
        Command::Net(command) => net(&open()?, command, dry_run).await,
        Command::Attach(args) => {
            let done = ops::attach(&open()?, &args.into()).await?;
            Reply::done(&done, dry_run, views::endpoint_line)
        }
        Command::Detach { endpoints } => {
            let done = ops::detach(&open()?, &endpoints).await?;
            Reply::done(&done, dry_run, |names| format!("detached {}", list(names)))
        }
        Command::Ep(Ep::Ls) => {
            let endpoints = ops::endpoints(&open()?)?;
            Reply::new(&endpoints, views::endpoints(&endpoints))
        }
        Command::Ep(Ep::Inspect { name }) => inspection(&ops::endpoint_inspect(&open()?, &name)?),
        Command::Port(command) => port(&open()?, command, dry_run).await,
        Command::Filter(command) => Box::pin(filter::run(&global, command)).await,
        Command::Ct(Ct::Ls(only)) => {
            let flows = ops::flows(&open()?, only.endpoint.as_deref())?;
            Reply::new(&flows, views::flows(&flows))
        }
        Command::Ct(Ct::Flush(only)) => {
            let done = ops::flows_flush(&open()?, only.endpoint.as_deref())?;
            let text = format!("flows ended: {}", done.value);
            Reply::done(&done.map(|flows| json!({ "flows": flows })), dry_run, |_| text)
        }
        Command::Ct(Ct::Reap) => {
            let done = ops::flows_reap(&open()?)?;
            let text = format!("halves of flows removed: {}", done.value);
            Reply::done(&done.map(|halves| json!({ "halves": halves })), dry_run, |_| text)
        }
        Command::Ct(Ct::Pickup { seconds }) => {
            let done = ops::flows_pick_up(&open()?, seconds).await?;
            let text = format!("TCP connections are taken up in the middle for {seconds} s");
            Reply::done(&done.map(|seconds| json!({ "seconds": seconds })), dry_run, |_| text)
        }
        Command::Ct(Ct::Config(args)) => {
            let (host, request) = (open()?, args.into());
            let done = ops::tune(&host, &request).await?;
            Reply::done(&done, dry_run, views::settings)
        }
        Command::Fdb(Fdb::Ls) => {
            let stations = ops::stations(&open()?)?;
            Reply::new(&stations, views::stations(&stations))
        }
        Command::Stats => {
            let stats = ops::stats(&open()?)?;
            Reply::new(&stats, views::stats(&stats))
        }
        Command::Monitor { count } => monitor::run(&open()?, count, global.json).await,
        Command::Lab(command) => lab::run(&global, command).await,
        Command::Doctor => examine(&global.options()).await,
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            Reply::new(
                &json!({ "version": version, "maps": VERSION }),
                format!("netbridge {version} (maps {VERSION})"),
            )
        }
    }
}

async fn net(host: &Host, command: Net, dry_run: bool) -> Result<Reply, Failure> {
    match command {
        Net::Create(args) => {
            let done = ops::net_create(host, &args.into()).await?;
            Reply::done(&done, dry_run, views::network_line)
        }
        Net::Ls => {
            let networks = ops::networks(host)?;
            Reply::new(&networks, views::networks(&networks))
        }
        Net::Inspect { name } => inspection(&ops::net_inspect(host, &name)?),
        Net::Rm { names, force } => {
            let done = ops::net_remove(host, &names, force).await?;
            Reply::done(&done, dry_run, |names| format!("removed {}", list(names)))
        }
    }
}

async fn port(host: &Host, command: Port, dry_run: bool) -> Result<Reply, Failure> {
    let lines = |verb: &'static str| {
        move |ports: &Vec<Published>| {
            if ports.is_empty() {
                return "no port is published".to_owned();
            }
            let lines: Vec<_> = ports.iter().map(|port| format!("{verb} {port}")).collect();
            lines.join("\n")
        }
    };
    match command {
        Port::Add { endpoint, specs, from } => {
            let done = ops::port_add(host, &port::ports(endpoint, specs, from)).await?;
            Reply::done(&done, dry_run, lines("published"))
        }
        Port::Rm {
            endpoint,
            specs,
            all: _,
        } => {
            let done = ops::port_remove(host, &port::ports(endpoint, specs, Vec::new())).await?;
            Reply::done(&done, dry_run, lines("removed"))
        }
        Port::Ls { endpoint } => {
            let ports = ops::ports(host, endpoint.as_deref())?;
            Reply::new(&ports, views::ports(&ports))
        }
    }
}

/// Inspections are JSON for people too.
fn inspection(details: &impl serde::Serialize) -> Result<Reply, Failure> {
    let mut reply = Reply::new(details, "")?;
    reply.text.clone_from(&reply.json);
    Ok(reply)
}

async fn examine(options: &ops::Options) -> Result<Reply, Failure> {
    let mut checks = doctor::checks(&options.bpffs, options.cgroup.as_deref());
    // Who may not look at the instance is told by the checks before.
    if let Ok(host) = Host::open(options)
        && let Ok(warnings) = host.lost().await
    {
        checks.extend(doctor::networks(warnings));
    }
    let mut reply = Reply::new(&checks, views::checks(&checks))?;
    reply.code = u8::from(checks.iter().any(|check| check.status == Status::Fail));
    Ok(reply)
}

/// The name of a file for messages, and its text; `form` is what writes such a file.
pub(super) fn read(file: &Path, form: &str) -> Result<(String, String), Failure> {
    let (name, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        (
            "standard input".to_owned(),
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        )
    } else {
        (file.display().to_string(), std::fs::read(file))
    };
    let bytes = bytes.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Fault::not_found(&name, "no such file", format!("give a file as `{form}` writes it"))
        }
        _ => Fault::usage(
            &name,
            error.to_string(),
            format!("give a readable file as `{form}` writes it"),
        ),
    })?;
    let text = utf8(&name, bytes)?;
    Ok((name, text))
}

/// The text of a file; refused with the line that is none.
fn utf8(name: &str, bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|error| {
        let text = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = text.split(|byte| *byte == b'\n').count();
        Fault::usage(format!("{name}:{line}"), "is not UTF-8 text", "save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_none_is_refused_with_its_line() {
        assert_eq!(utf8("f", "é\n".into()).unwrap(), "é\n");
        for (bytes, line) in [(&b"a\nb\n\xe9\n"[..], 3), (b"\xff\xfe*\0", 1), (b"a\n\xc3", 2)] {
            let fault = utf8("f", bytes.to_vec()).unwrap_err();
            assert_eq!(fault.what, format!("f:{line}"));
        }
    }
}
