//! A contestant set up in namespaces of its own, and what one can do to it.

use std::net::Ipv4Addr;

use anyhow::Result;
use aya::programs::ProgramInfo;
use netbridge::netns::Netns;

use super::contestant::Contestant;
use super::rule::Rule;

/// Whether a contestant can do what it is asked; why not is an answer, not a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Able {
    /// Done.
    Done,
    /// It cannot, and why: `a bridge alone translates nothing`.
    Cannot(String),
}

/// One end of the traffic: an interface inside a container or in the outside.
pub struct Place {
    /// The namespace.
    pub netns: Netns,
    /// The interface's name in it.
    pub ifname: String,
    /// The interface's index in it.
    pub ifindex: u32,
    /// The interface's MAC.
    pub mac: [u8; 6],
    /// Its address.
    pub ip: Ipv4Addr,
}

/// An interface of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its index in the host's namespace.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Its address, `0.0.0.0` if it has none.
    pub ip: Ipv4Addr,
}

/// What the host has between containers and outside.
pub struct Host {
    /// The namespace that plays the host.
    pub netns: Netns,
    /// Where frames of container A arrive: the host end of its veth.
    pub a_port: Port,
    /// Where frames of container B arrive.
    pub b_port: Port,
    /// The uplink to the outside.
    pub uplink: Port,
    /// The containers' gateway: the bridge.
    pub gateway: Port,
}

/// Who talks to whom.
pub struct Layout {
    /// Container A.
    pub a: Place,
    /// Container B; of [`Contestant::Loopback`], the same namespace as A.
    pub b: Place,
    /// The outside; of the limits (loopback, raw pair), the same as B.
    pub outside: Place,
    /// The host; the limits have none.
    pub host: Option<Host>,
}

/// A port of the host's uplink address that leads to a port of container B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// 6 (TCP) or 17 (UDP).
    pub proto: u8,
    /// On the uplink's address.
    pub host: u16,
    /// In container B.
    pub container: u16,
}

/// A contestant, set up.
pub trait World {
    /// Which.
    fn contestant(&self) -> Contestant;
    /// Who talks to whom.
    fn layout(&self) -> &Layout;
    /// Whether what goes from a container to the outside leaves with the host's address.
    fn translates(&self) -> Able;
    /// Makes these the operator's rules, in this order, in place of those there were. What no rule matches goes on.
    fn load_rules(&mut self, rules: &[Rule]) -> Result<Able>;
    /// Puts a rule before number `index` of `rules`, which are all there are, by the contestant's shortest way.
    fn insert_rule(&mut self, rules: &[Rule], index: usize, rule: &Rule) -> Result<Able>;
    /// Takes number `index` of `rules`, which are all there are, away.
    fn delete_rule(&mut self, rules: &[Rule], index: usize) -> Result<Able>;
    /// Publishes ports of container B that one request lists, each by itself: the calls that the contestant's own manager
    /// makes for it, one where its tool takes a list.
    fn publish(&mut self, ports: &[Published]) -> Result<Able>;
    /// Publishes `count` ports, `host` and up, as `container` and up, by the contestant's shortest way: at best one entry.
    fn publish_range(&mut self, first: Published, count: u16) -> Result<Able>;
    /// Takes back all that was published.
    fn unpublish(&mut self) -> Result<Able>;
    /// Makes one more container with the number `index`, connected to nothing: an empty namespace.
    fn new_container(&mut self, index: u16) -> Result<Able>;
    /// Connects the container that [`new_container`](Self::new_container) made: link, bridge port, the address
    /// 10.77.1.0 + `index`, default route.
    fn attach(&mut self, index: u16) -> Result<Able>;
    /// Disconnects it; the container stays.
    fn detach(&mut self, index: u16) -> Result<Able>;
    /// Removes a container that is not connected.
    fn remove_container(&mut self, index: u16) -> Result<()>;
    /// Forgets every tracked flow.
    fn forget_flows(&mut self) -> Result<()>;
    /// Packet counters that move when packets take this contestant's own path: name and value. One path moves some of
    /// them: between two containers not what counts the uplink.
    fn path_counters(&self) -> Result<Vec<(String, u64)>>;
    /// Counters of the same namespaces that move when packets take another contestant's path, and how much there is of
    /// what would lead them there: never none of these. They stand still while A, B and the outside talk; an ARP
    /// broadcast of a further container may move them.
    fn foreign_counters(&self) -> Result<Vec<(String, u64)>>;
    /// Its BPF programs, with what the kernel counted of them so far; none where there are none.
    fn programs(&self) -> Result<Vec<ProgramInfo>> {
        Ok(Vec::new())
    }
    /// Memory of its BPF maps, bytes; none where there are no maps.
    fn map_bytes(&self) -> Result<Option<u64>>;
}
