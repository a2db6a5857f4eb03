//! What callers ask for, as they wrote it.
//!
//! A request holds text, so that [`crate::plan`] can name every fault of it at once; the command
//! line and the lab fill it in.

use crate::state::Dependence;

/// Asks for a new network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub struct NetCreate {
    /// Its name.
    pub name: String,
    /// Its subnet as CIDR; `None` takes a free one.
    pub subnet: Option<String>,
    /// The gateway's address, on the bridge; `None` takes the subnet's first.
    pub gateway: Option<String>,
    /// The interface to the outside.
    pub uplink: Option<String>,
    /// MTU of the bridge and of its endpoints, bytes; `None` takes the uplink's, or 1500.
    pub mtu: Option<u32>,
    /// No way out, and no default route for its endpoints.
    pub internal: bool,
    /// Packets to the outside take an address of the host's.
    pub masquerade: bool,
    /// That address; `None` for the one that the host would use itself.
    pub snat: Option<String>,
    /// What the port outside depends on.
    pub mapping: Dependence,
    /// Who may send to it.
    pub filtering: Dependence,
    /// The endpoints' own addresses can be reached from outside, and packets keep them.
    pub routed: bool,
    /// GRE, ESP, IP and IPv6 in IP, and SCTP are masqueraded too, by their addresses alone.
    pub tunnels: bool,
}

impl NetCreate {
    /// A masqueraded network with everything else left open.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            subnet: None,
            gateway: None,
            uplink: None,
            mtu: None,
            internal: false,
            masquerade: true,
            snat: None,
            mapping: Dependence::mapping(),
            filtering: Dependence::filtering(),
            routed: false,
            tunnels: false,
        }
    }
}

/// Asks to connect a namespace to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The namespace: a name, a path or `pid:N`.
    pub netns: String,
    /// The network.
    pub net: String,
    /// The endpoint's name; `None` takes the namespace's.
    pub name: Option<String>,
    /// Addresses, each `IP` or `IP/PREFIX[@GATEWAY]`; none takes a free one.
    pub ips: Vec<String>,
    /// The interface's MAC; `None` derives it from the first address.
    pub mac: Option<String>,
    /// The interface's name in the namespace; `None` takes the first free of `eth0`, `eth1`, …
    pub ifname: Option<String>,
    /// Behind the endpoint is a bridge of its own: MACs are learned there.
    pub trunk: bool,
    /// Add a default route if the namespace has none.
    pub default_route: bool,
}

impl Attach {
    /// A plain endpoint with everything left open.
    pub fn new(netns: impl Into<String>, net: impl Into<String>) -> Self {
        Self {
            netns: netns.into(),
            net: net.into(),
            name: None,
            ips: Vec::new(),
            mac: None,
            ifname: None,
            trunk: false,
            default_route: true,
        }
    }
}

/// Asks to publish ports of an endpoint, or to stop publishing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The endpoint.
    pub endpoint: String,
    /// Each `[[HOSTIP:]HOST[-END]:]CONTAINER[-END][/tcp|udp]`.
    pub specs: Vec<String>,
    /// Who may come in by them, each an address or CIDR; none for anybody.
    pub from: Vec<String>,
}
