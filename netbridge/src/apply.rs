//! Carries out the steps of a plan, and undoes them if one fails.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::FutureExt;
use ipnet::{IpNet, Ipv4Net};
use netbridge_common::abi::{FlowKey, FlowV4, Hook, SUBNET_LOCAL, flow_flags};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::datapath::{AttachMode, Datapath, DatapathError, LoadOptions, Pins};
use crate::encode;
use crate::filter;
use crate::netlink::{BridgeSpec, Netlink, Route, VethSpec, in_namespace};
use crate::netns::{Netns, NetnsSpec};
use crate::plan::{Plan, Step, interface_names};
use crate::state::{Endpoint, Network, Published, State, Uplink};

/// What steps are carried out with.
pub struct Apply<'a> {
    /// The instance's name.
    pub instance: &'a str,
    /// The host namespace's rtnetlink.
    pub netlink: &'a Netlink,
    /// The instance's pins.
    pub pins: &'a Pins,
    /// How programs are attached.
    pub attach_mode: AttachMode,
}

/// A plan being carried out.
struct Run<'a> {
    with: &'a Apply<'a>,
    datapath: Option<Datapath>,
    /// The state before.
    old: &'a State,
    /// The state afterwards, completed with the indices of interfaces as they are made.
    new: State,
    /// Index of every interface that steps may name.
    indices: BTreeMap<String, u32>,
    warnings: Vec<String>,
    interrupts: [Signal; 2],
}

/// Carries out `plan`, which was made from `old`, and then `save`s the new state; returns it, and
/// what the caller should know. If a step fails, or the process is asked to end, the steps before
/// it are undone.
pub async fn apply(
    with: &Apply<'_>,
    old: &State,
    plan: Plan,
    save: impl FnOnce(&State) -> Result<()>,
) -> Result<(State, Vec<String>)> {
    let mut run = Run::new(with, old, plan.state)?;
    let mut done: Vec<&Step> = Vec::new();
    let mut outcome = Ok(());
    for step in &plan.steps {
        outcome = match run.interrupted() {
            true => Err(anyhow!("interrupted")),
            false => run.step(step).await,
        };
        if outcome.is_ok() || !step.is_atomic() {
            done.push(step);
        }
        if let Err(error) = outcome {
            outcome = Err(error.context(format!("cannot {step}")));
            break;
        }
    }
    match outcome.and_then(|()| save(&run.new)) {
        Ok(()) => {
            run.warnings.extend(plan.warnings);
            Ok((run.new, run.warnings))
        }
        Err(error) => Err(run.undo(&done, error).await),
    }
}

impl<'a> Run<'a> {
    fn new(with: &'a Apply<'a>, old: &'a State, new: State) -> Result<Self> {
        let datapath = match Datapath::open(with.pins) {
            Ok(datapath) => Some(datapath),
            Err(DatapathError::NotLoaded { .. }) => None,
            Err(error) => return Err(error.into()),
        };
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
            datapath,
            old,
            new,
            indices,
            warnings: Vec::new(),
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
                self.datapath = Some(Datapath::load(self.with.pins, &LoadOptions::default())?);
                Ok(())
            }
            Step::UnloadDatapath => {
                self.datapath = None;
                Ok(Datapath::unload(self.with.pins)?)
            }
            Step::CreateBridge(network) => self.create_bridge(network).await,
            Step::AddNetwork(network) => self.add_network(network),
            Step::RemoveNetwork(network) => self.remove_network(network),
            Step::AddLocal(addresses) => self.add_local(addresses),
            Step::RemoveLocal(addresses) => self.remove_local(addresses),
            Step::AddUplink(uplink) => self.add_uplink(uplink),
            Step::RemoveUplink(uplink) => self.remove_uplink(uplink),
            Step::CreateVeth(endpoint) => self.create_veth(endpoint).await,
            Step::AddEndpoint(endpoint) => self.add_endpoint(endpoint),
            Step::RemoveEndpoint(endpoint) => self.remove_endpoint(endpoint),
            Step::AttachPrograms(endpoint) => {
                let ifindex = self.index(&endpoint.host_if)?;
                self.attach([Hook::FromContainer, Hook::ToContainer], &endpoint.host_if, ifindex)
            }
            Step::DetachPrograms(endpoint) => self.detach(self.index(&endpoint.host_if)?),
            Step::JoinBridge { endpoint, bridge } => self.join_bridge(endpoint, bridge).await,
            Step::Configure(endpoint) => configure(endpoint),
            Step::SetUp(name) => Ok(self.with.netlink.set_up(self.index(name)?).await?),
            Step::DeleteLink { name, alias } => self.delete_link(name, alias).await,
            Step::Publish(ports) => self.publish(ports),
            Step::Unpublish(ports) => self.unpublish(ports),
            Step::EndFlows(endpoint) => self.end_flows(endpoint),
            Step::SwapFilter => self.swap_filter(true).await,
            Step::RestoreFilter => self.swap_filter(false).await,
        }
    }

    /// The loaded datapath, for steps that add to it.
    fn loaded(&self) -> Result<&Datapath> {
        self.datapath.as_ref().context("the programs and maps are not loaded")
    }

    fn index(&self, name: &str) -> Result<u32> {
        self.indices
            .get(name)
            .copied()
            .with_context(|| format!("interface {name} is not known"))
    }

    /// The id of the network called `name`, before or after.
    fn network_id(&self, endpoint: &Endpoint) -> Result<u16> {
        let name = endpoint.network.as_str();
        let network = self.new.network(name).or_else(|| self.old.network(name));
        network
            .map(|network| network.id)
            .with_context(|| format!("network {name} is not known"))
    }

    async fn create_bridge(&mut self, network: &Network) -> Result<()> {
        let netlink = self.with.netlink;
        let spec = BridgeSpec {
            name: network.bridge.clone(),
            mac: network.mac.0,
            mtu: network.mtu,
            alias: Some(crate::names::alias(self.with.instance, &network.name)),
        };
        let bridge = netlink.create_bridge(&spec).await?;
        self.indices.insert(bridge.name, bridge.index);
        if let Some(record) = self.new.networks.iter_mut().find(|record| record.name == network.name) {
            record.ifindex = bridge.index;
        }
        let address = Ipv4Net::new(network.gateway, network.subnet.prefix_len())?;
        Ok(netlink.add_address(bridge.index, address.into()).await?)
    }

    fn add_network(&self, network: &Network) -> Result<()> {
        let tables = self.loaded()?.tables();
        let uplink = network.uplink.as_deref().and_then(|name| self.new.uplink(name));
        tables.put_network(
            network.id,
            &encode::network(network, self.index(&network.bridge)?, uplink),
        )?;
        Ok(tables.put_subnet(network.subnet, network.id.into())?)
    }

    fn remove_network(&self, network: &Network) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let tables = datapath.tables();
        tables.remove_subnet(network.subnet)?;
        tables.remove_network(network.id)?;
        let zone = network.id.to_ne_bytes();
        tables.flush_flows(|key, flow| key.zone == zone || flow.head.peer_zone == network.id)?;
        Ok(())
    }

    fn add_local(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let tables = self.loaded()?.tables();
        addresses
            .iter()
            .try_for_each(|address| Ok(tables.put_subnet((*address).into(), SUBNET_LOCAL)?))
    }

    fn remove_local(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        addresses
            .iter()
            .try_for_each(|address| Ok(datapath.tables().remove_subnet((*address).into())?))
    }

    fn add_uplink(&self, uplink: &Uplink) -> Result<()> {
        let tables = self.loaded()?.tables();
        tables.reset_traffic(uplink.slot)?;
        tables.put_link(uplink.ifindex, &encode::uplink(uplink))?;
        self.attach([Hook::FromUplink, Hook::ToUplink], &uplink.name, uplink.ifindex)
    }

    fn remove_uplink(&self, uplink: &Uplink) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        datapath.detach(uplink.ifindex)?;
        Ok(datapath.tables().remove_link(uplink.ifindex)?)
    }

    async fn create_veth(&mut self, endpoint: &Endpoint) -> Result<()> {
        let network = self
            .new
            .network(endpoint.network.as_str())
            .context("its network is not known")?;
        let veth = VethSpec {
            name: &endpoint.host_if,
            alias: Some(&crate::names::alias(self.with.instance, &endpoint.name)),
            mtu: network.mtu,
            peer_name: &endpoint.ifname,
            peer_mac: endpoint.mac.0,
            peer_netns: &open(endpoint)?,
        };
        let made = self.with.netlink.create_veth(&veth).await?;
        self.indices.insert(made.name, made.index);
        if let Some(record) = self
            .new
            .endpoints
            .iter_mut()
            .find(|record| record.name == endpoint.name)
        {
            record.ifindex = made.index;
        }
        Ok(())
    }

    fn add_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let tables = self.loaded()?.tables();
        let (net, ifindex) = (self.network_id(endpoint)?, self.index(&endpoint.host_if)?);
        let station = encode::station(endpoint, ifindex);
        tables.reset_traffic(endpoint.slot)?;
        tables.put_link(ifindex, &encode::endpoint(endpoint, net))?;
        for address in &endpoint.addresses {
            tables.put_address(&encode::address_key(address.addr(), net), &station)?;
        }
        Ok(tables.put_station(&encode::mac_key(endpoint, net), &station)?)
    }

    fn remove_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let (net, ifindex) = (self.network_id(endpoint)?, self.index(&endpoint.host_if)?);
        let tables = datapath.tables();
        for address in &endpoint.addresses {
            tables.remove_address(&encode::address_key(address.addr(), net))?;
        }
        for (key, station) in tables.stations()? {
            if station.ifindex == ifindex {
                tables.remove_station(&key)?;
            }
        }
        Ok(tables.remove_link(ifindex)?)
    }

    fn attach(&self, hooks: [Hook; 2], name: &str, ifindex: u32) -> Result<()> {
        let datapath = self.loaded()?;
        hooks
            .into_iter()
            .try_for_each(|hook| Ok(datapath.attach(hook, name, ifindex, self.with.attach_mode)?))
    }

    fn detach(&self, ifindex: u32) -> Result<()> {
        self.datapath
            .as_ref()
            .map_or(Ok(()), |datapath| Ok(datapath.detach(ifindex)?))
    }

    /// The bridge knows the endpoint's MAC and learns no other; behind a trunk it has to learn.
    async fn join_bridge(&self, endpoint: &Endpoint, bridge: &str) -> Result<()> {
        let netlink = self.with.netlink;
        let port = self.index(&endpoint.host_if)?;
        netlink.set_master(port, self.index(bridge)?).await?;
        if !endpoint.trunk {
            netlink.set_learning(port, false).await?;
            netlink.add_static_fdb(port, endpoint.mac.0).await?;
        }
        Ok(())
    }

    async fn delete_link(&self, name: &str, alias: &str) -> Result<()> {
        let netlink = self.with.netlink;
        match netlink.link(name).await? {
            Some(link) if link.alias.as_deref() == Some(alias) => {
                netlink.delete_link(link.index).await?;
                self.detach(link.index)
            }
            _ => Ok(()),
        }
    }

    fn publish(&self, ports: &[Published]) -> Result<()> {
        let tables = self.loaded()?.tables();
        for port in ports {
            let endpoint = self.new.endpoint(port.endpoint.as_str());
            let endpoint = endpoint.with_context(|| format!("endpoint {} is not known", port.endpoint))?;
            let target = encode::port_target(port, endpoint, self.network_id(endpoint)?);
            tables.put_published(&encode::port_key(port), &target)?;
        }
        Ok(())
    }

    fn unpublish(&self, ports: &[Published]) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let tables = datapath.tables();
        let mut targets = Vec::new();
        for port in ports {
            tables.remove_published(&encode::port_key(port))?;
            let endpoint = self
                .old
                .endpoint(port.endpoint.as_str())
                .or_else(|| self.new.endpoint(port.endpoint.as_str()));
            targets.extend(endpoint.and_then(Endpoint::address).map(|address| (port, address)));
        }
        tables.flush_flows(|key, flow| {
            targets
                .iter()
                .any(|(port, address)| came_through(key, flow, port, *address))
        })?;
        Ok(())
    }

    fn end_flows(&self, endpoint: &Endpoint) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        datapath
            .tables()
            .flush_flows(|key, flow| concerns(key, flow, endpoint))?;
        Ok(())
    }

    /// Compiles the new filter, or the old one again.
    async fn swap_filter(&mut self, new: bool) -> Result<()> {
        let Some(datapath) = &self.datapath else { return Ok(()) };
        let state = if new { &self.new } else { self.old };
        let (file, text) = state
            .filter
            .as_ref()
            .map_or(("", EMPTY_FILTER), |source| (&source.file, &source.text));
        let ruleset = filter::parse(file, text)?;
        let links = self.with.netlink.links().await?;
        let names = interface_names(state, &links);
        for gone in filter::unresolved(&ruleset, &names) {
            let warning = format!(
                "{file}:{}: `{}` is gone; the rule matches it no more",
                gone.line, gone.name
            );
            self.warnings.push(warning);
        }
        let (policy, rules) = filter::compile(&ruleset, &names);
        Ok(datapath.tables().swap_filter(&policy, &rules)?)
    }
}

/// The filter that is in force when none is.
const EMPTY_FILTER: &str = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";

/// The endpoint's namespace, if it still is the one that was looked at.
fn open(endpoint: &Endpoint) -> Result<Netns> {
    let netns = Netns::open(&endpoint.netns.parse::<NetnsSpec>()?)?;
    ensure!(
        netns.inode() == endpoint.netns_inode,
        "namespace {} was replaced meanwhile; try again",
        endpoint.netns
    );
    Ok(netns)
}

/// Addresses and routes inside the endpoint's namespace.
fn configure(endpoint: &Endpoint) -> Result<()> {
    in_namespace(&open(endpoint)?, async |netlink| {
        let find = async |name: &str| match netlink.link(name).await? {
            Some(link) => Ok(link.index),
            None => bail!("interface {name} is not in namespace {}", endpoint.netns),
        };
        netlink.set_up(find("lo").await?).await?;
        let index = find(&endpoint.ifname).await?;
        for address in &endpoint.addresses {
            netlink.add_address(index, (*address).into()).await?;
        }
        netlink.set_up(index).await?;
        if let Some(gateway) = endpoint.gateway {
            let onlink = !endpoint.addresses.iter().any(|net| net.contains(&gateway));
            let dst = IpNet::V4(Ipv4Net::default());
            netlink
                .add_route(&Route {
                    dst,
                    via: Some(IpAddr::V4(gateway)),
                    index,
                    onlink,
                })
                .await?;
        }
        Ok(())
    })
}

/// Whether either half of a flow came through the published `port` of the endpoint at `address`.
fn came_through(key: &FlowKey<[u8; 4]>, flow: &FlowV4, port: &Published, address: Ipv4Addr) -> bool {
    let (address, inner, outer) = (address.octets(), port.port.to_be_bytes(), port.host_port.to_be_bytes());
    let nat = flow.tail;
    let inward =
        flow.head.flags & flow_flags::DST != 0 && (nat.dst, nat.dport) == (address, inner) && key.dport == outer;
    let outward =
        flow.head.flags & flow_flags::SRC != 0 && (key.src, key.sport) == (address, inner) && nat.sport == outer;
    key.proto == port.transport.number() && (inward || outward)
}

/// Whether either half of a flow has the endpoint at an end.
pub fn concerns(key: &FlowKey<[u8; 4]>, flow: &FlowV4, endpoint: &Endpoint) -> bool {
    let nat = flow.tail;
    let ends = [key.src, key.dst, nat.src, nat.dst];
    endpoint.addresses.iter().any(|net| ends.contains(&net.addr().octets()))
}
