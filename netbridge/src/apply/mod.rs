//! Carries out the steps of a plan, and undoes them if one fails.
//!
//! A process that is killed half-way leaves interfaces that no state knows, and maps that do not say what the state
//! says; before the next change [`sweep`] removes the former and [`converge`] corrects the latter.

mod converge;
mod filter;
mod links;
mod sockets;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use futures_util::FutureExt;
use netbridge_common::abi::Hook;
use netbridge_common::abi::generation::serial;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::datapath::{AttachMode, Datapath, LoadOptions, Pins};
use crate::facts::KernelFacts;
use crate::netlink::{LinkInfo, Netlink};
use crate::plan::{Plan, Step};
use crate::state::{Endpoint, FilterSource, State};

pub use converge::converge;
pub use tables::concerns;

/// The programs of an uplink.
const UPLINK_HOOKS: [Hook; 2] = [Hook::FromUplink, Hook::ToUplink];

/// What steps are carried out with.
pub struct Apply<'a> {
    /// The instance's name.
    pub instance: &'a str,
    /// The host namespace's rtnetlink.
    pub netlink: &'a Netlink,
    /// The instance's pins.
    pub pins: &'a Pins,
    /// The instance's programs and maps, if they are loaded.
    pub datapath: Option<Datapath>,
    /// How programs are attached.
    pub attach_mode: AttachMode,
    /// The cgroup whose processes' sockets are led to published ports.
    pub cgroup: Option<&'a Path>,
}

impl Apply<'_> {
    /// Leads the host's own sockets to published ports. The instance works without: why that cannot be is returned.
    pub fn hook_sockets(&self) -> Option<String> {
        let hooked = self.datapath.as_ref()?.attach_sockets(self.cgroup);
        hooked.err().map(|error| format!("{:#}", anyhow::Error::from(error)))
    }

    /// What tables for the kernel and the datapath depend on, as far as it is loaded.
    pub fn kernel(&self) -> Result<KernelFacts> {
        let Some(datapath) = &self.datapath else {
            return Ok(KernelFacts::default());
        };
        Ok(KernelFacts {
            hz: datapath.clock().hz(),
            serial: serial(datapath.tables().config()?.generation),
            bank: datapath.tables().bank()?,
        })
    }
}

/// A plan being carried out.
struct Run<'a> {
    with: Apply<'a>,
    /// The state before.
    old: &'a State,
    /// The state afterwards, completed with the indices of interfaces as they are made.
    new: State,
    /// Index of every interface that steps may name.
    indices: BTreeMap<String, u32>,
    warnings: Vec<String>,
    /// The filter of the old state, once it was put in force again.
    restored: Option<FilterSource>,
    interrupts: [Signal; 2],
}

/// Removes interfaces that an interrupted call left behind, and what the maps say of them.
pub async fn sweep(with: &Apply<'_>, litter: &[LinkInfo]) -> Result<()> {
    for link in litter {
        with.netlink.delete_link(link.index).await?;
        if let Some(datapath) = &with.datapath {
            datapath.detach(link.index)?;
            tables::forget(datapath, link.index)?;
        }
    }
    Ok(())
}

/// Carries out `plan`, which was made from `old`, and then `save`s the new state; returns it, and
/// what the caller should know. If a step fails, or the process is asked to end, the steps before
/// it are undone.
pub async fn apply(
    with: Apply<'_>,
    old: &State,
    plan: Plan,
    save: impl Fn(&State) -> Result<()>,
) -> Result<(State, Vec<String>)> {
    let mut run = Run::new(with, old, plan.state)?;
    let mut done: Vec<&Step> = Vec::new();
    let mut outcome = Ok(());
    for step in &plan.steps {
        outcome = if run.interrupted() {
            Err(anyhow!("interrupted"))
        } else {
            run.step(step).await
        };
        if outcome.is_ok() || !step.is_atomic() {
            done.push(step);
        }
        if outcome.is_err() {
            outcome = outcome.with_context(|| format!("cannot {step}"));
            break;
        }
    }
    let is_whole = outcome.is_ok();
    match outcome.and_then(|()| save(&run.new)) {
        Ok(()) => {
            run.warnings.extend(plan.warnings);
            Ok((run.new, run.warnings))
        }
        Err(error) => {
            let error = run.undo(&done, error).await;
            let restored = run.restored.take();
            // A state whose save has failed may have taken the old one's place, and only its directory not be synced.
            if is_whole || restored.is_some() {
                let filter = restored.or_else(|| old.filter.clone());
                // Where that fails too, what rules have counted is lost, and they are compiled once more.
                let _ = save(&State { filter, ..old.clone() });
            }
            Err(error)
        }
    }
}

impl<'a> Run<'a> {
    fn new(with: Apply<'a>, old: &'a State, new: State) -> Result<Self> {
        let bridges = old
            .networks
            .iter()
            .map(|network| (network.bridge.clone(), network.ifindex));
        let veths = old
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.host_if.clone(), endpoint.ifindex));
        let indices = bridges.chain(veths).collect();
        let interrupts = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self {
            with,
            old,
            new,
            indices,
            warnings: Vec::new(),
            restored: None,
            interrupts,
        })
    }

    /// Whether the process was asked to end since it started to apply.
    fn interrupted(&mut self) -> bool {
        self.interrupts
            .iter_mut()
            .any(|signal| signal.recv().now_or_never().is_some())
    }

    /// Undoes `done`, last step first; returns `error` with whatever could not be undone.
    async fn undo(&mut self, done: &[&Step], error: anyhow::Error) -> anyhow::Error {
        let mut left = Vec::new();
        for step in done.iter().rev() {
            if let Some(inverse) = step.inverse(self.with.instance)
                && let Err(failure) = self.step(&inverse).await
            {
                left.push(format!("cannot {inverse}: {failure:#}"));
            }
        }
        if left.is_empty() {
            error
        } else {
            error.context(format!("not all could be undone: {}", left.join("; ")))
        }
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::LoadDatapath => {
                let options = LoadOptions {
                    settings: self.new.settings.clone(),
                    ..LoadOptions::default()
                };
                self.with.datapath = Some(Datapath::load(self.with.pins, &options)?);
                // Where that fails, it is told to those who publish ports.
                let _unhooked = self.with.hook_sockets();
                Ok(())
            }
            Step::UnloadDatapath => {
                self.with.datapath = None;
                Ok(Datapath::unload(self.with.pins)?)
            }
            Step::CreateBridge(network) => self.create_bridge(network).await,
            Step::AddNetwork(network) => self.add_network(network),
            Step::RemoveNetwork(network) => self.remove_network(network),
            Step::AddLocal(addresses) => self.add_local(addresses),
            Step::RemoveLocal(addresses) => self.remove_local(addresses),
            Step::AddUplink(uplink) => {
                self.add_uplink(uplink)?;
                self.attach(UPLINK_HOOKS, &uplink.name, uplink.ifindex)
            }
            Step::RemoveUplink(uplink) => {
                self.detach(uplink.ifindex)?;
                self.remove_uplink(uplink)
            }
            Step::CreateVeth(endpoint) => self.create_veth(endpoint).await,
            Step::AddEndpoint(endpoint) => self.add_endpoint(endpoint),
            Step::RemoveEndpoint(endpoint) => self.remove_endpoint(endpoint),
            Step::AttachPrograms(endpoint) => {
                let ifindex = self.index(&endpoint.host_if)?;
                self.attach([Hook::FromContainer, Hook::ToContainer], &endpoint.host_if, ifindex)
            }
            Step::DetachPrograms(endpoint) => self.detach(self.index(&endpoint.host_if)?),
            Step::JoinBridge { endpoint, bridge } => self.join_bridge(endpoint, bridge).await,
            Step::Configure(endpoint) => links::configure(endpoint),
            Step::SetUp(name) => Ok(self.with.netlink.set_up(self.index(name)?).await?),
            Step::DeleteLink { name, alias } => self.delete_link(name, alias).await,
            Step::Publish(ports) => self.publish(ports),
            Step::Unpublish(ports) => self.unpublish(ports),
            Step::EndFlows(endpoint) => self.end_flows(endpoint),
            Step::SwapFilter => self.swap_filter().await,
            Step::LoadFilter(compiled) => self.load_filter(compiled.as_deref()),
            Step::EditFilter(edited) => self.edit_filter(edited),
            Step::PatchFilter(patched) => self.patch_filter(patched),
            Step::UnpatchFilter(before) => Ok(self.loaded()?.tables().unpatch_filter(before)?),
            Step::RestoreFilter => self.restore_filter().await,
            Step::Tune => Ok(self.loaded()?.tune(&self.new.settings)?),
            Step::Untune => Ok(self.loaded()?.tune(&self.old.settings)?),
        }
    }

    /// The programs and maps, for steps that add to them.
    fn loaded(&self) -> Result<&Datapath> {
        self.with
            .datapath
            .as_ref()
            .context("the programs and maps are not loaded")
    }

    /// The ifindex of an interface that netbridge made.
    fn index(&self, name: &str) -> Result<u32> {
        self.indices
            .get(name)
            .copied()
            .with_context(|| format!("interface {name} is not known"))
    }

    /// The id of an endpoint's network, which the plan may add or remove.
    fn network_id(&self, endpoint: &Endpoint) -> Result<u16> {
        let name = endpoint.network.as_str();
        let network = self.new.network(name).or_else(|| self.old.network(name));
        network
            .map(|network| network.id)
            .with_context(|| format!("network {name} is not known"))
    }

    /// Notes what the caller should know, once.
    fn tell(&mut self, warning: Option<String>) {
        if let Some(warning) = warning.filter(|warning| !self.warnings.contains(warning)) {
            self.warnings.push(warning);
        }
    }

    fn attach(&self, hooks: [Hook; 2], name: &str, ifindex: u32) -> Result<()> {
        let datapath = self.loaded()?;
        hooks
            .into_iter()
            .try_for_each(|hook| Ok(datapath.attach(hook, name, ifindex, self.with.attach_mode)?))
    }

    fn detach(&self, ifindex: u32) -> Result<()> {
        self.with
            .datapath
            .as_ref()
            .map_or(Ok(()), |datapath| Ok(datapath.detach(ifindex)?))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::plan::fixtures;

    #[tokio::test]
    async fn a_state_that_cannot_be_saved_is_followed_by_the_old_one() {
        let (old, saved) = (fixtures::state(), RefCell::new(Vec::new()));
        let plan = Plan {
            steps: Vec::new(),
            state: State::default(),
            warnings: Vec::new(),
        };
        let with = Apply {
            instance: "t",
            netlink: &Netlink::open().unwrap(),
            pins: &Pins::new(Path::new("/sys/fs/bpf"), "t"),
            datapath: None,
            attach_mode: AttachMode::Auto,
            cgroup: None,
        };
        let save = |state: &State| {
            saved.borrow_mut().push(state.clone());
            Err(anyhow!("the directory cannot be written"))
        };
        let error = apply(with, &old, plan, save).await.unwrap_err();
        assert_eq!(error.to_string(), "the directory cannot be written");
        assert_eq!(saved.into_inner(), [State::default(), old.clone()]);
    }
}
