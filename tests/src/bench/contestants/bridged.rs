//! A bridge of the kernel, with or without netfilter rules on the host.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use netbridge::model::MacAddr;
use netbridge::netlink::{BridgeSpec, in_namespace};

use super::super::contestant::Contestant;
use super::super::rule::Rule;
use super::super::world::{Able, Host, Layout, Published, World};
use super::ground::{Ground, HostSettings};
use super::{A, B, ETH0, GATEWAY, MTU, OUTSIDE, UPLINK, conntrack, foreign, more, subnet, wiring};
use crate::wire::counters;

/// The bridge, as Docker calls it.
pub(super) const BRIDGE: &str = "docker0";
/// The host end of A's veth.
const PORT_A: &str = "veth-a";
/// The host end of B's veth.
const PORT_B: &str = "veth-b";

/// Netfilter rules of a host. Everything here is called in the host's namespace.
pub(super) trait Firewall: Send + Sync {
    /// Loads what is there before any rule of the operator and any published port.
    fn set_up(&self) -> Result<()>;
    /// See [`World::load_rules`].
    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able>;
    /// See [`World::insert_rule`].
    fn insert_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able>;
    /// See [`World::delete_rule`].
    fn delete_rule(&mut self, rules: &[Rule], index: usize) -> Result<Able>;
    /// See [`World::publish`].
    fn publish(&mut self, ports: &[Published]) -> Result<()>;
    /// See [`World::publish_range`].
    fn publish_range(&mut self, first: Published, count: u16) -> Result<()>;
    /// See [`World::unpublish`].
    fn unpublish(&mut self) -> Result<()>;
    /// Packets that were asked whether they may be forwarded.
    fn forwarded(&self) -> Result<u64>;
}

/// Containers on a bridge of the kernel.
pub(super) struct Bridged {
    contestant: Contestant,
    firewall: Option<Box<dyn Firewall>>,
    layout: Layout,
    /// Last: namespaces go when nobody has them open.
    ground: Ground,
}

impl Bridged {
    /// Without a firewall the host bridges, and nothing else: no netfilter, no routing.
    pub(super) fn build(contestant: Contestant, firewall: Option<Box<dyn Firewall>>) -> Result<Self> {
        let mut ground = Ground::new(contestant)?;
        let host = ground.add_host(HostSettings {
            forwarding: firewall.is_some(),
            bridge_netfilter: firewall.is_some(),
        })?;
        let bridge = in_namespace(&host, async |netlink| {
            let spec = BridgeSpec {
                name: BRIDGE.to_owned(),
                mac: MacAddr::from_ipv4(GATEWAY).0,
                mtu: MTU,
                alias: None,
                group: 0,
            };
            let bridge = netlink.create_bridge(&spec).await?;
            netlink.add_address(bridge.index, subnet(GATEWAY).into()).await?;
            netlink.set_up(bridge.index).await?;
            Ok(bridge.index)
        })?;
        let outside = ground.add("outside")?;
        wiring::uplink(&host, &outside)?;
        let (a, b) = (ground.add("a")?, ground.add("b")?);
        wiring::plug(&host, bridge, PORT_A, &a, A)?;
        wiring::plug(&host, bridge, PORT_B, &b, B)?;
        if let Some(firewall) = &firewall {
            host.run(|| firewall.set_up())??;
        }
        let layout = Layout {
            a: wiring::place(a, ETH0, A)?,
            b: wiring::place(b, ETH0, B)?,
            outside: wiring::place(outside, ETH0, OUTSIDE)?,
            host: Some(Host {
                a_port: wiring::port(&host, PORT_A, Ipv4Addr::UNSPECIFIED)?,
                b_port: wiring::port(&host, PORT_B, Ipv4Addr::UNSPECIFIED)?,
                uplink: wiring::port(&host, ETH0, UPLINK)?,
                gateway: wiring::port(&host, BRIDGE, GATEWAY)?,
                netns: host,
            }),
        };
        wiring::introduce(&layout, BRIDGE)?;
        wiring::settle(&layout)?;
        let mut world = Self {
            contestant,
            firewall,
            layout,
            ground,
        };
        world.forget_flows()?;
        Ok(world)
    }

    fn host(&self) -> Result<&Host> {
        self.layout.host.as_ref().context("a bridge without a host")
    }

    /// Has the firewall do something in the host's namespace.
    fn ask(&mut self, without: &str, operation: impl FnOnce(&mut dyn Firewall) -> Result<Able> + Send) -> Result<Able> {
        let (Some(host), Some(firewall)) = (&self.layout.host, &mut self.firewall) else {
            return Ok(Able::Cannot(format!("a bridge alone {without} nothing")));
        };
        host.netns.run(|| operation(firewall.as_mut()))?
    }
}

impl World for Bridged {
    fn contestant(&self) -> Contestant {
        self.contestant
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn translates(&self) -> Able {
        match self.firewall {
            Some(_) => Able::Done,
            None => Able::Cannot("a bridge alone translates nothing".to_owned()),
        }
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        if self.firewall.is_none() && rules.is_empty() {
            return Ok(Able::Done);
        }
        self.ask("filters", |firewall| firewall.load_rules(rules))
    }

    fn insert_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able> {
        ensure!(
            index <= rules.len(),
            "there is no place {index} among {} rules",
            rules.len()
        );
        self.ask("filters", |firewall| firewall.insert_rule(rules, index, rule))
    }

    fn delete_rule(&mut self, rules: &[Rule], index: usize) -> Result<Able> {
        ensure!(index < rules.len(), "there is no rule {index} of {}", rules.len());
        self.ask("filters", |firewall| firewall.delete_rule(rules, index))
    }

    fn publish(&mut self, ports: &[Published]) -> Result<Able> {
        self.ask("publishes", |firewall| firewall.publish(ports).map(|()| Able::Done))
    }

    fn publish_range(&mut self, first: Published, count: u16) -> Result<Able> {
        self.ask("publishes", |firewall| {
            firewall.publish_range(first, count).map(|()| Able::Done)
        })
    }

    fn unpublish(&mut self) -> Result<Able> {
        self.ask("publishes", |firewall| firewall.unpublish().map(|()| Able::Done))
    }

    fn new_container(&mut self, index: u16) -> Result<Able> {
        self.ground.add(&format!("c{index}"))?;
        Ok(Able::Done)
    }

    fn attach(&mut self, index: u16) -> Result<Able> {
        let container = self.ground.open(&format!("c{index}"))?;
        let host = self.host()?;
        let (port, bridge) = (format!("veth-{index}"), host.gateway.ifindex);
        wiring::plug(&host.netns, bridge, &port, &container, more(index))?;
        Ok(Able::Done)
    }

    fn detach(&mut self, index: u16) -> Result<Able> {
        wiring::unplug(&self.host()?.netns, &format!("veth-{index}"))?;
        Ok(Able::Done)
    }

    fn remove_container(&mut self, index: u16) -> Result<()> {
        self.ground.remove(&format!("c{index}"))
    }

    fn forget_flows(&mut self) -> Result<()> {
        match self.firewall {
            Some(_) => self.host()?.netns.run(conntrack::flush)?,
            None => Ok(()),
        }
    }

    fn path_counters(&self) -> Result<Vec<(String, u64)>> {
        let host = &self.host()?.netns;
        match &self.firewall {
            Some(firewall) => Ok(vec![(
                "forwarding rules".to_owned(),
                host.run(|| firewall.forwarded())??,
            )]),
            None => [PORT_A, PORT_B]
                .into_iter()
                .map(|port| Ok((format!("{port} sent"), counters(host, port)?.tx_packets)))
                .collect(),
        }
    }

    fn foreign_counters(&self) -> Result<Vec<(String, u64)>> {
        let host = &self.host()?.netns;
        let mut counted = foreign::rules(host, self.contestant)?;
        counted.extend(foreign::programs(host, &[PORT_A, PORT_B, ETH0])?);
        if self.firewall.is_none() {
            counted.extend(foreign::stack(host)?);
        }
        Ok(counted)
    }

    fn map_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}
