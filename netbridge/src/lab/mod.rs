//! Labs: a topology file brought up inside namespaces made for it, a host of its own included.
//!
//! The namespaces of lab `web` are `web-host`, `web-outside` and `web-NODE`, and `ip netns` shows
//! them. Inside `web-host` everything is done by the operations that the command line has, so
//! `netbridge -n web-host ep ls` shows what the lab did.

mod build;
mod cgroup;
mod check;
mod file;
mod record;
mod rehearse;
mod topology;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::anyhow;

pub use record::{Record, find};
pub use topology::{Link, LinkEnd, Outside, Topology};

use crate::datapath::{Datapath, Pins};
use crate::model::{Fault, Faults, Name};
use crate::netlink::in_namespace;
use crate::netns::{Netns, NetnsError, NetnsSpec};
use crate::ops::{self, Failure, Host, Options};
use crate::state::State;
use crate::store::{Lock, Store};

/// A lab that was brought up.
#[derive(Clone, Debug)]
pub struct Up {
    /// What it consists of.
    pub record: Record,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Brings a lab up; on failure removes what was built and returns the failure.
pub async fn up(options: &Options, topology: &Topology) -> Result<Up, Failure> {
    let _lock = lock(options, &topology.name).await?;
    let mut record = Record {
        name: topology.name.clone(),
        nodes: topology.nodes.clone(),
        outside: topology.outside.is_some(),
        instance: None,
        cgroup: cgroup::place(options, &topology.name)?,
    };
    refuse_existing(&record)?;
    if options.dry_run {
        return Ok(Up {
            record,
            warnings: Vec::new(),
        });
    }
    record.save()?;
    cgroup::make(record.cgroup.as_deref());
    let own = Options {
        cgroup: record.cgroup.clone().or_else(|| options.cgroup.clone()),
        ..options.clone()
    };
    match build::build(&own, topology, &mut record) {
        Ok(warnings) => Ok(Up { record, warnings }),
        Err(failure) => {
            let left = remove(options, &record);
            Err(if left.is_empty() {
                failure
            } else {
                burdened(&failure, &record, &left)
            })
        }
    }
}

/// Takes a lab down: its endpoints and networks, then its namespaces. `None` is the only lab there is.
///
/// With [`Options::dry_run`] it only names the lab. Goes on after a failure; the record stays until everything is gone,
/// so that `down` can be repeated.
pub async fn down(options: &Options, name: Option<&str>) -> Result<Record, Failure> {
    let name = match name {
        Some(name) => Name::parse("lab name", name)?,
        None => record::pick(None)?.name,
    };
    let _lock = lock(options, &name).await?;
    let Some(record) = find(&name)? else {
        if !options.dry_run {
            // An `up` killed while it wrote its record has built nothing, but may have left a draft.
            record::forget(&name)?;
        }
        return Err(record::missing(&name));
    };
    if options.dry_run {
        return Ok(record);
    }
    let errors = remove(options, &record);
    if errors.is_empty() {
        Ok(record)
    } else {
        Err(incomplete(&record, &errors).into())
    }
}

/// Replaces this process by `command` inside a node, `host` and `outside` included; returns only if it cannot.
pub fn exec(name: Option<&str>, node: &str, command: &[OsString]) -> Result<Infallible, Failure> {
    let record = record::pick(name)?;
    let wanted = topology::namespace(&record.name, node);
    if !record.namespaces().contains(&wanted) {
        let nodes: Vec<&str> = record.nodes.iter().map(Name::as_str).collect();
        let remedy = format!(
            "name one of: {}, host{}",
            nodes.join(", "),
            if record.outside { ", outside" } else { "" }
        );
        return Err(Fault::not_found(format!("node {node}"), format!("is not in lab {}", record.name), remedy).into());
    }
    let Some((program, arguments)) = command.split_first() else {
        return Err(Fault::usage("command", "is empty", "give one after `--`").into());
    };
    build::open(&wanted)?.enter().map_err(anyhow::Error::from)?;
    if let Some(cgroup) = record.cgroup.as_deref().filter(|_| wanted == record.host()) {
        cgroup::enter(cgroup);
    }
    let error = Command::new(program).args(arguments).exec();
    let what = format!("command {}", program.to_string_lossy());
    let remedy = "give one that this machine has: a node shares its files";
    Err(match error.kind() {
        io::ErrorKind::NotFound => Fault::not_found(what, "does not exist", remedy).into(),
        _ => Fault::conflict(what, error.to_string(), remedy).into(),
    })
}

/// Makes calls that change a lab exclusive; a dry run changes nothing, the lock file included.
async fn lock(options: &Options, name: &Name) -> Result<Option<Lock>, Failure> {
    if options.dry_run {
        return Ok(None);
    }
    let store = Store::new(&format!("lab-{name}"));
    Ok(Some(store.lock().await.map_err(anyhow::Error::from)?))
}

/// A lab of that name, or namespaces that it would make.
fn refuse_existing(record: &Record) -> Result<(), Failure> {
    if find(&record.name)?.is_some() {
        let remedy = format!(
            "take it down with `netbridge lab down --name {}`, or choose another name",
            record.name
        );
        return Err(Fault::exists(format!("lab {}", record.name), "exists already", remedy).into());
    }
    let taken = record.namespaces().into_iter().filter(|name| build::open(name).is_ok());
    let remedy = "remove it with `ip netns del`, or choose another name for the lab";
    let namespaces = taken.map(|name| Fault::exists(format!("network namespace {name}"), "exists already", remedy));
    // Another lab's, by a caller in this network namespace that sees other files.
    let cgroup = record.cgroup.iter().filter(|path| path.exists()).map(|path| {
        let remedy = format!(
            "choose another name for the lab, or, if nobody uses it, `rmdir {}`",
            path.display()
        );
        Fault::exists(format!("cgroup {}", path.display()), "exists already", remedy)
    });
    let faults: Faults = namespaces.chain(cgroup).collect();
    Ok(faults.check()?)
}

/// Removes all that a record names, as far as it exists, and the record if nothing is left.
fn remove(options: &Options, record: &Record) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    if let Err(error) = remove_instance(options, record) {
        errors.push(error.context("remove what netbridge made in the lab's host namespace"));
    }
    for name in record.namespaces() {
        match Netns::remove_named(&name) {
            Ok(()) | Err(NetnsError::NotFound { .. }) => {}
            Err(error) => errors.push(error.into()),
        }
    }
    if let Some(cgroup) = &record.cgroup {
        errors.extend(cgroup::remove(cgroup).err());
    }
    if errors.is_empty() {
        errors.extend(record::forget(&record.name).err());
    }
    errors
}

/// Removes the networks of the lab's instance, and with the last one all of the instance.
fn remove_instance(options: &Options, record: &Record) -> anyhow::Result<()> {
    let Some(instance) = &record.instance else {
        return Ok(());
    };
    let host = match Netns::open(&NetnsSpec::Name(record.host())) {
        Ok(host) => host,
        // Gone with a restart, or removed by hand, and every interface with it.
        Err(NetnsError::NotFound { .. } | NetnsError::NotANamespace { .. }) => {
            Datapath::unload(&Pins::new(&options.bpffs, instance))?;
            return Ok(Store::new(instance).save(&State::default())?);
        }
        Err(error) => return Err(error.into()),
    };
    let options = Options {
        instance: Some(instance.clone()),
        ..options.clone()
    };
    in_namespace(&host, async |_| {
        let host = Host::open(&options)?;
        let networks: Vec<String> = host.state()?.networks.iter().map(|net| net.name.to_string()).collect();
        ops::net_remove(&host, &networks, true).await?;
        Ok(())
    })
}

/// A failure to build whose traces could not be removed either.
fn burdened(failure: &Failure, record: &Record, left: &[anyhow::Error]) -> Failure {
    anyhow!("{failure}\n{}", incomplete(record, left)).into()
}

fn incomplete(record: &Record, errors: &[anyhow::Error]) -> anyhow::Error {
    let list: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    anyhow!(
        "lab {} is not wholly removed; run `netbridge lab down --name {}` again:\n{}",
        record.name,
        record.name,
        list.join("\n")
    )
}
