//! What netbridge can be asked to do: the operations behind the command line and the lab.
//!
//! An operation plays on the host namespace that its [`Host`] was opened in. Those that change
//! something are transactions: they take the lock, read the state, plan, apply, and undo what they
//! did if a step fails.

mod failure;

use std::path::PathBuf;

use anyhow::anyhow;

use crate::model::{Attach, Name, NetCreate, Ports};
use crate::state::{Endpoint, FilterSource, Network, Published};

pub use failure::Failure;

/// Choices that hold for every operation of a [`Host`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The instance; `None` takes `default` in the machine's own namespace, elsewhere `ns-COOKIE`.
    pub instance: Option<String>,
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
    /// Plan, change nothing.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: None,
            bpffs: PathBuf::from("/sys/fs/bpf"),
            dry_run: false,
        }
    }
}

/// The outcome of an operation that changes something.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// What was made or removed; with [`Options::dry_run`], what would be.
    pub value: T,
    /// The steps taken, in words; with [`Options::dry_run`], to be taken.
    pub steps: Vec<String>,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// The host that operations play on: the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Host {}

impl Host {
    /// Opens the calling thread's network namespace; call it inside a tokio runtime.
    pub fn open(_options: &Options) -> Result<Self, Failure> {
        Err(anyhow!("skeleton").into())
    }
}

/// Creates a network.
pub async fn net_create(_host: &Host, _request: &NetCreate) -> Result<Done<Network>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Removes networks; with `force`, their endpoints first.
pub async fn net_remove(_host: &Host, _names: &[String], _force: bool) -> Result<Done<Vec<Name>>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Connects a namespace to a network.
pub async fn attach(_host: &Host, _request: &Attach) -> Result<Done<Endpoint>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Disconnects endpoints.
pub async fn detach(_host: &Host, _names: &[String]) -> Result<Done<Vec<Name>>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Publishes ports of an endpoint.
pub async fn port_add(_host: &Host, _request: &Ports) -> Result<Done<Vec<Published>>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Stops publishing ports of an endpoint; no specification means all of them.
pub async fn port_remove(_host: &Host, _request: &Ports) -> Result<Done<Vec<Published>>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Puts a filter in force; `file` names it in messages.
pub async fn filter_load(_host: &Host, _file: &str, _text: &str) -> Result<Done<FilterSource>, Failure> {
    Err(anyhow!("skeleton").into())
}

/// Removes the filter: everything is accepted.
pub async fn filter_flush(_host: &Host) -> Result<Done<()>, Failure> {
    Err(anyhow!("skeleton").into())
}
