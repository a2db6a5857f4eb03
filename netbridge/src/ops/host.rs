//! The host that operations play on, and the transaction that each change is.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::Failure;
use crate::apply::{Apply, apply, converge, sweep};
use crate::datapath::{AttachMode, DEFAULT_BPFFS, Datapath, DatapathError, Pins};
use crate::facts::HostFacts;
use crate::model::{Fault, Name};
use crate::netlink::{LinkInfo, Netlink};
use crate::netns::Netns;
use crate::plan::{self, Plan};
use crate::state::State;
use crate::store::{Lock, Store};

/// Names the cgroup of [`Options::cgroup`].
pub const CGROUP_VARIABLE: &str = "NETBRIDGE_CGROUP";

/// Choices that hold for every operation of a [`Host`].
#[derive(Clone, Debug)]
pub struct Options {
    /// The instance; `None` takes `default` in the machine's own namespace, elsewhere `ns-COOKIE`.
    pub instance: Option<String>,
    /// Where the BPF file system is mounted.
    pub bpffs: PathBuf,
    /// How programs are attached.
    pub attach_mode: AttachMode,
    /// The cgroup whose processes' sockets are led to published ports; `None` takes the root of cgroup v2, or the one where
    /// they are led already.
    pub cgroup: Option<PathBuf>,
    /// Plan, change nothing.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: None,
            bpffs: PathBuf::from(DEFAULT_BPFFS),
            attach_mode: AttachMode::default(),
            cgroup: std::env::var_os(CGROUP_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            dry_run: false,
        }
    }
}

/// The outcome of an operation that changes something.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// What was made or removed; with [`Options::dry_run`], what would be.
    pub value: T,
    /// With [`Options::dry_run`], the steps to be taken, in words.
    pub steps: Vec<String>,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

impl<T> Done<T> {
    /// The same outcome with another value.
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            value: value(self.value),
            steps: self.steps,
            warnings: self.warnings,
        }
    }
}

/// The host that operations play on: the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Host {
    instance: String,
    netns: Netns,
    netlink: Netlink,
    pins: Pins,
    store: Store,
    options: Options,
}

impl Host {
    /// Opens the calling thread's network namespace; call it inside a tokio runtime with I/O and
    /// time, and use it on this thread.
    pub fn open(options: &Options) -> Result<Self, Failure> {
        let netns = Netns::current().map_err(anyhow::Error::from)?;
        let instance = match &options.instance {
            Some(name) => check_instance(name)?,
            None => default_instance(&netns)?,
        };
        Ok(Self {
            netlink: Netlink::open().map_err(anyhow::Error::from)?,
            pins: Pins::new(&options.bpffs, &instance),
            store: Store::new(&instance),
            instance,
            netns,
            options: options.clone(),
        })
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The host's network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Whether nothing is to be changed.
    pub(super) fn dry_run(&self) -> bool {
        self.options.dry_run
    }

    /// Takes the instance's lock, for a change that no plan is needed for.
    pub(super) async fn lock(&self) -> Result<Lock, Failure> {
        Ok(self.store.lock().await.map_err(anyhow::Error::from)?)
    }

    /// What the instance consists of.
    pub fn state(&self) -> Result<State, Failure> {
        Ok(self.store.load().map_err(anyhow::Error::from)?)
    }

    /// The instance's programs and maps; refused if there are none.
    pub fn datapath(&self) -> Result<Datapath, Failure> {
        if let Some(datapath) = self.loaded_datapath()? {
            return Ok(datapath);
        }
        plan::check_loaded(&self.state()?, false, &self.instance)?;
        let what = format!("instance {}", self.instance);
        let remedy = "create a network first, or name the instance (--instance) or its namespace (-n)";
        Err(Fault::not_found(what, "has no programs and maps loaded", remedy).into())
    }

    /// The instance's programs and maps, if there are any.
    fn loaded_datapath(&self) -> Result<Option<Datapath>> {
        match Datapath::open(&self.pins) {
            Ok(datapath) => Ok(Some(datapath)),
            Err(DatapathError::NotLoaded { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One change: locks, reads the state, corrects what an interrupted call or a change of the host left wrong, plans,
    /// applies, and keeps the new state. `value` picks the outcome from the old state and the new.
    pub(super) async fn change<T>(
        &self,
        plan: impl FnOnce(&State, &HostFacts) -> Result<Plan, Failure>,
        value: impl FnOnce(&State, &State) -> Option<T>,
    ) -> Result<Done<T>, Failure> {
        let dry_run = self.options.dry_run;
        let lock = if dry_run {
            None
        } else {
            Some(self.store.lock().await.map_err(anyhow::Error::from)?)
        };
        let kept = self.state()?;
        let mut with = Apply {
            instance: &self.instance,
            netlink: &self.netlink,
            pins: &self.pins,
            datapath: self.loaded_datapath()?,
            attach_mode: self.options.attach_mode,
            cgroup: self.options.cgroup.as_deref(),
        };
        let loaded = with.datapath.is_some();
        let host = self.netns.cookie().map_err(anyhow::Error::from)?;
        self.check_host(&kept, host, loaded)?;
        let (mut facts, litter) = HostFacts::read(&self.netlink, &self.netns, &self.instance, loaded, &kept).await?;
        let (old, mut warnings) = plan::refresh(&kept, &facts);
        let mut old = State { host, ..old };
        if !dry_run {
            sweep(&with, &litter).await?;
            warnings.extend(converge(&mut with, &mut old, &facts)?);
            facts.unhooked = with.hook_sockets();
            facts.kernel = with.kernel()?;
            // Saving an empty state removes what a call left that was killed while it saved.
            if kept.is_empty() || old != kept {
                self.store.save(&old).map_err(anyhow::Error::from)?;
            }
        }
        let plan = plan(&old, &facts)?;
        let swept = litter
            .iter()
            .map(|link| format!("remove interface {}, left by an interrupted call", link.name));
        let (steps, new, told) = if dry_run {
            let steps = swept.chain(plan.steps.iter().map(ToString::to_string)).collect();
            (steps, plan.state, plan.warnings)
        } else {
            let save = |state: &State| Ok(self.store.save(state)?);
            // It is larger than what each of the callers should have in it.
            let (new, told) = Box::pin(apply(with, &old, plan, save)).await?;
            (Vec::new(), new, told)
        };
        drop(lock);
        warnings.extend(told);
        let value = value(&old, &new).ok_or_else(|| anyhow!("the plan does not make what was asked for"))?;
        Ok(Done { value, steps, warnings })
    }

    /// The host's interfaces.
    pub(super) async fn links(&self) -> Result<Vec<LinkInfo>> {
        Ok(self.netlink.links().await?)
    }

    /// What the host has lost of what the networks rely on.
    pub async fn lost(&self) -> Result<Vec<String>, Failure> {
        let state = self.state()?;
        let (facts, _) = HostFacts::read(&self.netlink, &self.netns, &self.instance, true, &state).await?;
        Ok(plan::refresh(&state, &facts).1)
    }

    /// Interfaces are known by indices, which mean others in another namespace.
    fn check_host(&self, state: &State, host: u64, loaded: bool) -> Result<(), Fault> {
        // After a restart every namespace is another, and nothing is loaded.
        if state.is_empty() || !loaded || state.host == host {
            return Ok(());
        }
        let remedy = format!(
            "name that one (-n) or another --instance; if it is gone for good: `rm -r {}`, and {} clears the rest",
            self.pins.root().display(),
            plan::remove_all(state),
        );
        let why = "belongs to another network namespace than the one that is the host of this call";
        Err(Fault::conflict(format!("instance {}", self.instance), why, remedy))
    }
}

/// An instance's name is part of paths, and the BPF file system takes no dots.
fn check_instance(name: &str) -> Result<String, Fault> {
    let name = Name::parse("--instance", name)?;
    if name.as_str().contains('.') {
        return Err(Fault::usage(
            format!("--instance {name}"),
            "has a dot",
            "use a-z 0-9 _ -",
        ));
    }
    Ok(name.into())
}

/// `default` in the namespace of the machine's first process, elsewhere, or where that cannot be
/// seen, a name that no other namespace gets before the next boot.
fn default_instance(netns: &Netns) -> Result<String> {
    if Netns::of_the_machine() == Some(netns.inode()) {
        return Ok("default".to_owned());
    }
    Ok(format!("ns-{:x}", netns.cookie()?))
}

#[cfg(test)]
mod tests {
    use super::check_instance;

    #[test]
    fn instance_names_fit_every_path_they_are_part_of() {
        assert!(check_instance("lab-1").is_ok());
        for bad in ["", ".", "..", "a.b", "a/b", "A"] {
            assert!(check_instance(bad).is_err(), "{bad}");
        }
    }
}
