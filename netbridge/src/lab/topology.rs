//! A lab as it is to be built: checked as a whole, before anything is touched.

use std::io;
use std::path::Path;

use ipnet::Ipv4Net;

use super::check::Check;
use super::file::Places;
use crate::model::{Attach, Fault, Faults, Name, NetCreate, Ports};
use crate::state::FilterSource;

/// A checked topology.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The lab's name.
    pub name: Name,
    /// The nodes; each is a namespace.
    pub nodes: Vec<Name>,
    /// The world behind the host's uplink.
    pub outside: Option<Outside>,
    /// Veth pairs straight between nodes.
    pub links: Vec<Link>,
    /// Networks, in order.
    pub networks: Vec<NetCreate>,
    /// Connections of nodes to networks, in order.
    pub attachments: Vec<Attach>,
    /// Published ports.
    pub ports: Vec<Ports>,
    /// The filter.
    pub filter: Option<FilterSource>,
}

/// The uplink and the node behind it.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The host's end.
    pub uplink: String,
    /// The host's address.
    pub host: Ipv4Net,
    /// The outside node's address.
    pub address: Ipv4Net,
    /// What the outside sends to the host.
    pub routes: Vec<Ipv4Net>,
    /// MTU, bytes.
    pub mtu: u32,
}

/// A veth pair straight between two nodes.
#[derive(Clone, Debug)]
pub struct Link {
    /// One end.
    pub a: LinkEnd,
    /// The other.
    pub b: LinkEnd,
}

/// One end of a [`Link`].
#[derive(Clone, Debug)]
pub struct LinkEnd {
    /// The node.
    pub node: Name,
    /// The interface's name there.
    pub ifname: String,
    /// The address; an address of the other end outside of this prefix gets a route of its own.
    pub address: Ipv4Net,
}

impl Topology {
    /// Reads the file at `path`, and the filter it names.
    pub fn read(path: &Path, name: Option<&str>) -> Result<Self, Faults> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fault::usage(&file, error.to_string(), "give a topology in TOML"))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&file, &text, name.unwrap_or(&stem), name.is_some(), |beside| {
            std::fs::read_to_string(directory.join(beside))
        })
    }

    /// Checks `text` and lists every fault of it; `file` names it in messages, `read_filter` reads the
    /// filter file that it names.
    ///
    /// The lab is called `name` if `forced` or if the text does not name it.
    pub fn parse(
        file: &str,
        text: &str,
        name: &str,
        forced: bool,
        read_filter: impl FnOnce(&str) -> io::Result<String>,
    ) -> Result<Self, Faults> {
        let places = Places::new(file, text);
        let parsed = places.parse()?;
        let mut check = Check::new(places);
        let name = check.lab_name(&parsed, name, forced);
        let nodes = check.nodes(&parsed.nodes);
        let outside = parsed.outside.as_ref().and_then(|outside| check.outside(outside));
        let networks = check.networks(&parsed.networks, outside.as_ref());
        let links = parsed.links.iter().filter_map(|link| check.link(link, &nodes)).collect();
        let (attachments, ports) = check.connections(name.as_ref(), &parsed.nodes, &networks, outside.is_some());
        let filter = parsed.filter.as_ref().and_then(|named| check.filter(named, read_filter));
        let networks = networks.into_iter().map(|(request, _)| request).collect();
        check.finish()?;
        // A name that is missing here has been refused just above.
        let name = name.ok_or_else(Faults::default)?;
        Ok(Self { name, nodes, outside, links, networks, attachments, ports, filter })
    }

    /// The namespace of a node, of `host` or of `outside`.
    pub fn namespace(&self, node: &str) -> String {
        namespace(&self.name, node)
    }
}

/// The name that `ip netns` shows for a node of a lab.
pub(super) fn namespace(lab: &Name, node: &str) -> String {
    format!("{lab}-{node}")
}
