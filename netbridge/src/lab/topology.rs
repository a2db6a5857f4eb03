//! A lab as it is to be built: checked as a whole, before anything is touched.

use std::io;
use std::path::Path;

use ipnet::Ipv4Net;

use super::check::Check;
use super::file::Places;
use super::rehearse::rehearse;
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
        let remedy = "give a topology in TOML";
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::not_found(&file, "no such file", remedy),
            _ => Fault::usage(&file, error.to_string(), remedy),
        })?;
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
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
        let links = parsed
            .links
            .iter()
            .filter_map(|link| check.link(link, &nodes))
            .collect();
        let (attachments, ports) = check.connections(name.as_ref(), &parsed.nodes, &networks);
        let filter = parsed
            .filter
            .as_ref()
            .and_then(|named| check.filter(named, read_filter));
        let networks = networks.into_iter().map(|(request, _)| request).collect();
        check.finish()?;
        // A name that is missing here has been refused just above.
        let name = name.ok_or_else(Faults::default)?;
        let topology = Self {
            name,
            nodes,
            outside,
            links,
            networks,
            attachments,
            ports,
            filter,
        };
        rehearse(file, &topology)?;
        Ok(topology)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Topology, Faults> {
        Topology::parse("lab.toml", text, "lab", false, |_| Err(io::ErrorKind::NotFound.into()))
    }

    #[test]
    fn every_example_is_accepted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut seen = 0;
        for directory in [root.clone(), root.join("docker-tutorial")] {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    Topology::read(&path, None).unwrap_or_else(|faults| panic!("{faults}"));
                    seen += 1;
                }
            }
        }
        assert!(seen >= 7, "{seen}");
    }

    #[test]
    fn a_full_topology_becomes_requests() {
        let topology = Topology::read(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/web-app-db.toml"),
            Some("mine"),
        )
        .unwrap();
        assert_eq!(topology.name, *"mine");
        assert_eq!(topology.namespace("web"), "mine-web");
        let endpoints: Vec<_> = topology.attachments.iter().map(|a| a.name.clone().unwrap()).collect();
        assert_eq!(endpoints, ["web", "app", "app-back", "db", "batch"]);
        let uplinks: Vec<_> = topology
            .networks
            .iter()
            .map(|network| network.uplink.as_deref())
            .collect();
        assert_eq!(uplinks, [Some("eth0"), None]);
    }

    #[test]
    fn all_faults_come_at_once_and_with_their_lines() {
        let text = r#"
name = "Bad Name"
filter = "missing.rules"

[outside]
host = "198.51.100.1/24"
address = "192.0.2.1/24"

[[networks]]
name = "front"
subnet = "10.88.1.0/24"

[[networks]]
name = "front"
subnet = "10.88.1.128/25"
mtu = 20

[[nodes]]
name = "host"
attach = [{ net = "nowhere" }]

[[nodes]]
name = "a"
attach = [{ net = "front", ips = ["10.88.1.1", "10.88.1.255", "10.9.0.1", "x"], mac = "01:00:00:00:00:00" }]
publish = ["x:80", "80:80", "80:81"]

[[links]]
a = { node = "a", ifname = "much-too-long-a-name", address = "10.0.0.1" }
b = { node = "gone", address = "10.0.0.2/32" }
"#;
        let faults = parse(text).unwrap_err();
        let seen: Vec<String> = faults.iter().map(|fault| fault.what.clone()).collect();
        let lines = |line: u32| {
            seen.iter()
                .filter(|what| what.starts_with(&format!("lab.toml:{line}: ")))
                .count()
        };
        for (line, count) in [
            (2, 1),
            (3, 1),
            (7, 1),
            (14, 1),
            (15, 1),
            (16, 1),
            (19, 1),
            (20, 1),
            (24, 5),
            (25, 2),
            (28, 2),
            (29, 1),
        ] {
            assert_eq!(lines(line), count, "line {line} of\n{faults}");
        }
        assert_eq!(seen.len(), 18, "{faults}");
    }

    #[test]
    fn what_publishes_is_connected() {
        let network = "[[networks]]\nname = \"n\"\nsubnet = \"10.1.0.0/24\"\ninternal = true\n";
        let node = "[[nodes]]\nname = \"a\"\npublish = [\"80:80\", \"81\", \":82/udp\"]\n";
        let faults = parse(&format!("{network}{node}")).unwrap_err().to_string();
        assert!(
            faults.contains("lab.toml:7: publish 80:80: needs a connection"),
            "{faults}"
        );
        // Without an outside, and on an internal network: for the host.
        parse(&format!("{network}{node}attach = [{{ net = \"n\" }}]\n")).unwrap();
    }

    #[test]
    fn an_interface_of_a_node_exists_once() {
        let nodes =
            "[[nodes]]\nname = \"b\"\n[[networks]]\nname = \"n\"\nsubnet = \"10.1.0.0/24\"\n[[nodes]]\nname = \"a\"\n";
        let link = "[[links]]\na = { node = \"a\", address = \"10.0.0.1/32\" }\n\
                    b = { node = \"b\", ifname = \"IF\", address = \"10.0.0.2/32\" }\n";
        let another = link.replace("10.0.0", "10.0.9");
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        let faults = refused(&format!("{nodes}{link}{another}"));
        assert!(
            faults.contains("called eth0") && faults.contains("called IF"),
            "{faults}"
        );
        let faults = refused(&format!(
            "{nodes}attach = [{{ net = \"n\", ifname = \"eth0\" }}]\n{link}"
        ));
        assert!(faults.contains("--ifname eth0: exists"), "{faults}");
        let faults = refused(&format!("{nodes}{}", link.replace("IF", "eth%d")));
        assert!(faults.contains("is no interface name"), "{faults}");
        parse(&format!("{nodes}attach = [{{ net = \"n\" }}]\n{link}")).unwrap();
    }

    #[test]
    fn a_file_whose_name_is_no_labs_is_told_of_the_option() {
        let parse = |forced| Topology::parse("My Lab.toml", "", "My Lab", forced, |_| Ok(String::new()));
        assert!(parse(false).unwrap_err().to_string().contains("with --name"));
        assert!(parse(true).unwrap_err().to_string().contains("use 1 to 15"));
    }

    #[test]
    fn a_field_that_does_not_exist_is_refused_with_its_line() {
        let faults = parse("[[nodes]]\nname = \"a\"\nip = 3\n").unwrap_err();
        assert!(
            faults.to_string().starts_with("lab.toml:3: unknown field `ip`"),
            "{faults}"
        );
    }
}
