//! The checks of a topology file, value by value; what is wrong is noted with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::file::{self, Places};
use super::topology::{Link, LinkEnd, Outside, namespace};
use crate::model::{
    AddressSpec, Attach, Claims, Fault, Faults, MacAddr, Name, NetCreate, PortSpec, Ports, parse_ipv4, parse_subnet,
};
use crate::names::is_ifname;
use crate::plan::MTUS;
use crate::state::FilterSource;

/// What the host's end of the uplink is called where the file does not say.
const UPLINK: &str = "eth0";

/// Names that a lab gives to namespaces of its own.
const RESERVED: [&str; 2] = ["host", "outside"];

/// A check under way.
pub(super) struct Check<'a> {
    places: Places<'a>,
    faults: Faults,
    /// Who has which address.
    addresses: BTreeMap<Ipv4Addr, String>,
    /// The ends of links, by node and interface.
    interfaces: BTreeSet<(Name, String)>,
    /// The published ports so far.
    ports: Claims<()>,
}

impl<'a> Check<'a> {
    /// Nothing checked yet.
    pub(super) fn new(places: Places<'a>) -> Self {
        Self {
            places,
            faults: Faults::default(),
            addresses: BTreeMap::new(),
            interfaces: BTreeSet::new(),
            ports: Claims::default(),
        }
    }

    /// `Ok` if nothing is at fault.
    pub(super) fn finish(self) -> Result<(), Faults> {
        self.faults.check()
    }

    /// The lab's name: the given one if `forced`, else the file's, else the given one.
    pub(super) fn lab_name(&mut self, parsed: &file::File, name: &str, forced: bool) -> Option<Name> {
        match &parsed.name {
            Some(written) if !forced => self.name("lab name", written),
            _ if forced => self.faults.keep(Name::parse("lab name", name)),
            _ => {
                let remedy = "give another with --name, or `name = …` in the file".to_owned();
                let parsed = Name::parse("lab name", name).map_err(|fault| Fault { remedy, ..fault });
                self.faults.keep(parsed)
            }
        }
    }

    fn name(&mut self, what: &str, written: &Spanned<String>) -> Option<Name> {
        let parsed = Name::parse(what, written.get_ref()).map_err(|fault| self.places.placed(written, fault));
        self.faults.keep(parsed)
    }

    /// Names that exist once.
    pub(super) fn nodes(&mut self, written: &[file::Node]) -> Vec<Name> {
        let mut nodes: Vec<Name> = Vec::new();
        for node in written {
            let Some(name) = self.name("node", &node.name) else {
                continue;
            };
            if RESERVED.contains(&name.as_str()) {
                let fault = self
                    .places
                    .fault(&node.name, "node", "is a name the lab needs itself", "rename it");
                self.faults.push(fault);
            } else if nodes.contains(&name) {
                let fault = self
                    .places
                    .fault(&node.name, "node", "exists already", "rename one of the two");
                self.faults.push(fault);
            }
            nodes.push(name);
        }
        nodes
    }

    /// The uplink: two addresses of one subnet.
    pub(super) fn outside(&mut self, written: &file::Outside) -> Option<Outside> {
        let uplink = match &written.uplink {
            Some(name) => self.ifname(name),
            None => Some(UPLINK.to_owned()),
        };
        let host = self.address("the host on its uplink", &written.host);
        let address = self.address("the outside", &written.address);
        let routes = written
            .routes
            .iter()
            .filter_map(|route| self.subnet("route", route))
            .collect();
        let mtu = self.mtu(written.mtu.as_ref()).unwrap_or(1500);
        let (host, address) = (host?, address?);
        if !host.contains(&address.addr()) || !address.contains(&host.addr()) {
            let why = format!("is not in one subnet with the host's {host}");
            let remedy = "give both ends of the uplink addresses of one subnet";
            let fault = self.places.fault(&written.address, "address", why, remedy);
            self.faults.push(fault);
        }
        Some(Outside {
            uplink: uplink?,
            host,
            address,
            routes,
            mtu,
        })
    }

    /// Networks with names and subnets of their own, as requests; with each its subnet, where that could be read.
    pub(super) fn networks(
        &mut self,
        written: &[file::Network],
        outside: Option<&Outside>,
    ) -> Vec<(NetCreate, Option<Ipv4Net>)> {
        let mut networks: Vec<(NetCreate, Option<Ipv4Net>)> = Vec::new();
        for network in written {
            self.name("network", &network.name);
            if networks.iter().any(|(other, _)| other.name == *network.name.get_ref()) {
                let fault = self
                    .places
                    .fault(&network.name, "network", "exists already", "rename one of the two");
                self.faults.push(fault);
            }
            let subnet = self.subnet("subnet", &network.subnet);
            if let Some(subnet) = subnet {
                let others = networks
                    .iter()
                    .filter_map(|(other, subnet)| Some((format!("network {}", other.name), (*subnet)?)))
                    .chain(outside.map(|outside| ("the uplink".to_owned(), outside.host.trunc())));
                for (other, taken) in others.collect::<Vec<_>>() {
                    if taken.contains(&subnet) || subnet.contains(&taken) {
                        let why = format!("overlaps {taken} of {other}");
                        let fault = self.places.fault(&network.subnet, "subnet", why, "take another range");
                        self.faults.push(fault);
                    }
                }
                self.gateway(network, subnet);
            }
            self.mtu(network.mtu.as_ref());
            let request = NetCreate {
                name: network.name.get_ref().clone(),
                subnet: Some(network.subnet.get_ref().clone()),
                gateway: network.gateway.as_ref().map(|gateway| gateway.get_ref().clone()),
                uplink: outside
                    .filter(|_| !network.internal)
                    .map(|outside| outside.uplink.clone()),
                mtu: network.mtu.as_ref().map(|mtu| *mtu.get_ref()),
                internal: network.internal,
                masquerade: network.masquerade,
                snat: None,
                mapping: network.mapping,
                filtering: network.filtering,
                routed: network.routed,
                tunnels: network.tunnels,
            };
            networks.push((request, subnet));
        }
        networks
    }

    fn gateway(&mut self, network: &file::Network, subnet: Ipv4Net) {
        let owner = format!("the gateway of {}", network.name.get_ref());
        let Some(written) = &network.gateway else {
            if let Some(first) = subnet.hosts().next() {
                self.addresses.insert(first, owner);
            }
            return;
        };
        let parsed = parse_ipv4("gateway", written.get_ref()).map_err(|fault| self.places.placed(written, fault));
        if let Some(gateway) = self.faults.keep(parsed) {
            self.member(written, gateway, subnet, &owner);
        }
    }

    /// A link between nodes that exist.
    pub(super) fn link(&mut self, written: &file::Link, nodes: &[Name]) -> Option<Link> {
        let a = self.link_end(&written.a, nodes);
        let b = self.link_end(&written.b, nodes);
        Some(Link { a: a?, b: b? })
    }

    fn link_end(&mut self, written: &file::LinkEnd, nodes: &[Name]) -> Option<LinkEnd> {
        let node = nodes.iter().find(|node| **node == **written.node.get_ref()).cloned();
        if node.is_none() {
            let fault = self
                .places
                .fault(&written.node, "node", "does not exist", "name one of [[nodes]]");
            self.faults.push(fault);
        }
        let ifname = match &written.ifname {
            Some(name) => self.ifname(name),
            None => Some("eth0".to_owned()),
        };
        if let Some((node, ifname)) = node.as_ref().zip(ifname.as_ref())
            && !self.interfaces.insert((node.clone(), ifname.clone()))
        {
            let why = format!("has an end of a link called {ifname} already");
            let fault = self
                .places
                .fault(&written.node, "node", why, "give this one another `ifname`");
            self.faults.push(fault);
        }
        let address = self.address(written.node.get_ref(), &written.address);
        Some(LinkEnd {
            node: node?,
            ifname: ifname?,
            address: address?,
        })
    }

    /// Connections to networks that exist, and published ports, as requests.
    pub(super) fn connections(
        &mut self,
        lab: Option<&Name>,
        nodes: &[file::Node],
        networks: &[(NetCreate, Option<Ipv4Net>)],
    ) -> (Vec<Attach>, Vec<Ports>) {
        let (mut attachments, mut ports): (Vec<Attach>, Vec<Ports>) = (Vec::new(), Vec::new());
        for node in nodes {
            let name = node.name.get_ref();
            for (index, written) in node.attach.iter().enumerate() {
                // The first connection is called after its node, another after node and network.
                let endpoint = if index == 0 {
                    name.clone()
                } else {
                    format!("{name}-{}", written.net.get_ref())
                };
                let checked = Name::parse("endpoint", &endpoint).map_err(|f| self.places.placed(&written.net, f));
                self.faults.keep(checked);
                if attachments.iter().any(|other| other.name.as_ref() == Some(&endpoint)) {
                    let why = format!("makes a second endpoint {endpoint}");
                    let fault = self
                        .places
                        .fault(&written.net, "net", why, "rename a node or connect it once");
                    self.faults.push(fault);
                }
                self.attachment(written, &endpoint, networks);
                attachments.push(Attach {
                    netns: lab.map(|lab| namespace(lab, name)).unwrap_or_default(),
                    net: written.net.get_ref().clone(),
                    name: Some(endpoint),
                    ips: written.ips.iter().map(|ip| ip.get_ref().clone()).collect(),
                    mac: written.mac.as_ref().map(|mac| mac.get_ref().clone()),
                    ifname: written.ifname.as_ref().map(|ifname| ifname.get_ref().clone()),
                    trunk: written.trunk,
                    default_route: true,
                });
            }
            self.published(node, &mut ports);
        }
        (attachments, ports)
    }

    fn attachment(&mut self, written: &file::Attachment, endpoint: &str, networks: &[(NetCreate, Option<Ipv4Net>)]) {
        let network = networks
            .iter()
            .find(|(network, _)| network.name == *written.net.get_ref());
        if network.is_none() {
            let fault = self
                .places
                .fault(&written.net, "net", "does not exist", "name one of [[networks]]");
            self.faults.push(fault);
        }
        for ip in &written.ips {
            let spec = AddressSpec::parse("address", ip.get_ref()).map_err(|fault| self.places.placed(ip, fault));
            if let (Some(spec), Some((_, Some(subnet)))) = (self.faults.keep(spec), network) {
                self.member(ip, spec.address, *subnet, &format!("endpoint {endpoint}"));
            }
        }
        if let Some(mac) = &written.mac {
            let parsed = MacAddr::parse("mac", mac.get_ref()).map_err(|fault| self.places.placed(mac, fault));
            self.faults.keep(parsed);
        }
        if let Some(name) = &written.ifname {
            self.ifname(name);
        }
    }

    fn published(&mut self, node: &file::Node, ports: &mut Vec<Ports>) {
        let Some(first_spec) = node.publish.first() else { return };
        if node.attach.is_empty() {
            let why = "needs a connection to a network";
            let fault = self
                .places
                .fault(first_spec, "publish", why, "add one, or publish nothing");
            self.faults.push(fault);
        }
        for written in &node.publish {
            let parsed = PortSpec::parse(written.get_ref()).map_err(|fault| self.places.placed(written, fault));
            let Some(spec) = self.faults.keep(parsed) else { continue };
            if spec.is_open() {
                continue;
            }
            if let Some((taken, ())) = self.ports.overlapping(&spec) {
                let why = format!("is taken on the host, by {taken}");
                let fault = self.places.fault(written, "publish", why, "take another host port");
                self.faults.push(fault);
            } else {
                self.ports.insert(spec, ());
            }
        }
        ports.push(Ports {
            endpoint: node.name.get_ref().clone(),
            specs: node.publish.iter().map(|spec| spec.get_ref().clone()).collect(),
            from: Vec::new(),
        });
    }

    /// The text of the filter, read but not parsed.
    pub(super) fn filter(
        &mut self,
        named: &Spanned<String>,
        read: impl FnOnce(&str) -> io::Result<String>,
    ) -> Option<FilterSource> {
        let file = named.get_ref();
        match read(file) {
            Ok(text) => Some(FilterSource::new(file, text)),
            Err(error) => {
                let remedy = "name a file beside this one, in iptables-save syntax";
                let fault = self.places.fault(named, "filter", error.to_string(), remedy);
                self.faults.push(fault);
                None
            }
        }
    }

    fn subnet(&mut self, what: &str, written: &Spanned<String>) -> Option<Ipv4Net> {
        let parsed = parse_subnet(what, written.get_ref()).map_err(|fault| self.places.placed(written, fault));
        self.faults.keep(parsed)
    }

    /// An `IP/PREFIX` that nobody else has.
    fn address(&mut self, owner: &str, written: &Spanned<String>) -> Option<Ipv4Net> {
        let Ok(net) = written.get_ref().parse::<Ipv4Net>() else {
            let remedy = "write IP/PREFIX, such as 198.51.100.1/24";
            let fault = self
                .places
                .fault(written, "address", "is not an IPv4 address and prefix", remedy);
            self.faults.push(fault);
            return None;
        };
        self.claim(written, net.addr(), owner);
        Some(net)
    }

    /// An address that must be a host's in `subnet`, and nobody else's.
    fn member(&mut self, written: &Spanned<String>, address: Ipv4Addr, subnet: Ipv4Net, owner: &str) {
        if !subnet.contains(&address) || address == subnet.network() || address == subnet.broadcast() {
            let why = format!("is no host's address in {subnet}");
            let fault = self.places.fault(written, "address", why, "take one from the subnet");
            self.faults.push(fault);
        }
        self.claim(written, address, owner);
    }

    fn claim(&mut self, written: &Spanned<String>, address: Ipv4Addr, owner: &str) {
        if let Some(other) = self.addresses.insert(address, owner.to_owned()) {
            let fault = self
                .places
                .fault(written, "address", format!("belongs to {other}"), "take another");
            self.faults.push(fault);
        }
    }

    fn ifname(&mut self, written: &Spanned<String>) -> Option<String> {
        let name = written.get_ref();
        if !is_ifname(name) {
            let remedy = "give 1 to 15 bytes without blanks, /, : or %";
            let fault = self.places.fault(written, "interface", "is no interface name", remedy);
            self.faults.push(fault);
            return None;
        }
        Some(name.clone())
    }

    fn mtu(&mut self, written: Option<&Spanned<u32>>) -> Option<u32> {
        let mtu = *written?.get_ref();
        if !MTUS.contains(&mtu) {
            let remedy = format!("give {} to {}", MTUS.start(), MTUS.end());
            let fault = self.places.fault(written?, "mtu", "is out of range", remedy);
            self.faults.push(fault);
        }
        Some(mtu)
    }
}
