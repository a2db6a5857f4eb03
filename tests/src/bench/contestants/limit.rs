//! The limits: what two sockets reach without any network between them, and two namespaces without a bridge.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netbridge::netlink::in_namespace;

use super::super::contestant::Contestant;
use super::super::rule::Rule;
use super::super::world::{Able, Layout, Published, World};
use super::ground::Ground;
use super::{A, B, ETH0, foreign, wiring};
use crate::wire::counters;

/// The loopback interface, or a veth pair.
pub(super) struct Limit {
    contestant: Contestant,
    layout: Layout,
    /// Last: namespaces go when nobody has them open.
    _ground: Ground,
}

impl Limit {
    /// Both containers are one namespace, and both addresses its loopback interface's.
    pub(super) fn loopback() -> Result<Self> {
        let contestant = Contestant::Loopback;
        let mut ground = Ground::new(contestant)?;
        let netns = ground.add("a")?;
        in_namespace(&netns, async |netlink| {
            let lo = netlink.link("lo").await?.context("a namespace without lo")?;
            for ip in [A, B] {
                netlink.add_address(lo.index, IpAddr::from(ip).into()).await?;
            }
            Ok(())
        })?;
        let layout = Layout {
            a: wiring::place(netns, "lo", A)?,
            b: wiring::place(ground.open("a")?, "lo", B)?,
            outside: wiring::place(ground.open("a")?, "lo", B)?,
            host: None,
        };
        Ok(Self {
            contestant,
            layout,
            _ground: ground,
        })
    }

    /// One container at either end of a veth pair.
    pub(super) fn raw_pair() -> Result<Self> {
        let contestant = Contestant::RawPair;
        let mut ground = Ground::new(contestant)?;
        let (a, b) = (ground.add("a")?, ground.add("b")?);
        wiring::pair((&a, A), (&b, B))?;
        let layout = Layout {
            a: wiring::place(a, ETH0, A)?,
            b: wiring::place(b, ETH0, B)?,
            outside: wiring::place(ground.open("b")?, ETH0, B)?,
            host: None,
        };
        wiring::introduce(&layout, ETH0)?;
        wiring::settle(&layout)?;
        Ok(Self {
            contestant,
            layout,
            _ground: ground,
        })
    }
}

/// The answer to whatever takes a host.
fn no_host() -> Able {
    Able::Cannot("has no host between its ends".to_owned())
}

impl World for Limit {
    fn contestant(&self) -> Contestant {
        self.contestant
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn translates(&self) -> Able {
        no_host()
    }

    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able> {
        Ok(if rules.is_empty() { Able::Done } else { no_host() })
    }

    fn insert_rule(&mut self, _rules: &[Rule], _index: usize, _rule: &Rule) -> Result<Able> {
        Ok(no_host())
    }

    fn delete_rule(&mut self, _rules: &[Rule], _index: usize) -> Result<Able> {
        Ok(no_host())
    }

    fn publish(&mut self, _ports: &[Published]) -> Result<Able> {
        Ok(no_host())
    }

    fn publish_range(&mut self, _first: Published, _count: u16) -> Result<Able> {
        Ok(no_host())
    }

    fn unpublish(&mut self) -> Result<Able> {
        Ok(no_host())
    }

    fn new_container(&mut self, _index: u16) -> Result<Able> {
        Ok(no_host())
    }

    fn attach(&mut self, _index: u16) -> Result<Able> {
        Ok(no_host())
    }

    fn detach(&mut self, _index: u16) -> Result<Able> {
        Ok(no_host())
    }

    fn remove_container(&mut self, _index: u16) -> Result<()> {
        Ok(())
    }

    fn forget_flows(&mut self) -> Result<()> {
        Ok(())
    }

    fn path_counters(&self) -> Result<Vec<(String, u64)>> {
        let mut counted = Vec::new();
        for (node, place) in [("a", &self.layout.a), ("b", &self.layout.b)] {
            let traffic = counters(&place.netns, &place.ifname)?;
            counted.push((format!("{node} {} received", place.ifname), traffic.rx_packets));
        }
        Ok(counted)
    }

    fn foreign_counters(&self) -> Result<Vec<(String, u64)>> {
        let mut counted = Vec::new();
        for (node, place) in [("a", &self.layout.a), ("b", &self.layout.b)] {
            let mut here = foreign::stack(&place.netns)?;
            here.extend(foreign::programs(&place.netns, &[&place.ifname])?);
            here.extend(foreign::rules(&place.netns, self.contestant)?);
            counted.extend(here.into_iter().map(|(what, count)| (format!("{what}, {node}"), count)));
        }
        Ok(counted)
    }

    fn map_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}
