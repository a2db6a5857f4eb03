//! What a lab consists of, remembered between `lab up`, `lab exec` and `lab down`.
//!
//! The record is written before anything is built, so that `lab down` finds whatever a killed
//! `lab up` left behind. It lives in the state directory, where instances live too, as
//! `lab-NAME/lab.json`.

use std::fs::{self, DirBuilder, DirEntry};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::topology::namespace;
use crate::model::{Fault, Name};
use crate::ops::Failure;
use crate::store::{Store, StoreError, failed};

/// Prefix of a lab's directory.
const PREFIX: &str = "lab-";

/// A lab that is up, or was half built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name.
    pub name: Name,
    /// Its nodes.
    pub nodes: Vec<Name>,
    /// Whether there is an outside.
    pub outside: bool,
    /// The instance of netbridge in its host namespace, once there is one.
    pub instance: Option<String>,
    /// The cgroup made for it, whose processes' sockets are led to its published ports.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
}

impl Record {
    /// The namespaces, the host's last: what is removed first depends on what is removed later.
    pub fn namespaces(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(Name::as_str);
        let outside = self.outside.then_some("outside");
        nodes
            .chain(outside)
            .chain(["host"])
            .map(|node| namespace(&self.name, node))
            .collect()
    }

    /// The host's namespace.
    pub fn host(&self) -> String {
        namespace(&self.name, "host")
    }

    /// Writes the record, or replaces it.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let directory = directory(self.name.as_str());
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let mut draft = NamedTempFile::new_in(&directory)?;
            serde_json::to_writer_pretty(&mut draft, self)?;
            draft.write_all(b"\n")?;
            draft.as_file().sync_all()?;
            draft.persist(file(&directory)).map_err(|error| error.error)?;
            Ok(())
        };
        Ok(write().map_err(failed("write", &file(&directory)))?)
    }
}

/// Forgets a lab; one that was never recorded is fine.
pub(super) fn forget(name: &Name) -> anyhow::Result<()> {
    let directory = directory(name.as_str());
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &directory)(error).into()),
        _ => Ok(()),
    }
}

/// The record of `name`, if there is such a lab.
pub fn find(name: &Name) -> anyhow::Result<Option<Record>> {
    let path = file(&directory(name.as_str()));
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
            format!(
                "{} is damaged; remove it, then the lab's namespaces with `ip netns del`",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path)(error).into()),
    }
}

/// The lab called `name`; without a name, the only one there is.
pub(super) fn pick(name: Option<&str>) -> Result<Record, Failure> {
    if let Some(text) = name {
        let name = Name::parse("lab name", text)?;
        return find(&name)?.ok_or_else(|| missing(&name));
    }
    let mut names = names().map_err(anyhow::Error::from)?;
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => pick(Some(&only)),
        (None, _) => Err(Fault::not_found("lab", "none is up", "bring one up with `netbridge lab up FILE`").into()),
        (Some(last), false) => {
            names.push(last);
            Err(Fault::usage("lab", "more than one is up", remedy(&names)).into())
        }
    }
}

/// That there is no such lab.
pub(super) fn missing(name: &Name) -> Failure {
    match names() {
        Ok(names) => Fault::not_found(format!("lab {name}"), "does not exist", remedy(&names)).into(),
        Err(error) => anyhow::Error::from(error).into(),
    }
}

fn remedy(names: &[String]) -> String {
    if names.is_empty() {
        "bring it up with `netbridge lab up FILE`".to_owned()
    } else {
        format!("name one of: {}", names.join(", "))
    }
}

/// The labs that are up.
fn names() -> Result<Vec<String>, StoreError> {
    let root = directory("").parent().map(Path::to_path_buf).unwrap_or_default();
    let entries: Vec<DirEntry> = match fs::read_dir(&root).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(failed("list", &root))?,
    };
    let mut names: Vec<String> = entries
        .iter()
        .filter(|entry| file(&entry.path()).is_file())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn directory(name: &str) -> PathBuf {
    let state = Store::new(&format!("{PREFIX}{name}")).path();
    state.parent().map(Path::to_path_buf).unwrap_or(state)
}

fn file(directory: &Path) -> PathBuf {
    directory.join("lab.json")
}
