//! States and facts that tests start from.

use super::super::facts::{HostFacts, TargetFacts};
use crate::datapath::SnatRange;
use crate::model::{MacAddr, Settings, Transport};
use crate::names;
use crate::netlink::LinkInfo;
use crate::state::{Dependence, Endpoint, Network, Published, State, Uplink};

/// A network `front` (10.88.0.0/29, uplink `up0`) with endpoint `web`, whose port 8080 is published as 80.
pub(crate) fn state() -> State {
    State {
        host: 1,
        networks: vec![Network {
            name: "front".parse().unwrap(),
            id: 1,
            subnet: "10.88.0.0/29".parse().unwrap(),
            gateway: "10.88.0.1".parse().unwrap(),
            bridge: "nb-front".to_owned(),
            ifindex: 10,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            uplink: Some("up0".to_owned()),
            internal: false,
            masquerade: true,
            snat: None,
            mapping: Dependence::Independent,
            filtering: Dependence::Dependent,
            routed: false,
            tunnels: false,
        }],
        uplinks: vec![Uplink {
            name: "up0".to_owned(),
            ifindex: 2,
            slot: 0,
            mac: MacAddr([2, 0, 0, 0, 1, 1]),
            mtu: 1500,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        }],
        endpoints: vec![Endpoint {
            name: "web".parse().unwrap(),
            network: "front".parse().unwrap(),
            netns: "web".to_owned(),
            netns_inode: 7,
            ifname: "eth0".to_owned(),
            host_if: "nbv00000001".to_owned(),
            ifindex: 11,
            slot: 1,
            mac: MacAddr::from_ipv4("10.88.0.2".parse().unwrap()),
            addresses: vec!["10.88.0.2/29".parse().unwrap()],
            gateway: Some("10.88.0.1".parse().unwrap()),
            trunk: false,
        }],
        ports: vec![Published {
            endpoint: "web".parse().unwrap(),
            transport: Transport::Tcp,
            host_ip: None,
            host_port: 80,
            port: 8080,
            count: 1,
            from: Vec::new(),
            list: 0,
        }],
        filter: None,
        settings: Settings::default(),
        local: ["192.0.2.1", "10.88.0.1"]
            .map(|address| address.parse().unwrap())
            .into(),
    }
}

/// A host with `lo`, the uplink `up0` at 192.0.2.1/24, and what [`state`] made.
pub(crate) fn host() -> HostFacts {
    let mut bridge = link(10, "nb-front");
    bridge.alias = Some(names::alias("default", &"front".parse().unwrap()));
    let mut lo = link(1, "lo");
    lo.mac = Some([0; 6]);
    HostFacts {
        instance: "default".to_owned(),
        loaded: true,
        inode: 1,
        machine: Some(2),
        links: vec![lo, link(2, "up0"), bridge],
        addresses: [(1, "127.0.0.1/8"), (2, "192.0.2.1/24"), (10, "10.88.0.1/29")]
            .map(|(index, net)| (index, net.parse().unwrap()))
            .into(),
        routes: [
            (2, "0.0.0.0/0"),
            (2, "192.0.2.0/24"),
            (2, "172.16.0.0/12"),
            (10, "10.88.0.0/29"),
        ]
        .map(|(index, net)| (index, net.parse().unwrap()))
        .into(),
        ports: Some(SnatRange {
            snat: 1024..=32767,
            local: 32768..=60999,
        }),
        reserved: Vec::new(),
        unhooked: None,
        kernel: crate::facts::KernelFacts::default(),
    }
}

/// A host that netbridge has not touched.
pub(crate) fn fresh_host() -> HostFacts {
    let mut host = host();
    host.loaded = false;
    host.links.retain(|link| link.index != 10);
    host.addresses.retain(|(index, _)| *index != 10);
    host.routes.retain(|(index, _)| *index != 10);
    host
}

/// A namespace with nothing but `lo`.
pub(crate) fn target() -> TargetFacts {
    TargetFacts {
        inode: 8,
        links: vec!["lo".to_owned()],
        default_route: false,
    }
}

/// An Ethernet interface that is up.
pub(crate) fn link(index: u32, name: &str) -> LinkInfo {
    LinkInfo {
        index,
        name: name.to_owned(),
        kind: None,
        mac: Some([2, 0, 0, 0, 1, 1]),
        ethernet: true,
        mtu: 1500,
        up: true,
        master: None,
        alias: None,
        group: 0,
        ipv4: None,
        ipv6: None,
    }
}
